//! `process.json`: the OCI process, flattened, with containerd 0.2's keys beside it and holdfast's own in one object.
//! Keys that are not known here are kept as they came, in their order.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::exit_command::ExitCommand;
use crate::identity::Identity;
use crate::layout::{self, Stream};
use crate::listen_fds::ListenFds;
use crate::notify::Notify;
use crate::output::{Moved, Output};
use crate::restart::Restarts;
use crate::state_file::{self, DOCUMENT_LIMIT, StateFileError};
use crate::sys::pty::Size;
use crate::time_limit::TimeLimit;

/// The OCI process's key for its terminal's size: an object with `height` and `width`, characters.
pub const CONSOLE_SIZE: &str = "consoleSize";

/// What a process directory's `process.json` says (containerd 0.2: `ProcessState`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessState {
    /// Whether the process has a terminal (OCI `process.terminal`).
    #[serde(default)]
    pub terminal: bool,
    /// The rest of the OCI process (`args`, `env`, `cwd`, `user` …) and any key that is not known here.
    #[serde(flatten)]
    pub process: Map<String, Value>,
    /// Whether this is an exec, not a container's init. Whoever writes this file writes this key; JSON without it is
    /// something else, and taking it for a process without streams would be a wrong answer.
    pub exec: bool,
    /// Path of the stdin FIFO or file; empty means /dev/null.
    #[serde(default, rename = "containerdStdin")]
    pub stdin: String,
    /// Path of the stdout FIFO or file; empty means /dev/null.
    #[serde(default, rename = "containerdStdout")]
    pub stdout: String,
    /// Path of the stderr FIFO or file; empty means /dev/null.
    #[serde(default, rename = "containerdStderr")]
    pub stderr: String,
    /// Arguments that go before the runtime's verb.
    #[serde(default, rename = "runtimeArgs", deserialize_with = "null_is_default")]
    pub runtime_args: Vec<String>,
    /// Passed to the runtime as `--no-pivot`.
    #[serde(default, rename = "noPivotRoot")]
    pub no_pivot_root: bool,
    /// Directory of the checkpoint to restore from; empty for none.
    #[serde(default)]
    pub checkpoint: String,
    /// Host uid of the container's root.
    #[serde(default, rename = "rootUID")]
    pub root_uid: u32,
    /// Host gid of the container's root.
    #[serde(default, rename = "rootGID")]
    pub root_gid: u32,
    /// What holdfast adds; absent when containerd 0.2 wrote the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdfast: Option<Extension>,
}

/// The `holdfast` object of `process.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Extension {
    /// Streams that are the launcher's own descriptors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inherit: Vec<Stream>,
    /// A socket of the caller's to which the runtime sends the terminal; the shim stays out of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_socket: Option<String>,
    /// How many descriptors, from 3 on or after the sockets, go to the container.
    pub preserve_fds: u32,
    /// How many descriptors, from 3 on, are sockets of a service manager's.
    #[serde(skip_serializing_if = "ListenFds::is_none")]
    pub listen_fds: ListenFds,
    /// Output whose bytes the shim moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// Passed to the runtime as `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// The shim listens at the bundle's `linux.seccomp.listenerPath`, wherever that is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub seccomp_agent_store: bool,
    /// The shim removes the directory as its last act.
    pub auto_remove: bool,
    /// What the launcher's service manager is told; absent for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// What the shim runs at the end; absent for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_command: Option<ExitCommand>,
    /// How it is restored, where it comes from a checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore: Option<Restore>,
    /// How long it may run; absent for as long as it likes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<TimeLimit>,
    /// Who starts the container right after creating it; a supervisor does when it is gone before it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launcher: Option<Identity>,
    /// How often the container was restarted, up to and with this process.
    #[serde(skip_serializing_if = "Restarts::is_none")]
    pub restarts: Restarts,
}

impl Extension {
    /// Every key there is.
    pub const KEYS: [&str; 14] = [
        "inherit",
        "consoleSocket",
        "preserveFds",
        "listenFds",
        "output",
        "noNewKeyring",
        "seccompAgentStore",
        "autoRemove",
        "notify",
        "exitCommand",
        "restore",
        "timeLimit",
        "launcher",
        "restarts",
    ];

    /// How many descriptors of the launcher's go to the process, from 3 on.
    pub fn descriptors(&self) -> u32 {
        self.listen_fds.count.saturating_add(self.preserve_fds)
    }
}

/// How a process is restored, beside what its checkpoint says of itself: passed to the runtime's `restore`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Restore {
    /// `--tcp-established`.
    pub tcp: bool,
    /// `--ext-unix-sk`.
    pub unix_sockets: bool,
    /// `--shell-job`.
    pub shell: bool,
    /// `--empty-ns`, each.
    #[serde(rename = "emptyNS")]
    pub empty_ns: Vec<String>,
    /// `--file-locks`.
    pub file_locks: bool,
    /// `--manage-cgroups-mode`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manage_cgroups_mode: Option<String>,
    /// `--auto-dedup`.
    pub auto_dedup: bool,
    /// `--lsm-profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lsm_profile: Option<String>,
    /// `--lsm-mount-context`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lsm_mount_context: Option<String>,
    /// `--work-path`: where CRIU's log goes; absent: the process directory's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work_path: Option<String>,
}

fn null_is_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    // Go writes a nil slice as null.
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

impl ProcessState {
    /// Reads `process.json` of a process directory.
    ///
    /// # Errors
    /// Those of [`state_file::read_json`].
    pub fn read(process_dir: &Path) -> Result<Self, StateFileError> {
        state_file::read_json(&process_dir.join(layout::PROCESS_FILE), DOCUMENT_LIMIT)
    }

    /// Writes `process.json` of a process directory.
    ///
    /// # Errors
    /// Those of [`state_file::write_json`].
    pub fn write(&self, process_dir: &Path) -> Result<(), StateFileError> {
        state_file::write_json(&process_dir.join(layout::PROCESS_FILE), self)
    }

    /// Whether this is the process of a container that was restarted: its directory has taken another's place.
    pub fn is_restart(&self) -> bool {
        let ours = self.holdfast.as_ref();
        ours.is_some_and(|ours| !ours.restarts.is_none())
    }

    /// The size that its terminal is to have from the beginning, if it says one.
    pub fn console_size(&self) -> Option<Size> {
        let size = self.process.get(CONSOLE_SIZE)?;
        let number = |key| u16::try_from(size.get(key)?.as_u64()?).ok();
        let (columns, rows) = (number("width")?, number("height")?);
        (columns > 0 && rows > 0).then_some(Size { columns, rows })
    }

    /// The path of a stream, `/dev/null` for one that has none.
    pub fn stdio(&self, stream: Stream) -> &str {
        let path = match stream {
            Stream::Stdin => &self.stdin,
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        };
        if path.is_empty() { "/dev/null" } else { path }
    }

    /// Whether a stream is the launcher's own descriptor.
    pub fn inherits(&self, stream: Stream) -> bool {
        self.holdfast
            .as_ref()
            .is_some_and(|ours| ours.inherit.contains(&stream))
    }

    /// Output whose bytes the shim moves; `None` where it moves none.
    pub fn output(&self) -> Option<&Output> {
        self.holdfast.as_ref()?.output.as_ref()
    }

    /// Whether its descriptor 2 is what its descriptor 1 is.
    pub fn merges_stderr(&self) -> bool {
        self.output().is_some_and(|output| output.merge_stderr)
    }

    /// Who moves a stream's bytes; `None` for the kernel.
    pub fn moved(&self, stream: Stream) -> Option<Moved> {
        self.output()?.moved(stream)
    }

    /// The OCI process, typed.
    ///
    /// # Errors
    /// The keys are there but not of the types that the OCI runtime specification gives them.
    #[cfg(feature = "oci")]
    pub fn oci_process(&self) -> Result<oci_spec::runtime::Process, serde_json::Error> {
        let mut process = self.process.clone();
        process.insert("terminal".to_owned(), Value::Bool(self.terminal));
        serde_json::from_value(Value::Object(process))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As containerd 0.2.9 writes it.
    const CONTAINERD: &str = r#"{"terminal":true,"user":{"uid":0,"gid":0},"args":["sh"],"env":["PATH=/bin"],"cwd":"/","capabilities":["CAP_KILL"],"rlimits":[{"type":"RLIMIT_NOFILE","hard":1024,"soft":1024}],"aKeyOfTomorrow":{"deep":[1,2]},"exec":true,"containerdStdin":"/d/init-stdin","containerdStdout":"/d/init-stdout","containerdStderr":"","runtimeArgs":null,"noPivotRoot":true,"checkpoint":"","rootUID":1000,"rootGID":1001}"#;

    #[test]
    fn json_that_is_no_process_state_is_refused() {
        for other in ["{}", r#"{"kind":"Pod"}"#, r#"{"args":["sh"],"cwd":"/"}"#] {
            let error = serde_json::from_str::<ProcessState>(other).unwrap_err();
            assert!(
                error.to_string().contains("missing field `exec`"),
                "{error}"
            );
        }
    }

    #[test]
    fn containerds_file_is_understood_and_written_back_with_every_key() {
        let state: ProcessState = serde_json::from_str(CONTAINERD).unwrap();
        assert!(state.terminal && state.exec && state.no_pivot_root && state.holdfast.is_none());
        assert_eq!(state.stdio(Stream::Stdin), "/d/init-stdin");
        assert_eq!(state.stdio(Stream::Stderr), "/dev/null");
        assert_eq!((state.root_uid, state.root_gid), (1000, 1001));
        let mut before: Value = serde_json::from_str(CONTAINERD).unwrap();
        before["runtimeArgs"] = Value::Array(Vec::new());
        assert_eq!(serde_json::to_value(&state).unwrap(), before);
    }

    #[test]
    fn every_key_of_ours_is_told() {
        let ours = Extension {
            inherit: vec![Stream::Stdout],
            console_socket: Some(String::new()),
            preserve_fds: 1,
            listen_fds: ListenFds {
                count: 1,
                names: None,
            },
            output: Some(Output::default()),
            no_new_keyring: true,
            seccomp_agent_store: true,
            auto_remove: true,
            notify: serde_json::from_str(r#"{"socket":"@x","ready":"start"}"#).unwrap(),
            exit_command: serde_json::from_str(r#"{"program":"/p"}"#).unwrap(),
            restore: Some(Restore::default()),
            time_limit: serde_json::from_str(r#"{"seconds":1}"#).unwrap(),
            launcher: serde_json::from_str(r#"{"pid":1,"startTime":2}"#).unwrap(),
            restarts: Restarts {
                count: 1,
                in_a_row: 1,
            },
        };
        let written = serde_json::to_value(&ours).unwrap();
        let keys: Vec<&str> = written
            .as_object()
            .unwrap()
            .keys()
            .map(|key| &**key)
            .collect();
        assert_eq!(keys, Extension::KEYS);
    }

    #[test]
    fn our_own_keys_stay_in_their_object() {
        let ours = Extension {
            inherit: vec![Stream::Stdout],
            preserve_fds: 2,
            ..Extension::default()
        };
        let state = ProcessState {
            holdfast: Some(ours),
            ..ProcessState::default()
        };
        let text = serde_json::to_string(&state).unwrap();
        let back: ProcessState = serde_json::from_str(&text).unwrap();
        assert_eq!(back, state);
        assert!(back.inherits(Stream::Stdout) && !back.inherits(Stream::Stdin));
    }
}
