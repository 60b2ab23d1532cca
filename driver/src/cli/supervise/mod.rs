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

mod care;
mod notify;
mod policy;
mod report;
mod sources;

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use clap::Args;
use holdfast::{
    Container, ContainerId, Driver, EventKind, Finding, Identity, Monitor, Process, ProcessId,
};
use serde_json::json;

use super::error::{Error, Result};
use super::globals::Globals;
use super::session::{ENDING, Signals};
use care::Why;
use notify::Notifier;
use sources::{Change, Event, Sources};

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

struct Supervisor {
    driver: Driver,
    me: Option<Identity>,
    signals: Signals,
    monitor: Monitor,
    sources: Sources,
    tracked: HashMap<ContainerId, Tracked>,
    /// Processes that could not be adopted yet.
    orphans: HashMap<(ContainerId, ProcessId), Retry>,
    /// Which directory bore a process's name when it was last looked at: each process is watched once.
    known: HashMap<(ContainerId, ProcessId), (u64, u64)>,
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
            known: HashMap::new(),
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
            if let Ok(container) = entry.container {
                self.track(container, &ended)?;
            }
        }
        Ok(())
    }

    /// Begins to look after a container. Of the processes that are known to have ended, the end is no news.
    fn track(&mut self, container: Container, ended: &HashSet<(String, String)>) -> Result<()> {
        let id = container.id().clone();
        self.sources.watch_container(&id, container.dir())?;
        let processes = container.processes();
        let retry = Retry::default();
        self.tracked
            .insert(id.clone(), Tracked { container, retry });
        for (name, process) in processes.unwrap_or_default() {
            match process {
                Ok(process) if ended.contains(&(id.to_string(), name)) => self.know(&process),
                Ok(process) => self.watch_process(&process)?,
                // A survey tells of what cannot be read.
                Err(e) => log::debug!("{e}"),
            }
        }
        self.consider(&id, Why::News)
    }

    /// Watches a process for its end, unless it is known already.
    fn watch_process(&mut self, process: &Process) -> Result<()> {
        let key = (process.container_id().clone(), process.id().clone());
        let before = self.known.get(&key).copied();
        self.know(process);
        if before.is_some() && before == self.known.get(&key).copied() {
            return Ok(());
        }
        match self.monitor.add(process) {
            Err(e) => report::failed(process.container_id(), process.id().as_str(), &e),
            Ok(()) => Ok(()),
        }
    }

    fn know(&mut self, process: &Process) {
        let key = (process.container_id().clone(), process.id().clone());
        match std::fs::metadata(process.dir()) {
            Ok(meta) => self.known.insert(key, (meta.dev(), meta.ino())),
            Err(_) => self.known.remove(&key),
        };
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
                Err(e) => {
                    report::event("", "", "failed", json!({ "error": e.to_string() }))?;
                    continue;
                }
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

    fn take_changes(&mut self) -> Result<()> {
        for change in self.sources.changes()? {
            match change {
                Change::Appeared(name) => self.appeared(&name)?,
                Change::Gone(name) => self.gone(&name)?,
                Change::Process(id, name) => self.process_appeared(&id, name)?,
                Change::Init(id) => self.consider(&id, Why::News)?,
                Change::Many => self.look_again()?,
            }
        }
        Ok(())
    }

    fn appeared(&mut self, name: &str) -> Result<()> {
        let Ok(id) = ContainerId::new(name) else {
            return Ok(());
        };
        if self.tracked.contains_key(&id) {
            return Ok(());
        }
        match self.driver.load(&id) {
            Ok(container) => {
                let more = json!({ "restartPolicy": container.restart_policy() });
                report::event(name, "", "appeared", more)?;
                self.track(container, &HashSet::new())
            }
            Err(holdfast::Error::NotFound { .. }) => Ok(()),
            Err(e) => report::event(name, "", "unreadable", json!({ "error": e.to_string() })),
        }
    }

    fn gone(&mut self, name: &str) -> Result<()> {
        let Ok(id) = ContainerId::new(name) else {
            return Ok(());
        };
        if self.tracked.remove(&id).is_none() {
            return Ok(());
        }
        // The monitor keeps what it watches: an end that is still to come is told.
        self.sources.forget(&id);
        self.known.retain(|(of, _), _| *of != id);
        self.orphans.retain(|(of, _), _| *of != id);
        report::event(name, "", "removed", json!({}))
    }

    fn process_appeared(&mut self, id: &ContainerId, name: String) -> Result<()> {
        let (Some(tracked), Ok(name)) = (self.tracked.get(id), ProcessId::new(name)) else {
            return Ok(());
        };
        match tracked.container.process(&name) {
            Ok(process) => self.watch_process(&process),
            // It went again.
            Err(e) => {
                log::debug!("{e}");
                Ok(())
            }
        }
    }

    /// After a loss of changes: what is there, and what is not any more.
    fn look_again(&mut self) -> Result<()> {
        let there: Vec<String> = self.driver.list()?.into_iter().map(|e| e.id).collect();
        let tracked: Vec<ContainerId> = self.tracked.keys().cloned().collect();
        for id in tracked {
            if !there.contains(&id.to_string()) {
                self.gone(id.as_str())?;
                continue;
            }
            let processes = self.tracked[&id].container.processes();
            for (_, process) in processes.unwrap_or_default() {
                if let Ok(process) = process {
                    self.watch_process(&process)?;
                }
            }
            self.consider(&id, Why::News)?;
        }
        for name in there {
            self.appeared(&name)?;
        }
        Ok(())
    }

    /// One thing that is due, so that what happens meanwhile has its turn between two.
    fn take_due(&mut self) -> Result<()> {
        let now = Instant::now();
        let is_due = |retry: &Retry| retry.due.is_some_and(|due| due <= now);
        let orphan = self.orphans.iter_mut().find(|(_, retry)| is_due(retry));
        if let Some(((id, process), retry)) = orphan {
            retry.due = None;
            let (id, process) = (id.clone(), process.clone());
            return self.adopt(&id, &process);
        }
        let mut tracked = self.tracked.iter_mut();
        if let Some((id, tracked)) = tracked.find(|(_, tracked)| is_due(&tracked.retry)) {
            tracked.retry.due = None;
            let id = id.clone();
            return self.consider(&id, Why::Due);
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        let containers = self.tracked.values().map(|tracked| &tracked.retry);
        let all = containers.chain(self.orphans.values());
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
