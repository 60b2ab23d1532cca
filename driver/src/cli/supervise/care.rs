//! What is done about a container. One function looks at its files and decides, whatever woke us and whoever was here before:
//! so nothing is forgotten by a supervisor that is killed, and nothing done twice by the next.

use std::time::{Duration, Instant, SystemTime};

use holdfast::{Container, ContainerId, ExitRecord, Process, RestartPolicy, Restarts, Status};
use serde_json::{Value, json};

use super::super::error::{Error, Result};
use super::policy::{self, Case, Decision};
use super::report;
use super::sources::{Sign, duplicate};
use super::{Retry, Supervisor};

/// How long a shim may take to end that has failed, or was killed.
const SHIM_PATIENCE: Duration = Duration::from_secs(10);

/// Why a container is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Something happened.
    News,
    /// What it was told to wait for is over.
    Due,
}

impl Supervisor {
    /// Looks at a container, and does what is to be done now.
    ///
    /// # Errors
    /// Ours alone; a container's are told, and keep no other from its turn.
    pub fn consider(&mut self, id: &ContainerId, why: Why) -> Result<()> {
        let Some(tracked) = self.tracked.get(id) else {
            return Ok(());
        };
        let container = tracked.container.clone();
        if container.restart_policy() == RestartPolicy::No {
            return Ok(());
        }
        match self.attend(&container, why) {
            // It went away, and its parent's watch says so.
            Err(Error::Library(
                holdfast::Error::NotFound { .. } | holdfast::Error::ProcessNotFound { .. },
            )) => Ok(()),
            // Of what it was about, nothing else may come.
            Err(e) => self.look_later(id, "init", &e.to_string()),
            Ok(()) => Ok(()),
        }
    }

    fn attend(&mut self, container: &Container, why: Why) -> Result<()> {
        let id = container.id();
        let init = container.init()?;
        if let Some(record) = init.exit_record()? {
            return self.attend_ended(container, &init, &record, why);
        }
        let launcher = init.launcher();
        let mut status = container.status()?;
        if status == Status::Creating && launcher.is_some() {
            // Before its status is read again: what comes after that is news.
            self.sources.watch_init(id, init.dir())?;
            status = container.status()?;
        }
        match status {
            Status::Creating | Status::Created if launcher.is_none() => Ok(()),
            // A new file, or its end, is news.
            Status::Creating => Ok(()),
            Status::Created if is_stopped(container) => Ok(()),
            Status::Created => {
                let launcher = launcher.filter(|launcher| Some(*launcher) != self.me);
                let lives = launcher.map(|launcher| launcher.open()).transpose();
                let failed = |e| Error::io("look at the launcher of", container.dir(), e);
                if let Some(lives) = lives.map_err(failed)?.flatten() {
                    return self.sources.wait_for(id, lives, Sign::Readable);
                }
                if why == Why::News && self.retry(id).due.is_some() {
                    return Ok(());
                }
                self.start(container, &init, "started", json!({}))
            }
            Status::Running | Status::Paused => {
                *self.retry(id) = Retry::default();
                Ok(())
            }
            // Its shim is gone, and the monitor says so.
            Status::Stopped => Ok(()),
        }
    }

    fn attend_ended(
        &mut self,
        container: &Container,
        init: &Process,
        record: &ExitRecord,
        why: Why,
    ) -> Result<()> {
        let id = container.id();
        if init.shim_lives()? {
            return self.sources.wait_for(id, duplicate(init)?, Sign::HangUp);
        }
        // Its shim may have been killed between the record and its last step.
        container.recover(init.id())?;
        let made = init.restarts();
        let case = Case {
            policy: container.restart_policy(),
            stopped: container.is_marked_stopped(),
            restarts: made.count.saturating_add(self.retry(id).failures),
            record,
        };
        match case.decide() {
            Decision::Leave => return Ok(()),
            Decision::GiveUp => {
                if !std::mem::replace(&mut self.retry(id).gave_up, true) {
                    let more = json!({ "restarts": case.restarts });
                    report::event(id.as_str(), "init", "gave-up", more)?;
                }
                return Ok(());
            }
            Decision::Restart => (),
        }
        let in_a_row = policy::in_a_row(made, init.created_at(), record.exited_at);
        let delay = policy::delay(in_a_row);
        if why == Why::News {
            let ago = SystemTime::now().duration_since(record.exited_at);
            let left = delay.saturating_sub(ago.unwrap_or(Duration::ZERO));
            let due = *self.retry(id).due.get_or_insert(Instant::now() + left);
            if due > Instant::now() {
                return Ok(());
            }
        }
        self.retry(id).due = None;
        let next = Restarts {
            count: made.count.saturating_add(1),
            in_a_row: in_a_row.saturating_add(1),
        };
        self.restart(container, made, next, delay)
    }

    fn restart(
        &mut self,
        container: &Container,
        made: Restarts,
        next: Restarts,
        delay: Duration,
    ) -> Result<()> {
        let id = container.id();
        let error = match container.restart(next) {
            Ok(init) => {
                *self.retry(id) = Retry::default();
                self.watch_process(&init)?;
                let more = json!({
                    "count": next.count,
                    "inARow": next.in_a_row,
                    "delayMs": u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                });
                return self.start(container, &init, "restart", more);
            }
            Err(holdfast::Error::Busy { .. }) => {
                self.retry(id).due = Some(Instant::now() + policy::delay(0));
                return Ok(());
            }
            Err(error) => error,
        };
        report::failed(id, "init", &error)?;
        let init = container.init()?;
        if init.restarts() == made {
            // Nothing of it is on record: what stands in its way may go on doing so.
            let retry = self.retry(id);
            retry.failures = retry.failures.saturating_add(1);
            let attempts = next.in_a_row.saturating_add(retry.failures) - 1;
            retry.due = Some(Instant::now() + policy::delay(attempts));
            return Ok(());
        }
        // The attempt is on record as an end of its own, and has been told of.
        self.known.note(&init);
        // A shim that was killed in the middle of it is told of before it has let go of its lock.
        init.wait_gone(Some(SHIM_PATIENCE))?;
        container.recover(init.id())?;
        self.consider(id, Why::News)
    }

    fn start(
        &mut self,
        container: &Container,
        init: &Process,
        event: &str,
        more: Value,
    ) -> Result<()> {
        let id = container.id();
        match container.try_start() {
            Ok(()) => {
                *self.retry(id) = Retry::default();
                let mut more = more;
                if let Some(identity) = init.identity()? {
                    more["pid"] = identity.pid.into();
                }
                report::event(id.as_str(), "init", event, more)
            }
            // Somebody else has, or it is over.
            Err(holdfast::Error::NotCreated { .. } | holdfast::Error::NotFound { .. }) => Ok(()),
            Err(holdfast::Error::Busy { .. }) => {
                self.retry(id).due = Some(Instant::now() + policy::delay(0));
                Ok(())
            }
            Err(e) => {
                let retry = self.retry(id);
                retry.due = Some(Instant::now() + policy::delay(retry.failures));
                retry.failures = retry.failures.saturating_add(1);
                report::failed(id, "init", &e)
            }
        }
    }
}

/// Whether it was stopped on purpose, and its policy respects that.
fn is_stopped(container: &Container) -> bool {
    container.restart_policy() == RestartPolicy::UnlessStopped && container.is_marked_stopped()
}
