//! How far the end of the process has come: its shim records the status, then leaves; or it is gone, and there may be nothing on
//! record.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::{Outcome, Session};
use crate::cli::error::{Error, Result};

/// Long enough for the library to take what somebody else wrote into `exit` out of it; everything else is there at once.
const AT_ONCE: Duration = Duration::from_millis(1);

/// How far the end of the process has come.
#[derive(Debug)]
pub enum Progress {
    /// It runs.
    Runs,
    /// It runs, and its shim is gone: this is its pidfd.
    Orphaned(OwnedFd),
    /// Its status is on record, its shim is at work.
    Recorded,
    /// Nobody is left who would write to its streams for it.
    Gone,
}

impl Session<'_> {
    pub(super) fn on_exit(&mut self) -> Result<Option<Outcome>> {
        match self.progress {
            // Without a shim, it has ended; or it has another by now, which is to put that on record.
            Progress::Runs | Progress::Orphaned(_) => self.look_at_exit(AT_ONCE)?,
            // The record was there before; the news is that the shim has hung up.
            Progress::Recorded if self.process.wait_gone(Some(AT_ONCE)).is_ok() => self.gone(),
            Progress::Recorded | Progress::Gone => {}
        }
        Ok(None)
    }

    /// In the order in which a shim leaves: the record, then its own end.
    pub(super) fn look_at_exit(&mut self, patience: Duration) -> Result<()> {
        match self.process.wait(Some(patience)) {
            Ok(record) => {
                self.record = Some(record);
                if self.process.shim_lives()? {
                    self.progress = Progress::Recorded;
                } else {
                    self.gone();
                }
            }
            // It runs.
            Err(holdfast::Error::WaitTimeout { .. }) => self.progress = Progress::Runs,
            Err(holdfast::Error::ShimGone { alive: false, .. }) => self.gone(),
            Err(holdfast::Error::ShimGone { .. }) => {
                let pidfd = match self.process.identity()? {
                    Some(identity) => identity
                        .open()
                        .map_err(|e| Error::io("open pidfd of", self.process.dir(), e))?,
                    None => None,
                };
                match pidfd {
                    Some(pidfd) => self.progress = Progress::Orphaned(pidfd),
                    None => self.gone(),
                }
            }
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    fn gone(&mut self) {
        self.progress = Progress::Gone;
        self.stdout.finish();
        self.stderr.finish();
    }
}
