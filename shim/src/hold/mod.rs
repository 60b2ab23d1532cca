//! *Hold*: wait with the process until it ends. One thread, one loop, no wake-up without a cause; nothing here blocks on a
//! peer, and nothing here knows which front door the launch came through.
//!
//! Turn order: signals, process, memory, control, notify, seccomp, readers, output, terminal ([`event`]).

mod control;
mod event;
mod exit_command;
pub mod leave;
mod mounts;
mod process;
mod replace;
mod terminal;
mod time;
mod turn;
pub mod unread;
mod view;
mod watch;

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use holdfast_common::exit_record::ExitRecord;
use holdfast_common::sys::process::become_subreaper;
use holdfast_common::sys::signal;
use mio::{Events, Poll};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signalfd::SignalFd;
use nix::sys::time::TimeSpec;

use crate::handover::Holding;
use crate::memory::{self, Memory};
use crate::{children, events, log as shim_log};
use control::Control;
use event::Event;
use leave::Seen;
use process::Process;
use replace::Answer;
use time::Time;
use watch::Watch;

pub use terminal::close_stdin;

/// How long to wait before a status that could not be written is written again.
const RETRY: Duration = Duration::from_secs(1);

/// What is to be said when the executable is gone, perhaps: a bigger shim is better than none.
const GOING_ON: &str = "going on without a fresh start";
/// How long an exec's process has been there when its shim gets a fresh address space. Most are gone long before, as health checks
/// are, and would pay for an execve(2) more than their shim does for anything else.
const SHORT: Duration = Duration::from_secs(1);

/// Becomes the holding shim of a process that was just launched: an exec's gets its fresh address space if the process stays.
pub fn begin_new(holding: Holding) -> ExitCode {
    if holding.kind.exec {
        return hold(holding, Some(Instant::now() + SHORT));
    }
    begin(holding)
}

/// Becomes a holding shim with a fresh address space.
pub fn begin(holding: Holding) -> ExitCode {
    let error = holding.replace_self();
    log::warn!("{GOING_ON}: {error}");
    hold(holding, None)
}

/// Holds until the process has ended and everything is in order; the exit code is the shim's, not the container's.
pub fn run(holding: Holding) -> ExitCode {
    // Without a log there is nobody to tell.
    let _ = shim_log::open();
    hold(holding, None)
}

/// Holds, and becomes a shim with a fresh address space when it is time for that.
fn hold(holding: Holding, fresh_at: Option<Instant>) -> ExitCode {
    let held = Hold::new(holding, fresh_at).and_then(Hold::run);
    held.unwrap_or_else(|e| {
        log::error!("stopped holding: {}", holdfast_common::sys::errno_text(&e));
        ExitCode::FAILURE
    })
}

struct Hold {
    holding: Holding,
    poll: Poll,
    signals: SignalFd,
    watch: Watch,
    control: Control,
    /// Whether the process, which is not our child, has ended and is not reaped. Kernels before 6.9 do not tell when it is.
    ending: bool,
    /// What was seen of the process while it was there.
    seen: Seen,
    /// The time that the process may run, once it has begun.
    time: Option<Time>,
    /// How the process ended, while that is not on record yet.
    ended: Option<ExitRecord>,
    /// Whether the last attempt to record it failed.
    unrecorded: bool,
    /// What became of a replacement that was asked for, while shim.json does not say so yet.
    unanswered: Option<Answer>,
    /// When this shim gets a fresh address space; none where it has one.
    fresh_at: Option<Instant>,
}

impl Hold {
    /// Prepares everything. Not inlined, and in a box, as a stack keeps its pages: what is needed once, or moved, is not to be part of
    /// the frame that a shim idles in.
    #[inline(never)]
    fn new(mut holding: Holding, fresh_at: Option<Instant>) -> io::Result<Box<Self>> {
        // Blocked since launch; an adopted container's shim has to do these itself.
        signal::block_all()?;
        become_subreaper()?;
        let again = std::mem::take(&mut holding.again);
        let signals = signal::open_signalfd()?;
        let watch = Watch::new(holding.pid);
        if holding.pidfd.is_none() {
            holding.pidfd = watch.pidfd()?;
        }
        if again && holding.memory.is_none() && !holding.kind.exec {
            // A shim that did not watch has made room for this one, perhaps.
            holding.memory = memory::resume(holding.pid, true, events::told_kills);
        }
        holding.mounts = mounts::hold(&holding, &watch);
        terminal::tell_size(&holding.stdio, holding.output.as_deref_mut());
        let seen = Seen {
            name: holding.kind.ours.then(|| events::process(holding.kind)),
            executed: None,
            identity: watch.child(),
        };
        if cfg!(target_env = "gnu") {
            // This C library has to find the clock once, which is not to be when somebody waits for an end.
            let _ = SystemTime::now();
        }
        let control = Control::new(std::mem::take(&mut holding.reader));
        let hold = Box::new(Self {
            poll: Poll::new()?,
            signals,
            watch,
            control,
            ending: false,
            seen,
            time: Time::begun(),
            ended: None,
            unrecorded: false,
            unanswered: again.then(|| Answer::new(None)),
            fresh_at,
            holding,
        });
        event::register(hold.poll.registry(), &hold.signals, &hold.holding)?;
        Ok(hold)
    }

    fn run(mut self: Box<Self>) -> io::Result<ExitCode> {
        // The first turn looks at everything: what happened before the registration gave no edge. Only memory's counter was
        // read before it was registered, and what has happened since does give one.
        let mut turn = Event::ORDER.to_vec();
        turn.retain(|event| *event != Event::Memory);
        let mut events = Events::with_capacity(Event::ORDER.len() * 2);
        loop {
            let mut again = Vec::new();
            let mut reexec = false;
            for event in Event::ORDER
                .into_iter()
                .filter(|event| turn.contains(event))
            {
                if self.take(event, &mut reexec)? {
                    again.push(event);
                }
            }
            if self.record() {
                let end = leave::End {
                    record: self.ended,
                    seen: self.seen,
                };
                return Ok(leave::leave(self.holding, end, &self.signals));
            }
            if reexec {
                self.replace_self();
            }
            turn = again;
            if reexec {
                // Signals may have come while the new executable was asked.
                turn.push(Event::Signals);
            }
            self.answer();
            self.tell_kills();
            self.end_in_time();
            self.start_afresh();
            self.wait(&mut events, &mut turn)?;
        }
    }

    /// Lets output gather that comes in small pieces, unless there is something else to do.
    fn pause(&mut self, turn: &[Event]) {
        let output = self.holding.output.as_mut().filter(|_| turn.is_empty());
        if let Some(pause) = output.and_then(|output| output.pause()) {
            let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            // A signal that is there is found by the next poll as well.
            let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(pause)), None);
        }
    }

    /// Waits for the next events and adds them to the turn.
    fn wait(&mut self, events: &mut Events, turn: &mut Vec<Event>) -> io::Result<()> {
        self.pause(turn);
        let timeout = match () {
            () if !turn.is_empty() => Some(Duration::ZERO),
            () if self.unrecorded || self.ending || self.unanswered.is_some() => Some(RETRY),
            () => None,
        };
        let memory = self.holding.memory.as_ref().and_then(Memory::due);
        let output = self.holding.output.as_ref().and_then(|it| it.due());
        let due = memory.into_iter().chain(output).min();
        let due = due.map(|at| at.saturating_duration_since(Instant::now()));
        let time = self.time.as_ref().filter(|_| self.ended.is_none());
        let over = time.and_then(Time::due);
        let relay = self.holding.relay.as_ref().and_then(|relay| relay.due());
        let fresh = self.fresh_due();
        let fresh = fresh.map(|at| at.saturating_duration_since(Instant::now()));
        // epoll_wait(2) counts in milliseconds, and mio rounds up.
        let timeout = timeout
            .into_iter()
            .chain(due)
            .chain(over)
            .chain(relay)
            .chain(fresh)
            .min();
        match self.poll.poll(events, timeout) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            _ => (),
        }
        let happened = Event::ORDER
            .into_iter()
            .filter(|event| events.iter().any(|e| e.token() == event.token()));
        turn.extend(happened);
        if output.is_some_and(|due| due <= Instant::now()) && !turn.contains(&Event::Output) {
            turn.push(Event::Output);
        }
        if self.ending && !turn.contains(&Event::Process) {
            turn.push(Event::Process);
        }
        if relay.is_some() && !turn.contains(&Event::Notify) {
            turn.push(Event::Notify);
        }
        Ok(())
    }

    /// Tells of what the kernel did for want of memory, if there is something to tell.
    fn tell_kills(&mut self) {
        let Some(memory) = &mut self.holding.memory else {
            return;
        };
        memory.tick(self.holding.pid);
        let Some(kills) = memory.untold() else {
            return;
        };
        let executed = self.watch.stat().map(|stat| stat.has_executed());
        let told = events::tell_kills(&self.holding, executed, kills);
        if let Some(memory) = &mut self.holding.memory {
            memory.told(told.map(|()| kills));
        }
    }

    /// Ends a process whose time is over.
    fn end_in_time(&mut self) {
        if let Some(time) = &mut self.time
            && self.ended.is_none()
        {
            time.tick(&Process::of(&self.holding));
        }
    }

    /// Puts the status on record if there is one; whether that is done.
    fn record(&mut self) -> bool {
        let Some(record) = &mut self.ended else {
            return false;
        };
        if let Some(output) = &self.holding.output {
            record.dropped = output.dropped();
        }
        match record.write(Path::new(".")) {
            Ok(()) => true,
            // Somebody removed the directory: there is nothing to record in, and so nothing to tell of.
            Err(e) if e.is_absent() => {
                self.ended = None;
                true
            }
            Err(e) => {
                // It may be what is mounted there that has no space left. And nobody is told soon.
                self.holding.mounts = None;
                self.look_at_program();
                children::reap_all();
                if !std::mem::replace(&mut self.unrecorded, true) {
                    log::error!("{e}; trying again until there is space");
                }
                false
            }
        }
    }

    /// Control type 3. Returns when it could not be done; everything goes on as before.
    #[inline(never)]
    fn replace_self(&mut self) {
        if self.ended.is_some() {
            // The status is reaped and not on record: nobody else will ever know it.
            let refused = "there is an exit status to be recorded first";
            log::warn!("not replaced: {refused}");
            self.holding.asked += 1;
            self.unanswered = Some(Answer::new(Some(refused.to_owned())));
            return;
        }
        self.holding.reader = self.control.reader();
        let refused = replace::replace(&mut self.holding, &self.signals);
        self.unanswered = Some(Answer::new(Some(refused)));
    }

    /// When a fresh address space is due: neither a status nor an answer that is not on record yet would go along.
    fn fresh_due(&self) -> Option<Instant> {
        let recorded = self.ended.is_none() && self.unanswered.is_none();
        self.fresh_at.filter(|_| recorded)
    }

    /// Becomes a shim with a fresh address space, once that is due.
    fn start_afresh(&mut self) {
        if self.fresh_due().is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.fresh_at = None;
        self.holding.reader = self.control.reader();
        let error = self.holding.replace_self();
        log::warn!("{GOING_ON}: {error}");
    }

    fn answer(&mut self) {
        let told = |answer: &mut Answer| answer.tell(&self.holding);
        if self.unanswered.as_mut().is_some_and(told) {
            self.unanswered = None;
        }
    }
}
