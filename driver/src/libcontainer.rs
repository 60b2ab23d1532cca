//! runc's own words for what a container is (`libcontainer.Status`), with their numbers, for programs that were written against
//! its library.

use std::fmt;

use crate::state::Status;

/// What a container is now, in the words of libcontainer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum LibcontainerStatus {
    /// It exists and has not been run yet.
    Created = 0,
    /// It exists and runs.
    Running = 1,
    /// It is in the process of being paused.
    Pausing = 2,
    /// All its processes are paused.
    Paused = 3,
    /// It has no process, created or running.
    Stopped = 4,
}

impl LibcontainerStatus {
    /// The status of a number; `None` for one that libcontainer calls "unknown".
    pub fn from_number(number: i32) -> Option<Self> {
        use LibcontainerStatus::{Created, Paused, Pausing, Running, Stopped};
        [Created, Running, Pausing, Paused, Stopped]
            .into_iter()
            .find(|status| status.number() == number)
    }

    /// Its number.
    pub fn number(self) -> i32 {
        self as i32
    }
}

/// As `Status.String()`.
impl fmt::Display for LibcontainerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Status::from(*self), f)
    }
}

impl From<LibcontainerStatus> for Status {
    fn from(status: LibcontainerStatus) -> Self {
        match status {
            LibcontainerStatus::Created => Status::Created,
            LibcontainerStatus::Running => Status::Running,
            LibcontainerStatus::Pausing => Status::Pausing,
            LibcontainerStatus::Paused => Status::Paused,
            LibcontainerStatus::Stopped => Status::Stopped,
        }
    }
}

impl Status {
    /// In libcontainer's words, which has none for a container that is being created: for it there is none yet.
    pub fn libcontainer(self) -> Option<LibcontainerStatus> {
        match self {
            Status::Creating => None,
            Status::Created => Some(LibcontainerStatus::Created),
            Status::Running => Some(LibcontainerStatus::Running),
            Status::Pausing => Some(LibcontainerStatus::Pausing),
            Status::Paused => Some(LibcontainerStatus::Paused),
            Status::Stopped => Some(LibcontainerStatus::Stopped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_are_libcontainers() {
        let words = ["created", "running", "pausing", "paused", "stopped"];
        for (number, word) in (0..).zip(words) {
            let status = LibcontainerStatus::from_number(number).unwrap();
            assert_eq!(
                (status.number(), status.to_string()),
                (number, word.to_owned())
            );
            assert_eq!(Status::from(status).libcontainer(), Some(status));
        }
        assert_eq!(LibcontainerStatus::from_number(5), None);
        assert_eq!(LibcontainerStatus::from_number(-1), None);
        assert_eq!(Status::Creating.libcontainer(), None);
    }
}
