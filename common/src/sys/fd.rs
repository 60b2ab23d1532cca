//! Descriptors that came from outside, and the ones that should not have come.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

/// Takes over a descriptor that whoever executed this program left open under an agreed number, and makes it
/// close-on-exec. For the start of a program only; a number may be taken once.
///
/// # Errors
/// No descriptor has this number.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the number is not negative; if it is not open, the fcntl below says so and the forget keeps Drop from
    // closing it. That nobody else owns it is the caller's promise: it was handed over in argv.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    match set_cloexec(fd.as_fd(), true) {
        Ok(()) => Ok(fd),
        Err(e) => {
            std::mem::forget(fd);
            Err(e)
        }
    }
}

/// As [`take`], for one that came in the place of a standard stream, which becomes `/dev/null`; the descriptor gets another number.
///
/// # Errors
/// `/dev/null` cannot be opened, or there are no more descriptors to be had.
pub fn take_standard(number: RawFd) -> io::Result<OwnedFd> {
    let fd = duplicate_from(std::mem::ManuallyDrop::new(take(number)?).as_fd(), 3)?;
    put_null(&[number])?;
    Ok(fd)
}

/// Makes a descriptor survive `execve`, or not.
///
/// # Errors
/// The descriptor is not open.
pub fn set_cloexec(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let flags = if on {
        FdFlag::FD_CLOEXEC
    } else {
        FdFlag::empty()
    };
    fcntl(fd, FcntlArg::F_SETFD(flags))?;
    Ok(())
}

/// Whether a descriptor of this number is open and would survive `execve`, as everything that we were started with has,
/// and nothing that Rust's standard library opens.
pub fn is_inheritable(number: RawFd) -> bool {
    // SAFETY: takes two integers and touches no memory.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

/// A duplicate whose number is at least `lowest`, out of the way of numbers that are spoken for.
///
/// # Errors
/// `EMFILE`, or `EINVAL` when no number is that high.
pub fn duplicate_from(fd: BorrowedFd<'_>, lowest: RawFd) -> io::Result<OwnedFd> {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(lowest))?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Switches O_NONBLOCK of an open file description: every descriptor that shares it is affected.
///
/// # Errors
/// The system's.
pub fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let mut flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    flags.set(OFlag::O_NONBLOCK, on);
    fcntl(fd, FcntlArg::F_SETFL(flags))?;
    Ok(())
}

/// Closes every descriptor above 2 that is not in `keep`. For the very start of a program, before anything owns one.
///
/// # Errors
/// The kernel lacks close_range(2) (Linux < 5.9).
pub fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|&fd| u32::try_from(fd).ok())
        .filter(|&fd| fd > 2)
        .collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: takes three integers and touches no memory. Nothing in this process owns these numbers yet: the caller
    // runs before the first descriptor is opened.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Puts `/dev/null` in the place of descriptors 0, 1 and 2, so that nothing of the launcher's is held open.
///
/// # Errors
/// `/dev/null` cannot be opened.
pub fn null_stdio() -> io::Result<()> {
    put_null(&[0, 1, 2])
}

fn put_null(standard: &[RawFd]) -> io::Result<()> {
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    for &number in standard {
        // SAFETY: dup2 takes two integers; `null` is open, and 0 to 2 are owned by nobody (std borrows them per call).
        if unsafe { libc::dup2(null.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    if null.as_raw_fd() <= 2 {
        // It has taken the place of a closed one: leave it there.
        std::mem::forget(null);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_nobody_opened_is_refused() {
        assert!(take(-1).is_err());
        assert!(take(1_000_000).is_err());
        assert!(!is_inheritable(-1) && !is_inheritable(1_000_000));
    }

    #[test]
    fn a_duplicate_is_out_of_the_way() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let high = duplicate_from(null.as_fd(), 100).unwrap();
        assert!(high.as_raw_fd() >= 100 && !is_inheritable(high.as_raw_fd()));
        set_cloexec(high.as_fd(), false).unwrap();
        assert!(is_inheritable(high.as_raw_fd()));
    }
}
