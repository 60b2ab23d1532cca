//! What can go wrong, in one enum: operation, path, cause.

mod command;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use holdfast_common::event_record::EventWord;
use holdfast_common::id::{ContainerId, IdError, ProcessId};
use holdfast_common::layout::Stream;
use holdfast_common::restart::RestartPolicy;
use holdfast_common::state_file::StateFileError;
use holdfast_common::sys::errno_text;

use crate::state::Status;
use command::CommandFailure;

/// This crate's results.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{operation} {}: {}", path.display(), errno_text(source))]
    Io {
        /// What was being done: `open control fifo`, `make directory` …
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A state file could not be read or written.
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    /// A name cannot be an id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Nobody named a root and there is no default without root privileges.
    #[error(
        "no state directory: XDG_RUNTIME_DIR is not set to an absolute path; name one with --root or HOLDFAST_ROOT"
    )]
    NoRoot,
    /// The root directory must not be trusted.
    #[error("state directory {} {problem}", path.display())]
    RootUnsafe {
        /// The root.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// Something else bears a FIFO's name.
    #[error("open {}: not a fifo", path.display())]
    NotAFifo {
        /// The path.
        path: PathBuf,
    },
    /// `exitStatus` holds a number that is no exit status.
    #[error("read {}: {number} is not an exit status", path.display())]
    NotAStatus {
        /// The file.
        path: PathBuf,
        /// What is in it.
        number: u32,
    },
    /// A file of a cgroup does not say what the kernel's documentation says it does.
    #[error("read {}: cannot understand {text:?}", path.display())]
    BadCgroupFile {
        /// The file.
        path: PathBuf,
        /// What is in it.
        text: String,
    },
    /// A resources object (`update --resources`) cannot be used.
    #[error("resources {}: {cause}", origin.display())]
    BadResources {
        /// Where it comes from.
        origin: PathBuf,
        /// Why not, with line and column.
        cause: String,
    },
    /// A service manager cannot be told.
    #[error("notify: {what}")]
    BadNotify {
        /// Why not.
        what: String,
    },
    /// What is to be run at a process's end cannot be.
    #[error("exit command {}: {cause}", program.display())]
    BadExitCommand {
        /// The program.
        program: PathBuf,
        /// Why not.
        cause: String,
    },
    /// A time that no process can be given.
    #[error("time limit: {what}")]
    BadTimeLimit {
        /// What is wrong with it.
        what: String,
    },
    /// A limit that no container can have.
    #[error("{what} {value} {rule}")]
    BadLimit {
        /// Of what.
        what: &'static str,
        /// The limit.
        value: String,
        /// What is wrong with it.
        rule: String,
    },
    /// Some limits were changed before one was refused, and could not be put back.
    #[error("{update}; what had been changed already could not be put back: {restore}")]
    NotPutBack {
        /// Why the update failed.
        update: Box<Error>,
        /// Why it could not be undone.
        restore: Box<Error>,
    },
    /// A path that goes into a state file is not UTF-8.
    #[error("{}: not valid UTF-8", path.display())]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// There is no container of this id.
    #[error("container {id} does not exist")]
    NotFound {
        /// The id.
        id: ContainerId,
    },
    /// The container has no process of this id.
    #[error("container {id} has no process {process}")]
    ProcessNotFound {
        /// The container.
        id: ContainerId,
        /// The process.
        process: ProcessId,
    },
    /// The id is taken.
    #[error("container {id} already exists")]
    AlreadyExists {
        /// The id.
        id: ContainerId,
    },
    /// The container has a process of this id already.
    #[error("container {id} already has a process {process}")]
    ProcessAlreadyExists {
        /// The container.
        id: ContainerId,
        /// The process.
        process: ProcessId,
    },
    /// The bundle cannot be used.
    #[error("bundle {}: {cause}", path.display())]
    BadBundle {
        /// The bundle, or its config.json.
        path: PathBuf,
        /// Why not; for JSON, with line and column.
        cause: String,
    },
    /// The bundle's config.json names no process to run.
    #[error("bundle {}: config.json has no process", path.display())]
    NoProcess {
        /// The bundle.
        path: PathBuf,
    },
    /// A store for seccomp listeners was asked for, which the bundle's runtime would send none.
    #[error(
        "bundle {}: config.json has no linux.seccomp.listenerPath for a seccomp agent store", path.display()
    )]
    NoListenerPath {
        /// The bundle.
        path: PathBuf,
    },
    /// A process file (`exec --process`) cannot be used.
    #[error("process file {}: {cause}", path.display())]
    BadProcess {
        /// The file.
        path: PathBuf,
        /// Why not; for JSON, with line and column.
        cause: String,
    },
    /// The process has a terminal, so this stream cannot be the caller's own.
    #[error(
        "{}: a process with a terminal cannot inherit it; use a console socket or fifos", stream.name()
    )]
    InheritWithTerminal {
        /// The stream.
        stream: Stream,
    },
    /// Stdin cannot have a policy for output.
    #[error("stdin cannot be logged or spilled: it is read")]
    StdinIsRead,
    /// There are options for a policy that no stream has.
    #[error("nothing to {what}: neither stdout nor stderr has the policy {what}")]
    NothingTo {
        /// The policy.
        what: &'static str,
    },
    /// Whoever has the console socket has the output.
    #[error(
        "with a console socket the output is its owner's: it cannot be logged, spilled, recorded or merged"
    )]
    OutputOfConsole,
    /// A terminal has one stream of output.
    #[error("stderr cannot be merged: with a terminal, everything comes on stdout anyway")]
    MergeWithTerminal,
    /// Only terminals are recorded.
    #[error("nothing to record: the process has no terminal")]
    NoTerminalToRecord,
    /// A recording would go on in a file that has something else in it.
    #[error("record {}: it exists already; name another file", path.display())]
    RecordExists {
        /// The file.
        path: PathBuf,
    },
    /// Two logs would be written to one place.
    #[error("two logs would go to {}; give each a path of its own", place.display())]
    LogTwice {
        /// The file, or the journal.
        place: PathBuf,
    },
    /// Something else bears a log's name.
    #[error("open log {}: not a regular file", path.display())]
    NotALogFile {
        /// The path.
        path: PathBuf,
    },
    /// A label of a log has no name.
    #[error("a log's label needs a name: KEY=VALUE")]
    EmptyLabel,
    /// A descriptor that the process should get is not open, or is close-on-exec.
    #[error("descriptor {number} is not open for the process to inherit")]
    NotOpen {
        /// Its number.
        number: i32,
    },
    /// There is no such OCI runtime, or not one that can be executed.
    #[error(
        "oci runtime {runtime:?} not found or not executable; name one with --runtime or HOLDFAST_RUNTIME"
    )]
    RuntimeNotFound {
        /// As it was given.
        runtime: String,
    },
    /// There is no shim, or not one that can be executed.
    #[error("shim {shim:?} not found or not executable; name one with --shim or HOLDFAST_SHIM")]
    ShimNotFound {
        /// The name or path.
        shim: PathBuf,
    },
    /// The OCI runtime refused; the message is its own.
    #[error("oci runtime: {message}")]
    Runtime {
        /// Its last error.
        message: String,
    },
    /// The OCI runtime did not finish in time.
    #[error("oci runtime {verb}: not done after {timeout:?}")]
    RuntimeTimeout {
        /// What it was asked to do.
        verb: &'static str,
        /// How long it had.
        timeout: Duration,
    },
    /// The process did not come to be in time.
    #[error("start timeout: the process was not there after {timeout:?}")]
    StartTimeout {
        /// How long it had.
        timeout: Duration,
    },
    /// The shim could not do its part.
    #[error("shim: {message}")]
    Shim {
        /// Its own words.
        message: String,
    },
    /// Who restarts the container could not give it what its creator can.
    #[error("restart policy {policy}: the container cannot be restarted, {why}")]
    CannotRestart {
        /// The policy.
        policy: RestartPolicy,
        /// What cannot be had again.
        why: &'static str,
    },
    /// Somebody else changes the container at this moment.
    #[error("container {id} is being changed by somebody else")]
    Busy {
        /// The container.
        id: ContainerId,
    },
    /// Another supervises this root.
    #[error("state directory {} is supervised already{}", root.display(),
        pid.map_or_else(String::new, |pid| format!(", by process {pid}")))]
    Supervised {
        /// The root.
        root: PathBuf,
        /// Who, as far as the kernel tells.
        pid: Option<i32>,
    },
    /// A shim cannot be kept apart like this.
    #[error("shim {what}")]
    BadIsolation {
        /// What is wrong.
        what: String,
    },
    /// The container's own process has ended.
    #[error("container {id} has exited")]
    ContainerExited {
        /// The container.
        id: ContainerId,
    },
    /// An exec has ended.
    #[error("process {process} of container {id} has exited")]
    ProcessExited {
        /// The container.
        id: ContainerId,
        /// The process.
        process: ProcessId,
    },
    /// There is no exit status yet.
    #[error("process {process} of container {id} has not exited")]
    ProcessNotExited {
        /// The container.
        id: ContainerId,
        /// The process.
        process: ProcessId,
    },
    /// The container's process does not exist yet.
    #[error("container {id} is not started")]
    ContainerNotStarted {
        /// The container.
        id: ContainerId,
    },
    /// A container's own process has no directory apart from the container's.
    #[error("process init of container {id} goes with its container: delete that")]
    InitStays {
        /// The container.
        id: ContainerId,
    },
    /// Only a created container can be started.
    #[error("cannot start container {id}: it is {status}")]
    NotCreated {
        /// The container.
        id: ContainerId,
        /// What it is instead.
        status: Status,
    },
    /// Only what runs, or waits for its start, can be paused.
    #[error("cannot pause container {id}: it is {status}")]
    NotRunning {
        /// The container.
        id: ContainerId,
        /// What it is instead.
        status: Status,
    },
    /// Nothing starts in a container whose processes stand still.
    #[error("cannot execute anything in container {id}: it is paused; resume it first")]
    Paused {
        /// The container.
        id: ContainerId,
    },
    /// Only a paused container can be resumed.
    #[error("cannot resume container {id}: it is {status}")]
    NotPaused {
        /// The container.
        id: ContainerId,
        /// What it is instead.
        status: Status,
    },
    /// What only a cgroup of the container's own can give.
    #[error(
        "cannot {verb} container {id}: it has no cgroup of its own; without root it gets one below a cgroup that belongs to its user (cgroups(7), \"delegation\")"
    )]
    NoCgroup {
        /// The container.
        id: ContainerId,
        /// What cannot be done.
        verb: &'static str,
    },
    /// A container must be stopped first.
    #[error("container {id} is not stopped: kill it first, or have it killed (delete --force)")]
    NotStopped {
        /// The container.
        id: ContainerId,
        /// What it is.
        status: Status,
    },
    /// Only what runs, or is paused, can be made a checkpoint of.
    #[error("cannot checkpoint container {id}: it is {status}")]
    CannotCheckpoint {
        /// The container.
        id: ContainerId,
        /// What it is instead.
        status: Status,
    },
    /// A process of the container's is stopped (SIGSTOP). In version 1 of cgroups, the kernel makes a tracer of a process that is both
    /// stopped and frozen wait, and CRIU for ever.
    #[error(
        "cannot checkpoint container {id}: process {pid} in it is stopped; let it go on with SIGCONT"
    )]
    StoppedProcess {
        /// The container.
        id: ContainerId,
        /// The process, as we see it.
        pid: i32,
    },
    /// Something is where a checkpoint was to be made.
    #[error("checkpoint {} already exists", path.display())]
    CheckpointExists {
        /// Where.
        path: PathBuf,
    },
    /// There is no such checkpoint.
    #[error("checkpoint {} does not exist", path.display())]
    CheckpointNotFound {
        /// Where it would be.
        path: PathBuf,
    },
    /// What is there is no checkpoint that can be restored.
    #[error("checkpoint {}: {why}", path.display())]
    NotACheckpoint {
        /// Its path.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// A checkpoint does not fit what it is to become.
    #[error("cannot restore checkpoint {}: {what}", path.display())]
    CannotRestore {
        /// Its path.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The checkpoint was given up by whoever asked for it.
    #[error("checkpoint of container {id} given up; the container goes on")]
    CheckpointCancelled {
        /// The container.
        id: ContainerId,
    },
    /// The checkpoint took longer than it might.
    #[error("checkpoint of container {id} not done after {timeout:?}; the container goes on")]
    CheckpointTimeout {
        /// The container.
        id: ContainerId,
        /// How long it had.
        timeout: Duration,
    },
    /// The shim died without recording how its process ended.
    #[error("the shim of process {process} of container {id} is gone{}",
        if *alive { ", its process still runs" } else { "; how its process ended is not known" })]
    ShimGone {
        /// The container.
        id: ContainerId,
        /// The process.
        process: ProcessId,
        /// Whether the process still runs.
        alive: bool,
    },
    /// A monitor could not learn how this process does, and does not watch it any more.
    #[error("{source}")]
    Unwatched {
        /// The container.
        id: ContainerId,
        /// The process.
        process: ProcessId,
        /// Why.
        source: Box<Error>,
    },
    /// Somebody else's shim adopted the process first.
    #[error("process {process} of container {id} was adopted by somebody else")]
    AdoptedElsewhere {
        /// The container.
        id: ContainerId,
        /// The process.
        process: ProcessId,
    },
    /// A shim did not become another; it goes on as it was.
    #[error("the shim of process {process} of container {id} goes on as it was: {reason}")]
    NotReplaced {
        /// The container.
        id: ContainerId,
        /// The process.
        process: ProcessId,
        /// Why, in the shim's words.
        reason: String,
    },
    /// The shim does not read its control FIFO.
    #[error("{}: control fifo is full: the shim is stuck", path.display())]
    ControlFull {
        /// The FIFO.
        path: PathBuf,
    },
    /// The shim did not finish in time.
    #[error("the shim of process {process} of container {id} is not done after {timeout:?}")]
    ShimBusy {
        /// The container.
        id: ContainerId,
        /// The process.
        process: ProcessId,
        /// How long it had.
        timeout: Duration,
    },
    /// What was waited for did not happen in time.
    #[error("process {process} of container {id} has not exited after {timeout:?}")]
    WaitTimeout {
        /// The container.
        id: ContainerId,
        /// The process.
        process: ProcessId,
        /// How long it had.
        timeout: Duration,
    },
    /// The process has no terminal to resize.
    #[error("process {process} of container {id} has no terminal")]
    NoTerminal {
        /// The container.
        id: ContainerId,
        /// The process.
        process: ProcessId,
    },
    /// The process's terminal went with the shim that held it.
    #[error(
        "the terminal of process {process} of container {id} was lost when its shim was killed"
    )]
    TerminalLost {
        /// The container.
        id: ContainerId,
        /// The process.
        process: ProcessId,
    },
    /// The container has no store for seccomp listeners.
    #[error(
        "container {id} keeps no seccomp listeners: its bundle's linux.seccomp.listenerPath does not lead to its shim"
    )]
    NoSeccompStore {
        /// The container.
        id: ContainerId,
    },
    /// What came from a store is not what a store sends.
    #[error("{}: {what}", path.display())]
    BadListener {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Somebody else has this stream.
    #[error("{} is being {} by {}", stream.name(),
        if *stream == Stream::Stdin { "written" } else { "read" },
        pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")))]
    StreamTaken {
        /// The stream.
        stream: Stream,
        /// Who, as far as the kernel tells.
        pid: Option<i32>,
    },
    /// What was asked for of a process's output is not in a log.
    #[error("process {process} of container {id} has no log: {reason}")]
    NotLogged {
        /// The container.
        id: ContainerId,
        /// The process.
        process: ProcessId,
        /// Where it is instead, and how to have it.
        reason: String,
    },
    /// A process's only log is the system's journal.
    #[error(
        "process {process} of container {id} is logged to the journal: see `journalctl CONTAINER_ID_FULL={id}`"
    )]
    LogInJournal {
        /// The container.
        id: ContainerId,
        /// The process.
        process: ProcessId,
    },
    /// The kernel gives no more inotify instances to this user.
    #[error("watch {}: too many inotify instances or descriptors; raise fs.inotify.max_user_instances", path.display())]
    TooManyWatches {
        /// What was to be watched.
        path: PathBuf,
    },
    /// A backend did not take an event.
    #[error("event {word} of {id}: {source}")]
    Backend {
        /// The container.
        id: ContainerId,
        /// What happened to it.
        word: EventWord,
        /// The backend's words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// For `map_err`: a system call that failed, and on what.
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io {
            operation,
            path,
            source,
        }
    }

    /// Whether the runtime could not find the command to run (docker: exit code 127).
    pub fn is_command_not_found(&self) -> bool {
        self.command_failure() == Some(CommandFailure::NotFound)
    }

    /// Whether the runtime could not execute the command (docker: exit code 126).
    pub fn is_not_executable(&self) -> bool {
        self.command_failure() == Some(CommandFailure::NotExecutable)
    }

    fn command_failure(&self) -> Option<CommandFailure> {
        let Error::Runtime { message } = self else {
            return None;
        };
        CommandFailure::told_in(message)
    }
}

#[cfg(test)]
mod tests;
