//! `supervise`: a small supervisor daemon, over the public library and nothing else; the worked example of
//! docs/embedding.md. In this order it
//!
//! 1. takes the right to supervise the root;
//! 2. watches the root, so that nothing comes unseen from here on;
//! 3. restores: every orphan is adopted, everything found is told;
//! 4. says that it is ready, and from then on reacts ([`sources`] wakes it, [`care`] looks and acts, [`policy`] decides,
//!    [`report`] tells, [`notify`] tells the service manager).
//!
//! It keeps nothing that is not in the state directory but how often something failed: killed at any moment, it goes on
//! where it was. It never ends a container; when it is asked to leave, it leaves.

mod adopt;
mod care;
mod known;
mod notify;
mod policy;
mod report;
mod roster;
mod sources;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use clap::Args;
use holdfast::{Container, ContainerId, Driver, EventKind, Finding, Identity, Monitor};
use serde_json::json;

use super::error::{Error, Result};
use super::globals::Globals;
use super::session::{ENDING, Signals};
use care::Why;
use known::{Key, Known};
use notify::Notifier;
use sources::{Event, Sources};

/// Flags of `supervise`.
#[derive(Debug, Args)]
pub struct SuperviseArgs {}

/// Supervises until a signal asks it to leave.
///
/// # Errors
/// Another supervises the root; the root or standard output cannot be used.
pub fn supervise(_: &SuperviseArgs, globals: &Globals) -> Result<u8> {
    let driver = globals.driver()?;
    let _right = driver.supervise()?;
    let mut notifier = Notifier::from_environment()?;
    let mut supervisor = Supervisor::new(driver)?;
    supervisor.restore()?;
    let containers = supervisor.tracked.len();
    report::event("", "", "ready", json!({ "containers": containers }))?;
    notifier.ready();
    loop {
        notifier.status(supervisor.status());
        notifier.keep_alive();
        let deadlines = [supervisor.deadline(), notifier.deadline()];
        let deadline = deadlines.into_iter().flatten().min();
        for event in supervisor.sources.wait(deadline)? {
            match event {
                Event::Signals if supervisor.is_to_leave() => {
                    notifier.stopping();
                    report::event("", "", "stopping", json!({}))?;
                    return Ok(0);
                }
                Event::Signals => (),
                Event::Exits => supervisor.take_exits()?,
                Event::Directories => supervisor.take_changes()?,
                Event::Turn(id) => supervisor.consider(&id, Why::News)?,
            }
        }
        supervisor.take_due()?;
    }
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
    tracked: HashMap<ContainerId, Tracked>,
    /// Processes that could not be adopted or watched yet.
    orphans: HashMap<Key, Retry>,
    /// Containers that could not be read, or not all of them, by name.
    unread: HashMap<String, Retry>,
    /// What could not be listed, or not all of it.
    unlisted: Retry,
    /// Each process is watched once.
    known: Known,
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
            tracked: HashMap::new(),
            orphans: HashMap::new(),
            unread: HashMap::new(),
            unlisted: Retry::default(),
            known: Known::default(),
            blank: Retry::default(),
        })
    }

    /// Steps 2 and 3.
    fn restore(&mut self) -> Result<()> {
        self.sources.watch_root(self.driver.root())?;
        let mut ended = HashSet::new();
        for verdict in self.driver.restore()? {
            report::restored(&verdict)?;
            if matches!(verdict.finding, Finding::Exited(_)) {
                ended.insert((verdict.id, verdict.process));
            }
        }
        for entry in self.driver.list()? {
            match entry.container {
                Ok(container) => self.track(container, &ended)?,
                // It has been told.
                Err(_) => self.unread.entry(entry.id).or_default().again(),
            }
        }
        Ok(())
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
                    self.try_later((id, process), &source)?;
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            let (id, process) = (&event.container, &event.process);
            match event.kind {
                EventKind::Exited(record) => {
                    report::event(
                        id.as_str(),
                        process.as_str(),
                        "exit",
                        report::record(&record),
                    )?;
                    if process.is_init() {
                        self.retry(id).due = None;
                        self.consider(id, Why::News)?;
                    }
                }
                EventKind::ShimGone => self.adopt(id, process)?,
            }
        }
    }

    /// One thing that is due, so that what happens meanwhile has its turn between two.
    fn take_due(&mut self) -> Result<()> {
        let now = Instant::now();
        if self.unlisted.take(now) {
            return self.look_again();
        }
        if let Some(name) = first_due(&mut self.unread, now, |retry| retry) {
            return self.appeared(&name);
        }
        if let Some((id, process)) = first_due(&mut self.orphans, now, |retry| retry) {
            return self.adopt(&id, &process);
        }
        if let Some(id) = first_due(&mut self.tracked, now, |tracked| &mut tracked.retry) {
            return self.consider(&id, Why::Due);
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        let containers = self.tracked.values().map(|tracked| &tracked.retry);
        let all = containers.chain(self.orphans.values());
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
