//! What the command can fail with beside the library's errors, and the exit code of each.

use std::io;
use std::path::{Path, PathBuf};

use holdfast::{ContainerId, Stream};
use holdfast_common::sys::errno_text;

/// The exit code of every failure of ours, as docker's.
pub const FAILURE: u8 = 125;
/// The command could not be executed.
const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
const NOT_FOUND: u8 = 127;

/// The command's results.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library said so.
    #[error(transparent)]
    Library(#[from] holdfast::Error),
    /// A system call failed.
    #[error("{operation} {}: {}", path.display(), errno_text(source))]
    Io {
        /// What was being done.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file that should hold a cursor holds something else.
    #[error("cursor file {}: {source}", path.display())]
    BadCursorFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: holdfast::BadCursor,
    },
    /// `exec` without anything to execute.
    #[error("exec {id}: no command; give one, or a process with --process FILE")]
    NoCommand {
        /// The container.
        id: ContainerId,
    },
    /// `exec` with both a process file and a command.
    #[error("exec {id}: give a command or --process FILE, not both")]
    TwoCommands {
        /// The container.
        id: ContainerId,
    },
    /// `run -t` of a bundle without a terminal.
    #[error("bundle {}: has no terminal; set \"terminal\": true in the process of its config.json", bundle.display())]
    NoTerminal {
        /// The bundle.
        bundle: PathBuf,
    },
    /// `run --restart` without `-d`.
    #[error("run: a restart policy needs --detach; attach to it with `holdfast attach`")]
    RestartInForeground,
    /// A console socket for a process without a terminal.
    #[error("console socket {}: the process has no terminal to send", socket.display())]
    NothingForSocket {
        /// The socket.
        socket: PathBuf,
    },
    /// A variable of the service manager's is set to nonsense.
    #[error("{variable} is set to {value:?}, which is no number")]
    NotANumber {
        /// The variable.
        variable: &'static str,
        /// What it is set to.
        value: String,
    },
    /// `HOLDFAST_STDIO` is set to nonsense.
    #[error("HOLDFAST_STDIO: {0}")]
    BadPreset(super::stdio::BadPolicy),
    /// `--log-path` with more or less than one file to be.
    #[error("--log-path {}: whose path it is cannot be told; give each log driver its own, as DRIVER:PATH", path.display())]
    WhoseLogPath {
        /// The path.
        path: PathBuf,
    },
    /// A process without any FIFO.
    #[error("attach {id}: none of its streams is a fifo; it was started with other stdio")]
    NothingToAttach {
        /// The container.
        id: ContainerId,
    },
    /// Another client writes to the process.
    #[error("attach: stdin is being written by {}; look on with --no-stdin",
        pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")))]
    StdinTaken {
        /// Who, as far as the kernel tells.
        pid: Option<i32>,
    },
    /// Nobody takes our output any more.
    #[error("write {}: {}; the process runs on, see the rest with `holdfast {verb} {process}`", stream.name(), errno_text(source))]
    OutputGone {
        /// Which of our streams.
        stream: Stream,
        /// What shows the rest.
        verb: &'static str,
        /// The container and, of an exec, its name.
        process: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Times are asked for of output that has none.
    #[error(
        "logs {id}: it was not logged, and what was left unread of it has no times; leave out --since, --until and --timestamps"
    )]
    NoTimes {
        /// The container.
        id: ContainerId,
    },
    /// The end of a time before its beginning.
    #[error("logs: --until is not later than --since: no line can be meant")]
    NoTimeBetween,
    /// ps(1) failed; these are its own words.
    #[error("ps: {0}")]
    Ps(String),
    /// `update` without a limit.
    #[error("update: nothing to change; name a limit, or a file of limits with --resources")]
    NothingToUpdate,
    /// `stats --watch --format prometheus`.
    #[error("stats: a collector takes one exposition at a time; leave out --watch and ask again")]
    WatchedPrometheus,
    /// `checkpoint --lazy-pages` and its kin.
    #[error(
        "{verb} {flag}: not supported: memory that is fetched later is no checkpoint that is whole"
    )]
    LazyPages {
        /// The verb.
        verb: &'static str,
        /// The flag.
        flag: &'static str,
    },
    /// `checkpoints` or `delete-checkpoint` of nothing.
    #[error("{verb}: name a container, or a bundle with --bundle")]
    WhoseCheckpoints {
        /// The verb.
        verb: &'static str,
    },
    /// `restore` of a container that is there, with what it cannot be given any more.
    #[error(
        "container {id} already exists; delete it first, or restore it as it was: with its bundle and without flags for a new one"
    )]
    NotAsItWas {
        /// The container.
        id: ContainerId,
    },
    /// Each of several failures has been reported already.
    #[error("not everything could be done")]
    Reported,
}

impl Error {
    /// A system call's failure.
    pub fn io(operation: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io {
            operation,
            path: path.as_ref().to_owned(),
            source,
        }
    }

    /// The exit code that goes with it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Library(e) if e.is_command_not_found() => NOT_FOUND,
            Error::Library(e) if e.is_not_executable() => NOT_EXECUTABLE,
            _ => FAILURE,
        }
    }
}
