//! Runs `holdfast` as its users do, and gives up on it, with a look at the state directory, at a deadline.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::{DEADLINE, Proc, Sandbox, binaries, wait};

impl Sandbox {
    /// A `holdfast` command over this sandbox's roots and the shim under test; nothing else that
    /// `HOLDFAST_*` variables preset outside is inherited. Its working directory is the sandbox.
    #[must_use]
    pub fn holdfast<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(binaries::holdfast());
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"HOLDFAST_") {
                command.env_remove(name);
            }
        }
        // cargo's, for tests that load libraries: each program in it would first look for its own in all these directories, and a
        // strace of one show little else.
        command.env_remove("LD_LIBRARY_PATH");
        command.envs(self.environment());
        command.current_dir(self.path());
        command.args(args);
        command
    }

    /// Any program in the environment of `holdfast` commands, and with `holdfast` in its `PATH`: a shell that people type into.
    ///
    /// # Panics
    /// When there is no `PATH`.
    #[must_use]
    pub fn beside_holdfast(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, value) in self.holdfast([""; 0]).get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut path = binaries::shared_dir().join("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").expect("there is a PATH"));
        command.env("PATH", path).env("HOME", self.path());
        command.current_dir(self.path());
        command
    }

    /// A shell script in which `"$@"` is `holdfast ARGS`: whoever starts us may redirect, pipe or ignore what they like.
    #[must_use]
    pub fn in_shell<A: AsRef<OsStr>>(
        &self,
        script: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Command {
        let holdfast = self.holdfast(args);
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]);
        command
            .arg(holdfast.get_program())
            .args(holdfast.get_args());
        for (name, value) in holdfast.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(self.path());
        command
    }

    /// Runs `holdfast ARGS` without input, to its end.
    ///
    /// # Panics
    /// When it cannot be started or is not over, with its output closed, by the deadline.
    #[track_caller]
    pub fn output<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        self.output_of(self.holdfast(args))
    }

    /// Runs `holdfast ARGS` without input and returns what it printed.
    ///
    /// # Panics
    /// As [`Sandbox::output`], and when it fails.
    #[track_caller]
    pub fn run_ok<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> String {
        let command = self.holdfast(args);
        let shown = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let output = self.output_of(command);
        if !output.status.success() {
            self.dump();
            panic!("holdfast {shown}: {}", show(&output));
        }
        text(&output.stdout)
    }

    /// Runs any command without input, to its end.
    ///
    /// # Panics
    /// As [`Sandbox::output`].
    #[track_caller]
    pub fn output_of(&self, command: Command) -> Output {
        self.start(command, Stdio::null()).wait()
    }

    /// Runs any command with `input` on its stdin, to its end.
    ///
    /// # Panics
    /// As [`Sandbox::output`].
    #[track_caller]
    pub fn feed(&self, command: Command, input: &[u8]) -> Output {
        let mut running = self.spawn(command);
        let mut stdin = running.stdin.take().expect("stdin is a pipe");
        thread::scope(|scope| {
            // That it does not read all of it is its own affair; a test looks at what came of it.
            scope.spawn(move || stdin.write_all(input));
            running.wait()
        })
    }

    /// Starts any command with pipes on its stdio, which are read all the time. It is killed when it is
    /// dropped.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn spawn(&self, command: Command) -> Running<'_> {
        self.start(command, Stdio::piped())
    }

    #[track_caller]
    fn start(&self, mut command: Command, stdin: Stdio) -> Running<'_> {
        command.stdin(stdin);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = format!("{command:?}");
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("start {name}: {e}"));
        Running {
            sandbox: self,
            name,
            stdin: child.stdin.take(),
            stdout: Capture::of(child.stdout.take().expect("stdout is a pipe")),
            stderr: Capture::of(child.stderr.take().expect("stderr is a pipe")),
            child,
        }
    }
}

/// A command that was started and whose output is being collected.
#[derive(Debug)]
pub struct Running<'a> {
    sandbox: &'a Sandbox,
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Arc<Capture>,
    stderr: Arc<Capture>,
}

impl Running<'_> {
    /// The process, to look at or to signal.
    ///
    /// # Panics
    /// Never: pids are small.
    #[must_use]
    pub fn process(&self) -> Proc {
        let pid = i32::try_from(self.child.id()).expect("pids are small");
        Proc::new(Pid::from_raw(pid))
    }

    /// Writes to its stdin.
    ///
    /// # Panics
    /// When its stdin is closed.
    #[track_caller]
    pub fn write(&mut self, input: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin.write_all(input.as_bytes()).expect("write to stdin");
    }

    /// Closes its stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// What it has printed so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        text(&self.stdout.lock().bytes)
    }

    /// What it has complained about so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        text(&self.stderr.lock().bytes)
    }

    /// Waits until `needle` is among what it has printed.
    ///
    /// # Panics
    /// When the deadline passes.
    #[track_caller]
    pub fn wait_stdout(&self, needle: &str) {
        let found = self
            .stdout
            .wait(|so_far| text(&so_far.bytes).contains(needle));
        if !found {
            self.give_up(&format!("{needle:?} on stdout"));
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Kills it with SIGKILL, as a crash would, and collects it. Others may still hold its output.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn kill(mut self) -> ExitStatus {
        self.signal(Signal::SIGKILL);
        self.child.wait().expect("wait for what was killed")
    }

    /// Waits until it has ended and its output is closed; its stdin is left as it is.
    ///
    /// # Panics
    /// When the deadline passes.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let mut status = None;
        if !wait::until(DEADLINE, || {
            status = self.child.try_wait().expect("wait for a child");
            status.is_some()
        }) {
            self.give_up("its end");
        }
        let status = status.expect("the wait ended because there was a status");
        if !(self.stdout.wait(|so_far| so_far.ended) && self.stderr.wait(|so_far| so_far.ended)) {
            self.give_up(&format!("its output to be closed after its end ({status})"));
        }
        Output {
            status,
            stdout: std::mem::take(&mut self.stdout.lock().bytes),
            stderr: std::mem::take(&mut self.stderr.lock().bytes),
        }
    }

    #[track_caller]
    fn give_up(&self, what: &str) -> ! {
        let what = format!(
            "{what} of {}\nstdout: {}\nstderr: {}",
            self.name,
            self.stdout(),
            self.stderr()
        );
        self.sandbox.give_up(&what)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Harmless when it was waited for already: std remembers that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a pipe has carried so far, read by a thread of its own.
#[derive(Debug, Default)]
struct Capture {
    state: Mutex<SoFar>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct SoFar {
    bytes: Vec<u8>,
    ended: bool,
}

impl Capture {
    fn of(mut pipe: impl Read + Send + 'static) -> Arc<Self> {
        let capture = Arc::new(Self::default());
        let filled = Arc::clone(&capture);
        thread::spawn(move || {
            let mut buffer = [0; 64 * 1024];
            loop {
                let n = pipe.read(&mut buffer).unwrap_or(0);
                let mut state = filled.lock();
                state.bytes.extend_from_slice(&buffer[..n]);
                state.ended = n == 0;
                filled.changed.notify_all();
                if state.ended {
                    return;
                }
            }
        });
        capture
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SoFar> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `condition` came to hold before the deadline.
    fn wait(&self, condition: impl Fn(&SoFar) -> bool) -> bool {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.lock();
        while !condition(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return false;
            }
            (state, _) = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}

/// `command` as the arguments of `wrapper`, which executes it, in the environment and the directory that it asks for.
#[must_use]
pub fn behind(mut wrapper: Command, command: &Command) -> Command {
    wrapper.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapper.env(name, value),
            None => wrapper.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        wrapper.current_dir(dir);
    }
    wrapper
}

/// Bytes as text, for messages and comparisons.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A command's end in one message.
#[must_use]
pub fn show(output: &Output) -> String {
    format!(
        "{}\nstdout: {}\nstderr: {}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_and_output_are_carried_while_a_command_runs() {
        let sandbox = Sandbox::new("command");
        let mut cat = sandbox.spawn(Command::new("cat"));
        cat.write("one\n");
        cat.wait_stdout("one\n");
        cat.write("two\n");
        cat.close_stdin();
        let output = cat.wait();
        assert!(output.status.success());
        assert_eq!(text(&output.stdout), "one\ntwo\n");
    }

    #[test]
    fn much_input_is_fed_while_output_is_read() {
        let sandbox = Sandbox::new("feed");
        let input = vec![b'x'; 1 << 20];
        assert!(sandbox.feed(Command::new("cat"), &input).stdout == input);
    }
}
