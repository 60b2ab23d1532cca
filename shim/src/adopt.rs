//! *Adopt*: the third way into *hold*. A shim was killed; another takes charge of what it left:
//! 1. leave the launcher, claim the directory (of two adopters, one wins);
//! 2. an end that is on record: take the remaining steps of the exit order;
//! 3. a launch that was cut off: undo it;
//! 4. a process that is gone: its status is unknown, say so on record, and go on as in 2;
//! 5. a process that lives: hold it, by pidfd, because it is not our child.
//!
//! What cannot be had back is what had no name: a terminal, whose master died with the shim, and which the kernel hung up; and
//! seccomp listeners.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use holdfast_common::exit_record::{ExitRecord, ExitStatus, Source, read_status_number};
use holdfast_common::identity::{Identity, executable_of};
use holdfast_common::layout::{self, Stream};
use holdfast_common::process_state::ProcessState;
use holdfast_common::ready::Report;
use holdfast_common::request::{Adopt, Wire};
use holdfast_common::state_file;
use holdfast_common::sys::{fd, fifo, signal};
use holdfast_common::time_limit::Deadline;

use crate::claim::Claim;
use crate::error::Error;
use crate::handover::{Direct, Holding, Kind, Stdio};
use crate::hold::leave::End;
use crate::launch;
use crate::launcher::Launcher;
use crate::notify::{self, Relay};
use crate::output::Output;
use crate::seccomp::Store;
use crate::{bundle, events, hold, isolation, memory, record};

/// Adopts, then holds; the exit code is the shim's, not the container's. Not inlined, as [`launch::run`] is not.
#[inline(never)]
pub fn run(wire: Wire, adoption: &Adopt) -> ExitCode {
    let mut launcher = match Launcher::new(Some(adoption.ready)) {
        Ok(launcher) => launcher,
        Err(e) => {
            eprintln!("holdfast-shim: {e}");
            return ExitCode::FAILURE;
        }
    };
    match adopt(wire, adoption, &mut launcher) {
        Ok(Some(holding)) => hold::begin(holding),
        Ok(None) => ExitCode::SUCCESS,
        Err(e) => {
            launcher.report(&Report::failed(e.cause(), e.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// Returns what there is to hold; nothing when there was only something to finish, which is done then.
fn adopt(wire: Wire, adoption: &Adopt, launcher: &mut Launcher) -> Result<Option<Holding>, Error> {
    launcher.detach()?;
    launcher.leave(3..3)?;
    // Better a shim in its launcher's cgroup than none.
    if let Some(cgroup) = &adoption.isolation.cgroup
        && let Err(e) = isolation::enter_cgroup(cgroup)
    {
        log::warn!("{e}");
    }
    if let Some(score) = adoption.isolation.oom_score_adj {
        isolation::set_oom_score_adj(score);
    }
    fd::null_stdio().map_err(Error::io("open", "/dev/null"))?;
    let here = Path::new(".");
    let state = ProcessState::read(here)?;
    let claim = Claim::take()?;
    if std::fs::read(layout::SHIM_LOCK_FILE).is_ok_and(|lock| lock.starts_with(layout::DONE)) {
        // Another adopter was here, and has finished, between the look that sent us and our lock.
        launcher.report(&Report::Ended {});
        return Ok(None);
    }
    let recorded = ExitRecord::read(here)?;
    let identity = match Identity::recorded(here) {
        Ok(Some(identity)) => Some(identity),
        _ if recorded.is_some() => None,
        // It was there before `created` was: somebody removed it.
        Ok(None) if here.join(layout::CREATED_FILE).exists() => {
            let missing = io::ErrorKind::NotFound.into();
            return Err(Error::io("read", layout::PID_FILE)(missing));
        }
        Ok(None) => None,
        // The runtime had written `pid`, the shim not yet `starttime`.
        Err(e) if e.is_absent() && !was_started(here) => None,
        // What cannot be read or understood is no reason to take the process for one that never was.
        Err(e) => return Err(e.into()),
    };
    let pidfd = match identity {
        Some(identity) if recorded.is_none() => identity
            .open()
            .map_err(Error::io("open a pidfd in", here))?,
        _ => None,
    };
    match (&recorded, &pidfd, &identity) {
        // The disk may have been full after the first of the two files.
        (Some(record), _, _) if read_status_number(here)?.is_none() => record.write(here)?,
        // Before shim.json: its boot id is what says that this pid, should somebody have it now, is a stranger's.
        (None, None, Some(identity)) => unknown(identity).write(here)?,
        _ => (),
    }
    let executable = record::this_executable()?;
    // Who this is can wait for space on the disk; who holds the process cannot.
    let told = record::write(&executable, 0, None).map_err(|e| log::warn!("{e}"));
    let pid = match (&recorded, &identity) {
        (Some(record), _) => record.pid,
        (None, Some(identity)) => identity.pid,
        // Cut off before the process was known.
        (None, None) => {
            launch::undo_cut_off(&wire, &state, &claim);
            launcher.report(&Report::Ended {});
            return Ok(None);
        }
    };
    let living = pidfd.is_some();
    let memory = match identity {
        Some(identity) if !state.exec => memory::resume(identity.pid, living, events::told_kills),
        _ => None,
    };
    let seccomp = if living {
        seccomp_again(&wire, &state)
    } else {
        None
    };
    let output = output_again(&wire, &state, living);
    let relay = if living { relay_again(&state) } else { None };
    let kind = launch::kind(&state, || bundle::has_private_pids(&wire.bundle));
    let holding = Holding {
        kind: Kind {
            // Of a process that has ended there is nothing to tell, and nobody waits for this shim's code.
            main: living && kind.main,
            ..kind
        },
        runtime_args: state.runtime_args.iter().map(Into::into).collect(),
        wire,
        executable,
        pid,
        pidfd,
        claim,
        reader: Default::default(),
        stdio: Stdio::Direct(hold_again(&state, living)),
        output,
        memory,
        seccomp,
        relay,
        mounts: None,
        told: None,
        asked: 0,
        again: told.is_err(),
    };
    if living {
        if state.terminal {
            log::warn!("the terminal was lost with the shim that held it");
            if let Err(e) =
                state_file::write_bytes(Path::new(layout::TERMINAL_LOST_FILE), b"lost\n")
            {
                log::warn!("{e}");
            }
        }
        if let Some(notify) = notify::asked(&state) {
            // The one that was named before is dead.
            notify::tell_main(notify);
        }
        if let Some(identity) = identity {
            events::tell_beginning(kind, identity);
            launcher.report(&Report::ready(identity));
        }
        return Ok(Some(holding));
    }
    let signals = signal::open_signalfd().map_err(Error::io("open signalfd in", "."))?;
    // It was just written, or is another shim's.
    let end = End {
        record: ExitRecord::read(here)?,
        ..End::default()
    };
    hold::leave::leave(holding, end, &signals);
    launcher.report(&Report::Ended {});
    Ok(None)
}

/// Whether whoever `pid` names has gone on from what the runtime had created. Nobody could before there was a `starttime`.
fn was_started(here: &Path) -> bool {
    let created = std::fs::read(here.join(layout::CREATED_FILE));
    let now = state_file::read_value(&here.join(layout::PID_FILE)).map(executable_of);
    matches!((created, now), (Ok(created), Ok(Ok(now))) if created.trim_ascii() != now.as_bytes())
}

fn unknown(identity: &Identity) -> ExitRecord {
    let reason = if identity.is_of_another_boot() {
        "host rebooted"
    } else {
        "its shim was killed, and it ended before another took over"
    };
    let status = ExitStatus::Unknown {
        reason: reason.to_owned(),
    };
    let deadline = Deadline::read(Path::new(".")).ok().flatten();
    ExitRecord {
        pid: identity.pid,
        exited_at: SystemTime::now(),
        status,
        oom_killed: None,
        timed_out: deadline.is_some_and(|deadline| deadline.over.is_some()),
        source: Source::Unknown,
        dropped: Default::default(),
    }
}

/// The store anew, for processes to come. The listeners that were in it have no name, and died with the shim that held them: a
/// call that waits for an answer, or would, fails with `ENOSYS` unless an agent has its own duplicate.
fn seccomp_again(wire: &Wire, state: &ProcessState) -> Option<Box<Store>> {
    let dir = std::env::current_dir().ok()?;
    let store = match Store::open(wire, state, &dir) {
        Ok(store) => store?,
        Err(e) => {
            log::warn!("{e}");
            return None;
        }
    };
    log::warn!("the seccomp listeners were lost with the shim that held them");
    if let Err(e) = state_file::write_bytes(Path::new(layout::SECCOMP_LOST_FILE), b"lost\n") {
        log::warn!("{e}");
    }
    Some(store)
}

/// What the dead shim moved, by its names. Where that cannot be had, the process waits for a reader that is not there: somebody must
/// see to it.
fn output_again(wire: &Wire, state: &ProcessState, living: bool) -> Option<Box<Output>> {
    if state.terminal && living {
        // Nothing comes of it any more.
        return None;
    }
    Output::open(&wire.id.to_string_lossy(), state).unwrap_or_else(|e| {
        log::error!("{e}");
        None
    })
}

/// The container's notify socket, under its name. Without one, it goes on all the same, and nobody hears of it.
fn relay_again(state: &ProcessState) -> Option<Box<Relay>> {
    Relay::again(state).unwrap_or_else(|e| {
        log::warn!("{e}");
        None
    })
}

/// The ends that the dead shim held, by their names. What the process holds has kept the FIFOs' content. An end that cannot
/// be had is none: the process goes on all the same.
fn hold_again(state: &ProcessState, living: bool) -> Direct {
    if state.terminal {
        return Direct::default();
    }
    let reopen = |stream: Stream, how: fn(&Path) -> std::io::Result<OwnedFd>| {
        let path = Path::new(state.stdio(stream));
        let is_fifo = std::fs::metadata(path)
            .is_ok_and(|meta| std::os::unix::fs::FileTypeExt::is_fifo(&meta.file_type()));
        if state.inherits(stream) || state.moved(stream).is_some() || !is_fifo {
            return None;
        }
        how(path)
            .map_err(|e| {
                log::warn!(
                    "open {}: {}",
                    path.display(),
                    holdfast_common::sys::errno_text(&e)
                )
            })
            .ok()
    };
    let closed = Path::new(layout::STDIN_CLOSED_FILE).exists();
    Direct {
        // Of one that has ended only what it wrote is of interest.
        stdin: if closed || !living {
            None
        } else {
            reopen(Stream::Stdin, fifo::open_write)
        },
        stdout: reopen(Stream::Stdout, fifo::open_read),
        stderr: reopen(Stream::Stderr, fifo::open_read),
    }
}
