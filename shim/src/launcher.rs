//! Whoever started this shim: leaving it behind, and telling it how that went.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use holdfast_common::layout;
use holdfast_common::ready::Report;
use holdfast_common::sys::detach::detach;
use holdfast_common::sys::{fd, process, signal};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::Error;
use crate::log as shim_log;

/// The launcher, and, if it is our driver, the pipe on which it waits.
pub struct Launcher(Option<File>);

impl Launcher {
    /// Takes over the pipe, by its number on the command line.
    pub fn new(ready: Option<RawFd>) -> Result<Self, Error> {
        let take = |number| match number {
            0..=2 => fd::take_standard(number),
            _ => fd::take(number),
        };
        let ready = ready.map(take).transpose();
        let ready = ready.map_err(Error::io("take over ready pipe", "."))?;
        Ok(Self(ready.map(File::from)))
    }

    /// Goes on as a child in a session apart, unless the launcher wants its own child to be the shim. To be called first of all: what
    /// has been touched of memory by then, fork(2) copies.
    pub fn detach(&self) -> Result<(), Error> {
        if self.0.is_some() {
            // containerd 0.2 waits for its shim, and so wants it as its child.
            detach().map_err(Error::io("fork in", "."))?;
        }
        Ok(())
    }

    /// Becomes a process of its own: no descriptor of the launcher's but those to be preserved, which are returned; no signal
    /// of its choosing; a log. To be called before the first descriptor is opened for good.
    pub fn leave(&self, preserve: Range<RawFd>) -> Result<Vec<OwnedFd>, Error> {
        let ready = self.0.as_ref().map(AsRawFd::as_raw_fd);
        let keep: Vec<RawFd> = preserve.clone().chain(ready).collect();
        fd::close_all_but(&keep).map_err(Error::io("close inherited descriptors in", "."))?;
        signal::block_all().map_err(Error::io("block signals in", "."))?;
        signal::reset_dispositions();
        let preserved = preserve.map(fd::take).collect::<Result<_, _>>();
        let preserved = preserved.map_err(Error::io("take over preserved descriptors in", "."))?;
        process::become_subreaper().map_err(Error::io("become subreaper in", "."))?;
        shim_log::open().map_err(Error::io("open", layout::SHIM_LOG_FILE))?;
        Ok(preserved)
    }

    /// Whether it went away while waiting.
    pub fn is_gone(&self) -> bool {
        let Some(ready) = &self.0 else { return false };
        let mut fds = [PollFd::new(ready.as_fd(), PollFlags::empty())];
        let polled = poll(&mut fds, PollTimeout::ZERO);
        polled.is_ok_and(|n| n > 0) && fds[0].any().unwrap_or(false)
    }

    /// Tells it, if it still listens.
    pub fn report(&mut self, report: &Report) {
        if let Some(ready) = &mut self.0 {
            // It fits into the pipe. A launcher that is gone finds the state directory.
            let _ = ready.write_all(&report.encode());
            // A pipe has its reader woken on this processor, as if we were about to sleep; and there is much to do before that.
            std::thread::yield_now();
        }
    }
}
