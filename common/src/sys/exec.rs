//! Starting programs: a runtime that inherits nothing of the shim's, and the shim itself again, in place.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::fd::set_cloexec;
use super::signal;

/// Lets a command start with no signal blocked, whatever this process blocks.
pub fn unblock_signals(command: &mut Command) -> &mut Command {
    let unblock = || signal::unblock_all();
    // SAFETY: between fork and exec the closure makes one async-signal-safe call (sigprocmask) and allocates nothing.
    unsafe { command.pre_exec(unblock) }
}

/// Executes a program in place of this one, with the given descriptors left open. Returns only when that failed, and
/// then everything is as before.
pub fn replace(executable: &Path, args: &[&OsStr], keep: &[BorrowedFd<'_>]) -> io::Error {
    let attempt = || -> io::Result<std::convert::Infallible> {
        let path = c_string(executable.as_os_str())?;
        let args = args
            .iter()
            .map(|arg| c_string(arg))
            .collect::<io::Result<Vec<_>>>()?;
        for fd in keep {
            set_cloexec(*fd, false)?;
        }
        Ok(nix::unistd::execv(&path, &args)?)
    };
    let Err(error) = attempt();
    for fd in keep {
        // They were open a moment ago; nothing else can fail here.
        let _ = set_cloexec(*fd, true);
    }
    error
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))
}
