//! Signals as a descriptor: all are blocked, and read from a signalfd(2) when there is time for them. Both the mask and
//! what is pending survive `execve`.

use std::io;
use std::mem::MaybeUninit;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Blocks every signal that can be blocked.
///
/// # Errors
/// None in practice.
pub fn block_all() -> io::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all()), None)?;
    Ok(())
}

/// Every signal, those too that a C library keeps for its threads and leaves out of sigfillset(3): musl does 34, which anybody may
/// send, and which would end a shim.
fn all() -> SigSet {
    let mut bits = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: a sigset_t is an array of bits, all of which are written here, and each value of which is one.
    unsafe {
        bits.as_mut_ptr().write_bytes(0xff, 1);
        SigSet::from_sigset_t_unchecked(bits.assume_init())
    }
}

/// Unblocks every signal. Async-signal-safe.
///
/// # Errors
/// None in practice.
pub fn unblock_all() -> io::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// Gives every signal its default action, so that what a launcher ignored (or Rust: SIGPIPE) is not ignored in the
/// container too. Past the C library, which keeps 32 and 33 to itself and ignores them in whatever its posix_spawn(3)
/// starts.
pub fn reset_dispositions() {
    // The kernel's struct sigaction has other fields, in another order, on every architecture; all zero, it means
    // SIG_DFL without flags on each, and none has more than 32 bytes.
    let default = [0_u64; 4];
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: the kernel reads one sigaction, at most as long as `default`, and writes nothing; SIG_DFL runs no code
        // of ours. An error means that the signal has no other action (SIGKILL, SIGSTOP).
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
}

/// Gives SIGCHLD its default action. Whoever started this program may have ignored it, for the kernel to collect its own
/// children: it would collect ours too, and their statuses would be lost (wait(2), NOTES).
pub fn keep_children() {
    // SAFETY: SIG_DFL runs no code of ours; signal(2) takes two integers and touches no memory.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// A descriptor that reads every blocked signal, non-blocking.
///
/// # Errors
/// signalfd(2)'s.
pub fn open_signalfd() -> io::Result<SignalFd> {
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    Ok(SignalFd::with_flags(&all(), flags)?)
}
