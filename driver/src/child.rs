//! Waiting for a child of ours no longer than agreed.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

use holdfast_common::sys::pidfd;
use nix::errno::Errno;
use nix::poll::PollFlags;

use crate::deadline::Deadline;

/// Waits for a child and collects it; `None` when the time is over first, and it is killed.
pub(crate) fn wait(child: &mut Child, deadline: Deadline) -> io::Result<Option<ExitStatus>> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    // A child keeps its pid until it is collected: this can be nobody else.
    let fd = match pidfd::open(pid) {
        Ok(fd) => Some(fd),
        // Collected already, where the caller ignores SIGCHLD or waits for whatever child there is.
        Err(e) if e.raw_os_error() == Some(Errno::ESRCH as i32) => None,
        Err(e) => return Err(e),
    };
    if let Some(fd) = &fd
        && deadline.poll(fd.as_fd(), PollFlags::POLLIN)?.is_empty()
    {
        child.kill()?;
        // Somebody else may collect it, as above.
        let _ = child.wait();
        return Ok(None);
    }
    let lost = match child.wait() {
        Ok(exit) => return Ok(Some(exit)),
        Err(e) => e,
    };
    // The kernel still knows, if it is new enough.
    let word = fd.map_or(Ok(None), |fd| pidfd::exit_word(fd.as_fd()))?;
    word.map(|word| Some(ExitStatus::from_raw(word)))
        .ok_or(lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::waitpid;
    use nix::unistd::Pid;
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn a_status_is_not_lost_to_whoever_collects_the_child_first() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 0.05; exit 3"])
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let thief = std::thread::spawn(move || waitpid(pid, None));
        let deadline = Deadline::after(Some(Duration::from_secs(20)));
        match wait(&mut child, deadline) {
            Ok(exit) => assert_eq!(exit.and_then(|exit| exit.code()), Some(3)),
            // Before Linux 6.15 nobody else can know.
            Err(e) => assert_eq!(e.raw_os_error(), Some(Errno::ECHILD as i32), "{e}"),
        }
        // It, too, may have come too late.
        let _ = thief.join();
    }
}
