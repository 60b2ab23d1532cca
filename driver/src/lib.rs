//! Launches container shims and finds them again. A container keeps running, keeps talking and keeps its exit
//! status when the program that links this crate does not: everything it needs to know is read from the state
//! directory, and whatever can be waited for is a descriptor ([`std::os::fd::AsFd`]).
//!
//! No thread, no async runtime, no signal handler, no environment variable: a library that a daemon can link.

#![forbid(unsafe_code)]

mod bundle;
mod child;
pub mod container;
mod deadline;
mod delete;
mod directory;
pub mod driver;
mod end;
pub mod error;
mod freezer;
mod launch;
pub mod monitor;
pub mod process;
mod root;
mod runtime;
pub mod spec;
pub mod state;
pub mod stdio;
pub mod streams;
#[cfg(test)]
mod testing;
mod text;
pub mod verdict;

pub use container::Container;
pub use driver::{CreateOptions, Driver, DriverBuilder, ExecOptions};
pub use error::{Error, Result};
pub use holdfast_common::container_state::ContainerState;
pub use holdfast_common::exit_record::{ExitRecord, ExitStatus, Source};
pub use holdfast_common::id::{ContainerId, IdError, ProcessId};
pub use holdfast_common::identity::Identity;
pub use holdfast_common::layout::Stream;
pub use monitor::{Event, EventKind, Monitor};
pub use process::Process;
pub use spec::ProcessSpec;
pub use state::{State, Status};
pub use stdio::{Policy, Stdio};
pub use streams::{Reader, Streams};
pub use verdict::{Entry, Finding, Verdict};
