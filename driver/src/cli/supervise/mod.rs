//! `supervise`: a small supervisor daemon, over the public library and nothing else; the worked example of
//! docs/embedding.md. In this order it
//!
//! 1. takes the right to supervise the root;
//! 2. watches the root, so that nothing comes unseen from here on;
//! 3. restores: every orphan is adopted, everything found is told;
//! 4. says that it is ready, and from then on reacts ([`sources`] wakes it, [`care`] looks and acts, [`policy`] decides,
//!    [`report`] tells, through an [`outlet`] that never blocks, [`notify`] tells the service manager).
//!
//! It keeps nothing that is not in the state directory but how often something failed: killed at any moment, it goes on
//! where it was. It never ends a container; when it is asked to leave, it leaves.

mod adopt;
mod care;
mod known;
mod notify;
mod outlet;
pub mod policy;
mod queue;
mod report;
mod roster;
mod sources;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use clap::Args;
use holdfast::{Container, ContainerId, Driver, EventKind, Finding, Identity, Monitor, ProcessId};
use serde_json::json;

use super::error::{Error, Result};
use super::globals::Globals;
use super::session::{ENDING, Signals};
use care::Why;
use known::{Key, Known};
use notify::Notifier;
use queue::Queue;
use report::Report;
use sources::{Event, Sources};

/// Flags of `supervise`.
#[derive(Debug, Args)]
pub struct SuperviseArgs {}

/// Supervises until a signal asks it to leave.
///
/// # Errors
/// Another supervises the root; the root cannot be used.
pub fn supervise(_: &SuperviseArgs, globals: &Globals) -> Result<u8> {
    let driver = globals.driver()?;
    let _right = driver.supervise()?;
    let mut supervisor = Supervisor::new(driver)?;
    supervisor.restore()?;
    let containers = supervisor.tracked.len();
    let more = json!({ "containers": containers });
    supervisor.report.event("", "", "ready", more);
    supervisor.notifier.ready();
    while !supervisor.turn()? {}
    supervisor.notifier.stopping();
    supervisor.report.event("", "", "stopping", json!({}));
    supervisor.report.finish();
    Ok(0)
}

/// A container that is looked after.
#[derive(Debug)]
struct Tracked {
    container: Container,
    retry: Retry,
}

/// When something is to be tried again, and how often it failed.
#[derive(Debug, Default)]
struct Retry {
    due: Option<Instant>,
    failures: u32,
    /// That it was given up has been told.
    gave_up: bool,
}

impl Retry {
    /// It failed once more, and is tried again after a while.
    fn again(&mut self) {
        self.due = Some(Instant::now() + policy::delay(self.failures));
        self.failures = self.failures.saturating_add(1);
    }

    /// Whether it is due; it is not any more, then.
    fn take(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.due = None;
        }
        is_due
    }
}

struct Supervisor {
    driver: Driver,
    me: Option<Identity>,
    signals: Signals,
    monitor: Monitor,
    sources: Sources,
    report: Report,
    notifier: Notifier,
    tracked: HashMap<ContainerId, Tracked>,
    /// Processes that could not be adopted or watched yet.
    orphans: HashMap<Key, Retry>,
    /// Containers that could not be read, or not all of them, by name.
    unread: HashMap<String, Retry>,
    /// What could not be listed, or not all of it.
    unlisted: Retry,
    /// Each process is watched once.
    known: Known,
    /// Whose turn it is.
    queue: Queue<Key>,
    /// Processes whose turn it is after a while.
    postponed: HashMap<Key, Retry>,
    /// What is noted of a container that is gone.
    blank: Retry,
}

impl Supervisor {
    fn new(driver: Driver) -> Result<Self> {
        let failed = |e| Error::io("catch", "signals", e);
        let signals = Signals::catch_own().map_err(failed)?;
        let monitor = Monitor::new()?;
        let sources = Sources::new(&signals, &monitor)?;
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        Ok(Self {
            driver,
            me: Identity::of(pid).ok(),
            signals,
            monitor,
            sources,
            report: Report::to_stdout()?,
            notifier: Notifier::from_environment()?,
            tracked: HashMap::new(),
            orphans: HashMap::new(),
            unread: HashMap::new(),
            unlisted: Retry::default(),
            known: Known::default(),
            queue: Queue::default(),
            postponed: HashMap::new(),
            blank: Retry::default(),
        })
    }

    /// Steps 2 and 3.
    fn restore(&mut self) -> Result<()> {
        self.sources.watch_root(self.driver.root())?;
        let mut ended = HashSet::new();
        for verdict in self.driver.restore()? {
            self.report.restored(&verdict);
            if matches!(verdict.finding, Finding::Exited(_)) {
                ended.insert((verdict.id, verdict.process));
            }
        }
        for entry in self.driver.list()? {
            match entry.container {
                Ok(container) => self.track(container, &ended),
                // It has been told.
                Err(_) => self.unread.entry(entry.id).or_default().again(),
            }
        }
        Ok(())
    }

    /// Waits, takes note of everything that has happened, and does one thing; whether it is to leave. Taking note is quick: nothing
    /// but [`Supervisor::take_one`] runs a runtime.
    fn turn(&mut self) -> Result<bool> {
        let status = self.status();
        self.notifier.status(status);
        self.notifier.keep_alive();
        self.sources
            .wait_for_room(&self.report, self.report.is_waiting());
        let deadlines = [self.deadline(), self.notifier.deadline()];
        let deadline = deadlines.into_iter().flatten().min();
        for event in self.sources.wait(deadline)? {
            match event {
                Event::Signals if self.is_to_leave() => return Ok(true),
                Event::Signals => (),
                Event::Exits => self.take_exits()?,
                Event::Directories => self.take_changes()?,
                Event::Room => self.report.flush(),
                Event::Turn(key) => self.queue.push(key),
            }
        }
        self.take_one();
        Ok(false)
    }

    fn is_to_leave(&mut self) -> bool {
        let signals = self.signals.take();
        signals.iter().any(|signal| ENDING.contains(signal))
    }

    fn take_exits(&mut self) -> Result<()> {
        loop {
            let event = match self.monitor.next(Some(Duration::ZERO)) {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(()),
                Err(holdfast::Error::Unwatched {
                    id,
                    process,
                    source,
                }) => {
                    self.try_later((id, process), &source);
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            let key = (event.container, event.process);
            match event.kind {
                EventKind::Exited(record) => {
                    let (id, process) = (key.0.as_str(), key.1.as_str());
                    self.report
                        .event(id, process, "exit", report::record(&record));
                    if key.1.is_init() {
                        self.retry(&key.0).due = None;
                    }
                    self.queue.push(key);
                }
                EventKind::ShimGone => {
                    let retry = self.orphans.entry(key).or_default();
                    retry.due = Some(Instant::now());
                }
            }
        }
    }

    /// One thing that may take a while, so that what happens meanwhile is noted between two.
    fn take_one(&mut self) {
        let now = Instant::now();
        if self.unlisted.take(now) {
            return self.look_again();
        }
        if let Some(name) = first_due(&mut self.unread, now, |retry| retry) {
            return self.appeared(&name);
        }
        if let Some(key) = first_due(&mut self.orphans, now, |retry| retry) {
            return self.adopt(key);
        }
        if let Some(key) = first_due(&mut self.postponed, now, |retry| retry) {
            return self.consider(&key, Why::News);
        }
        if let Some(key) = self.queue.pop() {
            return self.consider(&key, Why::News);
        }
        if let Some(id) = first_due(&mut self.tracked, now, |tracked| &mut tracked.retry) {
            self.consider(&(id, ProcessId::init()), Why::Due);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if !self.queue.is_empty() {
            return Some(Instant::now());
        }
        let containers = self.tracked.values().map(|tracked| &tracked.retry);
        let all = containers.chain(self.orphans.values());
        let all = all.chain(self.postponed.values());
        let all = all.chain(self.unread.values()).chain([&self.unlisted]);
        all.filter_map(|retry| retry.due).min()
    }

    fn status(&self) -> String {
        let retries = self.tracked.values().map(|tracked| &tracked.retry);
        let waiting = retries.filter(|retry| retry.due.is_some()).count();
        let containers = self.tracked.len();
        format!("{containers} containers, {waiting} waiting to be restarted")
    }

    /// A container's; of one that is gone, a blank that nobody keeps.
    fn retry(&mut self, id: &ContainerId) -> &mut Retry {
        match self.tracked.get_mut(id) {
            Some(tracked) => &mut tracked.retry,
            None => &mut self.blank,
        }
    }
}

/// Takes the first of some that is due.
fn first_due<K: Clone, V>(
    all: &mut HashMap<K, V>,
    now: Instant,
    retry: fn(&mut V) -> &mut Retry,
) -> Option<K> {
    let mut all = all.iter_mut();
    all.find_map(|(key, value)| retry(value).take(now).then(|| key.clone()))
}
