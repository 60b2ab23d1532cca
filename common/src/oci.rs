//! OCI's words for the state of a container (runtime-spec 1.x, runtime.md "State" and config-linux.md "The Container Process
//! State"; `specs-go/state.go`): what a runtime prints for `state`, gives to its hooks, and sends to the agent of a seccomp
//! filter. Read as Go's encoding/json writes it: a list or an object that is empty may be `null`, or not there.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// The name of the seccomp notify descriptor in [`ContainerProcessState::fds`].
pub const SECCOMP_FD_NAME: &str = "seccompFd";

/// What a container is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// It is being created.
    Creating,
    /// The runtime has finished *create*.
    Created,
    /// Its process executes the user's program and has not exited.
    Running,
    /// Its process has exited.
    Stopped,
    /// A runtime may have more words than those (`paused`).
    #[serde(untagged)]
    Other(String),
}

impl fmt::Display for ContainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ContainerState::Creating => "creating",
            ContainerState::Created => "created",
            ContainerState::Running => "running",
            ContainerState::Stopped => "stopped",
            ContainerState::Other(word) => word,
        })
    }
}

/// The state of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The version of the specification.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// What it is now.
    pub status: ContainerState,
    /// The pid of its process, as the runtime sees it; 0, which is not written, when there is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pid: i32,
    /// Path of its bundle.
    pub bundle: String,
    /// The bundle's annotations.
    #[serde(
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// The state of a container's process, which a runtime sends beside descriptors (SCM_RIGHTS) to `linux.seccomp.listenerPath`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerProcessState {
    /// The version of the specification.
    pub oci_version: String,
    /// The names of the descriptors, in their order.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub fds: Vec<String>,
    /// The pid of the process, as the runtime sees it.
    pub pid: i32,
    /// `linux.seccomp.listenerMetadata` of the bundle, as it stands there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// The container.
    pub state: State,
}

impl ContainerProcessState {
    /// Which of the descriptors is the seccomp notify descriptor, counted from 0.
    pub fn seccomp_fd(&self) -> Option<usize> {
        self.fds.iter().position(|name| name == SECCOMP_FD_NAME)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As runc 1.1 sends it; the key order is that of the specification's Go structs.
    const SENT: &str = r#"{"ociVersion":"1.0.2-dev","fds":["seccompFd"],"pid":4711,"metadata":"m","state":{"ociVersion":"1.0.2-dev","id":"web","status":"creating","pid":4711,"bundle":"/b","annotations":{"a":"1"}}}"#;

    #[test]
    fn what_a_runtime_sends_is_read_and_written_the_same() {
        let state: ContainerProcessState = serde_json::from_str(SENT).unwrap();
        assert_eq!(state.state.status, ContainerState::Creating);
        assert_eq!(state.seccomp_fd(), Some(0));
        assert_eq!(serde_json::to_string(&state).unwrap(), SENT);
    }

    #[test]
    fn what_is_empty_is_left_out_and_may_be_null() {
        let short = r#"{"ociVersion":"1.0.2","id":"web","status":"stopped","bundle":"/b"}"#;
        let state: State = serde_json::from_str(short).unwrap();
        assert_eq!((state.pid, state.annotations.len()), (0, 0));
        assert_eq!(serde_json::to_string(&state).unwrap(), short);
        let nulls = format!(
            r#"{{"ociVersion":"1.0.2","fds":null,"pid":1,"state":{},"tomorrow":1}}"#,
            short.replace('}', r#","annotations":null}"#)
        );
        let state: ContainerProcessState = serde_json::from_str(&nulls).unwrap();
        assert_eq!((state.seccomp_fd(), state.metadata.as_str()), (None, ""));
    }

    #[test]
    fn every_word_for_a_state_comes_through() {
        for word in ["creating", "created", "running", "stopped", "paused"] {
            let state: ContainerState = serde_json::from_str(&format!("{word:?}")).unwrap();
            assert_eq!(state.to_string(), word);
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("{word:?}"));
            assert_eq!(matches!(state, ContainerState::Other(_)), word == "paused");
        }
    }

    #[test]
    fn what_lacks_a_key_is_refused() {
        for text in ["{}", r#"{"ociVersion":"1","fds":[],"pid":1}"#, "[]", "1"] {
            assert!(
                serde_json::from_str::<ContainerProcessState>(text).is_err(),
                "{text}"
            );
        }
    }
}
