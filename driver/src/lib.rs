//! Launches container shims and finds them again. A container keeps running, keeps talking and keeps its exit
//! status when the program that links this crate does not: everything it needs to know is read from the state
//! directory, and whatever can be waited for is a descriptor ([`std::os::fd::AsFd`]).
//!
//! No thread, no async runtime, no signal handler, no environment variable: a library that a daemon can link.

#![forbid(unsafe_code)]

pub mod container;
pub mod driver;
pub mod error;
pub mod monitor;
pub mod process;
pub mod spec;
pub mod state;
pub mod stdio;
pub mod streams;
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
