//! One container: its directory, and what can be done with it.

use std::path::{Path, PathBuf};

use holdfast_common::container_state::ContainerState;
use holdfast_common::id::{ContainerId, ProcessId};

use crate::driver::{Driver, ExecOptions};
use crate::error::Result;
use crate::process::Process;
use crate::spec::ProcessSpec;
use crate::state::{State, Status};

/// A container that has a directory.
#[derive(Debug, Clone)]
pub struct Container {
    driver: Driver,
    id: ContainerId,
    dir: PathBuf,
    state: ContainerState,
}

impl Container {
    /// Its id.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The driver that it was loaded by.
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Absolute path of its bundle.
    pub fn bundle(&self) -> &Path {
        Path::new(&self.state.bundle)
    }

    /// The caller's own words.
    pub fn labels(&self) -> &[String] {
        &self.state.labels
    }

    /// When it was created, RFC 3339; empty when containerd 0.2 made it.
    pub fn created_at(&self) -> &str {
        self.state
            .holdfast
            .as_ref()
            .map_or("", |ours| &ours.created_at)
    }

    /// What its state.json says.
    pub fn container_state(&self) -> &ContainerState {
        &self.state
    }

    /// What it is now, from its own files and the kernel; the runtime is asked only where the kernel does not tell.
    ///
    /// # Errors
    /// A file of its directory cannot be understood.
    pub fn status(&self) -> Result<Status> {
        todo!()
    }

    /// Its OCI state.
    ///
    /// # Errors
    /// Those of [`Container::status`].
    pub fn state(&self) -> Result<State> {
        todo!()
    }

    /// Lets a created container run its process.
    ///
    /// # Errors
    /// [`crate::Error::NotCreated`]; the runtime's own message.
    pub fn start(&self) -> Result<()> {
        todo!()
    }

    /// Its own process.
    ///
    /// # Errors
    /// Its directory cannot be understood.
    pub fn init(&self) -> Result<Process> {
        todo!()
    }

    /// One of its processes.
    ///
    /// # Errors
    /// [`crate::Error::ProcessNotFound`]; its directory cannot be understood.
    pub fn process(&self, _id: &ProcessId) -> Result<Process> {
        todo!()
    }

    /// Every process that has a directory, init first, then by name; what cannot be understood, as its error.
    ///
    /// # Errors
    /// The container's directory cannot be read.
    pub fn processes(&self) -> Result<Vec<(String, Result<Process>)>> {
        todo!()
    }

    /// Runs another process in it, with a shim of its own.
    ///
    /// # Errors
    /// It is not running; the id is taken; the runtime's own message.
    pub fn exec(
        &self,
        _id: &ProcessId,
        _process: &ProcessSpec,
        _options: &ExecOptions,
    ) -> Result<Process> {
        todo!()
    }

    /// The process of its bundle's config.json, to derive an exec's from.
    ///
    /// # Errors
    /// Those of [`ProcessSpec::of_bundle`].
    pub fn exec_spec(&self) -> Result<ProcessSpec> {
        ProcessSpec::of_bundle(self.bundle())
    }

    /// The pids of everything in it, as the runtime knows them.
    ///
    /// # Errors
    /// The runtime's own message.
    pub fn pids(&self) -> Result<Vec<i32>> {
        todo!()
    }

    /// Sends a signal to its own process.
    ///
    /// # Errors
    /// Those of [`Process::signal`].
    pub fn kill(&self, _signal: i32) -> Result<()> {
        todo!()
    }

    /// Sends a signal to every process in it.
    ///
    /// # Errors
    /// The runtime's own message.
    pub fn signal_all(&self, _signal: i32) -> Result<()> {
        todo!()
    }

    /// Removes it, when it is stopped or was never started; with `force`, ends it first.
    ///
    /// # Errors
    /// [`crate::Error::NotStopped`]; its shim is stuck; the runtime's own message.
    pub fn delete(&self, _force: bool) -> Result<()> {
        todo!()
    }
}
