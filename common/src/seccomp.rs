//! What a runtime sends along with a seccomp listener (OCI runtime specification, config-linux.md, "The Container Process
//! State"): which process it is for. The keys are the specification's, exactly.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// The name of the descriptor that is a seccomp listener (specs-go: `SeccompFdName`).
pub const SECCOMP_FD: &str = "seccompFd";

/// The longest message that is taken from a runtime, bytes: annotations are as many as one likes.
pub const MESSAGE_LIMIT: usize = 64 << 10;

/// State of a process of a container, with the names of the descriptors that come with it (specs-go:
/// `ContainerProcessState`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerProcessState {
    /// Version of the specification.
    #[serde(default, rename = "ociVersion")]
    pub version: String,
    /// Names of the descriptors, in their order.
    #[serde(default, deserialize_with = "null_is_default")]
    pub fds: Vec<String>,
    /// The process's pid, as the runtime sees it.
    pub pid: i32,
    /// The bundle's `linux.seccomp.listenerMetadata`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// The container that it is a process of.
    pub state: OciState,
}

/// State of a container (specs-go: `State`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OciState {
    /// Version of the specification.
    #[serde(default, rename = "ociVersion")]
    pub version: String,
    /// The container's id.
    pub id: String,
    /// `creating`, `created`, `running` or `stopped`.
    #[serde(default)]
    pub status: String,
    /// Pid of the container's own process; 0 when the runtime does not say.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pid: i32,
    /// Its bundle.
    #[serde(default)]
    pub bundle: String,
    /// Its annotations.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

fn is_zero(pid: &i32) -> bool {
    *pid == 0
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    // Go writes a nil slice as null.
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// It is of this other container.
    Container(String),
    /// Its container's own process is another.
    Init(i32),
    /// No process has such a pid.
    Pid(i32),
    /// So many names, so many descriptors.
    Descriptors(usize, usize),
    /// So many of its descriptors are named [`SECCOMP_FD`].
    Listeners(usize),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Container(id) => write!(f, "of container {id:?}"),
            Mismatch::Init(pid) => write!(f, "of a container whose process is {pid}"),
            Mismatch::Pid(pid) => write!(f, "of process {pid}, which no process can be"),
            Mismatch::Descriptors(names, fds) => {
                write!(f, "names {names} descriptors, brings {fds}")
            }
            Mismatch::Listeners(count) => {
                write!(f, "has {count} descriptors named {SECCOMP_FD}, not one")
            }
        }
    }
}

impl ContainerProcessState {
    /// Which of `descriptors` descriptors is the listener, if this is of the container `id`, whose own process is `init` (`None`
    /// while that is not known).
    ///
    /// # Errors
    /// It is of another, or does not fit what came with it.
    pub fn check(
        &self,
        id: &[u8],
        init: Option<i32>,
        descriptors: usize,
    ) -> Result<usize, Mismatch> {
        if self.state.id.as_bytes() != id {
            return Err(Mismatch::Container(self.state.id.clone()));
        }
        if init.is_some_and(|init| self.state.pid != 0 && self.state.pid != init) {
            return Err(Mismatch::Init(self.state.pid));
        }
        if self.pid <= 0 {
            return Err(Mismatch::Pid(self.pid));
        }
        if self.fds.len() != descriptors {
            return Err(Mismatch::Descriptors(self.fds.len(), descriptors));
        }
        let is_listener = |name: &&String| *name == SECCOMP_FD;
        match self.fds.iter().filter(is_listener).count() {
            1 => Ok(self
                .fds
                .iter()
                .position(|name| name == SECCOMP_FD)
                .unwrap_or(0)),
            count => Err(Mismatch::Listeners(count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As runc 1.1.5 sends it.
    const RUNC: &str = r#"{"ociVersion":"1.0.2-dev","fds":["seccompFd"],"pid":4711,"metadata":"mine","state":{"ociVersion":"1.0.2-dev","id":"web","status":"creating","pid":4711,"bundle":"/srv/web","annotations":{"a":"b"}}}"#;

    #[test]
    fn the_keys_are_the_specifications() {
        let state: ContainerProcessState = serde_json::from_str(RUNC).unwrap();
        assert_eq!((state.pid, state.metadata.as_str()), (4711, "mine"));
        assert_eq!(serde_json::to_string(&state).unwrap(), RUNC);
        let least = r#"{"ociVersion":"1.0.2","fds":null,"pid":1,"state":{"ociVersion":"1.0.2","id":"web","status":"creating","bundle":"/b"}}"#;
        let state: ContainerProcessState = serde_json::from_str(least).unwrap();
        assert_eq!(
            serde_json::to_string(&state).unwrap(),
            least.replace("null", "[]")
        );
        assert!(serde_json::from_str::<ContainerProcessState>("{}").is_err());
    }

    #[test]
    fn only_what_is_ours_and_complete_is_taken() {
        let runc: ContainerProcessState = serde_json::from_str(RUNC).unwrap();
        assert_eq!(runc.check(b"web", Some(4711), 1), Ok(0));
        assert_eq!(runc.check(b"web", None, 1), Ok(0));
        assert_eq!(
            runc.check(b"db", None, 1),
            Err(Mismatch::Container("web".to_owned()))
        );
        assert_eq!(runc.check(b"web", Some(1), 1), Err(Mismatch::Init(4711)));
        assert_eq!(
            runc.check(b"web", None, 0),
            Err(Mismatch::Descriptors(1, 0))
        );
        let with = |change: fn(&mut ContainerProcessState)| {
            let mut state = runc.clone();
            change(&mut state);
            let count = state.fds.len();
            state.check(b"web", None, count)
        };
        assert_eq!(with(|s| s.pid = 0), Err(Mismatch::Pid(0)));
        assert_eq!(
            with(|s| s.fds = vec!["x".into()]),
            Err(Mismatch::Listeners(0))
        );
        assert_eq!(
            with(|s| s.fds = vec![SECCOMP_FD.into(); 2]),
            Err(Mismatch::Listeners(2))
        );
        assert_eq!(with(|s| s.fds = vec!["x".into(), SECCOMP_FD.into()]), Ok(1));
    }
}
