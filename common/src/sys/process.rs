//! What a process is to others: a daemon of its own, a subreaper.

use std::io;

use nix::unistd::ForkResult;

/// Becomes the process that orphaned descendants are re-parented to (PR_SET_CHILD_SUBREAPER, prctl(2)). Survives
/// `execve`.
///
/// # Errors
/// The kernel lacks it (Linux < 3.4).
pub fn become_subreaper() -> io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)?;
    Ok(())
}

/// Goes on as a child in a session of its own, while the calling process ends with status 0: nobody's zombie, and out
/// of reach of the launcher's terminal. Only for a process with one thread.
///
/// # Errors
/// fork(2)'s; the caller then goes on as it was.
pub fn detach() -> io::Result<()> {
    // SAFETY: there is one thread, so the child may do whatever the parent could.
    match unsafe { nix::unistd::fork() }? {
        // SAFETY: _exit takes an integer; buffers and destructors are the child's to run.
        ForkResult::Parent { .. } => unsafe { libc::_exit(0) },
        ForkResult::Child => {
            nix::unistd::setsid()?;
            Ok(())
        }
    }
}
