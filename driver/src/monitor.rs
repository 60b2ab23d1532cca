//! Many processes, one descriptor: an epoll over their `exit` FIFOs. Level-triggered, so that nothing is lost when an
//! event is not taken at once; a process leaves the set with its event, so that nothing comes twice.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use holdfast_common::exit_record::ExitRecord;
use holdfast_common::id::{ContainerId, ProcessId};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::deadline::Deadline;
use crate::end::{End, Look};
use crate::error::{Error, Result};
use crate::process::Process;

/// What happened, to which process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The container.
    pub container: ContainerId,
    /// The process.
    pub process: ProcessId,
    /// What happened.
    pub kind: EventKind,
}

/// What can happen to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// It ended; this is on record.
    Exited(ExitRecord),
    /// Its shim died without recording anything.
    ShimGone,
}

/// Watches any number of processes. Each yields one event; the monitor's own descriptor is readable while there may be
/// one to take.
#[derive(Debug)]
pub struct Monitor {
    epoll: Epoll,
    /// Readable while `pending` has something.
    known: EventFd,
    watched: HashMap<u64, End>,
    /// Where each of them is, so that ten thousand are not searched for each that is added.
    tokens: HashMap<Name, u64>,
    pending: VecDeque<Event>,
    /// Whom those are about.
    told: HashSet<Name>,
    next_token: u64,
}

/// A process's.
type Name = (ContainerId, ProcessId);

/// The token of `known`.
const KNOWN: u64 = 0;

impl Monitor {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// epoll_create1(2)'s.
    pub fn new() -> Result<Self> {
        let make = || -> io::Result<Self> {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            let known = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
            epoll.add(&known, EpollEvent::new(EpollFlags::EPOLLIN, KNOWN))?;
            Ok(Self {
                epoll,
                known,
                watched: HashMap::new(),
                tokens: HashMap::new(),
                pending: VecDeque::new(),
                told: HashSet::new(),
                next_token: KNOWN + 1,
            })
        };
        make().map_err(failed("make"))
    }

    /// Watches a process, instead of whatever bore the same names before. One that has ended already yields its event
    /// at once.
    ///
    /// # Errors
    /// Its exit status cannot be understood, or the system's.
    pub fn add(&mut self, process: &Process) -> Result<()> {
        self.remove(process.container_id(), process.id());
        self.watch(process.end.try_clone()?)
    }

    /// As [`Monitor::add`], of a process that was just seen to be held by a shim.
    pub(crate) fn take(&mut self, process: Process) -> Result<()> {
        let end = process.end;
        self.remove(&end.container, &end.process);
        let (id, process) = (end.container.clone(), end.process.clone());
        let watched = match end.is_sure_to_tell() {
            Ok(true) => self.wait_for(end),
            Ok(false) => self.watch(end),
            Err(e) => Err(e),
        };
        watched.map_err(|source| Error::Unwatched {
            id,
            process,
            source: Box::new(source),
        })
    }

    fn watch(&mut self, end: End) -> Result<()> {
        match event(&end, end.look_before_waiting()?) {
            Some(event) => self.push(event),
            None => self.wait_for(end),
        }
    }

    /// Waits for what is sure to come.
    fn wait_for(&mut self, end: End) -> Result<()> {
        let interest = EpollEvent::new(EpollFlags::EPOLLIN, self.next_token);
        let added = self.epoll.add(&end, interest);
        added.map_err(|e| failed("watch a process with")(e.into()))?;
        let name = (end.container.clone(), end.process.clone());
        self.tokens.insert(name, self.next_token);
        self.watched.insert(self.next_token, end);
        self.next_token += 1;
        Ok(())
    }

    /// Watches a process no longer; an event of it that nobody took is dropped.
    pub fn remove(&mut self, container: &ContainerId, process: &ProcessId) {
        let name = (container.clone(), process.clone());
        if let Some(token) = self.tokens.get(&name).copied() {
            self.forget(token);
        }
        if self.told.remove(&name) {
            self.pending
                .retain(|event| event.container != *container || event.process != *process);
        }
    }

    /// Watches no longer what has this token.
    fn forget(&mut self, token: u64) -> Option<End> {
        let end = self.watched.remove(&token)?;
        self.tokens
            .remove(&(end.container.clone(), end.process.clone()));
        // It is there; closing it would take it out as well.
        let _ = self.epoll.delete(&end);
        Some(end)
    }

    /// How many processes are watched whose event has not been taken.
    pub fn len(&self) -> usize {
        self.watched.len() + self.pending.len()
    }

    /// Whether nothing is watched, so that no event will come.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next event; `None` when there was none in time. No timeout: waits for ever.
    ///
    /// # Errors
    /// epoll_wait(2)'s; [`Error::Unwatched`] when a process cannot be looked at (its record cannot be understood, there are no
    /// descriptors left): [`Monitor::add`] it again when it can be.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Event>> {
        let deadline = Deadline::after(timeout);
        loop {
            if let Some(event) = self.pending.pop_front() {
                self.told
                    .remove(&(event.container.clone(), event.process.clone()));
                if self.pending.is_empty() {
                    // It was written to by every push; nobody else reads it.
                    let _ = self.known.read();
                }
                return Ok(Some(event));
            }
            let ready = self.wait(deadline)?;
            if ready.is_empty() && deadline.has_passed() {
                return Ok(None);
            }
            // Handed over as it is: somebody waits for it, and those that come with it are few.
            let mut first = None;
            for token in ready {
                match self.look(token) {
                    Ok(None) => (),
                    Ok(Some(event)) if first.is_none() => first = Some(event),
                    Ok(Some(event)) => self.push(event)?,
                    Err(e) => {
                        first.map_or(Ok(()), |event| self.push(event))?;
                        return Err(e);
                    }
                }
            }
            if first.is_some() {
                return Ok(first);
            }
        }
    }

    fn wait(&self, deadline: Deadline) -> Result<Vec<u64>> {
        let mut events = [EpollEvent::empty(); 64];
        let timeout = EpollTimeout::try_from(deadline.millis()).unwrap_or(EpollTimeout::NONE);
        match self.epoll.wait(&mut events, timeout) {
            Ok(count) => Ok(events[..count].iter().map(EpollEvent::data).collect()),
            Err(Errno::EINTR) => Ok(Vec::new()),
            Err(e) => Err(failed("wait for")(e.into())),
        }
    }

    /// What has happened, if anything, to what has this token.
    fn look(&mut self, token: u64) -> Result<Option<Event>> {
        if token == KNOWN {
            // Left over from an event that was removed.
            let _ = self.known.read();
            return Ok(None);
        }
        let Some(end) = self.watched.get(&token) else {
            return Ok(None);
        };
        let seen = match end.look() {
            Ok(Look::Waiting) => end.discard_noise().map(|()| None),
            look => look.map(|look| event(end, look)),
        };
        if matches!(seen, Ok(None)) {
            return Ok(None);
        }
        let Some(end) = self.forget(token) else {
            return Ok(None);
        };
        seen.map_err(|source| Error::Unwatched {
            id: end.container,
            process: end.process,
            source: Box::new(source),
        })
    }

    fn push(&mut self, event: Event) -> Result<()> {
        self.told
            .insert((event.container.clone(), event.process.clone()));
        self.pending.push_back(event);
        self.known.write(1).map_err(|e| failed("write")(e.into()))?;
        Ok(())
    }
}

fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> Error {
    Error::io(operation, Path::new("monitor"))
}

fn event(end: &End, look: Look) -> Option<Event> {
    let kind = match look {
        Look::Recorded(record) => EventKind::Exited(record),
        Look::ShimGone => EventKind::ShimGone,
        Look::Waiting => return None,
    };
    Some(Event {
        container: end.container.clone(),
        process: end.process.clone(),
        kind,
    })
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeShim, scratch};
    use nix::poll::PollFlags;

    const NOW: Option<Duration> = Some(Duration::ZERO);

    fn is_readable(monitor: &Monitor) -> bool {
        let now = Deadline::after(NOW);
        !now.poll(monitor.as_fd(), PollFlags::POLLIN)
            .unwrap()
            .is_empty()
    }

    #[test]
    fn every_process_yields_one_event_whenever_it_ended() {
        let dir = scratch("monitor-events");
        let mut shims: Vec<_> = (0..4)
            .map(|n| FakeShim::start(dir.join(format!("e{n}"))))
            .collect();
        let mut monitor = Monitor::new().unwrap();
        let before = [shims[0].record(10), shims[1].record(11)];
        shims[1].leave();
        for shim in &shims {
            monitor.add(&shim.process()).unwrap();
        }
        assert_eq!(monitor.len(), 4);
        for record in before {
            assert!(is_readable(&monitor));
            let event = monitor.next(NOW).unwrap().unwrap();
            assert_eq!(event.kind, EventKind::Exited(record));
        }
        assert!(!is_readable(&monitor));
        assert_eq!(monitor.next(Some(Duration::from_millis(5))).unwrap(), None);

        let record = shims[2].record(12);
        shims[2].announce(12);
        shims[3].leave();
        let mut kinds = Vec::new();
        for _ in 0..2 {
            assert!(is_readable(&monitor));
            let event = monitor.next(NOW).unwrap().unwrap();
            kinds.push((event.process.to_string(), event.kind));
        }
        kinds.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            ("e2".to_owned(), EventKind::Exited(record)),
            ("e3".to_owned(), EventKind::ShimGone),
        ];
        assert_eq!(kinds, expected);
        assert!(monitor.is_empty() && !is_readable(&monitor));
        assert_eq!(monitor.next(NOW).unwrap(), None);
    }

    #[test]
    fn what_is_removed_yields_nothing() {
        let dir = scratch("monitor-removed");
        let shims = ["e0", "e1"].map(|name| FakeShim::start(dir.join(name)));
        let mut monitor = Monitor::new().unwrap();
        for shim in &shims {
            monitor.add(&shim.process()).unwrap();
            monitor.add(&shim.process()).unwrap();
        }
        shims[0].record(0);
        shims[0].announce(0);
        shims[1].record(0);
        monitor.add(&shims[1].process()).unwrap();
        assert_eq!(monitor.len(), 2);
        for shim in &shims {
            let process = shim.process();
            monitor.remove(process.container_id(), process.id());
        }
        assert!(monitor.is_empty());
        assert_eq!(monitor.next(NOW).unwrap(), None);
        assert!(!is_readable(&monitor));
    }

    #[test]
    fn what_was_just_seen_to_live_is_told_whatever_became_of_it_since() {
        let dir = scratch("monitor-take");
        let mut shims = ["e0", "e1", "e2", "e3"].map(|name| FakeShim::start(dir.join(name)));
        let seen = shims.each_ref().map(FakeShim::process);
        let [lives, records, dies, is_killed] = &mut shims;
        let recorded = records.record(1);
        records.announce(1);
        dies.leave();
        // Whoever opens `exit` in that instant sees no hang-up.
        is_killed.exit = None;
        let of_killed = is_killed.process();
        let mut monitor = Monitor::new().unwrap();
        let [e0, e1, e2, _] = seen;
        for process in [e0, e1, e2] {
            monitor.take(process).unwrap();
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::yield_now();
                is_killed.lock = None;
            });
            monitor.take(of_killed).unwrap();
        });
        let mut next = || {
            let event = monitor.next(NOW).unwrap()?;
            Some((event.process.to_string(), event.kind))
        };
        let told: HashMap<_, _> = std::iter::from_fn(&mut next).collect();
        let gone = |name: &str| (name.to_owned(), EventKind::ShimGone);
        let exited = |name: &str, record| (name.to_owned(), EventKind::Exited(record));
        let expected = [gone("e2"), gone("e3"), exited("e1", recorded)];
        assert_eq!(told, HashMap::from(expected));
        let recorded = lives.record(0);
        lives.announce(0);
        assert_eq!(next(), Some(exited("e0", recorded)));
        assert_eq!((next(), monitor.len()), (None, 0));
    }

    #[test]
    fn noise_in_exit_is_no_event_and_no_spin() {
        let dir = scratch("monitor-noise");
        let shim = FakeShim::start(dir.join("e0"));
        let mut monitor = Monitor::new().unwrap();
        monitor.add(&shim.process()).unwrap();
        shim.announce(0);
        assert_eq!(monitor.next(Some(Duration::from_millis(5))).unwrap(), None);
        assert!(!is_readable(&monitor));
    }

    #[test]
    fn a_record_that_cannot_be_understood_is_told_once_and_hides_no_other() {
        let dir = scratch("monitor-bad");
        let shims = ["e0", "e1"].map(|name| FakeShim::start(dir.join(name)));
        let mut monitor = Monitor::new().unwrap();
        for shim in &shims {
            monitor.add(&shim.process()).unwrap();
        }
        std::fs::write(shims[0].dir.join("exit.json"), "{").unwrap();
        shims[0].announce(0);
        let record = shims[1].record(1);
        shims[1].announce(1);
        let error = monitor.next(NOW).unwrap_err();
        assert!(error.to_string().contains("e0/exit.json"), "{error}");
        assert!(matches!(error, Error::Unwatched { process, .. } if process.as_str() == "e0"));
        let event = monitor.next(NOW).unwrap().unwrap();
        assert_eq!(event.kind, EventKind::Exited(record));
        assert!(monitor.is_empty());
    }
}
