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
use holdfast_common::sys::{pidfd, signal};
use mio::unix::SourceFd;
use mio::{Events, Poll};
use nix::libc::{SIGCHLD, SIGPIPE, SIGUSR1};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signalfd::SignalFd;
use nix::sys::time::TimeSpec;

use crate::handover::{Holding, Stdio};
use crate::memory::{self, Memory};
use crate::{children, events, log as shim_log};
use control::{Control, Request};
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
                let more = match event {
                    Event::Signals => self.take_signals()?,
                    Event::Process => self.look_at_process()?,
                    Event::Memory => self.look_at_memory(),
                    Event::Control => self.take_requests(&mut reexec)?,
                    Event::Notify => self.relay()?,
                    Event::Seccomp => self.serve_seccomp()?,
                    Event::Readers => self.see_readers(),
                    Event::Output => self.move_output(),
                    Event::Terminal => self.move_bytes(),
                };
                if more {
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

    #[inline(never)]
    fn take_signals(&mut self) -> io::Result<bool> {
        let mut shown = false;
        while let Some(signal) = self.signals.read_signal()? {
            match i32::try_from(signal.ssi_signo) {
                // A reader was quicker to leave than we to see it.
                Ok(SIGCHLD | SIGPIPE) => (),
                Ok(SIGUSR1) => shown = true,
                Ok(_) if process::pass_on(&self.holding, &signal) => (),
                // A shim ends with its process and not before: whoever means the container signals the container.
                _ => log::info!(
                    "signal {} from pid {}: ignored",
                    signal.ssi_signo,
                    signal.ssi_pid
                ),
            }
        }
        if let Some(record) = self.watch.collect() {
            self.end(record);
        }
        if shown {
            let ended = self.ended.as_ref();
            shim_log::view(&view::line(&self.holding, &self.control, ended));
        }
        Ok(false)
    }

    fn look_at_process(&mut self) -> io::Result<bool> {
        self.look_at_program();
        // Asked first: an end that comes after the question wakes us, and one before it is looked at again until it can be told.
        // Asked afterwards, a process that was reaped in between would be waited for by nobody.
        let over = match &self.holding.pidfd {
            Some(pidfd) => pidfd::has_ended(pidfd.as_fd())?,
            None => false,
        };
        if let Some(record) = self.watch.look(self.holding.pidfd.as_ref())? {
            self.end(record);
        }
        self.ending = over && self.ended.is_none();
        Ok(false)
    }

    /// Whether it has executed a program by now: once it is reaped, nobody can tell.
    fn look_at_program(&mut self) {
        let now = || self.watch.stat().map(|stat| stat.has_executed());
        if self.seen.executed != Some(true) {
            self.seen.executed = now().or(self.seen.executed);
        }
    }

    fn end(&mut self, record: ExitRecord) {
        if self.ended.is_some() {
            return;
        }
        // Its cgroup is there until the runtime deletes it.
        let memory = self.holding.memory.as_mut();
        let oom_killed = memory.and_then(|memory| memory.at_end(&record.status));
        self.ended = Some(ExitRecord {
            oom_killed,
            timed_out: self.time.as_ref().is_some_and(Time::is_over),
            ..record
        });
    }

    fn look_at_memory(&mut self) -> bool {
        if let Some(memory) = &mut self.holding.memory {
            memory.woken(self.holding.pid);
        }
        false
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

    #[inline(never)]
    fn take_requests(&mut self, reexec: &mut bool) -> io::Result<bool> {
        let Holding {
            claim,
            stdio,
            output,
            ..
        } = &mut self.holding;
        let time = &mut self.time;
        self.control.take(&claim.control, |request| match request {
            Request::CloseStdin => terminal::close_stdin(stdio),
            Request::Resize(size) => terminal::resize(stdio, size, output.as_deref_mut()),
            Request::ReopenLogs => terminal::reopen_logs(output.as_deref_mut()),
            Request::Reexec => *reexec = true,
            Request::Deadline => *time = Time::begun(),
        })
    }

    fn relay(&mut self) -> io::Result<bool> {
        let Some(relay) = &mut self.holding.relay else {
            return Ok(false);
        };
        let more = relay.turn();
        let registry = self.poll.registry();
        relay.watch(|fd, interest| {
            registry.register(&mut SourceFd(&fd), Event::Notify.token(), interest)
        })?;
        Ok(more)
    }

    fn serve_seccomp(&mut self) -> io::Result<bool> {
        let Holding {
            wire, pid, seccomp, ..
        } = &mut self.holding;
        let Some(store) = seccomp else {
            return Ok(false);
        };
        let more = store.turn(&wire.id, Some(*pid));
        let registry = self.poll.registry();
        store.watch(|fd, interest| {
            registry.register(&mut SourceFd(&fd), Event::Seccomp.token(), interest)
        })?;
        Ok(more)
    }

    /// Which is only a reason to look; there is then something to move, perhaps.
    fn see_readers(&mut self) -> bool {
        if let Some(output) = &self.holding.output {
            output.see_opens();
        }
        self.move_output()
    }

    fn move_output(&mut self) -> bool {
        let Some(output) = &mut self.holding.output else {
            return false;
        };
        let more = output.turn();
        // It may have waited for the room that there is now.
        let waits = output.takes_terminal();
        if waits {
            self.move_bytes() || more
        } else {
            more
        }
    }

    fn move_bytes(&mut self) -> bool {
        let Holding { stdio, output, .. } = &mut self.holding;
        match stdio {
            Stdio::Terminal(terminal) => terminal::pump(terminal, output.as_deref_mut()),
            Stdio::Direct(_) => false,
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
