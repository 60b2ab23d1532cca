//! Who is there: containers and processes that come and go. What cannot be read now is read later: it may have been for want
//! of a descriptor, or somebody mends it.

use std::collections::HashSet;

use holdfast::{Container, ContainerId, ProcessId};
use serde_json::json;

use super::super::error::Result;
use super::care::Why;
use super::sources::Change;
use super::{Retry, Supervisor, Tracked, report};

impl Supervisor {
    /// Begins to look after a container. Of the processes that are known to have ended, the end is no news.
    ///
    /// # Errors
    /// Ours alone, as of everything here.
    pub fn track(&mut self, container: Container, ended: &HashSet<(String, String)>) -> Result<()> {
        let id = container.id().clone();
        let retry = Retry::default();
        self.tracked
            .insert(id.clone(), Tracked { container, retry });
        self.look_over(&id, ended)?;
        self.consider(&id, Why::News)
    }

    /// Watches a container, and every process of it that is not watched yet; again later, if that fails.
    fn look_over(&mut self, id: &ContainerId, ended: &HashSet<(String, String)>) -> Result<()> {
        let Some(tracked) = self.tracked.get(id) else {
            return Ok(());
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
                        }
                        Ok(process) => self.watch_process(&process)?,
                        Err(e) => self.watch_later(id, name, &e)?,
                    }
                }
            }
        }
        match problem.filter(|_| container.dir().exists()) {
            Some(problem) => self.look_later(id, "", &problem),
            None => Ok(()),
        }
    }

    /// Something about a container could not be found out: it is looked over again.
    ///
    /// # Errors
    /// As [`Supervisor::track`].
    pub fn look_later(&mut self, id: &ContainerId, process: &str, problem: &str) -> Result<()> {
        self.unread.entry(id.to_string()).or_default().again();
        report::event(id.as_str(), process, "failed", json!({ "error": problem }))
    }

    fn watch_later(
        &mut self,
        id: &ContainerId,
        name: String,
        error: &holdfast::Error,
    ) -> Result<()> {
        match ProcessId::new(name) {
            Ok(name) => self.try_later((id.clone(), name), error),
            Err(e) => {
                log::debug!("{e}");
                Ok(())
            }
        }
    }

    /// What has changed in the directories.
    ///
    /// # Errors
    /// As [`Supervisor::track`].
    pub fn take_changes(&mut self) -> Result<()> {
        let changes = self.sources.changes()?;
        // What ended before its name was used again is told before the monitor watches whoever bears it now.
        self.take_exits()?;
        for change in changes {
            match change {
                Change::Appeared(name) => self.appeared(&name)?,
                Change::Gone(name) => self.gone(&name)?,
                Change::Process(id, name) => self.process_appeared(&id, name)?,
                Change::ProcessGone(id, name) => self.process_gone(id, name),
                Change::Init(id) => self.consider(&id, Why::News)?,
                Change::Many => self.look_again()?,
            }
        }
        Ok(())
    }

    /// There is a container of this name, perhaps since long.
    ///
    /// # Errors
    /// As [`Supervisor::track`].
    pub fn appeared(&mut self, name: &str) -> Result<()> {
        let Ok(id) = ContainerId::new(name) else {
            return Ok(());
        };
        if self.tracked.contains_key(&id) {
            let Some(failures) = self.unread.get(name).map(|retry| retry.failures) else {
                return Ok(());
            };
            self.look_over(&id, &HashSet::new())?;
            self.consider(&id, Why::News)?;
            if self
                .unread
                .get(name)
                .is_some_and(|retry| retry.failures == failures)
            {
                self.unread.remove(name);
            }
            return Ok(());
        }
        match self.driver.load(&id) {
            Ok(container) => {
                self.unread.remove(name);
                let more = json!({ "restartPolicy": container.restart_policy() });
                report::event(name, "", "appeared", more)?;
                self.track(container, &HashSet::new())
            }
            Err(holdfast::Error::NotFound { .. }) => {
                self.unread.remove(name);
                Ok(())
            }
            Err(e) => {
                let retry = self.unread.entry(name.to_owned()).or_default();
                let is_news = retry.failures == 0;
                retry.again();
                if is_news {
                    let more = json!({ "error": e.to_string() });
                    report::event(name, "", "unreadable", more)?;
                }
                Ok(())
            }
        }
    }

    fn gone(&mut self, name: &str) -> Result<()> {
        self.unread.remove(name);
        let Ok(id) = ContainerId::new(name) else {
            return Ok(());
        };
        if self.tracked.remove(&id).is_none() {
            return Ok(());
        }
        // The monitor keeps what it watches: an end that is still to come is told.
        self.sources.forget(&id);
        self.known.forget_container(&id);
        self.orphans.retain(|(of, _), _| *of != id);
        report::event(name, "", "removed", json!({}))
    }

    fn process_appeared(&mut self, id: &ContainerId, name: String) -> Result<()> {
        let (Some(tracked), Ok(process)) = (self.tracked.get(id), ProcessId::new(name.clone()))
        else {
            return Ok(());
        };
        match tracked.container.process(&process) {
            Ok(process) => self.watch_process(&process),
            // It went again.
            Err(holdfast::Error::ProcessNotFound { .. }) => Ok(()),
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
        }
    }

    /// After a loss of changes: what is there, and what is not any more.
    ///
    /// # Errors
    /// As [`Supervisor::track`].
    pub fn look_again(&mut self) -> Result<()> {
        let there: Vec<String> = match self.driver.list() {
            Ok(entries) => entries.into_iter().map(|entry| entry.id).collect(),
            Err(e) => {
                self.unlisted.again();
                return report::event("", "", "failed", json!({ "error": e.to_string() }));
            }
        };
        self.unlisted = Retry::default();
        let tracked: Vec<ContainerId> = self.tracked.keys().cloned().collect();
        for id in tracked {
            if !there.contains(&id.to_string()) {
                self.gone(id.as_str())?;
                continue;
            }
            self.look_over(&id, &HashSet::new())?;
            self.consider(&id, Why::News)?;
        }
        for name in there {
            self.appeared(&name)?;
        }
        Ok(())
    }
}
