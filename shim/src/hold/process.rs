//! The process that is held, to be signalled: because its time is over, or because a service manager means it by us.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use holdfast_common::sys::{errno_text, pidfd};
use nix::libc::{SI_USER, signalfd_siginfo};

use crate::handover::Holding;

/// The process. It has not been reaped, so its pid is nobody else's.
pub struct Process<'a> {
    pid: i32,
    /// A pidfd of it, where it is not our child.
    pidfd: Option<&'a OwnedFd>,
}

impl<'a> Process<'a> {
    /// The one that is held.
    pub fn of(holding: &'a Holding) -> Self {
        Self {
            pid: holding.pid,
            pidfd: holding.pidfd.as_ref(),
        }
    }

    /// Whether it has ended, with all its threads, reaped or not.
    pub fn has_ended(&self) -> bool {
        match self.pidfd {
            Some(fd) => pidfd::has_ended(fd.as_fd()),
            None => pidfd::open(self.pid).and_then(|fd| pidfd::has_ended(fd.as_fd())),
        }
        .unwrap_or(false)
    }

    /// Sends it a signal; if its whole group is meant and it leads one, to all of that.
    ///
    /// # Errors
    /// `ESRCH` when it has been reaped, which a child of ours has not; the system's.
    pub fn signal(&self, signal: i32, group: bool) -> io::Result<()> {
        let opened;
        let fd = match self.pidfd {
            Some(fd) => fd.as_fd(),
            None => {
                opened = pidfd::open(self.pid)?;
                opened.as_fd()
            }
        };
        // A kernel that cannot (Linux < 6.9), a process that leads none: then the process alone.
        if group && pidfd::send_signal_to_group(fd, signal).is_ok() {
            return Ok(());
        }
        pidfd::send_signal(fd, signal)
    }
}

/// Passes on a signal that was meant for the process, whose service's main process we are; whether it was. What the kernel sends, or
/// we ourselves, means us.
pub fn pass_on(holding: &Holding, signal: &signalfd_siginfo) -> bool {
    let by_somebody = signal.ssi_code <= SI_USER && signal.ssi_pid != std::process::id();
    if !(holding.kind.main && by_somebody) {
        return false;
    }
    let passed = i32::try_from(signal.ssi_signo)
        .map_err(io::Error::other)
        .and_then(|number| Process::of(holding).signal(number, false));
    if let Err(e) = passed {
        log::info!("pass on signal {}: {}", signal.ssi_signo, errno_text(&e));
    }
    true
}
