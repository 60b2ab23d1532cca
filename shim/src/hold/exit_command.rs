//! The exit command: what a shim runs when it has taken all other steps of its exit. The shim goes only when the program has been
//! executed, so that one that is killed before leaves the rest of its work to another, which runs it: at least once.
//!
//! While it waits for the command's delay, the shim is as good as gone: `exit` hangs up, and `shim.lock` says `left`, so that whoever
//! deletes or restarts the container waits for nothing.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use holdfast_common::exit_command::{self as names, ExitCommand};
use holdfast_common::exit_record::{ExitRecord, ExitStatus};
use holdfast_common::process_state::{Extension, ProcessState};
use holdfast_common::request::{LAUNCHERS_VARIABLES, Wire};
use holdfast_common::sys::errno_text;
use holdfast_common::sys::exec::unblock_signals;
use nix::errno::Errno;
use nix::sys::signalfd::SignalFd;

use crate::handover::Holding;
use crate::{isolation, runtime};

/// An exit command, and what it is told. In memory: by the time it runs, the directory that says so may be gone.
pub struct Due {
    command: ExitCommand,
    variables: Vec<(&'static str, String)>,
    exited_at: SystemTime,
}

/// What became of it.
pub enum Ran {
    /// It runs.
    Child(Child),
    /// It cannot be run, and will not be.
    Never,
    /// It could not be run this time, for want of something.
    NotNow,
}

/// The exit command of the process whose directory this is, if it is to have one.
pub fn due(holding: &Holding, end: Option<&ExitRecord>) -> Option<Due> {
    let launched = holding.kind.launched;
    let may_be = launched.is_none_or(|launched| launched.exit_command);
    may_be.then(|| read(&holding.wire, end?)).flatten()
}

// Not inlined: hardly any process has one, and each would have the room for it on its stack.
#[inline(never)]
fn read(wire: &Wire, record: &ExitRecord) -> Option<Due> {
    let state = ProcessState::read(Path::new(".")).ok()?;
    let ours = state.holdfast.as_ref()?;
    let command = ours.exit_command.clone()?;
    Some(Due {
        variables: variables(wire, ours, record),
        exited_at: record.exited_at,
        command,
    })
}

impl Due {
    /// How long it is until it is to be run. Counted from the end on record, so that a shim that takes over waits for the rest only;
    /// a clock that was set back makes nobody wait longer than agreed.
    pub fn left(&self) -> Duration {
        let delay = Duration::from_secs(self.command.delay.into());
        let since = SystemTime::now().duration_since(self.exited_at);
        delay.saturating_sub(since.unwrap_or_default())
    }

    /// Returns when it is to be run.
    pub fn wait(&self, signals: &SignalFd) {
        let until = Instant::now() + self.left();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || runtime::wait_for_signal(signals, Some(left)).is_err() {
                return;
            }
        }
    }

    /// Runs it: with nothing of the shim's but its environment, in a process group of its own, at the top of the file system.
    pub fn run(self) -> Ran {
        // The shim's may be one that spares what is dearer than a command that anybody wrote.
        isolation::be_no_dearer_than_others();
        let mut command = Command::new(&self.command.program);
        command.args(&self.command.args).current_dir("/");
        for variable in names::VARIABLES.iter().chain(&LAUNCHERS_VARIABLES) {
            command.env_remove(variable);
        }
        command.envs(self.variables).process_group(0);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match unblock_signals(&mut command).spawn() {
            Ok(child) => Ran::Child(child),
            Err(e) => {
                let program = &self.command.program;
                let passes = passes(&e);
                let what = if passes {
                    "; left to whoever recovers"
                } else {
                    ""
                };
                log::error!("run exit command {program}: {}{what}", errno_text(&e));
                if passes { Ran::NotNow } else { Ran::Never }
            }
        }
    }
}

/// Whether it may be otherwise the next time.
fn passes(e: &io::Error) -> bool {
    let passing = [Errno::EAGAIN, Errno::ENOMEM, Errno::EMFILE, Errno::ENFILE];
    e.raw_os_error()
        .is_some_and(|number| passing.contains(&Errno::from_raw(number)))
}

fn variables(wire: &Wire, ours: &Extension, record: &ExitRecord) -> Vec<(&'static str, String)> {
    let dir = std::env::current_dir().unwrap_or_default();
    // <root>/<id>/<process>
    let root = dir.ancestors().nth(2).unwrap_or(&dir);
    let process = dir.file_name().unwrap_or_default();
    let mut all = vec![
        (names::ROOT, root.to_string_lossy().into_owned()),
        (names::ID, wire.id.to_string_lossy().into_owned()),
        (names::PROCESS, process.to_string_lossy().into_owned()),
        (names::BUNDLE, wire.bundle.to_string_lossy().into_owned()),
        (names::PID, record.pid.to_string()),
        (
            names::EXITED_AT,
            humantime::format_rfc3339_nanos(record.exited_at).to_string(),
        ),
        (names::EXIT_STATUS, record.status.number().to_string()),
    ];
    match &record.status {
        ExitStatus::Code(_) => (),
        ExitStatus::Signal { signal, .. } => all.push((names::EXIT_SIGNAL, signal.to_string())),
        ExitStatus::Unknown { reason } => all.push((names::EXIT_REASON, reason.clone())),
    }
    if let Some(killed) = record.oom_killed {
        all.push((names::OOM_KILLED, killed.to_string()));
    }
    if record.timed_out {
        all.push((names::TIMED_OUT, true.to_string()));
    }
    if !ours.restarts.is_none() {
        all.push((names::RESTARTS, ours.restarts.count.to_string()));
    }
    all
}

/// Says in `shim.lock` how far its holder has come.
pub fn mark(lock: &OwnedFd, how_far: &[u8]) {
    // A disk that is full leaves it to another shim to come this far.
    let _ = nix::sys::uio::pwrite(lock.as_fd(), how_far, 0);
}
