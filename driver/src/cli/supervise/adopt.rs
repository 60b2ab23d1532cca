//! A process that has no shim, or could not be watched. Whatever goes wrong is tried again, sooner at first: what cannot be done
//! for want of a descriptor now can be done later, and a process that were forgotten would never be heard of again.

use holdfast::{Container, ContainerId, Process, ProcessId, Recovery};
use serde_json::json;

use super::super::error::{Error, Result};
use super::Supervisor;
use super::known::{Key, key};
use super::report;

impl Supervisor {
    /// Watches a process for its end, unless it is known already.
    ///
    /// # Errors
    /// Ours alone; what cannot be watched is told, and tried again.
    pub fn watch_process(&mut self, process: &Process) -> Result<()> {
        if self.known.has(process) {
            return Ok(());
        }
        match self.monitor.add(process) {
            Ok(()) => {
                self.known.note(process);
                Ok(())
            }
            Err(e) => self.try_later(key(process), &e),
        }
    }

    /// A process could not be adopted or watched: it is to be tried again.
    ///
    /// # Errors
    /// Ours alone.
    pub fn try_later(&mut self, key: Key, error: &holdfast::Error) -> Result<()> {
        report::failed(&key.0, key.1.as_str(), error)?;
        self.known.forget(&key);
        self.orphans.entry(key).or_default().again();
        Ok(())
    }

    /// A process lost its shim: another adopts it.
    ///
    /// # Errors
    /// Ours alone.
    pub fn adopt(&mut self, id: &ContainerId, name: &ProcessId) -> Result<()> {
        let key = (id.clone(), name.clone());
        let Some(tracked) = self.tracked.get(id) else {
            // It was deleted.
            self.orphans.remove(&key);
            return Ok(());
        };
        let container = tracked.container.clone();
        match self.adopt_in(&container, name) {
            // It went away.
            Err(Error::Library(
                holdfast::Error::NotFound { .. } | holdfast::Error::ProcessNotFound { .. },
            )) => (),
            Err(Error::Library(e)) => return self.try_later(key, &e),
            done => done?,
        }
        self.orphans.remove(&key);
        Ok(())
    }

    fn adopt_in(&mut self, container: &Container, name: &ProcessId) -> Result<()> {
        // Opened before: it knows how it ended even if its directory goes with that.
        let process = container.process(name)?;
        let (id, name) = (container.id().as_str(), name.as_str());
        match container.recover(process.id()) {
            Ok(Recovery::Adopted(identity)) => {
                let mut more = json!({ "pid": identity.pid });
                if process.terminal() {
                    more["terminalLost"] = true.into();
                }
                report::event(id, name, "adopted", more)?;
            }
            Ok(Recovery::Removed) if process.exit_record()?.is_none() => {
                return report::event(id, name, "removed", json!({}));
            }
            // Its end is news for the monitor.
            Ok(Recovery::Finished | Recovery::Removed) => (),
            Ok(Recovery::Unneeded) if process.shim_lives()? => (),
            Ok(Recovery::Unneeded) if process.exit_record()?.is_some() => (),
            Ok(Recovery::Unneeded) => return report::event(id, name, "lost", json!({})),
            Err(holdfast::Error::AdoptedElsewhere { .. }) => (),
            Err(e) => return Err(e.into()),
        }
        self.monitor.add(&process)?;
        self.known.note(&process);
        Ok(())
    }
}
