//! Counts the instructions that a program executes, one at a time, by ptrace(2): those of its own, through every fork and every execution of
//! itself, and no other program's. A virtual machine may have no counters for it, and valgrind loses what it has counted where a program
//! executes itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What makes this program a counter: `--count PID READY PROGRAM RESULT`.
pub const WORD: &str = "--count";

/// A program that executes `program`, being counted.
///
/// # Panics
/// When it cannot be written.
pub fn wrap(program: &Path, dir: &Path) -> PathBuf {
    let me = std::env::current_exe().expect("this program");
    // As /proc will say.
    let program = &fs::canonicalize(program).expect("the program's own path");
    let [me, program, dir_] = [&me, program, dir].map(|path| path.display().to_string());
    // Not a child of the program's, and with none of its streams.
    let script = format!(
        "#!/bin/sh\n\
         ready={dir_}/ready.$$\n\
         mkfifo $ready || exit\n\
         (setsid {me} {WORD} $$ $ready {program} {dir_}/result.$$ </dev/null >/dev/null 2>&1 &)\n\
         read -r _ <$ready\n\
         rm $ready\n\
         exec {program} \"$@\"\n"
    );
    let wrapper = dir.join("counted");
    fs::write(&wrapper, script).expect("write a script");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&wrapper, executable).expect("make a script executable");
    wrapper
}

/// The counter: follows the process until it and what it forked are no more, then writes how many instructions that was, and before
/// that how many it had been when the program executed itself.
///
/// # Errors
/// When the process cannot be followed.
pub fn count(words: &[String]) -> Result<(), String> {
    let [pid, ready, program, result] = words else {
        return Err(format!("{WORD} PID READY PROGRAM RESULT"));
    };
    let pid: i32 = pid.parse().map_err(|e| format!("{pid}: {e}"))?;
    let mut followed = Followed {
        program: PathBuf::from(program),
        counted: BTreeSet::new(),
        instructions: 0,
        executed: Vec::new(),
    };
    let options = Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC;
    // Each step is a switch between the two: on one processor it costs no interrupt to another.
    let mut one = CpuSet::new();
    one.set(0)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &one))
        .and_then(|()| sched_setaffinity(Pid::from_raw(pid), &one))
        .map_err(|e| format!("stay on one processor: {e}"))?;
    ptrace::seize(Pid::from_raw(pid), options).map_err(|e| format!("follow {pid}: {e}"))?;
    fs::write(ready, "\n").map_err(|e| format!("{ready}: {e}"))?;
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::__WALL)) {
        // A process that was killed meanwhile tells so next.
        let _ = followed.goes_on(status);
    }
    let itself = followed.executed.get(1).copied().unwrap_or_default();
    let text = format!("{itself} {}\n", followed.instructions);
    let new = format!("{result}.new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, result))
        .map_err(|e| format!("{result}: {e}"))
}

struct Followed {
    program: PathBuf,
    /// Those that run the program.
    counted: BTreeSet<Pid>,
    instructions: u64,
    /// How many it had been, at each time that the program was executed.
    executed: Vec<u64>,
}

impl Followed {
    fn goes_on(&mut self, status: WaitStatus) -> nix::Result<()> {
        match status {
            WaitStatus::Stopped(pid, Signal::SIGTRAP) => {
                self.instructions += 1;
                ptrace::step(pid, None)
            }
            WaitStatus::Stopped(pid, signal) => self.resume(pid, Some(signal)),
            WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) => {
                let exe = fs::read_link(format!("/proc/{pid}/exe"));
                if exe.is_ok_and(|exe| exe == self.program) {
                    self.executed.push(self.instructions);
                    self.counted.insert(pid);
                    ptrace::step(pid, None)
                } else {
                    self.counted.remove(&pid);
                    ptrace::detach(pid, None)
                }
            }
            WaitStatus::PtraceEvent(
                pid,
                _,
                libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE,
            ) => {
                let child = Pid::from_raw(i32::try_from(ptrace::getevent(pid)?).unwrap_or(0));
                if self.counted.contains(&pid) {
                    self.counted.insert(child);
                }
                self.resume(pid, None)
            }
            // A child's beginning.
            WaitStatus::PtraceEvent(pid, ..) => self.resume(pid, None),
            _ => Ok(()),
        }
    }

    fn resume(&self, pid: Pid, signal: Option<Signal>) -> nix::Result<()> {
        if self.counted.contains(&pid) {
            ptrace::step(pid, signal)
        } else {
            ptrace::cont(pid, signal)
        }
    }
}
