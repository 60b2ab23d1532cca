//! What a container is now: [`Status`], and the OCI [`State`]. From its own files and the kernel; the runtime is asked only
//! where the kernel does not tell.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use holdfast_common::identity::{Identity, executable_of};
use holdfast_common::state_file::{self, Cause, RECORD_LIMIT};
use holdfast_common::{layout, oci};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::freezer::{self, Freezer};
use crate::process::Process;

/// What a container is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its shim is at work; there is no process yet.
    Creating,
    /// Its process exists and waits for `start`.
    Created,
    /// Its process runs.
    Running,
    /// Its processes are being frozen, and not all of them are.
    Pausing,
    /// Its processes are frozen.
    Paused,
    /// Its process has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Pausing => "pausing",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

impl Status {
    /// In OCI's words, which leave room for a runtime's own: `pausing` and `paused`, as runc has them.
    pub fn oci(self) -> oci::ContainerState {
        match self {
            Status::Creating => oci::ContainerState::Creating,
            Status::Created => oci::ContainerState::Created,
            Status::Running => oci::ContainerState::Running,
            Status::Pausing | Status::Paused => oci::ContainerState::Other(self.to_string()),
            Status::Stopped => oci::ContainerState::Stopped,
        }
    }
}

/// The OCI state of a container, as runc prints it (runtime-spec, "State"; `rootfs`, `created` and `owner` are runc's).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the specification, as the bundle said at creation.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// The pid of its process; 0 when stopped.
    pub pid: i32,
    /// What it is now.
    pub status: Status,
    /// Absolute path of the bundle.
    pub bundle: String,
    /// Absolute path of the root file system.
    pub rootfs: String,
    /// When it was created, RFC 3339.
    pub created: String,
    /// The bundle's annotations at creation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The user that owns it; runc leaves this empty, and so do we.
    pub owner: String,
}

impl State {
    /// With the specification's keys alone.
    pub fn oci(&self) -> oci::State {
        oci::State {
            oci_version: self.oci_version.clone(),
            id: self.id.clone(),
            status: self.status.oci(),
            pid: self.pid,
            bundle: self.bundle.clone(),
            annotations: self.annotations.clone(),
        }
    }
}

/// What the runtime says of a container (`state`), as far as it is looked at.
#[derive(Debug, Deserialize)]
pub(crate) struct RuntimeState {
    pub pid: i32,
    pub status: String,
    #[serde(default)]
    pub bundle: String,
}

impl RuntimeState {
    /// As a status of ours: what it may be beyond these is running.
    pub fn status(&self) -> Status {
        match self.status.as_str() {
            "creating" => Status::Creating,
            "created" => Status::Created,
            "pausing" => Status::Pausing,
            "paused" => Status::Paused,
            "stopped" => Status::Stopped,
            _ => Status::Running,
        }
    }
}

/// What a container's init says of it, and who that is while it lives.
pub(crate) fn of_init(
    init: &Process,
    ask_runtime: impl FnOnce() -> Result<RuntimeState>,
) -> Result<(Status, Option<Identity>)> {
    if init.exit_record()?.is_some() {
        return Ok((Status::Stopped, None));
    }
    let Some(identity) = init.identity()? else {
        return Ok((without_pid(init)?, None));
    };
    if !identity.is_alive() {
        return Ok((Status::Stopped, None));
    }
    // Before anything else, as runc does: a container that was created and not started may be frozen too.
    let status = match freezer::of(identity.pid) {
        Freezer::Frozen => Status::Paused,
        Freezer::Freezing => Status::Pausing,
        Freezer::Thawed => match runs_runtime(init, identity)? {
            Some(true) => Status::Created,
            Some(false) => Status::Running,
            None => ask_runtime()?.status(),
        },
    };
    Ok((status, Some(identity)))
}

/// As [`of_init`], of an exec: once it has a pid, it runs.
pub(crate) fn of_exec(exec: &Process) -> Result<Status> {
    if exec.exit_record()?.is_some() {
        return Ok(Status::Stopped);
    }
    let Some(identity) = exec.identity()? else {
        return without_pid(exec);
    };
    if !identity.is_alive() {
        return Ok(Status::Stopped);
    }
    Ok(match freezer::of(identity.pid) {
        Freezer::Frozen => Status::Paused,
        Freezer::Freezing => Status::Pausing,
        Freezer::Thawed => Status::Running,
    })
}

fn without_pid(process: &Process) -> Result<Status> {
    let creating = process.shim_lives()? && process.exit_record()?.is_none();
    Ok(match creating {
        true => Status::Creating,
        false => Status::Stopped,
    })
}

/// Whether a process still executes what it did when it was created: the runtime, that is; not any more once a `start` has succeeded. `None`
/// when nobody may tell: the kernel, or a directory that has no `created`.
pub(crate) fn runs_runtime(init: &Process, identity: Identity) -> Result<Option<bool>> {
    runs_what_created(init.dir(), identity)
}

/// As [`runs_runtime`], of the process of a directory.
pub(crate) fn runs_what_created(dir: &Path, identity: Identity) -> Result<Option<bool>> {
    let file = dir.join(layout::CREATED_FILE);
    let created = match state_file::read_bytes(&file, RECORD_LIMIT) {
        Ok(created) => created,
        Err(e) if e.is_absent() => return Ok(None),
        // A `start` has succeeded.
        Err(e) if matches!(e.cause, Cause::Empty) => return Ok(Some(false)),
        Err(e) => return Err(e.into()),
    };
    match executable_of(identity.pid) {
        Ok(now) => Ok(Some(created.trim_ascii() == now.as_bytes())),
        // It is ending: what it last was is not known any more, and does not matter.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Some(false)),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(None),
        Err(e) => Err(Error::io("look at", format!("/proc/{}/exe", identity.pid))(
            e,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_started_runs_whatever_it_executes() {
        let dir = crate::testing::scratch("state-started");
        let identity = Identity::of(std::process::id().cast_signed()).unwrap();
        let created = dir.join(layout::CREATED_FILE);
        let runs = || runs_what_created(&dir, identity).unwrap();
        assert_eq!(runs(), None);
        std::fs::write(&created, executable_of(identity.pid).unwrap()).unwrap();
        assert_eq!(runs(), Some(true));
        std::fs::write(&created, "0:1").unwrap();
        assert_eq!(runs(), Some(false));
        std::fs::write(&created, "").unwrap();
        assert_eq!(runs(), Some(false));
    }

    #[test]
    fn the_state_is_printed_as_runc_prints_it() {
        let mut state = State {
            oci_version: "1.0.2-dev".to_owned(),
            id: "web".to_owned(),
            pid: 0,
            status: Status::Stopped,
            bundle: "/b".to_owned(),
            rootfs: "/b/rootfs".to_owned(),
            created: "2026-01-02T03:04:05.678901234Z".to_owned(),
            annotations: BTreeMap::new(),
            owner: String::new(),
        };
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(
            text,
            r#"{"ociVersion":"1.0.2-dev","id":"web","pid":0,"status":"stopped","bundle":"/b","rootfs":"/b/rootfs","created":"2026-01-02T03:04:05.678901234Z","owner":""}"#
        );
        state.annotations.insert("a".to_owned(), "1".to_owned());
        let text = serde_json::to_string(&state).unwrap();
        assert!(
            text.contains(r#""annotations":{"a":"1"},"owner":"""#),
            "{text}"
        );
    }
}
