//! What was found, for programs (JSON) and for whoever formats it for people. Facts only: what they mean is
//! [`super::diagnosis`]'s.

use std::fmt::Display;
use std::path::PathBuf;

use holdfast_common::exit_record::ExitRecord;
use holdfast_common::log_line::LogLine;
use holdfast_common::shim_record::ShimRecord;
use holdfast_common::state_file::StateFileError;
use serde::Serialize;

use super::diagnosis::Diagnosis;

/// What was found in a file: `null`, its content, or `{"problem": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Seen<T> {
    /// There is no such file.
    Absent,
    /// This.
    Read(T),
    /// It cannot be understood.
    Unreadable {
        /// Why, with its path.
        problem: String,
    },
}

impl<T> Seen<T> {
    /// The content, if there is any.
    pub fn value(&self) -> Option<&T> {
        match self {
            Seen::Read(value) => Some(value),
            Seen::Absent | Seen::Unreadable { .. } => None,
        }
    }

    /// Why it cannot be understood.
    pub fn problem(&self) -> Option<&str> {
        match self {
            Seen::Unreadable { problem } => Some(problem),
            Seen::Absent | Seen::Read(_) => None,
        }
    }

    pub(super) fn unreadable(why: impl Display) -> Self {
        Seen::Unreadable {
            problem: why.to_string(),
        }
    }
}

impl<T> From<Result<T, StateFileError>> for Seen<T> {
    fn from(result: Result<T, StateFileError>) -> Self {
        match result {
            Ok(value) => Seen::Read(value),
            Err(e) if e.is_absent() => Seen::Absent,
            Err(e) => Seen::unreadable(e),
        }
    }
}

/// A container, looked at.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerInspection {
    /// Its id.
    pub id: String,
    /// Its directory.
    pub dir: PathBuf,
    /// Why its state.json cannot be understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Its bundle; empty when state.json does not tell.
    pub bundle: String,
    /// What the runtime says of it.
    pub runtime: RuntimeFacts,
    /// Its processes, init first.
    pub processes: Vec<Inspection>,
    /// What to make of it all: that of the process that needs care most, or of the container itself.
    #[serde(rename = "verdict")]
    pub diagnosis: Diagnosis,
}

/// The runtime's own word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeFacts {
    /// The runtime.
    pub program: String,
    /// What goes before its verb.
    pub args: Vec<String>,
    /// `status` of its `state`.
    pub status: Option<String>,
    /// `pid` of its `state`.
    pub pid: Option<i32>,
    /// Why it said nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A process, looked at.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// The container's id.
    pub container: String,
    /// Its own.
    pub process: String,
    /// Its directory.
    pub dir: PathBuf,
    /// Why its process.json cannot be understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether it is an exec.
    pub exec: bool,
    /// Who it is, by its files and by the kernel.
    pub kernel: ProcessFacts,
    /// Its shim.
    pub shim: ShimFacts,
    /// `control`, `exit` and its streams.
    pub fifos: Vec<Fifo>,
    /// Whether everybody's descriptors were looked at; somebody else's cannot be without privileges.
    pub all_descriptors: bool,
    /// How it ended.
    pub ending: Ending,
    /// Its cgroups, as /proc/PID/cgroup has them.
    pub cgroups: Vec<String>,
    /// The last lines of shim-log.json.
    pub shim_log: Vec<LogLine>,
    /// The last lines of log.json.
    pub runtime_log: Vec<LogLine>,
    /// What to make of it.
    #[serde(rename = "verdict")]
    pub diagnosis: Diagnosis,
}

/// What the kernel knows about a recorded pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Existence {
    /// No pid is recorded, or none that can be understood.
    Unrecorded,
    /// It runs, and it is the same.
    Runs,
    /// It has ended and waits to be reaped.
    Ended,
    /// Nobody has this pid.
    Gone,
    /// Somebody else has this pid by now.
    Stranger,
    /// It was recorded before this boot.
    AnotherBoot,
}

/// A process by its files, and by the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessFacts {
    /// `pid`.
    pub pid: Seen<i32>,
    /// `starttime`.
    pub start_time: Seen<u64>,
    /// Whether that is somebody.
    pub existence: Existence,
    /// The kernel's letter for what it does (proc_pid_stat(5)).
    pub state: Option<char>,
    /// Its name in the kernel.
    pub command: Option<String>,
    /// Whether it still waits for `start`.
    pub created: bool,
    /// Whether it is frozen.
    pub frozen: bool,
}

/// A shim by its files, and by the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShimFacts {
    /// `shim.lock`, which alone says whether it lives.
    pub lock: Seen<LockFacts>,
    /// `shim.json`.
    pub record: Seen<ShimRecord>,
    /// Whether the process that `shim.json` names is somebody.
    pub existence: Existence,
    /// The kernel's letter for what whoever holds the lock does.
    pub state: Option<char>,
    /// What it runs.
    pub executable: Option<Executable>,
    /// Its arguments, if somebody holds the lock.
    #[serde(skip)]
    pub arguments: Vec<String>,
}

/// A lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LockFacts {
    /// Whether somebody holds it.
    pub held: bool,
    /// Who, as far as the kernel tells (/proc/locks).
    pub holder: Option<i32>,
    /// Whether the last holder said that it had finished.
    pub finished: bool,
    /// Whether it says that it has nothing left to do but to run the exit command.
    pub left: bool,
}

/// The executable that a shim runs, beside the one that is installed where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Executable {
    /// What runs (/proc/PID/exe).
    pub runs: PathBuf,
    /// Whether the file at that path is still the one that runs.
    pub installed: bool,
}

/// A FIFO, or what stands in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fifo {
    /// `control`, `exit`, `stdin` …
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: Descriptor,
    /// How many bytes wait in it.
    pub waiting: Option<u64>,
    /// Who has it open for reading.
    pub readers: Vec<Holder>,
    /// Who has it open for writing.
    pub writers: Vec<Holder>,
    /// How many bytes nobody had read when the process ended (`<stream>.unread`).
    pub unread: Option<u64>,
}

/// What a descriptor is open on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Descriptor {
    /// A FIFO, as it should be.
    Fifo,
    /// A file, or a device such as /dev/null.
    File,
    /// The launcher's own descriptor.
    Inherited,
    /// Nothing is there.
    Absent,
    /// It cannot be looked at, for this reason.
    Unreadable(String),
}

/// A process that has something open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// Its pid.
    pub pid: i32,
    /// Its name in the kernel.
    pub command: String,
}

/// What is on record of a process's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    /// `exit.json`.
    pub record: Seen<ExitRecord>,
    /// `exitStatus`.
    pub number: Seen<u32>,
}
