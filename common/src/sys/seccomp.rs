//! Seccomp's user notifications: system calls that wait for another process's answer (seccomp_unotify(2)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A system call that waits for its answer (`struct seccomp_notif`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification {
    /// The kernel's number of this very call, for the answer.
    pub id: u64,
    /// The calling thread, as this process's pid namespace numbers it; 0 when it is in none that can be seen from here.
    pub pid: u32,
    /// The system call's number, on `arch`.
    pub call: i32,
    /// `AUDIT_ARCH_*` (linux/audit.h).
    pub arch: u32,
    /// Where the thread stands, in its own memory.
    pub instruction_pointer: u64,
    /// The call's arguments, as the registers hold them: what points points into the thread's memory.
    pub args: [u64; 6],
}

/// The answer to a system call that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It was done, and this is what it returns.
    Return(i64),
    /// It failed with this `errno`, a positive number.
    Fail(i32),
    /// The kernel does it as if there were no filter. Nothing that was decided by looking at memory that the thread, or another
    /// of its process, can change in the meantime is enforced by this.
    Continue,
}

/// More than the kernel writes of a notification, whose size is its own to choose (`SECCOMP_GET_NOTIF_SIZES`).
#[repr(C)]
union Space {
    notification: libc::seccomp_notif,
    bytes: [u64; 64],
}

/// Takes the next system call that waits for an answer; `None` when it has gone before it could be taken. Waits while there
/// is none: whoever must not asks poll(2) for `POLLIN` first.
///
/// # Errors
/// `ENOTTY` or `EINVAL` when it is no listener; `Unsupported` on a kernel whose notifications are larger than anything known.
pub fn receive(listener: BorrowedFd<'_>) -> io::Result<Option<Notification>> {
    check_sizes()?;
    // All bytes zero, as the kernel demands.
    let mut space = Space { bytes: [0; 64] };
    // SAFETY: the kernel writes one notification of its own size, which `check_sizes` has found not to be larger than the
    // space, which is exclusively borrowed.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_RECV,
            &raw mut space,
        )
    };
    if result < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENOENT | libc::EINTR) => Ok(None),
            _ => Err(error),
        };
    }
    // SAFETY: every byte of the union is initialised, and any bytes are a notification: it has integers alone.
    let libc::seccomp_notif { id, pid, data, .. } = unsafe { space.notification };
    Ok(Some(Notification {
        id,
        pid,
        call: data.nr,
        arch: data.arch,
        instruction_pointer: data.instruction_pointer,
        args: data.args,
    }))
}

/// Answers a system call; whether it still waited for one: not when it was interrupted, killed, or answered already.
///
/// # Errors
/// `EINVAL` for a return value that the kernel cannot give.
pub fn answer(listener: BorrowedFd<'_>, id: u64, answer: Answer) -> io::Result<bool> {
    let mut response = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: 0,
        flags: 0,
    };
    match answer {
        Answer::Return(value) => response.val = value,
        Answer::Fail(errno) => response.error = -errno.saturating_abs(),
        Answer::Continue => response.flags = CONTINUE,
    }
    // SAFETY: the kernel reads one response, which lives on this stack.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            &raw mut response,
        )
    };
    still_there(result)
}

/// Whether a system call still waits for its answer. What was read of the thread by its number before this said yes was read of
/// the thread that is meant, and of no other that was given its number since.
///
/// # Errors
/// The system's.
pub fn is_waiting(listener: BorrowedFd<'_>, id: u64) -> io::Result<bool> {
    // SAFETY: the kernel reads one number, which lives on this stack.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
            &raw const id,
        )
    };
    still_there(result)
}

/// Whether a descriptor is a seccomp listener, by the name that the kernel gives it: asking it with an ioctl could make
/// something else do who knows what.
pub fn is_listener(fd: BorrowedFd<'_>) -> bool {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
        .is_ok_and(|name| name.as_os_str() == "anon_inode:seccomp notify")
}

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`, of the type that the structure has.
const CONTINUE: u32 = 1;
const _: () = assert!(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE == 1);

fn still_there(result: libc::c_int) -> io::Result<bool> {
    if result >= 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // EINPROGRESS: answered, but its thread has not left yet.
        Some(libc::ENOENT | libc::EINPROGRESS) => Ok(false),
        _ => Err(error),
    }
}

fn check_sizes() -> io::Result<()> {
    let mut sizes = libc::seccomp_notif_sizes {
        seccomp_notif: 0,
        seccomp_notif_resp: 0,
        seccomp_data: 0,
    };
    // SAFETY: the kernel writes three numbers into `sizes`, which is exclusively borrowed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_NOTIF_SIZES,
            0,
            &raw mut sizes,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if usize::from(sizes.seccomp_notif) > size_of::<Space>() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn this_kernel_has_notifications_and_dev_null_is_no_listener() {
        check_sizes().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_listener(null.as_fd()));
        assert!(receive(null.as_fd()).is_err());
        assert!(answer(null.as_fd(), 1, Answer::Continue).is_err());
        assert!(is_waiting(null.as_fd(), 1).is_err());
    }
}
