//! Kills a program at an exact point of its own doing: right before the n-th time that it makes a certain system call,
//! which is then not made. strace(1) does both the counting and the killing; it does not follow children, so what the
//! program has started goes on by itself.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::command::{behind, show};
use crate::fake_runtime::install;
use crate::{Proc, Running, Sandbox, binaries};

/// System calls between which a launcher's world changes, or that it waits in.
const CALLS: &str = "/^(mkdir|mknod|open|creat|write|rename|unlink|rmdir|flock|clone|fork|vfork|wait|poll|ppoll|read$)";

/// A point in a program's life: right before its `nth` call of `call`, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    call: String,
    nth: usize,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.call, self.nth)
    }
}

impl Sandbox {
    /// Runs a command without input to its end, unharmed, and returns its moments in their order, from the first
    /// directory that it makes.
    ///
    /// # Panics
    /// As [`Sandbox::output`], and when the command makes no directory.
    #[track_caller]
    pub fn moments(&self, command: &Command) -> Vec<Moment> {
        let trace = self.path().join("trace");
        let mut strace = Command::new("strace");
        strace.arg("-o").arg(&trace);
        strace.arg("-e").arg(format!("trace={CALLS}"));
        let output = self.output_of(behind(strace, command));
        let trace = fs::read_to_string(&trace).expect("read strace's output");
        let mut moments = moments_in(&trace);
        match moments.iter().position(|m| m.call.starts_with("mkdir")) {
            Some(first) => moments.split_off(first),
            None => panic!("makes no directory: {}\n{trace}", show(&output)),
        }
    }

    /// Runs a command without input, and kills it with SIGKILL at a moment. The exit status is the killed
    /// command's, or, when that moment did not come this time, what it ended with.
    ///
    /// # Panics
    /// As [`Sandbox::output`].
    #[track_caller]
    pub fn killed_at(&self, moment: &Moment, command: &Command) -> Output {
        self.output_of(behind(killer(moment), command))
    }
}

impl Sandbox {
    /// The moments of a process that runs already, from now to its end, which `end` brings about.
    ///
    /// # Panics
    /// When the process has not ended before the deadline.
    #[track_caller]
    pub fn moments_of(&self, process: Proc, end: impl FnOnce()) -> Vec<Moment> {
        let trace = self.path().join("trace");
        let mut strace = Command::new("strace");
        strace.arg("-o").arg(&trace);
        strace.arg("-e").arg(format!("trace={CALLS}"));
        self.beside(strace, process, end);
        moments_in(&fs::read_to_string(&trace).expect("read strace's output"))
    }

    /// Kills a process that runs already with SIGKILL at a moment on the way to its end, which `end` brings about.
    ///
    /// # Panics
    /// When the process has not ended before the deadline.
    #[track_caller]
    pub fn kill_at(&self, moment: &Moment, process: Proc, end: impl FnOnce()) {
        self.beside(killer(moment), process, end);
    }

    #[track_caller]
    fn beside(&self, mut strace: Command, process: Proc, end: impl FnOnce()) {
        strace.args(["-p", &process.pid().to_string()]);
        strace.current_dir(self.path());
        let strace = self.spawn(strace);
        self.wait_until("strace to watch", || {
            process.status("TracerPid").is_some_and(|pid| pid != "0")
        });
        end();
        strace.wait();
    }
}

impl Sandbox {
    /// Starts a command that stops when it has looked for a file for the first time, and waits until it has. SIGCONT to the
    /// process, which is not the one that was started, lets it go on.
    ///
    /// # Panics
    /// When it has not looked for it before the deadline.
    #[track_caller]
    #[must_use]
    pub fn stopped_after_opening(&self, path: &Path, command: &Command) -> (Running<'_>, Proc) {
        let trace = self.path().join("stopped");
        let mut strace = Command::new("strace");
        strace.arg("-o").arg(&trace).arg("-P").arg(path);
        strace.args(["-e", "trace=openat"]);
        strace.args(["-e", "inject=openat:signal=SIGSTOP:when=1"]);
        let running = self.spawn(behind(strace, command));
        self.wait_until("the command to be stopped", || {
            fs::read_to_string(&trace).is_ok_and(|trace| trace.contains("stopped by SIGSTOP"))
        });
        let stopped = running.process().children();
        (running, stopped[0])
    }
}

impl Sandbox {
    /// The shim under test behind strace(1), for `--shim`: with a moment, it is killed there; without one, its moments are
    /// to be had from [`Sandbox::launch_moments`] afterwards. What it executes, the runtime and itself in *hold*, is left
    /// alone.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn traced_shim(&self, moment: Option<&Moment>) -> PathBuf {
        let words = match moment {
            Some(moment) => moment.kill().join(" "),
            None => format!("-o '{}' -e 'trace={CALLS}'", self.launch_trace().display()),
        };
        let shim = self.path().join("traced-shim");
        let real = binaries::shim();
        let text = format!(
            "#!/bin/sh\nexec strace -f -b execve {words} '{}' \"$@\"\n",
            real.display()
        );
        install(&shim, &text);
        shim
    }

    /// What the last [traced shim](Sandbox::traced_shim) did, from when it had left its launcher to its *hold*.
    ///
    /// # Panics
    /// When there was none.
    #[must_use]
    pub fn launch_moments(&self) -> Vec<Moment> {
        let trace = fs::read_to_string(self.launch_trace()).expect("read strace's output");
        // With -f, each line begins with a pid; the shim that stays comes second, its own children after it.
        let mut pids: Vec<&str> = Vec::new();
        for pid in trace.lines().filter_map(|line| line.split(' ').next()) {
            if !pids.contains(&pid) {
                pids.push(pid);
            }
        }
        let shim = pids.get(1).expect("a shim forks");
        let lines = trace.lines().filter_map(|line| line.strip_prefix(shim));
        moments_in(&lines.map(str::trim_start).collect::<Vec<_>>().join("\n"))
    }

    fn launch_trace(&self) -> PathBuf {
        self.path().join("launch-trace")
    }
}

impl Moment {
    /// strace's words for killing there.
    fn kill(&self) -> [String; 6] {
        let Moment { call, nth } = self;
        let trace = format!("trace={call}");
        let inject = format!("inject={call}:signal=SIGKILL:when={nth}");
        ["-o", "/dev/null", "-e", &trace, "-e", &inject].map(str::to_owned)
    }
}

/// strace, up to the command that it kills at a moment.
fn killer(moment: &Moment) -> Command {
    let mut strace = Command::new("strace");
    strace.args(moment.kill());
    strace
}

fn moments_in(trace: &str) -> Vec<Moment> {
    let mut moments: Vec<Moment> = Vec::new();
    for call in trace.lines().filter_map(call_of) {
        let before = moments.iter().filter(|moment| moment.call == call).count();
        moments.push(Moment {
            call: call.to_owned(),
            nth: before + 1,
        });
    }
    moments
}

/// The system call in a line of strace's. Signals and ends have lines of other forms.
fn call_of(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('(')?;
    name.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_')
        .then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_command_dies_between_two_system_calls() {
        let sandbox = Sandbox::new("strace");
        let mut mkdir = Command::new("mkdir");
        mkdir
            .args(["one", "two", "three"])
            .current_dir(sandbox.path());
        let moments = sandbox.moments(&mkdir);
        let names: Vec<String> = moments.iter().map(ToString::to_string).collect();
        assert_eq!(names[..3], ["mkdir #1", "mkdir #2", "mkdir #3"]);

        let mut mkdir = Command::new("mkdir");
        mkdir
            .args(["four", "five", "six"])
            .current_dir(sandbox.path());
        let output = sandbox.killed_at(&moments[1], &mkdir);
        assert_eq!(output.status.signal(), Some(9), "{}", show(&output));
        let made = ["four", "five", "six"].map(|name| sandbox.path().join(name).is_dir());
        assert_eq!(made, [true, false, false]);
    }
}
