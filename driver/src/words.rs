//! What is done to all of a container's processes at once: `pause`, `resume`, `kill`. Which they are is [`members`](crate::members)'s.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use holdfast_common::event_record::EventWord;
use holdfast_common::identity::Identity;
use holdfast_common::sys::flock::Lock;
use holdfast_common::sys::pidfd;
use nix::libc::{ESRCH, SIGKILL};

use crate::container::Container;
use crate::error::{Error, Result};
use crate::freezer;
use crate::state::Status;

/// How often one looks again for what was forked while the others were killed.
const KILL_ROUNDS: usize = 16;

impl Container {
    /// Freezes its processes, also those of one that is only *created*; returns when all of them stand still.
    ///
    /// # Errors
    /// [`Error::NotRunning`]: it is being created, stopped, or paused already; [`Error::NoCgroup`]; the runtime's own message.
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
        // A runtime that does not look would freeze whoever shares the cgroup: the shim, the user's session.
        let init = self.init()?;
        if let Some(identity) = init.alive()? {
            let own = self.own_cgroups(&init, identity)?;
            if own.controller("freezer").is_none() {
                return Err(self.without_cgroup("pause"));
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
            self.thaw();
        }
        Ok(())
    }

    /// Lets what is frozen go on, such as a process that was killed: in the old freezer, even SIGKILL waits (kernel:
    /// cgroup-v1/freezer-subsystem).
    pub(crate) fn thaw(&self) {
        if let Err(e) = self.run_runtime("resume", &["--", self.id().as_str()]) {
            log::debug!("{e}");
        }
    }

    /// Sends a signal to every process in it, also to what is left of one whose own process has ended, as long as the runtime
    /// knows it: a container's shim removes it from there once there is nothing left.
    ///
    /// Runtimes are not asked to: runc from 1.2 on takes `kill --all` and signals init alone.
    ///
    /// # Errors
    /// [`Error::ContainerNotStarted`] while it is being created; those of [`Container::pids`]; the kernel refuses.
    pub fn signal_all(&self, signal: i32) -> Result<()> {
        if self.status()? == Status::Creating {
            return Err(Error::ContainerNotStarted {
                id: self.id().clone(),
            });
        }
        let identity = self.init()?.alive()?;
        if signal == SIGKILL && identity.is_some_and(Self::has_private_pids) {
            return match self.kill(signal) {
                // It ended before we came to it, and all of it with it.
                Err(Error::ContainerExited { .. }) => Ok(()),
                killed => killed,
            };
        }
        let frozen = identity.is_some_and(|identity| freezer::is_frozen(identity.pid));
        // What is forked meanwhile is to be killed, too; other signals are for those that are there.
        let rounds = if signal == SIGKILL { KILL_ROUNDS } else { 1 };
        let mut reached = BTreeSet::new();
        for _ in 0..rounds {
            if !self.signal_listed(signal, &mut reached)? {
                break;
            }
        }
        if frozen && signal == SIGKILL {
            self.thaw();
        }
        Ok(())
    }

    /// Signals whoever is listed and was not reached before; whether there was anybody.
    fn signal_listed(&self, signal: i32, reached: &mut BTreeSet<(i32, u64)>) -> Result<bool> {
        let key = |identity: &Identity| (identity.pid, identity.start_time);
        let mut found = Vec::new();
        for pid in self.pids()? {
            if let Ok(identity) = Identity::of(pid)
                && !reached.contains(&key(&identity))
                && let Ok(Some(process)) = identity.open()
            {
                found.push((identity, process));
            }
        }
        if found.is_empty() {
            return Ok(false);
        }
        // A pid that was listed may have become a stranger's before it was opened; one that is listed still has not.
        let listed = self.pids()?;
        let mut failed = None;
        for (identity, process) in found {
            if !listed.contains(&identity.pid) {
                continue;
            }
            reached.insert(key(&identity));
            match pidfd::send_signal(process.as_fd(), signal) {
                Err(e) if e.raw_os_error() == Some(ESRCH) => (),
                Err(e) => failed = Some(Error::io("signal", format!("/proc/{}", identity.pid))(e)),
                Ok(()) => (),
            }
        }
        failed.map_or(Ok(true), Err)
    }
}
