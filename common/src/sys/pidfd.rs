//! Processes as descriptors (pidfd_open(2)): signals that cannot hit a stranger, and exit statuses that anybody who
//! held the descriptor can read (`PIDFD_GET_INFO`, Linux ≥ 6.15).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Opens a descriptor for the process that has this pid now.
///
/// # Errors
/// `ESRCH` when there is none.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers and touches no memory.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = match RawFd::try_from(result) {
        Ok(fd) if fd >= 0 => fd,
        _ => {
            let error = io::Error::last_os_error();
            return Err(match error.raw_os_error() {
                // The number is still a process group's, a session's or a thread's, and no process's any more. Kernels before
                // 6.15 say EINVAL, as for a number that can be nobody's; newer ones ENOENT of a thread.
                Some(libc::EINVAL | libc::ENOENT) if pid > 0 => {
                    io::Error::from_raw_os_error(libc::ESRCH)
                }
                _ => error,
            });
        }
    };
    // SAFETY: the kernel has just made this descriptor (close-on-exec) for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the process behind a pidfd.
///
/// # Errors
/// `ESRCH` when it has been reaped, `EPERM`, `EINVAL`.
pub fn send_signal(fd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    send(fd, signal, 0)
}

/// Sends a signal to the process group that the process behind a pidfd leads.
///
/// # Errors
/// `ESRCH` when it leads none; `EINVAL` on kernels that cannot (Linux < 6.9), `EPERM`.
pub fn send_signal_to_group(fd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    /// `PIDFD_SIGNAL_PROCESS_GROUP` of <linux/pidfd.h>.
    const PROCESS_GROUP: u32 = 1 << 2;
    send(fd, signal, PROCESS_GROUP)
}

fn send(fd: BorrowedFd<'_>, signal: i32, flags: u32) -> io::Result<()> {
    // SAFETY: a null siginfo means "as kill(2) would send it"; no memory is touched.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            flags,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether the process behind a pidfd has ended, reaped or not.
///
/// # Errors
/// poll(2)'s.
pub fn has_ended(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(ready) => return Ok(ready > 0),
            Err(nix::Error::EINTR) => (),
            Err(e) => return Err(e.into()),
        }
    }
}

/// `struct pidfd_info` of <linux/pidfd.h>, its first published version (64 bytes).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroupid: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ruid: u32,
    rgid: u32,
    euid: u32,
    egid: u32,
    suid: u32,
    sgid: u32,
    fsuid: u32,
    fsgid: u32,
    exit_code: i32,
}

const PIDFD_INFO_EXIT: u64 = 1 << 3;

nix::ioctl_readwrite!(
    /// `PIDFD_GET_INFO`: `_IOWR(0xFF, 11, struct pidfd_info)`.
    pidfd_get_info,
    0xFF,
    11,
    PidfdInfo
);

/// The wait(2) status word of a process that has ended and been reaped, by whomever; `None` while it has not, and on
/// kernels that keep none (Linux < 6.15).
///
/// # Errors
/// The system's, other than not knowing the question.
pub fn exit_word(fd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let mut info = PidfdInfo {
        mask: PIDFD_INFO_EXIT,
        ..PidfdInfo::default()
    };
    // SAFETY: the kernel reads and writes at most the 64 bytes that the request's number says, which `info` has.
    match unsafe { pidfd_get_info(fd.as_raw_fd(), &raw mut info) } {
        Ok(_) => Ok((info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)),
        // 6.13 and 6.14 know the request but not the answer for a reaped process; older ones know neither.
        Err(nix::Error::ENOTTY | nix::Error::EINVAL | nix::Error::ESRCH) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Whether the kernel answers `PIDFD_GET_INFO` (Linux ≥ 6.13), as far as this process may ask.
pub fn answers_get_info() -> bool {
    let Some(own) = i32::try_from(std::process::id())
        .ok()
        .and_then(|pid| open(pid).ok())
    else {
        return false;
    };
    let mut info = PidfdInfo::default();
    // SAFETY: as in `exit_word`.
    unsafe { pidfd_get_info(own.as_raw_fd(), &raw mut info) }.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit_record::ExitStatus;
    use std::io::BufRead;
    use std::os::fd::AsFd;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[test]
    fn a_number_that_only_a_group_still_has_is_no_process() {
        // The shell leads a group, and leaves a member behind, which holds its stdout.
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 1000 & echo $!"])
            .stdout(std::process::Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut member = String::new();
        let stdout = shell.stdout.take().unwrap();
        io::BufReader::new(stdout).read_line(&mut member).unwrap();
        let leader = i32::try_from(shell.id()).unwrap();
        shell.wait().unwrap();

        let opened = open(leader);
        let member = open(member.trim().parse().unwrap()).unwrap();
        assert!(!has_ended(member.as_fd()).unwrap());
        send_signal(member.as_fd(), libc::SIGKILL).unwrap();
        assert_eq!(opened.unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn a_signal_reaches_the_process_and_its_end_can_be_read_by_anyone_who_held_it() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let fd = open(i32::try_from(child.id()).unwrap()).unwrap();
        assert_eq!(exit_word(fd.as_fd()).unwrap(), None);
        send_signal(fd.as_fd(), libc::SIGTERM).unwrap();
        child.wait().unwrap();
        assert!(has_ended(fd.as_fd()).unwrap());
        let release = nix::sys::utsname::uname()
            .unwrap()
            .release()
            .to_string_lossy()
            .into_owned();
        let mut numbers = release
            .split(|c: char| !c.is_ascii_digit())
            .map_while(|part| part.parse::<u32>().ok());
        let version = (numbers.next().unwrap(), numbers.next().unwrap());
        let expected = (version >= (6, 15)).then_some(ExitStatus::Signal {
            signal: 15,
            core_dumped: false,
        });
        assert_eq!(
            exit_word(fd.as_fd())
                .unwrap()
                .and_then(ExitStatus::from_wait_word),
            expected
        );
        assert_eq!(
            send_signal(fd.as_fd(), libc::SIGTERM)
                .unwrap_err()
                .raw_os_error(),
            Some(libc::ESRCH)
        );
    }
}
