//! A process that has no shim, or could not be watched. Whatever goes wrong is tried again, sooner at first: what cannot be done
//! for want of a descriptor now can be done later, and a process that were forgotten would never be heard of again.

use holdfast::{Container, Error, Process, ProcessId, Recovery};
use serde_json::json;

use super::Supervisor;
use super::known::{Key, key};

impl Supervisor {
    /// Watches a process for its end, unless it is known already. What cannot be watched is told, and tried again.
    pub fn watch_process(&mut self, process: &Process) {
        if self.known.has(process) {
            return;
        }
        match self.monitor.add(process) {
            Ok(()) => self.known.note(process),
            Err(e) => self.try_later(key(process), &e),
        }
    }

    /// A process could not be adopted or watched: it is to be tried again.
    pub fn try_later(&mut self, key: Key, error: &Error) {
        self.report.failed(&key.0, key.1.as_str(), error);
        self.known.forget(&key);
        self.orphans.entry(key).or_default().again();
    }

    /// A process lost its shim: another adopts it.
    pub fn adopt(&mut self, key: Key) {
        let Some(tracked) = self.tracked.get(&key.0) else {
            // It was deleted.
            self.orphans.remove(&key);
            return;
        };
        let container = tracked.container.clone();
        self.notifier.alive();
        match self.adopt_in(&container, &key.1) {
            // The latter went away.
            Ok(()) | Err(Error::NotFound { .. } | Error::ProcessNotFound { .. }) => {
                self.orphans.remove(&key);
            }
            Err(e) => self.try_later(key, &e),
        }
    }

    fn adopt_in(&mut self, container: &Container, name: &ProcessId) -> holdfast::Result<()> {
        // Opened before: it knows how it ended even if its directory goes with that.
        let process = container.process(name)?;
        let (id, name) = (container.id().as_str(), name.as_str());
        match container.recover(process.id()) {
            Ok(Recovery::Adopted(identity)) => {
                let mut more = json!({ "pid": identity.pid });
                if process.terminal() {
                    more["terminalLost"] = true.into();
                }
                self.report.event(id, name, "adopted", more);
            }
            Ok(Recovery::Removed) if process.exit_record()?.is_none() => {
                self.report.event(id, name, "removed", json!({}));
                return Ok(());
            }
            // Its end is news for the monitor.
            Ok(Recovery::Finished | Recovery::Removed) => (),
            Ok(Recovery::Unneeded) if process.shim_lives()? => (),
            Ok(Recovery::Unneeded) if process.exit_record()?.is_some() => (),
            Ok(Recovery::Unneeded) => {
                self.report.event(id, name, "lost", json!({}));
                return Ok(());
            }
            Err(Error::AdoptedElsewhere { .. }) => (),
            Err(e) => return Err(e),
        }
        self.monitor.add(&process)?;
        self.known.note(&process);
        Ok(())
    }
}
