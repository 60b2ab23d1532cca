//! What a process is to others: a subreaper, a parent that reaps.

use std::io;

/// Becomes the process that orphaned descendants are re-parented to (PR_SET_CHILD_SUBREAPER, prctl(2)). Survives
/// `execve`.
///
/// # Errors
/// The kernel lacks it (Linux < 3.4).
pub fn become_subreaper() -> io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)?;
    Ok(())
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

/// How a child of ours has ended, the given one, or, with -1, any; it stays to be reaped. `None` while it lives, and where it is no
/// child of ours.
pub fn peek(pid: i32) -> Option<Reaped> {
    let (kind, id) = match libc::id_t::try_from(pid) {
        Ok(id) => (libc::P_PID, id),
        Err(_) => (libc::P_ALL, 0),
    };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all zeros are a siginfo_t; the kernel leaves them where there is nothing to tell.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one siginfo_t, which is exclusively borrowed.
    if unsafe { libc::waitid(kind, id, &raw mut info, options) } != 0 {
        return None;
    }
    // SAFETY: waitid(2) fills in SIGCHLD's fields, or has left zeros there.
    let (ended, status) = unsafe { (info.si_pid(), info.si_status()) };
    let word = match info.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_KILLED => status & 0x7f,
        libc::CLD_DUMPED => status & 0x7f | 0x80,
        _ => return None,
    };
    Some(Reaped { pid: ended, word })
}

/// Whether this is a child of ours that has ended; it stays to be reaped.
pub fn has_ended(pid: i32) -> bool {
    peek(pid).is_some()
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

    const REAL_TIME: u8 = 40;

    #[test]
    #[expect(clippy::zombie_processes, reason = "reap() collects it")]
    fn a_child_that_a_real_time_signal_ended_is_reaped_with_its_signal() {
        // By its number: C libraries keep some of them for themselves, and not all as many.
        let child = std::process::Command::new("bash")
            .args(["-c", &format!("kill -{REAL_TIME} $$")])
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let peeked = loop {
            match peek(pid) {
                Some(peeked) => break peeked,
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(peek(pid), Some(peeked), "it stays");
        let Children::Ended(reaped) = reap(pid) else {
            panic!("the child was reaped by somebody else");
        };
        assert_eq!(reaped, peeked);
        assert!(!has_ended(pid), "it was reaped");
        let status = ExitStatus::from_wait_word(reaped.word);
        assert_eq!(
            status,
            Some(ExitStatus::Signal {
                signal: REAL_TIME,
                core_dumped: false
            })
        );
        assert_eq!(reap(pid), Children::None);
    }
}
