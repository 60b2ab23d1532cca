//! A process held by a descriptor of its own: whoever has that learns exactly how it ends, whatever becomes of its shim
//! (`PIDFD_GET_INFO`, Linux ≥ 6.15; without it, a record is the only source there is).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime};

use holdfast_common::exit_record::{ExitRecord, ExitStatus, Source};
use holdfast_common::identity::Identity;
use holdfast_common::sys::pidfd;
use nix::libc::ESRCH;
use nix::poll::PollFlags;

use crate::deadline::Deadline;
use crate::end::End;
use crate::error::{Error, Result};
use crate::process::Process;

/// How long to wait before looking again at a process that has ended and was not reaped: kernels before 6.9 do not tell.
const TURN: Duration = Duration::from_millis(100);

/// A process that lived when this was made. Readable (`AsFd`) when it has ended.
#[derive(Debug)]
pub struct ProcessFd {
    fd: OwnedFd,
    identity: Identity,
    end: End,
}

impl Process {
    /// Holds on to the process itself, not to its shim: what is returned tells how it ends even when its shim is killed and
    /// nobody adopts it.
    ///
    /// # Errors
    /// It has ended, or does not exist yet; the system's.
    pub fn pidfd(&self) -> Result<ProcessFd> {
        let Some(identity) = self.identity()? else {
            return Err(self.without_pid()?);
        };
        let opened = identity
            .open()
            .map_err(Error::io("open a pidfd in", self.dir()))?;
        let fd = opened
            .filter(|_| identity.is_alive())
            .ok_or_else(|| self.exited())?;
        Ok(ProcessFd {
            fd,
            identity,
            end: self.end.try_clone()?,
        })
    }
}

impl ProcessFd {
    /// Its pid and start time.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Waits until it has ended and somebody has reaped it. What is on record counts first.
    ///
    /// # Errors
    /// [`Error::WaitTimeout`]; the system's.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<ExitRecord> {
        let deadline = Deadline::after(timeout);
        loop {
            if let Some(record) = self.look()? {
                return Ok(record);
            }
            if deadline.has_passed() {
                return Err(Error::WaitTimeout {
                    id: self.end.container.clone(),
                    process: self.end.process.clone(),
                    timeout: timeout.unwrap_or_default(),
                });
            }
            // Readable from its end on: then it is the hang-up that is waited for.
            let (deadline, events) = if self.identity.is_alive() {
                (deadline, PollFlags::POLLIN)
            } else {
                (deadline.at_most(TURN), PollFlags::empty())
            };
            let polled = deadline.poll(self.fd.as_fd(), events);
            polled.map_err(Error::io("wait for", &self.end.dir))?;
        }
    }

    /// How it ended; `None` while it runs, or waits to be reaped.
    fn look(&self) -> Result<Option<ExitRecord>> {
        if let Some(record) = self.end.record()? {
            return Ok(Some(record));
        }
        let failed = |e| Error::io("look at", &self.end.dir)(e);
        let word = pidfd::exit_word(self.fd.as_fd()).map_err(failed)?;
        if let Some(status) = word.and_then(ExitStatus::from_wait_word) {
            return Ok(Some(self.record(status, Source::Pidfd)));
        }
        match pidfd::send_signal(self.fd.as_fd(), 0) {
            // A shim that reaped it is about to record it.
            Err(e) if e.raw_os_error() == Some(ESRCH) && self.end.shim_lives()? => Ok(None),
            Err(e) if e.raw_os_error() == Some(ESRCH) => {
                let reason =
                    "its shim was killed, and this kernel keeps no exit status (Linux < 6.15)";
                let status = ExitStatus::Unknown {
                    reason: reason.to_owned(),
                };
                Ok(Some(self.record(status, Source::Unknown)))
            }
            Ok(()) | Err(_) => Ok(None),
        }
    }

    fn record(&self, status: ExitStatus, source: Source) -> ExitRecord {
        ExitRecord {
            pid: self.identity.pid,
            exited_at: SystemTime::now(),
            status,
            oom_killed: None,
            timed_out: false,
            dropped: Default::default(),
            source,
        }
    }
}

impl AsFd for ProcessFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
