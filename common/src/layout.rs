//! Every file name of the state directory, and only here. docs/state-directory.md says who writes which
//! file, when, and how.

use std::path::PathBuf;

/// What was asked for when the container was created (containerd 0.2: `StateFile`).
pub const STATE_FILE: &str = "state.json";
/// Locked by whoever changes the container.
pub const LOCK_FILE: &str = "lock";
/// What happened to the container, JSON lines.
pub const EVENTS_FILE: &str = "events.log";
/// Appended to its name: the file that was full before the present one.
pub const PREVIOUS_SUFFIX: &str = ".1";
/// [`EVENTS_FILE`] with [`PREVIOUS_SUFFIX`].
pub const PREVIOUS_EVENTS_FILE: &str = "events.log.1";

/// There when somebody stopped the container on purpose, so that `unless-stopped` does not restart it.
pub const STOPPED_FILE: &str = "stopped";

/// In the root: locked by the supervisor of the root.
pub const SUPERVISE_LOCK_FILE: &str = "~supervise.lock";

/// The process directory of the container's own process (containerd 0.2: `InitProcessID`).
pub const INIT: &str = "init";
/// The OCI process with what containerd and holdfast add to it.
pub const PROCESS_FILE: &str = "process.json";
/// FIFO: control messages (containerd 0.2: `ControlFile`).
pub const CONTROL_FIFO: &str = "control";
/// FIFO: readable when the exit status is on record, hung up when the shim is gone (containerd 0.2: `ExitFile`).
pub const EXIT_FIFO: &str = "exit";
/// The shim's pid, start time, version and executable.
pub const SHIM_FILE: &str = "shim.json";
/// Locked while a shim lives.
pub const SHIM_LOCK_FILE: &str = "shim.lock";
/// The process's pid, as the runtime wrote it (decimal text).
pub const PID_FILE: &str = "pid";
/// What `shim.lock` holds when a shim has finished its work; it is empty while one lives, or was killed.
pub const DONE: &[u8] = b"done\n";
/// What `shim.lock` holds while a shim that has nothing else left to do waits to run the exit command.
pub const LEFT: &[u8] = b"left\n";
/// The executable that the next re-exec is to execute instead (text).
pub const SHIM_NEXT_FILE: &str = "shim.next";
/// Field 22 of /proc/PID/stat (decimal text).
pub const START_TIME_FILE: &str = "starttime";
/// `DEV:INODE` of the executable that the process ran before `start`.
pub const CREATED_FILE: &str = "created";
/// Which cgroup counts the container's kills for want of memory.
pub const OOM_FILE: &str = "oom.json";
/// When the time that the process may run is over.
pub const DEADLINE_FILE: &str = "deadline";
/// Link to the directory in which the shim listens for what the container has to say to its launcher's service manager.
pub const NOTIFY_LINK: &str = "notify";
/// How the process ended, in full.
pub const EXIT_FILE: &str = "exit.json";
/// How the process ended, as one number (containerd 0.2: `ExitStatusFile`).
pub const EXIT_STATUS_FILE: &str = "exitStatus";
/// The shim's own log, JSON lines.
pub const SHIM_LOG_FILE: &str = "shim-log.json";
/// The runtime's log, JSON lines.
pub const RUNTIME_LOG_FILE: &str = "log.json";
/// The socket on which the runtime hands over a terminal, while a process is being created.
pub const CONSOLE_SOCKET: &str = "console.sock";
/// Says that *close stdin* was asked for, so that a shim that adopts the process does not open it again.
pub const STDIN_CLOSED_FILE: &str = "stdin.closed";
/// Says that the process's terminal went with the shim that held it.
pub const TERMINAL_LOST_FILE: &str = "terminal.lost";
/// Socket: where agents are handed the seccomp listeners of the container's processes.
pub const SECCOMP_SOCKET: &str = "seccomp";
/// Socket: where the runtime sends those listeners, unless the bundle's path for that is another.
pub const SECCOMP_RUNTIME_SOCKET: &str = "seccomp.runtime";
/// Says that seccomp listeners went with the shim that held them.
pub const SECCOMP_LOST_FILE: &str = "seccomp.lost";
/// Appended to a stream's name: what nobody had read when the process ended.
pub const UNREAD_SUFFIX: &str = ".unread";

/// Appended to a stream's name: the FIFO that the process holds where the shim moves its bytes.
pub const INNER_SUFFIX: &str = ".inner";
/// Appended to a stream's name: what its FIFO had no room for.
pub const SPILL_SUFFIX: &str = ".spill";
/// Appended to a stream's name: how many bytes of its spill were passed on (decimal text).
pub const SPILL_AT_SUFFIX: &str = ".spill.at";
/// Output, where it is logged; with [`PREVIOUS_SUFFIX`] and so on, the files that were full before it.
pub const LOG_FILE: &str = "log";
/// Likewise in docker's format.
pub const JSON_LOG_FILE: &str = "json.log";

/// In the process directory of a container that comes from a checkpoint: where CRIU restored it, with its log.
pub const RESTORE_DIR: &str = "criu.work";
/// In there: what CRIU was told beside the runtime's words.
pub const CRIU_CONFIG_FILE: &str = "criu.conf";
/// In there: CRIU's log of a restore.
pub const RESTORE_LOG_FILE: &str = "restore.log";

/// In a bundle: its checkpoints, a directory each (containerd 0.2).
pub const CHECKPOINTS_DIR: &str = "checkpoints";
/// In a checkpoint: how it was made (containerd 0.2).
pub const CHECKPOINT_FILE: &str = "config.json";
/// In a checkpoint: where CRIU made it, with its log (containerd 0.2).
pub const CHECKPOINT_WORK_DIR: &str = "criu.work";
/// In there: CRIU's log.
pub const DUMP_LOG_FILE: &str = "dump.log";
/// In there: what CRIU writes when, and only when, all was well.
pub const DUMP_STATS_FILE: &str = "stats-dump";
/// In there, while a checkpoint is made: what CRIU runs before it lets the container end.
pub const COMMIT_SCRIPT: &str = "commit";
/// In a checkpoint: the one of CRIU's images that every set of them has.
pub const CHECKPOINT_IMAGE: &str = "inventory.img";
/// Beside checkpoints: how the name of one that is being made begins.
pub const CHECKPOINT_STAGING: &str = "~checkpoint-";

/// Names that stand for files inside a container's directory, so that no exec may be called so.
pub const RESERVED_PROCESS_NAMES: [&str; 5] = [
    STATE_FILE,
    LOCK_FILE,
    EVENTS_FILE,
    PREVIOUS_EVENTS_FILE,
    STOPPED_FILE,
];

/// First character of everything unfinished: staging directories and temporary files. No id can contain it.
pub const UNFINISHED: char = '~';

/// A standard stream of a process; its FIFO bears its name.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Descriptor 0.
    Stdin,
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Stream {
    /// All three, in descriptor order.
    pub const ALL: [Stream; 3] = [Stream::Stdin, Stream::Stdout, Stream::Stderr];

    /// The stream's name, which is its FIFO's name too.
    pub const fn name(self) -> &'static str {
        match self {
            Stream::Stdin => "stdin",
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    /// The file that keeps what nobody read, relative to the process directory.
    pub fn unread_file(self) -> String {
        format!("{}{UNREAD_SUFFIX}", self.name())
    }

    /// The FIFO that the process holds where the shim moves its bytes, relative to the process directory.
    pub fn inner_fifo(self) -> String {
        format!("{}{INNER_SUFFIX}", self.name())
    }

    /// The file that keeps what the stream's FIFO had no room for, relative to the process directory.
    pub fn spill_file(self) -> String {
        format!("{}{SPILL_SUFFIX}", self.name())
    }

    /// The file that says how much of the spill was passed on, relative to the process directory.
    pub fn spill_at_file(self) -> String {
        format!("{}{SPILL_AT_SUFFIX}", self.name())
    }
}

/// The root that is used when nobody names one: `/run/holdfast`, or `$XDG_RUNTIME_DIR/holdfast` without root
/// privileges. `None` when neither is to be had.
pub fn default_root() -> Option<PathBuf> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    // Relative paths do not count (XDG Base Directory Specification).
    let own = own.filter(|dir| dir.is_absolute());
    let root = || PathBuf::from("/run/holdfast");
    match own {
        _ if is_privileged() => Some(root()),
        Some(dir) => Some(dir.join("holdfast")),
        // Root of a user namespace may have a /run of its own.
        None => nix::unistd::geteuid().is_root().then(root),
    }
}

/// Whether this process is root, and not merely in a user namespace of a user's. What runc takes its default root from
/// (`shouldHonorXDGRuntimeDir`).
fn is_privileged() -> bool {
    let map = || std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    nix::unistd::geteuid().is_root()
        && (is_whole(&map()) || std::env::var_os("USER").is_some_and(|user| user == "root"))
}

/// Whether a uid_map (user_namespaces(7)) leaves every uid what it is, as that of the first namespace does.
fn is_whole(map: &str) -> bool {
    // No file: no user namespaces.
    map.is_empty() || map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_user_namespace_maps_everybody() {
        assert!(is_whole("         0          0 4294967295\n"));
        assert!(is_whole(""));
        for map in ["0 1000 1\n", "0 1000 1\n1 100000 65536\n", "1 1 4294967294"] {
            assert!(!is_whole(map), "{map}");
        }
    }
}
