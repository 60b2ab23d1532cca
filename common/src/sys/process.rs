//! What a process is to others: a daemon of its own, a subreaper, a parent that reaps.

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

/// A child that has ended, and the status word that wait(2) gave for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaped {
    /// The child.
    pub pid: i32,
    /// See [`ExitStatus::from_wait_word`](crate::exit_record::ExitStatus::from_wait_word).
    pub word: i32,
}

/// Whether there is, or ever will be, something to reap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Children {
    /// This one has just been reaped.
    Ended(Reaped),
    /// None has ended, but some live.
    Living,
    /// There is no such child.
    None,
}

/// Reaps one child without waiting: the given one, or, with -1, any. nix's own wrapper fails on a child that a
/// real-time signal ended, when it is reaped already.
pub fn reap(pid: i32) -> Children {
    let mut word = 0;
    // SAFETY: the kernel writes one int, which is exclusively borrowed.
    match unsafe { libc::waitpid(pid, &raw mut word, libc::WNOHANG) } {
        0 => Children::Living,
        ended if ended > 0 => Children::Ended(Reaped { pid: ended, word }),
        // ECHILD; EINTR cannot be with WNOHANG, EINVAL not with this option.
        _ => Children::None,
    }
}

/// Whether this is a child of ours that has ended; it stays to be reaped.
pub fn has_ended(pid: i32) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let found = waitid(Id::Pid(nix::unistd::Pid::from_raw(pid)), flags);
    found.is_ok_and(|status| status != WaitStatus::StillAlive)
}

/// The pids of this process's children (proc_pid_task_tid_children(5)); empty where the kernel does not tell.
pub fn children() -> Vec<i32> {
    let me = std::process::id();
    let list =
        crate::kernel_file::read_text(format!("/proc/{me}/task/{me}/children")).unwrap_or_default();
    list.split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit_record::ExitStatus;

    #[test]
    #[expect(clippy::zombie_processes, reason = "reap() collects it")]
    fn a_child_that_a_real_time_signal_ended_is_reaped_with_its_signal() {
        let script = "kill -s RTMIN $$";
        let child = std::process::Command::new("bash")
            .args(["-c", script])
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let reaped = loop {
            match reap(pid) {
                Children::Ended(reaped) => break reaped,
                Children::Living => std::thread::yield_now(),
                Children::None => panic!("the child was reaped by somebody else"),
            }
        };
        assert!(!has_ended(pid), "it was reaped");
        let signal = u8::try_from(libc::SIGRTMIN()).unwrap();
        let status = ExitStatus::from_wait_word(reaped.word);
        assert_eq!(
            status,
            Some(ExitStatus::Signal {
                signal,
                core_dumped: false
            })
        );
        assert_eq!(reap(pid), Children::None);
    }
}
