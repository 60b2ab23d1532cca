//! Which of a runtime's refusals speak of the command that it was to run. Runtimes say so in words alone: there is no code for it in
//! the specification, and docker too looks for these (moby, `daemon/start_linux.go` and before it
//! `translateContainerdStartErr`). Every runtime's own words for it stand here and nowhere else.

/// How a message speaks of the command.
const OF_COMMAND: &[&str] = &[
    // runc: `exec: "nope": executable file not found in $PATH`, `exec: "/etc/passwd": permission denied`.
    "exec: \"",
    // crun: "executable file `nope` not found in $PATH: No such file or directory".
    "executable file `",
    // crun, for whatever else: `open executable: Permission denied`.
    "open executable: ",
    // crun, once it has found it: "exec container process `nope`: Exec format error".
    "exec container process",
    // youki: `executable 'nope' not found in $PATH`, `executable '/etc' at path '"/etc"' does not have correct permissions`.
    "executable '",
];

const NOT_FOUND: &[&str] = &[
    "executable file not found",
    "no such file or directory",
    "not found in $path",
];

const NOT_EXECUTABLE: &[&str] = &[
    "permission denied",
    "is a directory",
    "not a directory",
    "exec format error",
    "does not have correct permissions",
    // crun of a directory.
    "open executable: operation not permitted",
];

/// What is wrong with the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandFailure {
    /// It is not there (docker: exit code 127).
    NotFound,
    /// It is there, and cannot be executed (docker: exit code 126).
    NotExecutable,
}

impl CommandFailure {
    /// Told from a runtime's message; `None` when that speaks of something else.
    pub fn told_in(message: &str) -> Option<Self> {
        let message = message.to_lowercase();
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
        match () {
            () if !says(OF_COMMAND) => None,
            () if says(NOT_FOUND) => Some(Self::NotFound),
            () if says(NOT_EXECUTABLE) => Some(Self::NotExecutable),
            () => None,
        }
    }
}
