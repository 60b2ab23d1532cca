//! Removing a container, in this order:
//! 1. with `force`, end its process: that also ends whatever else is being done with it;
//! 2. take its lock, look what it is;
//! 3. wait for its shims, which delete it from the runtime and finish its output;
//! 4. delete it from the runtime, if no shim has;
//! 5. remove its directory: its name first, so that it vanishes at once.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use holdfast_common::layout;
use holdfast_common::sys::flock::Lock;
use nix::libc::SIGKILL;
use nix::poll::PollFlags;

use crate::container::Container;
use crate::deadline::Deadline;
use crate::directory::{self, PATIENCE};
use crate::error::{Error, Result};
use crate::process::Process;
use crate::state::{RuntimeState, Status};

impl Container {
    /// Removes it, when it is stopped or was never started; with `force`, ends it first.
    ///
    /// # Errors
    /// [`Error::NotStopped`]; [`Error::ShimBusy`]; the runtime's own message.
    pub fn delete(&self, force: bool) -> Result<()> {
        if force {
            self.end_init()?;
        }
        let lock = match self.lock(Lock::take) {
            // Its shim removed it, as its creator had asked.
            Err(Error::NotFound { .. }) if force => return Ok(()),
            lock => lock?,
        };
        match self.status() {
            Ok(Status::Stopped) => (),
            // Nothing of the user's has run: it is as good as stopped, and runc thinks so too.
            Ok(Status::Created) => self.end_init()?,
            Ok(Status::Creating | Status::Running | Status::Paused) if force => self.end_init()?,
            Ok(status @ (Status::Creating | Status::Running | Status::Paused)) => {
                return Err(Error::NotStopped {
                    id: self.id().clone(),
                    status,
                });
            }
            // What cannot be understood can still be removed, as long as no shim looks after it.
            Err(e) if !force => return Err(e),
            Err(e) => log::debug!("{e}"),
        }
        for (_, process) in self.processes()? {
            match process {
                Ok(process) => end_shim(&process, force)?,
                Err(e) if !force => return Err(e),
                Err(e) => log::debug!("{e}"),
            }
        }
        self.delete_from_runtime(force)?;
        directory::remove(self.dir())?;
        drop(lock);
        Ok(())
    }

    /// Kills its process, if there is one, and waits until it is gone.
    fn end_init(&self) -> Result<()> {
        let init = match self.init() {
            Ok(init) => init,
            Err(Error::ProcessNotFound { .. }) => return Ok(()),
            Err(e) => {
                log::debug!("{e}");
                return Ok(());
            }
        };
        let frozen = matches!(self.status(), Ok(Status::Paused));
        match init.signal(SIGKILL) {
            Ok(()) => (),
            Err(
                Error::ContainerExited { .. }
                | Error::ContainerNotStarted { .. }
                | Error::ShimGone { .. },
            ) => return Ok(()),
            Err(e) => return Err(e),
        }
        if frozen {
            // In the old freezer, even SIGKILL waits (cgroups(7), freezer).
            self.resume_to_die();
        }
        wait_for_end(&init)
    }

    fn resume_to_die(&self) {
        if let Err(e) = self
            .runtime(&self.dir().join(layout::INIT))
            .run("resume", [self.id().as_str()])
        {
            log::debug!("{e}");
        }
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
        let init = self.dir().join(layout::INIT);
        let words = ["--force", self.id().as_str()];
        self.runtime(&init).run("delete", words).map(drop)
    }

    /// Whether what the runtime knows under this id is this container.
    fn is_mine(&self, state: &RuntimeState) -> bool {
        if state.pid != 0 {
            let identity = self.init().and_then(|init| init.identity());
            return identity.is_ok_and(|identity| identity.is_some_and(|it| it.pid == state.pid));
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

/// Waits for a process's shim to finish; with `force`, one that takes too long is killed.
fn end_shim(process: &Process, force: bool) -> Result<()> {
    match process.wait_gone(Some(PATIENCE)) {
        Err(Error::ShimBusy { .. }) if force => (),
        gone => return gone,
    }
    if let Some(shim) = process.shim()? {
        let failed = |source| Error::io("kill the shim of", process.dir())(source);
        if let Some(fd) = shim.identity().open().map_err(failed)? {
            holdfast_common::sys::pidfd::send_signal(fd.as_fd(), SIGKILL).map_err(failed)?;
        }
    }
    process.wait_gone(Some(PATIENCE))
}
