//! Whether what a runtime sends along with a seccomp listener is ours, and complete.

use std::fmt;

use crate::oci::{ContainerProcessState, SECCOMP_FD_NAME};

/// The longest message that is taken from a runtime, bytes: annotations are as many as one likes.
pub const MESSAGE_LIMIT: usize = 64 << 10;

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
    /// So many of its descriptors are named [`SECCOMP_FD_NAME`].
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
                write!(
                    f,
                    "has {count} descriptors named {SECCOMP_FD_NAME}, not one"
                )
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
        let is_listener = |name: &&String| *name == SECCOMP_FD_NAME;
        match self.fds.iter().filter(is_listener).count() {
            1 => Ok(self
                .fds
                .iter()
                .position(|name| name == SECCOMP_FD_NAME)
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
            with(|s| s.fds = vec![SECCOMP_FD_NAME.into(); 2]),
            Err(Mismatch::Listeners(2))
        );
        assert_eq!(
            with(|s| s.fds = vec!["x".into(), SECCOMP_FD_NAME.into()]),
            Ok(1)
        );
    }
}
