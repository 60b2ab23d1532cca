//! What can stop a shim from doing its part, with operation, path and cause.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use holdfast_common::ready::Cause;
use holdfast_common::request::RequestError;
use holdfast_common::state_file::StateFileError;
use holdfast_common::sys::errno_text;

/// Why a launch, or a step of one, failed.
#[derive(Debug)]
pub enum Error {
    /// A system call.
    Io {
        operation: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
    /// A state file.
    State(StateFileError),
    /// The command line.
    Request(RequestError),
    /// The runtime refused; these are its own words.
    Runtime(String),
    /// The runtime did not finish in time.
    Timeout { runtime: String, after: Duration },
    /// The container or process exists already.
    Exists(PathBuf),
    /// The launcher went away before anything had begun.
    LauncherGone,
    /// Another shim looks after this directory.
    Locked(PathBuf),
    /// The runtime created a container that is to speak to a service manager, and showed it no socket.
    NoNotifySocket(PathBuf),
    /// The runtime created a process with a terminal, and sent none.
    NoTerminal,
    /// A stream of a process with a terminal cannot be the launcher's own descriptor.
    InheritedTerminal,
}

impl Error {
    /// For `map_err`: a system call that failed, and on what.
    pub fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |cause| Error::Io {
            operation,
            path: path.into(),
            cause,
        }
    }

    /// Whose failure this is, for the launcher.
    pub fn cause(&self) -> Cause {
        match self {
            Error::Runtime(_) => Cause::Runtime,
            Error::Timeout { .. } => Cause::Timeout,
            Error::Exists(_) | Error::Locked(_) => Cause::Exists,
            Error::LauncherGone => Cause::Launcher,
            Error::Io { .. }
            | Error::State(_)
            | Error::Request(_)
            | Error::NoNotifySocket(_)
            | Error::NoTerminal
            | Error::InheritedTerminal => Cause::Shim,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io {
                operation,
                path,
                cause,
            } => {
                write!(f, "{operation} {}: {}", path.display(), errno_text(cause))
            }
            Error::State(e) => write!(f, "{e}"),
            Error::Request(e) => write!(f, "{e}"),
            Error::Runtime(message) => f.write_str(message),
            Error::Timeout { runtime, after } => {
                write!(
                    f,
                    "{runtime} did not finish within {} s and was killed",
                    after.as_secs()
                )
            }
            Error::Exists(path) => write!(f, "{} exists already", path.display()),
            Error::LauncherGone => f.write_str("the launcher went away"),
            Error::Locked(path) => write!(f, "another shim looks after {}", path.display()),
            Error::NoNotifySocket(runtime) => write!(
                f,
                "{} gave the container no notify socket: it does not know NOTIFY_SOCKET",
                runtime.display()
            ),
            Error::NoTerminal => f.write_str("the runtime sent no terminal to the console socket"),
            Error::InheritedTerminal => {
                f.write_str("a process with a terminal cannot inherit its stdio")
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<StateFileError> for Error {
    fn from(e: StateFileError) -> Self {
        Error::State(e)
    }
}

impl From<RequestError> for Error {
    fn from(e: RequestError) -> Self {
        Error::Request(e)
    }
}
