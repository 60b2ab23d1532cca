//! Signals as a descriptor: all are blocked, and read from a signalfd(2) when there is time for them. Both the mask and
//! what is pending survive `execve`.

use std::io;

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Blocks every signal that can be blocked.
///
/// # Errors
/// None in practice.
pub fn block_all() -> io::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    Ok(())
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
/// container too.
pub fn reset_dispositions() {
    for signal in Signal::iterator() {
        if matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
            continue;
        }
        // SAFETY: SIG_DFL runs no code of ours. An error would mean that the signal does not exist: nothing to reset.
        let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    }
    for number in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        // SAFETY: as above, for the real-time signals, which nix does not name.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

/// A descriptor that reads every blocked signal, non-blocking.
///
/// # Errors
/// signalfd(2)'s.
pub fn open_signalfd() -> io::Result<SignalFd> {
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    Ok(SignalFd::with_flags(&SigSet::all(), flags)?)
}
