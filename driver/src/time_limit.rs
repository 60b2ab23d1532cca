//! The time that a container may run begins when it is started, and by whom it is started says so to its shim: on record
//! first (`deadline`), then on the control FIFO. It is the shim that ends it.

use holdfast_common::control::Message;
use holdfast_common::layout;
use holdfast_common::time_limit::{Deadline, TimeLimit};

use crate::error::{Error, Result};
use crate::process::Process;

/// Makes sure that a limit can be kept.
pub(crate) fn check(limit: Option<TimeLimit>) -> Result<()> {
    let bad = |what| Err(Error::BadTimeLimit { what });
    match limit {
        Some(limit) if limit.seconds == 0 => bad("0 seconds are no time to run".to_owned()),
        Some(limit) if !(1..=nix::libc::SIGRTMAX()).contains(&limit.signal) => {
            bad(format!("signal {} ends nothing", limit.signal))
        }
        _ => Ok(()),
    }
}

impl Process {
    /// How long it may run; `None` for as long as it likes.
    pub fn time_limit(&self) -> Option<TimeLimit> {
        self.process_state().holdfast.as_ref()?.time_limit
    }

    /// When the time that it may run is over; `None` before it has begun, and without a limit.
    ///
    /// # Errors
    /// `deadline` cannot be understood.
    pub fn deadline(&self) -> Result<Option<Deadline>> {
        Ok(Deadline::read(self.dir())?)
    }

    /// Lets its time begin, if it has a limit. Before its start: one that runs and whose time has not begun, because its starter was
    /// killed in between, would run for ever.
    pub(crate) fn begin_time(&self) -> Result<()> {
        let Some(limit) = self.time_limit() else {
            return Ok(());
        };
        Deadline::from_now(&limit).write(self.dir())?;
        match self.send(Message::Deadline) {
            // The shim that takes over finds it.
            Err(Error::ShimGone { .. }) => Ok(()),
            sent => sent,
        }
    }

    /// Takes that back: it was not started. Another container may have its name by now, and a time of its own.
    pub(crate) fn stop_time(&self) {
        if self.time_limit().is_none() || !matches!(self.end.is_in_place(), Ok(true)) {
            return;
        }
        let path = self.dir().join(layout::DEADLINE_FILE);
        let removed = std::fs::remove_file(&path).map_err(Error::io("remove", path));
        if let Err(e) = removed.and_then(|()| self.send(Message::Deadline)) {
            log::debug!("{e}");
        }
    }
}
