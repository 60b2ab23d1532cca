//! Changing a container's limits while it runs: all of what was asked for, or nothing.
//!
//! 1. [`Resources`] are checked: what the kernel refuses of everybody is refused before anything is touched.
//! 2. What the limits are now is noted.
//! 3. The runtime's `update` changes them, since it remembers what it has set.
//! 4. What runtimes have stopped to pass on, the limit of TCP's buffers, is set by us.
//! 5. If anything failed, whatever has changed is put back: runc leaves what it had set before it failed, having nothing to put in
//!    its place where the bundle had set no limit.

mod document;
mod resources;
mod settings;

use std::fmt;
use std::io::{Seek, SeekFrom, Write};

use holdfast_common::layout;
use holdfast_common::sys::flock::Lock;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::container::Container;
use crate::error::{Error, Result};
use settings::Settings;

pub use resources::Resources;

/// A limit that kernels have had, and that nothing here enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unenforced {
    /// Of the kernel's memory: no kernel since Linux 5.16 enforces it.
    KernelMemory,
    /// Of TCP's buffers: version 2 of cgroups has none.
    KernelTcpMemory,
}

impl fmt::Display for Unenforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unenforced::KernelMemory => "kernel memory",
            Unenforced::KernelTcpMemory => "kernel TCP memory",
        })
    }
}

impl Container {
    /// Changes its limits; one that is left out, or 0, stays as it is. Returns those that have no effect on this system.
    ///
    /// # Errors
    /// [`Error::BadLimit`]; [`Error::ContainerExited`], [`Error::ContainerNotStarted`]; [`Error::NoCgroup`]; the runtime's own message, where the kernel
    /// refuses. Nothing is changed then, or the error is [`Error::NotPutBack`].
    pub fn update(&self, resources: &Resources) -> Result<Vec<Unenforced>> {
        resources.check()?;
        // Of two at once, one would take what the other has changed for its own.
        let _lock = self.lock(Lock::take)?;
        self.must_run()?;
        let init = self.init()?;
        let Some(identity) = init.alive()? else {
            return Err(init.exited());
        };
        let cgroups = self.own_cgroups(&init, identity)?;
        if cgroups.is_empty() {
            return Err(self.without_cgroup("update"));
        }
        let settings = Settings::of(&cgroups)?;
        let updated = self
            .run_update(&settings.complete(resources))
            .and_then(|()| settings.set_tcp(resources.kernel_tcp_memory()));
        match updated {
            Ok(()) => Ok(settings.unenforced(resources)),
            // Its cgroups are gone with it.
            Err(_) if !identity.is_alive() => Err(init.exited()),
            Err(e) => Err(match settings.put_back() {
                Ok(()) => e,
                Err(restore) => Error::NotPutBack {
                    update: Box::new(e),
                    restore: Box::new(restore),
                },
            }),
        }
    }

    /// The runtime reads the document from a file in memory that is its stdin: nothing of it stays anywhere.
    fn run_update(&self, resources: &Resources) -> Result<()> {
        let failed = |e| Error::io("write", "resources")(e);
        let file = memfd_create(c"resources", MFdFlags::MFD_CLOEXEC);
        let mut file = std::fs::File::from(file.map_err(|e| failed(e.into()))?);
        file.write_all(resources.to_json().as_bytes())
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .map_err(failed)?;
        let log_dir = self.dir().join(layout::INIT);
        let mut runtime = self.runtime(&log_dir);
        runtime.stdin = Some(file);
        let words = ["--resources", "/proc/self/fd/0", "--", self.id().as_str()];
        runtime.run("update", words)?;
        Ok(())
    }
}
