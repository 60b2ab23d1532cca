//! Starting programs: a runtime that inherits nothing of the shim's, and the shim itself again, in place.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
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

/// Lets a command be killed when this process, which has one thread, dies (PR_SET_PDEATHSIG, prctl(2)).
pub fn die_with_us(command: &mut Command) -> &mut Command {
    let parent = nix::unistd::getpid();
    let die = move || {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        // It may have died before that.
        if nix::unistd::getppid() == parent {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::ESRCH))
        }
    };
    // SAFETY: between fork and exec the closure makes async-signal-safe calls (prctl, getppid) and allocates nothing.
    unsafe { command.pre_exec(die) }
}

/// Lets a command inherit a descriptor, under the number that it has here, although it is close-on-exec here. It lives as long as the
/// command. What starts so is forked, not spawned: it costs a process with much memory milliseconds.
pub fn pass_on(command: &mut Command, fd: OwnedFd) -> &mut Command {
    let pass = move || {
        // SAFETY: takes three integers and touches no memory. The child is a copy: its flags are nobody else's.
        match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec the closure makes one async-signal-safe call (fcntl) and allocates nothing.
    unsafe { command.pre_exec(pass) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_descriptor_that_is_passed_on_is_open_in_the_program_and_no_other_is() {
        let passed = File::open("/dev/null").unwrap();
        let other = File::open("/dev/null").unwrap();
        let script = format!(
            "test -e /proc/self/fd/{} && ! test -e /proc/self/fd/{}",
            passed.as_raw_fd(),
            other.as_raw_fd()
        );
        let mut test = Command::new("sh");
        pass_on(test.args(["-c", &script]), passed.into());
        assert!(test.status().unwrap().success());
    }
}
