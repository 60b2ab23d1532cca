//! Launches container shims and finds them again. A container keeps running, keeps talking and keeps its exit
//! status when the program that links this crate does not: everything it needs to know is read from the state
//! directory, and whatever can be waited for is a descriptor ([`std::os::fd::AsFd`]).
//!
//! ```no_run
//! use std::path::Path;
//!
//! use holdfast::{ContainerId, CreateOptions, Driver, EventKind, Monitor};
//!
//! fn main() -> holdfast::Result<()> {
//!     let driver = Driver::builder().runtime("runc").build()?;
//!     let mut monitor = Monitor::new()?;
//!     // After a restart: what lives is watched again, and what has ended says how.
//!     for verdict in driver.reattach(&mut monitor)? {
//!         println!("{verdict}");
//!     }
//!     let id = ContainerId::new("web")?;
//!     let container = driver.create(&id, Path::new("/srv/web"), &CreateOptions::default())?;
//!     monitor.add(&container.init()?)?;
//!     container.start()?;
//!     while let Some(event) = monitor.next(None)? {
//!         match event.kind {
//!             EventKind::Exited(record) => println!("{}: {:?}", event.container, record.status),
//!             EventKind::ShimGone => println!("{}: nobody will know", event.container),
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! No thread that outlives a call, no async runtime, no signal handler, no environment variable of its own: a library that a daemon can link.

#![forbid(unsafe_code)]

mod bundle;
mod cgroup;
mod checkpoint;
mod child;
mod container;
mod deadline;
mod delete;
mod directory;
mod driver;
mod end;
mod error;
mod events;
mod exec;
mod exit_command;
mod features;
mod freezer;
pub mod inspect;
mod kept;
mod launch;
mod libcontainer;
mod logs;
mod members;
mod monitor;
mod notify;
pub mod oci03;
mod options;
mod process;
mod process_fd;
mod recover;
mod restart;
mod root;
mod runtime;
mod seccomp;
mod spec;
mod state;
pub mod stats;
mod stdio;
mod streams;
mod supervision;
mod template;
#[cfg(test)]
mod testing;
mod text;
mod time_limit;
mod top;
mod update;
mod upgrade;
mod uptime;
mod verdict;
pub mod versions;
mod words;

pub use checkpoint::{
    CgroupsMode, CheckpointOptions, CheckpointPlace, CheckpointProgress, CheckpointStore,
    RestoreOptions, UnknownCgroupsMode,
};
pub use container::Container;
pub use driver::Driver;
pub use error::{Error, Result};
pub use events::{Backend, BadCursor, Cursor, Events, Since, StateChange};
pub use exit_command::ExitCommand;
pub use features::{Abilities, Features, Kernel};
pub use holdfast_common::checkpoint::Checkpoint;
pub use holdfast_common::container_state::ContainerState;
pub use holdfast_common::event_record::{EventRecord as StateInfo, EventWord, UnknownEventWord};
pub use holdfast_common::exit_record::{ExitRecord, ExitStatus, Source};
pub use holdfast_common::id::{CheckpointName, ContainerId, IdError, ProcessId};
pub use holdfast_common::identity::Identity;
pub use holdfast_common::layout::Stream;
pub use holdfast_common::listen_fds::ListenFds;
pub use holdfast_common::notify::{Notify, Ready};
pub use holdfast_common::oci;
pub use holdfast_common::output::{LogDriver, LogOptions, SpillOptions, WhenFull};
pub use holdfast_common::process_state::ProcessState;
pub use holdfast_common::restart::{BadRestartPolicy, RestartPolicy, Restarts};
pub use holdfast_common::shim_record::ShimRecord;
pub use holdfast_common::state_file::StateFileError;
pub use holdfast_common::sys::seccomp::{Answer, Notification};
pub use holdfast_common::time_limit::{Deadline, TimeLimit};
pub use inspect::{Condition, ContainerInspection, Diagnosis, Inspection};
pub use kept::Leftover;
pub use libcontainer::LibcontainerStatus;
pub use logs::{BadLogCursor, LogCursor, LogEntry, LogQuery, Logs, Missing};
pub use monitor::{Event, EventKind, Monitor};
pub use notify::notify_from_environment;
pub use options::{CreateOptions, DriverBuilder, ExecOptions};
pub use process::Process;
pub use process_fd::ProcessFd;
pub use recover::Recovery;
pub use seccomp::{SeccompListener, SeccompStore};
pub use spec::ProcessSpec;
pub use state::{State, Status};
pub use stats::Stats;
pub use stdio::{Policy, Stdio};
pub use streams::{Reader, Streams};
pub use supervision::Supervision;
pub use template::{Owner, default_config, write_default_config};
pub use top::ProcessUsage;
pub use update::{Resources, Unenforced};
pub use verdict::{Entry, Finding, Verdict};

/// The README's example, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
