//! How the process ends: reaped when it is our child, read through a pidfd when it is not. Never invented.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::SystemTime;

use holdfast_common::exit_record::{ExitRecord, ExitStatus, Source};
use holdfast_common::identity::Stat;
use holdfast_common::sys::pidfd;
use holdfast_common::sys::process::{Children, reap};

/// What reading /proc/PID says of a process that is not there.
fn is_gone(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(nix::libc::ESRCH)
}

/// The process, and how its end will be seen.
pub struct Watch {
    pid: i32,
}

impl Watch {
    /// Begins to watch.
    pub fn new(pid: i32) -> Self {
        Self { pid }
    }

    /// What to poll besides SIGCHLD, for a process that is not our child: its runtime made it elsewhere.
    pub fn pidfd(&self) -> io::Result<Option<OwnedFd>> {
        let me = i32::try_from(std::process::id()).ok();
        if Stat::read(self.pid).is_ok_and(|stat| Some(stat.parent) == me) {
            return Ok(None);
        }
        match pidfd::open(self.pid) {
            Ok(fd) => Ok(Some(fd)),
            Err(e) if e.raw_os_error() == Some(nix::libc::ESRCH) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What the kernel says of it; `None` when it is gone.
    pub fn stat(&self) -> Option<Stat> {
        Stat::read(self.pid).ok()
    }

    /// Reaps until nothing is left to reap. A subreaper's children are many; one of them may be the process.
    pub fn reap(&self) -> Option<ExitRecord> {
        let mut record = None;
        loop {
            match reap(-1) {
                Children::Ended(reaped) if reaped.pid == self.pid => {
                    record = ExitStatus::from_wait_word(reaped.word)
                        .map(|status| self.record(status, Source::Reaped));
                }
                // A stranger that was orphaned in the container, or the runtime.
                Children::Ended(_) => (),
                Children::Living | Children::None => return record,
            }
        }
    }

    /// What is known of a process that is not our child; `None` while it runs or waits for its own parent to reap it.
    pub fn look(&self, pidfd: Option<&OwnedFd>) -> io::Result<Option<ExitRecord>> {
        let Some(fd) = pidfd else {
            // Another reason not to be read, such as too many open files, is no end.
            let gone = Stat::read(self.pid).is_err_and(|e| is_gone(&e));
            let reason = "the process was gone before the shim could watch it";
            return Ok(gone.then(|| self.unknown(reason)));
        };
        if let Some(status) = pidfd::exit_word(fd.as_fd())?.and_then(ExitStatus::from_wait_word) {
            return Ok(Some(self.record(status, Source::Pidfd)));
        }
        // A signal of 0 asks whether there is still something to signal: a zombie is, a reaped process is not.
        let gone = pidfd::send_signal(fd.as_fd(), 0)
            .is_err_and(|e| e.raw_os_error() == Some(nix::libc::ESRCH));
        let reason =
            "another process reaped it, and this kernel keeps no exit status (Linux < 6.15)";
        Ok(gone.then(|| self.unknown(reason)))
    }

    fn record(&self, status: ExitStatus, source: Source) -> ExitRecord {
        ExitRecord {
            pid: self.pid,
            exited_at: SystemTime::now(),
            status,
            oom_killed: None,
            timed_out: false,
            source,
            dropped: Default::default(),
        }
    }

    fn unknown(&self, reason: &str) -> ExitRecord {
        self.record(
            ExitStatus::Unknown {
                reason: reason.to_owned(),
            },
            Source::Unknown,
        )
    }
}
