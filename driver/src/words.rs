//! What is done to all of a container's processes at once: `pause`, `resume`, `kill`, and which they are. The runtime does it, by
//! the container's cgroup: only there is it known who belongs to the container.

use holdfast_common::event_record::EventWord;
use holdfast_common::sys::flock::Lock;
use nix::libc::SIGKILL;

use crate::container::Container;
use crate::error::{Error, Result};
use crate::freezer;
use crate::state::Status;

impl Container {
    /// Freezes its processes, also those of one that is only *created*; returns when all of them stand still.
    ///
    /// # Errors
    /// [`Error::NotRunning`]: it is being created, stopped, or paused already; the runtime's own message.
    pub fn pause(&self) -> Result<()> {
        let _lock = self.lock(Lock::take)?;
        match self.status()? {
            Status::Created | Status::Running => (),
            status @ (Status::Creating | Status::Pausing | Status::Paused | Status::Stopped) => {
                return Err(Error::NotRunning {
                    id: self.id().clone(),
                    status,
                });
            }
        }
        self.run_runtime("pause", &["--", self.id().as_str()])?;
        self.record_event(EventWord::Pause);
        Ok(())
    }

    /// Lets its processes go on where they were when it was paused; one that is still being paused, too.
    ///
    /// # Errors
    /// [`Error::NotPaused`]; the runtime's own message.
    pub fn resume(&self) -> Result<()> {
        let _lock = self.lock(Lock::take)?;
        match self.status()? {
            Status::Pausing | Status::Paused => (),
            status @ (Status::Creating | Status::Created | Status::Running | Status::Stopped) => {
                return Err(Error::NotPaused {
                    id: self.id().clone(),
                    status,
                });
            }
        }
        self.run_runtime("resume", &["--", self.id().as_str()])?;
        self.record_event(EventWord::Resume);
        Ok(())
    }

    /// Sends a signal to its own process. SIGKILL ends one that is paused, too, as with runc; others wait for it to be resumed.
    ///
    /// # Errors
    /// Those of [`Process::signal`](crate::Process::signal).
    pub fn kill(&self, signal: i32) -> Result<()> {
        let init = self.init()?;
        let identity = init.identity()?;
        init.signal(signal)?;
        if signal == SIGKILL && identity.is_some_and(|identity| freezer::is_frozen(identity.pid)) {
            self.thaw_killed();
        }
        Ok(())
    }

    /// Lets a frozen process that was killed end: in the old freezer, even SIGKILL waits (kernel:
    /// cgroup-v1/freezer-subsystem).
    pub(crate) fn thaw_killed(&self) {
        if let Err(e) = self.run_runtime("resume", &["--", self.id().as_str()]) {
            log::debug!("{e}");
        }
    }

    /// Sends a signal to every process in it, also to what is left of one whose own process has ended, as long as the runtime
    /// knows it: a container's shim removes it from there once there is nothing left.
    ///
    /// # Errors
    /// [`Error::ContainerNotStarted`] while it is being created; the runtime's own message.
    pub fn signal_all(&self, signal: i32) -> Result<()> {
        let status = self.status()?;
        if status == Status::Creating {
            return Err(Error::ContainerNotStarted {
                id: self.id().clone(),
            });
        }
        let number = signal.to_string();
        let words = ["--all", "--", self.id().as_str(), &number];
        self.ask_of_all(status, "kill", &words).map(drop)
    }

    /// The pids of everything in it, as the runtime knows them; also of what is left of one whose own process has ended.
    ///
    /// # Errors
    /// The runtime's own message.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let words = ["-f", "json", "--", self.id().as_str()];
        let Some(output) = self.ask_of_all(self.status()?, "ps", &words)? else {
            return Ok(Vec::new());
        };
        // runc prints null for none.
        Ok(self
            .understand::<Option<_>>("ps", &output)?
            .unwrap_or_default())
    }

    /// Has the runtime do something to all processes; `None` when there can be none any more.
    fn ask_of_all(
        &self,
        status: Status,
        verb: &'static str,
        words: &[&str],
    ) -> Result<Option<Vec<u8>>> {
        let stopped = status == Status::Stopped;
        if stopped && !self.is_in_runtime()? {
            return Ok(None);
        }
        match self.run_runtime(verb, words) {
            // It ended, and its shim removed it, while the runtime was at it.
            Err(Error::Runtime { .. })
                if self.status()? == Status::Stopped && !self.is_in_runtime()? =>
            {
                Ok(None)
            }
            asked => asked.map(Some),
        }
    }

    /// Whether the runtime knows a container that ended, and not another under its name.
    fn is_in_runtime(&self) -> Result<bool> {
        match self.runtime_state() {
            Ok(state) => Ok(self.is_mine(&state)),
            Err(Error::Runtime { .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }
}
