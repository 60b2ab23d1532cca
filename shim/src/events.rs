//! The shim's lines in the event log of its container, which is the directory above its own: how its process began, what
//! the kernel did for want of memory, and how it ended. Only for containers of our own driver: another daemon's directory is
//! not ours to put files in.
//!
//! A line comes after what it tells is on record. A shim may be killed between the two, and whoever takes over takes the
//! step again, so a line that is there already is not written twice.

use std::path::Path;

use holdfast_common::event_log::{EventLog, Place};
use holdfast_common::event_record::{EventRecord, EventWord};
use holdfast_common::exit_record::{ExitRecord, ExitStatus};
use holdfast_common::id::ProcessId;
use holdfast_common::identity::Identity;
use holdfast_common::process_state::ProcessState;
use holdfast_common::state_file::StateFileError;
use nix::libc::SIGKILL;

use crate::handover::{Holding, Kind, Launched};
use crate::hold::leave::End;

/// The container's log, from a process directory.
fn log() -> EventLog {
    EventLog::of(Path::new(".."))
}

/// The process's own name.
pub fn process(kind: Kind) -> ProcessId {
    if !kind.exec {
        return ProcessId::init();
    }
    let dir = std::env::current_dir().unwrap_or_default();
    let name = dir.file_name().and_then(|name| name.to_str());
    let id = name.and_then(|name| ProcessId::new(name).ok());
    id.unwrap_or_else(ProcessId::init)
}

/// What is told of a process when it has come to be: an init that waits for its `start` says nothing yet.
fn of_beginning(
    name: impl FnOnce() -> ProcessId,
    kind: Kind,
    launched: Launched,
    identity: Identity,
) -> Option<EventRecord> {
    let word = match () {
        () if !kind.ours => return None,
        () if kind.exec => EventWord::StartProcess,
        () if launched.restored => EventWord::Restore,
        () if launched.restarted => EventWord::Restart,
        () => return None,
    };
    Some(EventRecord::now(word, name(), Some(identity)))
}

/// Tells of a process that this shim has launched: nobody can have told of it. Where what is told of it begins, if something is.
pub fn tell_launch(kind: Kind, identity: Identity) -> Option<Place> {
    let launched = kind.launched.unwrap_or_default();
    let event = of_beginning(|| process(kind), kind, launched, identity)?;
    let told = log().append(&event);
    told.inspect_err(|e| log::warn!("{e}")).ok()
}

/// Tells of a process that has come to be, unless that is told.
pub fn tell_beginning(kind: Kind, identity: Identity) {
    let launched = kind.launched.unwrap_or_default();
    if let Some(event) = of_beginning(|| process(kind), kind, launched, identity)
        && let Err(e) = log().append_once(&event)
    {
        log::warn!("{e}");
    }
}

/// How many kills for want of memory are told of the process already.
pub fn told_kills() -> u64 {
    let (identity, mut told) = (identity(), 0);
    let each = |event: EventRecord| {
        if event.word == EventWord::Oom && event.identity == identity {
            told = event.oom_kills.unwrap_or(told);
        }
    };
    if let Err(e) = log().each(each) {
        log::warn!("{e}");
    }
    told
}

/// Tells of kills for want of memory while the container goes on; and before that, that it was started, should whoever has
/// just done that not have come to say so.
pub fn tell_kills(
    holding: &Holding,
    executed: Option<bool>,
    kills: u64,
) -> Result<(), StateFileError> {
    let Some(identity) = identity().filter(|_| holding.kind.ours) else {
        return Ok(());
    };
    let launched = holding.kind.launched.or_else(launched);
    let started = executed == Some(true) && launched.is_some_and(|launched| !launched.restored);
    let start = EventRecord::now(
        EventWord::StartContainer,
        process(holding.kind),
        Some(identity),
    );
    let events: Vec<EventRecord> = started
        .then_some(start)
        .into_iter()
        .chain([of_kills(process(holding.kind), identity, kills)])
        .collect();
    log().append_missing(&events, None, |_| true).map(drop)
}

/// Tells of a process's end, which is on record, and before that of what was not told yet: that it ran, as far as that is known, and
/// what the kernel did for want of memory.
pub fn tell_end(holding: &Holding, end: &End) -> Result<(), StateFileError> {
    let Some(record) = end.record.as_ref().filter(|_| holding.kind.ours) else {
        return Ok(());
    };
    let identity = end.seen.identity.or_else(identity);
    let mut events = Vec::new();
    let kind = holding.kind;
    let name = || end.seen.name.clone().unwrap_or_else(|| process(kind));
    if let Some(identity) = identity
        && let Some(launched) = kind.launched.or_else(launched)
    {
        events.extend(of_beginning(name, kind, launched, identity));
        let may_have_run = !kind.exec && !launched.restored;
        events.extend(may_have_run.then(|| {
            let start = EventWord::StartContainer;
            EventRecord::at(record.exited_at, start, name(), Some(identity))
        }));
    }
    if let (Some(memory), Some(identity)) = (&holding.memory, identity)
        && memory.kills.seen > memory.kills.told
    {
        events.push(of_kills(name(), identity, memory.kills.seen));
    }
    events.push(EventRecord::of_end(name(), identity, record));
    let happened = |event: &EventRecord| {
        let is_start = event.word == EventWord::StartContainer;
        // Told by whoever started it, as a rule, and then not asked.
        !is_start || has_run(record, end.seen.has_executed())
    };
    log()
        .append_missing(&events, holding.told, happened)
        .map(drop)
}

/// Tells of a restart that failed, which is on record as an end.
pub fn tell_failure(record: &ExitRecord) {
    let event = EventRecord::of_end(ProcessId::init(), None, record);
    if let Err(e) = log().append_once(&event) {
        log::warn!("{e}");
    }
}

/// What process.json says of the launch.
#[inline(never)]
fn launched() -> Option<Launched> {
    let state = ProcessState::read(Path::new("."));
    state.ok().map(|state| Launched::of(&state))
}

fn identity() -> Option<Identity> {
    Identity::recorded(Path::new(".")).ok().flatten()
}

fn of_kills(name: ProcessId, identity: Identity, kills: u64) -> EventRecord {
    EventRecord {
        oom_kills: Some(kills),
        ..EventRecord::now(EventWord::Oom, name, Some(identity))
    }
}

/// Whether a container's process that has ended had been started. Where nobody looked in time, its own end says so; SIGKILL
/// is also how a container ends that was only created.
fn has_run(record: &ExitRecord, executed: Option<bool>) -> bool {
    executed.unwrap_or(match record.status {
        ExitStatus::Code(_) => true,
        ExitStatus::Signal { signal, .. } => i32::from(signal) != SIGKILL,
        ExitStatus::Unknown { .. } => false,
    })
}
