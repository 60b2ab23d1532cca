//! Many processes, one descriptor.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use holdfast_common::exit_record::ExitRecord;
use holdfast_common::id::{ContainerId, ProcessId};
use nix::sys::epoll::Epoll;

use crate::error::Result;
use crate::process::Process;

/// What happened, to which process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The container.
    pub container: ContainerId,
    /// The process.
    pub process: ProcessId,
    /// What happened.
    pub kind: EventKind,
}

/// What can happen to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// It ended; this is on record.
    Exited(ExitRecord),
    /// Its shim died without recording anything.
    ShimGone,
}

/// Watches any number of processes. Each yields one event; its descriptor is readable while there is one to take.
#[derive(Debug)]
pub struct Monitor {
    epoll: Epoll,
}

impl Monitor {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// epoll_create1(2)'s.
    pub fn new() -> Result<Self> {
        todo!()
    }

    /// Watches a process. One that has ended already yields its event at once.
    ///
    /// # Errors
    /// Its exit status cannot be understood, or the system's.
    pub fn add(&mut self, _process: &Process) -> Result<()> {
        todo!()
    }

    /// Watches a process no longer; an event of it that nobody took is dropped.
    pub fn remove(&mut self, _container: &ContainerId, _process: &ProcessId) {
        todo!()
    }

    /// The next event; `None` when there was none in time. No timeout: waits for ever.
    ///
    /// # Errors
    /// epoll_wait(2)'s.
    pub fn next(&mut self, _timeout: Option<Duration>) -> Result<Option<Event>> {
        todo!()
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        todo!()
    }
}
