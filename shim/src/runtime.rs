//! The OCI runtime's command lines, and running one without ever waiting for it longer than agreed.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus as ProcessExit, Stdio};
use std::time::{Duration, Instant};

use holdfast_common::layout;
use holdfast_common::request::LAUNCHERS_VARIABLES;
use holdfast_common::sys::errno_text;
use holdfast_common::sys::exec::unblock_signals;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signalfd::SignalFd;

/// A runtime's command up to its verb: `RUNTIME --log … --log-format json ARGS… VERB`, with no signal blocked and nothing
/// in its environment that speaks of this process.
pub fn command(
    runtime: &OsStr,
    process_dir: &Path,
    runtime_args: &[OsString],
    verb: &str,
) -> Command {
    complete(Command::new(runtime), process_dir, runtime_args, verb)
}

/// As [`command`], for a program that becomes the runtime.
pub fn complete(
    mut command: Command,
    process_dir: &Path,
    runtime_args: &[OsString],
    verb: &str,
) -> Command {
    command
        .arg("--log")
        .arg(process_dir.join(layout::RUNTIME_LOG_FILE))
        .args(["--log-format", "json"]);
    command.args(runtime_args).arg(verb);
    // Meant for the launcher: a runtime would pass them on into the container.
    for variable in LAUNCHERS_VARIABLES {
        command.env_remove(variable);
    }
    unblock_signals(&mut command);
    command
}

/// Waits for a child, and for nobody else's: other children stay to be reaped later. `None` when it had not ended by
/// the deadline; it then still runs.
pub fn wait(
    child: &mut Child,
    signals: &SignalFd,
    deadline: Option<Instant>,
) -> io::Result<Option<ProcessExit>> {
    wait_beside(child, signals, deadline, &mut Nothing)
}

/// What goes on while a child is waited for.
pub trait Beside {
    /// What to poll.
    fn poll_fds(&self) -> Vec<PollFd<'_>>;
    /// Does what there is to do.
    fn turn(&mut self);
}

struct Nothing;

impl Beside for Nothing {
    fn poll_fds(&self) -> Vec<PollFd<'_>> {
        Vec::new()
    }

    fn turn(&mut self) {}
}

/// As [`wait`], doing something else beside it: what the child may need before it can end.
pub fn wait_beside(
    child: &mut Child,
    signals: &SignalFd,
    deadline: Option<Instant>,
    beside: &mut dyn Beside,
) -> io::Result<Option<ProcessExit>> {
    loop {
        if let Some(exit) = child.try_wait()? {
            return Ok(Some(exit));
        }
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(None);
        }
        wait_for_either(signals, left, beside.poll_fds())?;
        beside.turn();
    }
}

/// Returns when a signal has arrived or the time is over, and takes every signal that is there.
pub fn wait_for_signal(signals: &SignalFd, timeout: Option<Duration>) -> io::Result<()> {
    wait_for_either(signals, timeout, Vec::new())
}

fn wait_for_either<'a>(
    signals: &'a SignalFd,
    timeout: Option<Duration>,
    mut fds: Vec<PollFd<'a>>,
) -> io::Result<()> {
    fds.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
    let timeout = timeout.map_or(PollTimeout::NONE, |left| {
        // Rounded up, or the last millisecond would be spent spinning.
        let millis = left.as_millis().saturating_add(1);
        PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => (),
        Err(e) => return Err(e.into()),
    }
    while signals.read_signal()?.is_some() {}
    Ok(())
}

/// Why a runtime's command did not do what it was run for.
#[derive(Debug)]
pub enum Failure {
    /// It could not be run or waited for.
    Io(io::Error),
    /// It ended so.
    Ended(ProcessExit),
    /// It was killed after this time.
    Hung(Duration),
}

impl Failure {
    /// Whether it was killed, by somebody else.
    pub fn is_signal(&self) -> bool {
        matches!(self, Failure::Ended(exit) if exit.code().is_none())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Io(e) => f.write_str(&errno_text(e)),
            Failure::Ended(exit) => write!(f, "{exit}"),
            Failure::Hung(timeout) => write!(f, "killed after {} s", timeout.as_secs()),
        }
    }
}

/// Runs a runtime's command to its end, killed when that takes too long.
pub fn run(command: &mut Command, signals: &SignalFd, timeout: Duration) -> Result<(), Failure> {
    command.stdout(Stdio::null());
    finish(command, signals, timeout)
}

/// As [`run`]; returns what the command printed.
pub fn output(
    command: &mut Command,
    signals: &SignalFd,
    timeout: Duration,
) -> Result<Vec<u8>, Failure> {
    // A file in memory, not a pipe: it never fills, and whoever stays behind may keep it open.
    let memory =
        memfd_create(c"output", MFdFlags::MFD_CLOEXEC).map_err(|e| Failure::Io(e.into()))?;
    let mut memory = File::from(memory);
    command.stdout(memory.try_clone().map_err(Failure::Io)?);
    finish(command, signals, timeout)?;
    let mut output = Vec::new();
    memory.rewind().map_err(Failure::Io)?;
    memory.read_to_end(&mut output).map_err(Failure::Io)?;
    Ok(output)
}

fn finish(command: &mut Command, signals: &SignalFd, timeout: Duration) -> Result<(), Failure> {
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(Failure::Io)?;
    match wait(&mut child, signals, Some(Instant::now() + timeout)).map_err(Failure::Io)? {
        Some(exit) if exit.success() => Ok(()),
        Some(exit) => Err(Failure::Ended(exit)),
        None => {
            child.kill().map_err(Failure::Io)?;
            // SIGKILL has been sent: this wait is short.
            wait(&mut child, signals, None).map_err(Failure::Io)?;
            Err(Failure::Hung(timeout))
        }
    }
}
