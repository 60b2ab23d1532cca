//! Kills a program at an exact point of its own doing: right before the n-th time that it makes a certain system call,
//! which is then not made. strace(1) does both the counting and the killing; it does not follow children, so what the
//! program has started goes on by itself.

use std::collections::BTreeMap;
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
        let output = self.output_of(self.traced(command));
        let mut moments = self.traced_moments();
        match moments.iter().position(|m| m.call.starts_with("mkdir")) {
            Some(first) => moments.split_off(first),
            None => panic!("makes no directory: {}", show(&output)),
        }
    }

    /// A command behind strace(1): once it has ended, its moments are [`Sandbox::traced_moments`].
    #[must_use]
    pub fn traced(&self, command: &Command) -> Command {
        behind(self.tracer(), command)
    }

    /// What was last traced so.
    ///
    /// # Panics
    /// When nothing was.
    #[must_use]
    pub fn traced_moments(&self) -> Vec<Moment> {
        moments_in(&fs::read_to_string(self.trace()).expect("read strace's output"))
    }

    /// Runs a command without input, and kills it with SIGKILL at a moment. The exit status is the killed
    /// command's, or, when that moment did not come this time, what it ended with.
    ///
    /// # Panics
    /// As [`Sandbox::output`].
    #[track_caller]
    pub fn killed_at(&self, moment: &Moment, command: &Command) -> Output {
        self.output_of(self.doomed(moment, command))
    }

    /// A command that is killed with SIGKILL at a moment.
    #[must_use]
    pub fn doomed(&self, moment: &Moment, command: &Command) -> Command {
        behind(self.killer(moment), command)
    }

    /// Whether the last one that was to be killed at a moment was: the moment may not have come this time.
    pub fn was_killed(&self) -> bool {
        let trace = fs::read_to_string(self.kill_trace()).unwrap_or_default();
        // The next one must not find it.
        let _ = fs::remove_file(self.kill_trace());
        trace.contains("+++ killed by SIGKILL +++")
    }

    fn tracer(&self) -> Command {
        let mut strace = Command::new("strace");
        strace.arg("-o").arg(self.trace());
        strace.arg("-e").arg(format!("trace={CALLS}"));
        strace
    }

    fn killer(&self, moment: &Moment) -> Command {
        let mut strace = Command::new("strace");
        strace.arg("-o").arg(self.kill_trace());
        strace.args(moment.kill());
        strace
    }

    fn trace(&self) -> PathBuf {
        self.path().join("trace")
    }

    fn kill_trace(&self) -> PathBuf {
        self.path().join("kill-trace")
    }
}

impl Sandbox {
    /// The moments of a process that runs already, from now to its end, which `end` brings about.
    ///
    /// # Panics
    /// When the process has not ended before the deadline.
    #[track_caller]
    pub fn moments_of(&self, process: Proc, end: impl FnOnce()) -> Vec<Moment> {
        self.beside(self.tracer(), process, end);
        self.traced_moments()
    }

    /// Kills a process that runs already with SIGKILL at a moment on the way to its end, which `end` brings about.
    ///
    /// # Panics
    /// When the process has not ended before the deadline.
    #[track_caller]
    pub fn kill_at(&self, moment: &Moment, process: Proc, end: impl FnOnce()) {
        self.beside(self.killer(moment), process, end);
    }

    /// Has a process that runs already stand still for a second after each call of this name, while `act` acts, and until it has
    /// ended.
    ///
    /// # Panics
    /// When the process has not ended before the deadline.
    #[track_caller]
    pub fn lingering_after(&self, call: &str, process: Proc, act: impl FnOnce()) {
        let mut strace = Command::new("strace");
        strace.args(["-e", &format!("trace={call}")]);
        strace.args(["-e", &format!("inject={call}:delay_exit=1000000")]);
        self.beside(strace, process, act);
    }

    /// Has strace watch a process that runs already while `end` acts, and until it has ended.
    #[track_caller]
    pub(crate) fn beside(&self, mut strace: Command, process: Proc, end: impl FnOnce()) {
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
        let words = self.words(moment);
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

    /// A runtime that is runc, but for one verb: there it is behind strace(1), like a [traced shim](Sandbox::traced_shim),
    /// with all of its threads; `after` are shell commands for when it has ended so.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn traced_runtime(&self, verb: &str, moment: Option<&Moment>, after: &str) -> PathBuf {
        let words = self.words(moment);
        // strace ends as what it traces does, by the same signal.
        let exec = if after.is_empty() { "exec" } else { "" };
        let runtime = self.path().join("traced-runtime");
        let text = format!(
            "#!/bin/sh\ncase \" $* \" in\n*' {verb} '*) {exec} strace -f -b execve {words} runc \"$@\"; {after};;\n*) exec runc \"$@\";;\nesac\n"
        );
        install(&runtime, &text);
        runtime
    }

    /// What the last [traced runtime](Sandbox::traced_runtime) did: each call as often as the busiest of its threads made it.
    ///
    /// # Panics
    /// When there was none.
    #[must_use]
    pub fn runtime_moments(&self) -> Vec<Moment> {
        let trace = fs::read_to_string(self.launch_trace()).expect("read strace's output");
        let mut made: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let mut moments: Vec<Moment> = Vec::new();
        for (pid, rest) in trace.lines().filter_map(|line| line.split_once(' ')) {
            let Some(call) = call_of(rest.trim_start()) else {
                continue;
            };
            let nth = made.entry((pid, call)).or_default();
            *nth += 1;
            let moment = Moment {
                call: call.to_owned(),
                nth: *nth,
            };
            if !moments.contains(&moment) {
                moments.push(moment);
            }
        }
        moments
    }

    /// strace's, for a script.
    fn words(&self, moment: Option<&Moment>) -> String {
        match moment {
            Some(moment) => format!(
                "-o '{}' {}",
                self.kill_trace().display(),
                moment.kill().join(" ")
            ),
            None => format!("-o '{}' -e 'trace={CALLS}'", self.launch_trace().display()),
        }
    }

    fn launch_trace(&self) -> PathBuf {
        self.path().join("launch-trace")
    }
}

impl Moment {
    /// Whether it comes right before a call of this name.
    #[must_use]
    pub fn is(&self, call: &str) -> bool {
        self.call == call
    }

    /// strace's words for killing there.
    fn kill(&self) -> [String; 4] {
        let Moment { call, nth } = self;
        let trace = format!("trace={call}");
        let inject = format!("inject={call}:signal=SIGKILL:when={nth}");
        ["-e", &trace, "-e", &inject].map(str::to_owned)
    }
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
pub(crate) fn call_of(line: &str) -> Option<&str> {
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
