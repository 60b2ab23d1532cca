//! Waiting for a child of ours no longer than agreed.

use std::io;
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};

use holdfast_common::sys::pidfd;
use nix::errno::Errno;
use nix::poll::PollFlags;

use crate::deadline::Deadline;

/// Waits for a child and collects it; `None` when the time is over first, and it is killed.
pub(crate) fn wait(child: &mut Child, deadline: Deadline) -> io::Result<Option<ExitStatus>> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    // A child keeps its pid until it is collected: this can be nobody else.
    let ended = match pidfd::open(pid) {
        Ok(fd) => !deadline.poll(fd.as_fd(), PollFlags::POLLIN)?.is_empty(),
        // Collected already, where the caller ignores SIGCHLD or waits for whatever child there is.
        Err(e) if e.raw_os_error() == Some(Errno::ESRCH as i32) => true,
        Err(e) => return Err(e),
    };
    if !ended {
        child.kill()?;
        child.wait()?;
        return Ok(None);
    }
    child.wait().map(Some)
}
