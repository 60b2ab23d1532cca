//! Descriptors that came from outside, and the ones that should not have come.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, FcntlArg, FdFlag, OFlag, fcntl, openat};
use nix::sys::stat::Mode;

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

/// Opens a file, close-on-exec; `flags` and `mode` as for open(2). By openat(2): musl's open(2) sets close-on-exec once more, by a second
/// call, for kernels that did not know the flag.
///
/// # Errors
/// open(2)'s.
pub fn open(path: &Path, flags: i32, mode: u32) -> io::Result<File> {
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(mode);
    loop {
        match openat(AT_FDCWD, path, flags, mode) {
            Err(nix::Error::EINTR) => (),
            opened => return Ok(opened?.into()),
        }
    }
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
    close_between(&in_order(keep))
}

fn in_order(keep: &[RawFd]) -> Vec<u32> {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|&fd| u32::try_from(fd).ok())
        .filter(|&fd| fd > 2)
        .collect();
    keep.sort_unstable();
    keep
}

/// Allocates nothing.
fn close_between(keep: &[u32]) -> io::Result<()> {
    let mut first = 3;
    for &fd in keep {
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

/// Closes descriptors that a stranger sent, without ever waiting for it. Who closes a socket last may have to wait until its peer
/// has taken what was sent (`SO_LINGER`), for as long as the sender chose; what else there may be is the sender's choice too.
/// So that is a child's to do, as it ends, when nothing lingers; a pipe's end, which is what is sent as a rule, costs no
/// child. Only for a process with one thread, which has to reap the child.
///
/// A file may let even that wait (a FUSE file system's, whose server is a stranger too): a pidfd of the child is returned, so that
/// its caller can see to it that there are not many of them.
pub fn let_go(fds: Vec<OwnedFd>) -> Option<OwnedFd> {
    let is_pipe = |fd: &OwnedFd| {
        let stat = nix::sys::stat::fstat(fd);
        stat.is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFIFO)
    };
    if fds.iter().all(is_pipe) {
        return None;
    }
    // No room for two more: nothing better can be done than to close them here.
    let (wait, go) = nix::unistd::pipe2(OFlag::O_CLOEXEC).ok()?;
    let theirs = fds.iter().chain([&wait]).map(AsRawFd::as_raw_fd);
    let keep = in_order(&theirs.collect::<Vec<_>>());
    // SAFETY: the child makes system calls, and allocates and frees nothing.
    match unsafe { nix::unistd::fork() } {
        Ok(nix::unistd::ForkResult::Child) => {
            // Neither our locks nor what would tell it that we have gone on. Its table is a copy.
            let _ = close_between(&keep);
            // Until the parent has closed all of its own: whoever comes last is the one who waits.
            let _ = nix::unistd::read(&wait, &mut [0]);
            // SAFETY: takes an integer; nothing of the parent's is to be run at this end.
            unsafe { libc::_exit(0) }
        }
        Ok(nix::unistd::ForkResult::Parent { child }) => {
            drop(fds);
            drop((wait, go));
            super::pidfd::open(child.as_raw()).ok()
        }
        Err(_) => None,
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
    fn nobody_waits_for_what_a_stranger_sent_to_be_closed() {
        use std::io::Write;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        sender.set_nonblocking(true).unwrap();
        // More than anybody will ever read.
        while sender.write(&[0; 65536]).is_ok() {}
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 60,
        };
        nix::sys::socket::setsockopt(&sender, nix::sys::socket::sockopt::Linger, &linger).unwrap();
        let before = std::time::Instant::now();
        let child = let_go(vec![sender.into()]).unwrap();
        assert!(before.elapsed() < std::time::Duration::from_secs(30));
        nix::sys::wait::waitid(
            nix::sys::wait::Id::PIDFd(child.as_fd()),
            nix::sys::wait::WaitPidFlag::WEXITED,
        )
        .unwrap();
        let (_, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        assert!(let_go(vec![write]).is_none());
        assert!(let_go(Vec::new()).is_none());
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
