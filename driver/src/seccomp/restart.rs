//! Calls that wait for an agent that is no more begin anew. The kernel tells of a call once; an agent that was killed between
//! hearing of it and answering takes it along, for as long as somebody else keeps the listener open. What makes the kernel tell
//! of it again is an interruption of the waiting thread: the call has not begun, so it is made again (signal(7), "restarted"),
//! and the thread sees nothing of it.
//!
//! The interruption is a tracer's (`PTRACE_INTERRUPT`), which is no signal that a program might handle, and no freezing, which
//! would have to be taken back: a tracer that ends, or is killed, lets go of all that it traced. So it is a thread that does
//! nothing else and ends at once; it waits for no thread to stop, and one that does not (a filter may have its threads wait so
//! that only SIGKILL ends it) holds nobody up.

use std::fs;

use nix::sys::ptrace::{self, Options};
use nix::unistd::Pid;

/// Has the waiting calls of a container made again; how many threads were interrupted. Only threads that wait for an agent are
/// touched. The container is known by the first of these processes that is still there.
pub(super) fn waiting_calls(pids: &[i32]) -> usize {
    let threads = waiting_threads(pids);
    let interrupt = || {
        let interrupted = threads.iter().filter(|&&thread| interrupt(thread)).count();
        if interrupted < threads.len() {
            log::warn!(
                "{} of {} threads that wait for another seccomp agent cannot be traced: they go on waiting",
                threads.len() - interrupted,
                threads.len()
            );
        }
        interrupted
    };
    std::thread::scope(|scope| scope.spawn(interrupt).join()).unwrap_or(0)
}

fn interrupt(thread: i32) -> bool {
    let thread = Pid::from_raw(thread);
    ptrace::seize(thread, Options::empty())
        .and_then(|()| ptrace::interrupt(thread))
        .is_ok()
}

/// The threads that wait for an agent, of the container that a process is in: of its cgroup, and of those below.
fn waiting_threads(pids: &[i32]) -> Vec<i32> {
    let Some(cgroups) = pids.iter().find_map(|&pid| cgroups(pid)) else {
        return Vec::new();
    };
    numbers("/proc")
        .filter(|&pid| self::cgroups(pid).is_some_and(|theirs| is_within(&theirs, &cgroups)))
        .flat_map(|pid| numbers(&format!("/proc/{pid}/task")))
        .filter(|&thread| {
            // The function of the kernel's that a thread sleeps in (proc_pid_wchan(5)); inlined, its caller's name.
            fs::read_to_string(format!("/proc/{thread}/wchan"))
                .is_ok_and(|function| function.contains("seccomp"))
        })
        .collect()
}

fn numbers(dir: &str) -> impl Iterator<Item = i32> + use<> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn cgroups(pid: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()
}

/// Whether a process with these memberships is in the cgroups of another, or below them, in every hierarchy in which that one is
/// in any (cgroups(7), "/proc/[pid]/cgroup").
fn is_within(theirs: &str, cgroups: &str) -> bool {
    let mut any = false;
    for line in cgroups.lines() {
        let Some((hierarchy, path)) = line.rsplit_once(':').filter(|(_, path)| *path != "/") else {
            continue;
        };
        any = true;
        let below = theirs.lines().any(|line| {
            line.strip_prefix(hierarchy)
                .and_then(|rest| rest.strip_prefix(':')?.strip_prefix(path))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if !below {
            return false;
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_its_cgroup_and_what_is_below() {
        let web = "6:freezer:/web\n3:misc:/\n0::/web\n";
        assert!(is_within(web, web));
        assert!(is_within("6:freezer:/web/a\n3:misc:/\n0::/web/a/b\n", web));
        assert!(!is_within("6:freezer:/website\n3:misc:/\n0::/web\n", web));
        assert!(!is_within("6:freezer:/\n3:misc:/\n0::/\n", web));
        // Who is in no cgroup of its own would be everybody.
        assert!(!is_within("0::/\n", "0::/\n"));
    }

    #[test]
    fn nobody_waits_here() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(waiting_threads(&[pid]), Vec::<i32>::new());
        assert_eq!(waiting_calls(&[-1, pid]), 0);
    }
}
