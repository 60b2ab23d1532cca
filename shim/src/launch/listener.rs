//! A runtime that hands a service manager's sockets on to its container (`LISTEN_FDS`, sd_listen_fds(3)) takes them only when
//! `LISTEN_PID` is its own pid, which nobody knows before it is there. So the shim's executable is run first, which says so and becomes
//! the runtime, in the same process.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use holdfast_common::listen_fds::{LISTEN_FDNAMES, LISTEN_FDS, LISTEN_PID, ListenFds};
use holdfast_common::sys::errno_text;

/// Asks a shim to become the program that follows, with its arguments.
pub const OPTION: &str = "--become-listener";
/// This executable, whatever has become of its name.
const SELF: &str = "/proc/self/exe";

/// The beginning of a command line that becomes the runtime's.
pub fn program(runtime: &OsStr) -> Command {
    let mut command = Command::new(SELF);
    command.arg(OPTION).arg(runtime);
    command
}

/// What such a runtime is told of the sockets.
pub fn tell(command: &mut Command, sockets: &ListenFds) {
    command.env(LISTEN_FDS, sockets.count.to_string());
    if let Some(names) = &sockets.names {
        command.env(LISTEN_FDNAMES, names);
    }
}

/// Becomes the program; returns only when that failed, having said so.
pub fn become_program(words: &[OsString]) -> ExitCode {
    if let Some((program, args)) = words.split_first() {
        let mut command = Command::new(program);
        let pid = std::process::id().to_string();
        let error = command.args(args).env(LISTEN_PID, pid).exec();
        eprintln!(
            "start the oci runtime {}: {}",
            program.display(),
            errno_text(&error)
        );
    }
    ExitCode::FAILURE
}
