//! The shim's end, after the status is on record (steps 1 and 2 of docs/architecture.md's exit order):
//! 3. the line in the event log, then the line on `exit`;
//! 4. kill what is left of the container;
//! 5. drain stdio, write logs to the end, keep what nobody read;
//! 6. `runtime delete`;
//! 7. the exit command, if there is to be one;
//! 8. the directory, if the launch asked for that;
//! 9. the lock, then `exit`.
//!
//! Every step is bounded in time, and none keeps the next from being taken. A service's main process stays until its exit command has
//! ended, which nobody else waits for.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use holdfast_common::exit_record::{ExitRecord, UNKNOWN};
use holdfast_common::id::ProcessId;
use holdfast_common::identity::{Identity, Stat};
use holdfast_common::layout::{self, Stream};
use holdfast_common::request::Wire;
use holdfast_common::state_file;
use holdfast_common::sys::fifo;
use nix::sys::signalfd::SignalFd;
use nix::sys::uio::pread;

use super::exit_command::{self, Ran, mark};
use super::{terminal, unread};
use crate::claim::Claim;
use crate::handover::{Holding, Kind, Stdio};
use crate::output::Output;
use crate::{children, events, runtime};

/// How long a runtime may take to kill, and the killed to end.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// How long a runtime may take to delete.
const DELETE_PATIENCE: Duration = Duration::from_secs(30);

/// How the process ended. What is here is not read again before the end is told: somebody waits for that.
#[derive(Debug, Default)]
pub struct End {
    /// What is on record; none where the directory was gone before.
    pub record: Option<ExitRecord>,
    /// What was seen of the process before.
    pub seen: Seen,
}

/// What a shim saw of its process while that was there.
#[derive(Debug, Default)]
pub struct Seen {
    /// Its own name.
    pub name: Option<ProcessId>,
    /// Whether it has executed a program, as far as that was seen: whether its container was started.
    pub executed: Option<bool>,
    /// Who it is, or was, where it is the shim's child; else the files say it.
    pub identity: Option<Identity>,
}

impl Seen {
    /// Whether it has executed a program, as far as that is known: until it is reaped, it can be looked at.
    pub fn has_executed(&self) -> Option<bool> {
        let now = || {
            let identity = self.identity?;
            let stat = Stat::read(identity.pid).ok();
            let stat = stat.filter(|stat| stat.start_time == identity.start_time)?;
            Some(stat.has_executed())
        };
        match self.executed {
            Some(true) => Some(true),
            before => now().or(before),
        }
    }
}

/// Takes the steps.
pub fn leave(holding: Holding, mut end: End, signals: &SignalFd) -> ExitCode {
    let exit_command = exit_command::due(&holding, end.record.as_ref());
    let (claim, kind, tidied) = if has_left(&holding.claim.lock) {
        // But the last of them, which the shim before this one was killed waiting for.
        (holding.claim, holding.kind, Tidied::all())
    } else {
        tidy_up(holding, &mut end, signals)
    };
    let Claim { lock, exit, .. } = claim;
    let mut exit = Some(exit);
    let mut ran = exit_command.map_or(Ran::Never, |command| {
        if !command.left().is_zero() {
            if tidied.told && tidied.deleted {
                // In this order: whoever sees the hang-up finds that nothing is to be waited for.
                mark(&lock, layout::LEFT);
                exit = None;
            }
            command.wait(signals);
        }
        command.run()
    });
    let finished = !matches!(ran, Ran::NotNow);
    // What the runtime still has keeps its name, and so does what is left to do.
    if tidied.deleted && finished && kind.auto_remove {
        remove_own_dir(kind);
    }
    if tidied.deleted && tidied.told && finished {
        // Nothing is left to do for another shim.
        mark(&lock, layout::DONE);
    }
    // In this order: whoever sees the hang-up finds the lock free.
    drop(lock);
    drop(exit);
    if !kind.main {
        return ExitCode::SUCCESS;
    }
    if let Ran::Child(command) = &mut ran {
        // A service manager ends what is left of a service when its main process has ended.
        let _ = command.wait();
    }
    // main() has two answers, and this is one of many.
    let ended_as = end.record.as_ref().map(|record| record.status.number());
    std::process::exit(ended_as.unwrap_or(UNKNOWN).into())
}

/// Whether a shim had come as far as its exit command.
fn has_left(lock: &OwnedFd) -> bool {
    let mut says = [0; layout::LEFT.len()];
    pread(lock, &mut says, 0).is_ok() && says == *layout::LEFT
}

/// What became of the steps before the exit command.
struct Tidied {
    /// Step 3.
    told: bool,
    /// Step 6.
    deleted: bool,
}

impl Tidied {
    fn all() -> Self {
        Self {
            told: true,
            deleted: true,
        }
    }
}

/// Steps 3 to 6.
fn tidy_up(mut holding: Holding, end: &mut End, signals: &SignalFd) -> (Claim, Kind, Tidied) {
    let mut told = events::tell_end(&holding, end);
    if let Some(record) = end.record.as_ref().filter(|_| holding.kind.ours) {
        // Whoever polls is woken; nobody there, nobody to wake.
        let _ = nix::unistd::write(&holding.claim.exit, &record.encode_line());
    }
    // What nobody was to wait for. In this order: the first sleeps soon, and who was woken on this processor has it then.
    drop(holding.mounts.take());
    if told.is_err() {
        // To be told again, when it is reaped.
        end.seen.executed = end.seen.has_executed();
    }
    children::reap_all();
    if holding.kind.shared_pids {
        kill_rest(&holding, signals);
    }
    let dropped = |output: &Option<Box<Output>>| output.as_ref().map(|it| it.dropped());
    let before = dropped(&holding.output);
    keep_unread(&mut holding.stdio, holding.output.as_deref_mut());
    if let Some(dropped) = dropped(&holding.output).filter(|it| Some(it) != before.as_ref()) {
        record_dropped(dropped);
    }
    if matches!(&told, Err(e) if e.is_for_want_of_space()) {
        told = events::tell_end(&holding, end);
    }
    let Holding {
        wire,
        runtime_args,
        kind,
        claim,
        stdio,
        output,
        seccomp,
        relay,
        ..
    } = holding;
    if let Some(relay) = relay {
        relay.leave();
    }
    drop((stdio, output));
    // And its sockets with it.
    drop(seccomp);
    let deleted = kind.exec || delete(&wire, &runtime_args, signals);
    let told = match told {
        // Another shim takes the step again, when somebody comes back and there is room.
        Err(e) if e.is_for_want_of_space() => {
            log::warn!("{e}; to be told when there is space");
            false
        }
        Err(e) if !e.is_absent() => {
            log::warn!("{e}");
            true
        }
        _ => true,
    };
    (claim, kind, Tidied { told, deleted })
}

/// Step 8: the process's own directory, or with it the container's.
fn remove_own_dir(kind: Kind) {
    let Ok(dir) = std::env::current_dir() else {
        return;
    };
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    // While the exit command was waited for, a restart may have put another in its place.
    if name.starts_with(layout::UNFINISHED) {
        return;
    }
    remove_dir(if kind.exec {
        &dir
    } else {
        dir.parent().unwrap_or(&dir)
    });
}

/// Step 6, and whether it was taken. A runtime that was killed in the middle of it may have left half of the container, and is
/// run once more, with force.
fn delete(wire: &Wire, runtime_args: &[OsString], signals: &SignalFd) -> bool {
    for force in [&[][..], &["--force"]] {
        let mut delete = runtime::command(&wire.runtime, Path::new("."), runtime_args, "delete");
        delete.args(force).arg("--").arg(&wire.id);
        let Err(e) = runtime::run(&mut delete, signals, DELETE_PATIENCE) else {
            return true;
        };
        log::warn!(
            "{} delete {}: {e}; see {}",
            wire.runtime.display(),
            wire.id.display(),
            layout::RUNTIME_LOG_FILE
        );
        // It has said no, or cannot be run: that will be so the next time as well.
        if !e.is_signal() {
            return true;
        }
    }
    false
}

/// Kills the processes of a container that shares its pid namespace, and waits until they are gone: until then they may
/// still write.
fn kill_rest(holding: &Holding, signals: &SignalFd) {
    let deadline = Instant::now() + KILL_PATIENCE;
    let mut kill = runtime::command(
        &holding.wire.runtime,
        Path::new("."),
        &holding.runtime_args,
        "kill",
    );
    kill.args(["--all", "--"]).arg(&holding.wire.id).arg("KILL");
    if let Err(e) = runtime::run(&mut kill, signals, KILL_PATIENCE) {
        log::warn!(
            "{} kill --all: {e}; see {}",
            holding.wire.runtime.display(),
            layout::RUNTIME_LOG_FILE
        );
    }
    // It knows them by the container's cgroup; one without root may have none.
    children::kill(signals, deadline);
}

/// Writes to the end what the shim moves, and keeps what is in the FIFOs beside them: when the shim lets go and no reader holds on,
/// they are emptied.
fn keep_unread(stdio: &mut Stdio, mut output: Option<&mut Output>) {
    if let Some(output) = &mut output {
        output.unbind();
    }
    match stdio {
        Stdio::Direct(held) => {
            keep(Stream::Stdout, held.stdout.as_ref(), &[]);
            keep(Stream::Stderr, held.stderr.as_ref(), &[]);
        }
        Stdio::Terminal(held) => {
            if let (Some(sink), Some(_)) = (&held.output, &held.output_hold) {
                // As large as need be, so that a reader who is there gets it all. Refused (with too many big pipes about), what
                // does not fit is kept in the file alone.
                let _ = fifo::set_capacity(sink.as_fd(), fifo::MAX_CAPACITY);
            }
            terminal::drain(held, output.as_deref_mut());
            keep(
                Stream::Stdout,
                held.output_hold.as_ref(),
                &held.pending_output,
            );
        }
    }
    if let Some(output) = output {
        output.finish();
    }
}

/// What was dropped since the record was written.
fn record_dropped(dropped: BTreeMap<String, u64>) {
    let here = Path::new(".");
    let written = ExitRecord::read(here).and_then(|record| match record {
        Some(record) => ExitRecord { dropped, ..record }.write(here),
        None => Ok(()),
    });
    if let Err(e) = written {
        log::warn!("{e}");
    }
}

fn keep(stream: Stream, hold: Option<&OwnedFd>, more: &[u8]) {
    let Some(hold) = hold else { return };
    let unread = unread::of(hold).map(|mut bytes| {
        bytes.extend_from_slice(more);
        bytes
    });
    let file = stream.unread_file();
    match unread {
        Ok(bytes) if bytes.is_empty() => (),
        Ok(bytes) => {
            if let Err(e) = state_file::write_bytes(Path::new(&file), &bytes) {
                log::error!(
                    "{} bytes of {} that nobody read are lost: {e}",
                    bytes.len(),
                    stream.name()
                );
            }
        }
        Err(e) => log::error!(
            "look at what nobody read of {}: {}",
            stream.name(),
            holdfast_common::sys::errno_text(&e)
        ),
    }
}

/// Removes a directory so that it vanishes at once, whoever looks.
pub fn remove_dir(dir: &Path) {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let aside = dir.with_file_name(format!(
        "{}{name}.{}",
        layout::UNFINISHED,
        std::process::id()
    ));
    let removed = match fs::rename(dir, &aside) {
        Ok(()) => fs::remove_dir_all(&aside),
        Err(e) => Err(e),
    };
    if let Err(e) = removed {
        log::warn!(
            "remove {}: {}",
            dir.display(),
            holdfast_common::sys::errno_text(&e)
        );
    }
}
