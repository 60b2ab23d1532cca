//! Removing a container, in this order:
//! 1. with `force`, end its process: that also ends whatever else is being done with it;
//! 2. take its lock, look what it is;
//! 3. wait for its shims, which delete it from the runtime and finish its output;
//! 4. delete it from the runtime, if no shim has;
//! 5. remove its directory: its name first, so that it vanishes at once.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use holdfast_common::identity::Stat;
use holdfast_common::shim_record::ShimRecord;
use holdfast_common::sys::flock::Lock;
use holdfast_common::sys::pidfd;
use nix::libc::{ESRCH, SIGCONT, SIGKILL};
use nix::poll::PollFlags;

use crate::container::Container;
use crate::deadline::Deadline;
use crate::directory::{self, PATIENCE};
use crate::error::{Error, Result};
use crate::freezer;
use crate::process::Process;
use crate::state::{self, RuntimeState, Status};

impl Container {
    /// Removes it, when it is stopped or was never started; with `force`, ends it first.
    ///
    /// # Errors
    /// [`Error::NotStopped`]; [`Error::ShimBusy`]; the runtime's own message.
    pub fn delete(&self, force: bool) -> Result<()> {
        // In this order: it is this container's init if the container is this one afterwards.
        if force
            && let Ok(init) = self.init()
            && !self.is_replaced()
        {
            self.end_by_force(self.end(&init))?;
        }
        let lock = match self.lock(Lock::take) {
            // Its shim removed it, as its creator had asked.
            Err(Error::NotFound { .. }) if force => return Ok(()),
            lock => lock?,
        };
        match self.delete_locked(&lock, force) {
            // It went while we were at it, and whatever failed, failed for that.
            Err(e) if self.is_locked_by(&lock)? => Err(e),
            _ => Ok(()),
        }
    }

    /// Steps 2 to 5. The directory may go at any moment, if the shim is to remove it, and another container of the same
    /// id may come: nothing is done to that.
    fn delete_locked(&self, lock: &Lock, force: bool) -> Result<()> {
        let init = self.init();
        let processes = self.processes();
        if !self.is_locked_by(lock)? {
            return Ok(());
        }
        match init {
            Ok(init) if force => self.end_by_force(self.end_if_allowed(&init, force))?,
            Ok(init) => self.end_if_allowed(&init, force)?,
            // What cannot be understood can still be removed, as long as no shim looks after it.
            Err(e) if !force => return Err(e),
            Err(e) => log::debug!("{e}"),
        }
        for (_, process) in processes? {
            match process {
                Ok(process) => end_shim(&process, force)?,
                Err(e) if !force => return Err(e),
                Err(e) => log::debug!("{e}"),
            }
        }
        if self.is_locked_by(lock)? {
            self.delete_from_runtime(force)?;
            directory::remove(self.dir())?;
        }
        Ok(())
    }

    /// Where the files do not tell which process to end, the runtime does: it ends what it knows by this id, and its shim,
    /// if there is one, need not be waited for in vain.
    fn end_by_force(&self, ended: Result<()>) -> Result<()> {
        match ended {
            Err(Error::StateFile(e)) => {
                log::debug!("{e}");
                self.delete_from_runtime(true)
            }
            ended => ended,
        }
    }

    fn end_if_allowed(&self, init: &Process, force: bool) -> Result<()> {
        let (status, _) = state::of_init(init, || self.runtime_state())?;
        match status {
            Status::Stopped => Ok(()),
            // Nothing of the user's has run: it is as good as stopped, and runc thinks so too.
            Status::Created => self.end(init),
            Status::Running | Status::Pausing | Status::Paused if force => self.end(init),
            // Nobody waits for this launch any more, or its lock would not be free.
            Status::Creating if force => kill_shim(init),
            Status::Creating | Status::Running | Status::Pausing | Status::Paused => {
                Err(Error::NotStopped {
                    id: self.id().clone(),
                    status,
                })
            }
        }
    }

    /// Kills its process, if there is one, and waits until it is gone.
    fn end(&self, init: &Process) -> Result<()> {
        let Some(identity) = init.alive()? else {
            return Ok(());
        };
        let frozen = freezer::is_frozen(identity.pid);
        match init.signal(SIGKILL) {
            Err(Error::ContainerExited { .. }) => return Ok(()),
            killed => killed?,
        }
        if frozen {
            // If it fails, the wait says so.
            self.thaw();
        }
        wait_for_end(init)
    }

    /// Deletes it from the runtime, unless a shim has, or somebody else's container goes by its name there by now.
    fn delete_from_runtime(&self, force: bool) -> Result<()> {
        match self.runtime_state() {
            Ok(state) if self.is_mine(&state) => (),
            Ok(_) | Err(Error::Runtime { .. }) => return Ok(()),
            // Without the runtime, what is left of it can be nothing that runs.
            Err(e @ Error::RuntimeNotFound { .. }) if force => {
                log::debug!("{e}");
                return Ok(());
            }
            Err(e) => return Err(e),
        }
        let words = ["--force", "--", self.id().as_str()];
        self.run_runtime("delete", &words).map(drop)
    }

    /// Whether what the runtime knows under this id is this container: the same process, or else the same bundle.
    pub(crate) fn is_mine(&self, state: &RuntimeState) -> bool {
        let identity = self.init().and_then(|init| init.identity());
        if let Ok(Some(identity)) = identity
            && state.pid != 0
        {
            return identity.pid == state.pid;
        }
        let same = |a: &Path, b: &Path| -> io::Result<bool> {
            Ok(std::fs::canonicalize(a)? == std::fs::canonicalize(b)?)
        };
        let bundle = Path::new(&state.bundle);
        bundle == self.bundle() || same(bundle, self.bundle()).unwrap_or(false)
    }
}

/// Waits until a process that was killed is gone.
fn wait_for_end(process: &Process) -> Result<()> {
    let failed = |source| Error::io("wait for", process.dir())(source);
    let Some(identity) = process.identity()? else {
        return Ok(());
    };
    let Some(fd) = identity.open().map_err(failed)? else {
        return Ok(());
    };
    let deadline = Deadline::after(Some(PATIENCE));
    let ended = deadline
        .poll(fd.as_fd(), PollFlags::POLLIN)
        .map_err(failed)?;
    if ended.is_empty() {
        return Err(Error::WaitTimeout {
            id: process.container_id().clone(),
            process: process.id().clone(),
            timeout: PATIENCE,
        });
    }
    Ok(())
}

/// Waits for a process's shim to finish; with `force`, one that was stopped goes on, and one that takes too long is killed.
fn end_shim(process: &Process, force: bool) -> Result<()> {
    if force {
        match process.shim() {
            Ok(Some(shim)) if Stat::read(shim.pid).is_ok_and(|stat| stat.is_stopped()) => {
                signal_shim(process, &shim, SIGCONT)?;
            }
            Ok(_) => (),
            // It need not be known to finish: its process is gone.
            Err(e) => log::debug!("{e}"),
        }
    }
    match process.wait_gone(Some(PATIENCE)) {
        Err(Error::ShimBusy { .. }) if force => kill_shim(process),
        gone => gone,
    }
}

fn kill_shim(process: &Process) -> Result<()> {
    if let Some(shim) = process.shim()? {
        signal_shim(process, &shim, SIGKILL)?;
    }
    process.wait_gone(Some(PATIENCE))
}

/// Signals this very shim, if it is there.
fn signal_shim(process: &Process, shim: &ShimRecord, signal: i32) -> Result<()> {
    let failed = |source| Error::io("signal the shim of", process.dir())(source);
    let Some(fd) = shim.identity().open().map_err(failed)? else {
        return Ok(());
    };
    match pidfd::send_signal(fd.as_fd(), signal) {
        // It has ended since.
        Err(e) if e.raw_os_error() == Some(ESRCH) => Ok(()),
        sent => sent.map_err(failed),
    }
}
