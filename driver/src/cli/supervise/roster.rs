//! Who is there: containers and processes that come and go. What cannot be read now is read later: it may have been for want
//! of a descriptor, or somebody mends it.

use std::collections::{HashMap, HashSet};

use holdfast::{Container, ContainerId, ProcessId};
use serde_json::json;

use super::super::error::Result;
use super::known::key;
use super::sources::Change;
use super::{Retry, Supervisor, Tracked};

impl Supervisor {
    /// Begins to look after a container. Of the processes that are known to have ended, the end is no news.
    pub fn track(&mut self, container: Container, ended: &HashSet<(String, String)>) {
        let id = container.id().clone();
        let retry = Retry::default();
        self.tracked
            .insert(id.clone(), Tracked { container, retry });
        self.look_over(&id, ended);
        self.queue.push((id, ProcessId::init()));
    }

    /// Watches a container, and every process of it that is not watched yet; again later, if that fails.
    fn look_over(&mut self, id: &ContainerId, ended: &HashSet<(String, String)>) {
        let Some(tracked) = self.tracked.get(id) else {
            return;
        };
        let container = tracked.container.clone();
        let mut problem = None;
        // In this order: what comes after the look is news.
        if let Err(e) = self.sources.watch_container(id, container.dir()) {
            problem = Some(e.to_string());
        }
        match container.processes() {
            Err(e) => problem = Some(e.to_string()),
            Ok(processes) => {
                for (name, process) in processes {
                    match process {
                        Ok(process) if ended.contains(&(id.to_string(), name.clone())) => {
                            self.known.note(&process);
                            self.queue.push(key(&process));
                        }
                        Ok(process) => self.watch_process(&process),
                        Err(e) => self.watch_later(id, name, &e),
                    }
                }
            }
        }
        if let Some(problem) = problem.filter(|_| container.dir().exists()) {
            self.unread.entry(id.to_string()).or_default().again();
            self.report.failed(id, "", &problem);
        }
    }

    fn watch_later(&mut self, id: &ContainerId, name: String, error: &holdfast::Error) {
        match ProcessId::new(name) {
            Ok(name) => self.try_later((id.clone(), name), error),
            Err(e) => log::debug!("{e}"),
        }
    }

    /// What has changed in the directories.
    ///
    /// # Errors
    /// They cannot be watched any more.
    pub fn take_changes(&mut self) -> Result<()> {
        let changes = self.sources.changes()?;
        // What ended before its name was used again is told before the monitor watches whoever bears it now.
        self.take_exits()?;
        for change in changes {
            match change {
                Change::Appeared(name) => self.appeared(&name),
                Change::Gone(name) => self.gone(&name),
                Change::Process(id, name) => self.process_appeared(&id, name),
                Change::ProcessGone(id, name) => self.process_gone(id, name),
                Change::Init(id) => self.queue.push((id, ProcessId::init())),
                Change::Many => self.look_again(),
            }
        }
        Ok(())
    }

    /// There is a container of this name, perhaps since long.
    pub fn appeared(&mut self, name: &str) {
        let Ok(id) = ContainerId::new(name) else {
            return;
        };
        if self.tracked.contains_key(&id) {
            return self.look_over_again(&id);
        }
        match self.driver.load(&id) {
            Ok(container) => {
                self.unread.remove(name);
                let more = json!({ "restartPolicy": container.restart_policy() });
                self.report.event(name, "", "appeared", more);
                self.track(container, &HashSet::new());
            }
            Err(holdfast::Error::NotFound { .. }) => {
                self.unread.remove(name);
            }
            Err(e) => {
                let retry = self.unread.entry(name.to_owned()).or_default();
                let is_news = retry.failures == 0;
                retry.again();
                if is_news {
                    let more = json!({ "error": e.to_string() });
                    self.report.event(name, "", "unreadable", more);
                }
            }
        }
    }

    /// One that could not be looked over before.
    fn look_over_again(&mut self, id: &ContainerId) {
        let failures = |unread: &HashMap<String, Retry>| Some(unread.get(id.as_str())?.failures);
        let Some(before) = failures(&self.unread) else {
            return;
        };
        self.look_over(id, &HashSet::new());
        if failures(&self.unread) == Some(before) {
            self.unread.remove(id.as_str());
        }
    }

    fn gone(&mut self, name: &str) {
        self.unread.remove(name);
        let Ok(id) = ContainerId::new(name) else {
            return;
        };
        if self.tracked.remove(&id).is_none() {
            return;
        }
        // The monitor keeps what it watches: an end that is still to come is told.
        self.sources.forget(&id);
        self.known.forget_container(&id);
        self.orphans.retain(|(of, _), _| *of != id);
        self.postponed.retain(|(of, _), _| *of != id);
        self.report.event(name, "", "removed", json!({}));
    }

    fn process_appeared(&mut self, id: &ContainerId, name: String) {
        let (Some(tracked), Ok(process)) = (self.tracked.get(id), ProcessId::new(name.clone()))
        else {
            return;
        };
        match tracked.container.process(&process) {
            Ok(process) => self.watch_process(&process),
            // It went again.
            Err(holdfast::Error::ProcessNotFound { .. }) => (),
            Err(e) => self.watch_later(id, name, &e),
        }
    }

    fn process_gone(&mut self, id: ContainerId, name: String) {
        let (Some(tracked), Ok(name)) = (self.tracked.get(&id), ProcessId::new(name)) else {
            return;
        };
        // Another may have its name by now. What the monitor watches tells its end without a directory.
        let now = tracked.container.process(&name);
        let key = (id, name);
        self.known.went(&key, now.as_ref().ok());
        if matches!(now, Err(holdfast::Error::ProcessNotFound { .. })) {
            self.orphans.remove(&key);
            self.postponed.remove(&key);
        }
    }

    /// After a loss of changes: what is there, and what is not any more.
    pub fn look_again(&mut self) {
        let there: HashSet<String> = match self.driver.list() {
            Ok(entries) => entries.into_iter().map(|entry| entry.id).collect(),
            Err(e) => {
                self.unlisted.again();
                let more = json!({ "error": e.to_string() });
                return self.report.event("", "", "failed", more);
            }
        };
        self.unlisted = Retry::default();
        let tracked: Vec<ContainerId> = self.tracked.keys().cloned().collect();
        for id in tracked {
            if there.contains(id.as_str()) {
                self.look_over(&id, &HashSet::new());
                self.queue.push((id, ProcessId::init()));
            } else {
                self.gone(id.as_str());
            }
        }
        for name in there {
            self.appeared(&name);
        }
    }
}
