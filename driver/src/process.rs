//! One process of a container: its directory, its shim, its end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_common::exit_record::ExitRecord;
use holdfast_common::id::{ContainerId, ProcessId};
use holdfast_common::identity::Identity;
use holdfast_common::process_state::ProcessState;
use holdfast_common::shim_record::ShimRecord;

use crate::error::Result;
use crate::streams::Streams;

/// A process with a shim: a container's init, or an exec.
#[derive(Debug)]
pub struct Process {
    container: ContainerId,
    id: ProcessId,
    dir: PathBuf,
    state: ProcessState,
    exit: OwnedFd,
}

impl Process {
    /// Its id inside the container.
    pub fn id(&self) -> &ProcessId {
        &self.id
    }

    /// The container's id.
    pub fn container_id(&self) -> &ContainerId {
        &self.container
    }

    /// The process directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether this is an exec, not the container's init.
    pub fn is_exec(&self) -> bool {
        self.state.exec
    }

    /// Whether it has a terminal.
    pub fn terminal(&self) -> bool {
        self.state.terminal
    }

    /// What its process.json says.
    pub fn process_state(&self) -> &ProcessState {
        &self.state
    }

    /// The OCI process.
    ///
    /// # Errors
    /// Its keys are not of the types that the specification gives them.
    pub fn spec(&self) -> Result<oci_spec::runtime::Process> {
        todo!()
    }

    /// Its pid and start time; `None` while it is being created.
    ///
    /// # Errors
    /// `pid` or `starttime` cannot be understood.
    pub fn identity(&self) -> Result<Option<Identity>> {
        todo!()
    }

    /// Its shim, dead or alive; `None` when none has said its name yet.
    ///
    /// # Errors
    /// `shim.json` cannot be understood.
    pub fn shim(&self) -> Result<Option<ShimRecord>> {
        todo!()
    }

    /// Whether its shim lives: whether `shim.lock` is held.
    ///
    /// # Errors
    /// The lock cannot be tested.
    pub fn shim_lives(&self) -> Result<bool> {
        todo!()
    }

    /// Sends a signal to this very process, whoever may have its pid by now.
    ///
    /// # Errors
    /// It has exited, or does not exist yet, or the system's.
    pub fn signal(&self, _signal: i32) -> Result<()> {
        todo!()
    }

    /// Gives its terminal a size.
    ///
    /// # Errors
    /// It has no terminal or has exited, or its shim is gone or stuck.
    pub fn resize(&self, _columns: u16, _rows: u16) -> Result<()> {
        todo!()
    }

    /// Lets it see end of file on stdin, after what was written already (and once every other writer has closed).
    ///
    /// # Errors
    /// It has exited, or its shim is gone or stuck.
    pub fn close_stdin(&self) -> Result<()> {
        todo!()
    }

    /// Waits until its exit status is on record.
    ///
    /// # Errors
    /// [`crate::Error::WaitTimeout`]; [`crate::Error::ShimGone`] when nobody will ever record it.
    pub fn wait(&self, _timeout: Option<Duration>) -> Result<ExitRecord> {
        todo!()
    }

    /// Waits until its shim has finished everything: output drained, the runtime's state deleted.
    ///
    /// # Errors
    /// [`crate::Error::ShimBusy`] when that takes longer than it may.
    pub fn wait_gone(&self, _timeout: Option<Duration>) -> Result<()> {
        todo!()
    }

    /// How it ended; `None` while it has not.
    ///
    /// # Errors
    /// The record cannot be understood.
    pub fn exit_record(&self) -> Result<Option<ExitRecord>> {
        todo!()
    }

    /// How it ended, as one number: the code, 128 + signal, or 255 when unknown.
    ///
    /// # Errors
    /// [`crate::Error::ProcessNotExited`] while it has not; the record cannot be understood.
    pub fn exit_status(&self) -> Result<u32> {
        todo!()
    }

    /// Opens its FIFOs, to attach.
    ///
    /// # Errors
    /// [`crate::Error::StreamTaken`] when somebody else reads them.
    pub fn stdio(&self) -> Result<Streams> {
        todo!()
    }

    /// Removes the directory of an exec that has ended, once its shim is gone.
    ///
    /// # Errors
    /// It has not exited; it is the container's init; the system's.
    pub fn delete(&self) -> Result<()> {
        todo!()
    }
}

/// The exit FIFO: readable when the status is on record, hung up when the shim is gone. Look at
/// [`Process::exit_record`] and [`Process::shim_lives`] before polling it.
impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }
}
