//! What is done about a container. One function looks at its files and decides, whatever woke us and whoever was here before:
//! so nothing is forgotten by a supervisor that is killed, and nothing done twice by the next.

use std::time::{Duration, Instant, SystemTime};

use holdfast::{Container, ExitRecord, Process, ProcessId, RestartPolicy, Restarts, Status};
use serde_json::{Value, json};

use super::super::error::{Error, Result};
use super::known::{Key, key};
use super::policy::{self, Case, Decision};
use super::sources::{Sign, duplicate};
use super::{Retry, Supervisor};

/// Why a container is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Something happened.
    News,
    /// What it was told to wait for is over.
    Due,
}

impl Supervisor {
    /// Looks at a process, and does what is to be done now. What goes wrong is told, keeps no other from its turn, and is tried
    /// again.
    pub fn consider(&mut self, key: &Key, why: Why) {
        let Some(tracked) = self.tracked.get(&key.0) else {
            return;
        };
        let container = tracked.container.clone();
        let has_policy = container.restart_policy() != RestartPolicy::No;
        let done = if has_policy && key.1.is_init() {
            self.attend(&container, why)
        } else {
            self.attend_alone(&container, &key.1)
        };
        match done {
            // The latter went away, and its parent's watch says so.
            Ok(())
            | Err(Error::Library(
                holdfast::Error::NotFound { .. } | holdfast::Error::ProcessNotFound { .. },
            )) => {
                let retry = self.postponed.get(key);
                if retry.is_some_and(|retry| retry.due.is_none()) {
                    self.postponed.remove(key);
                }
            }
            // Of what it was about, nothing else may come.
            Err(e) => {
                self.report.failed(&key.0, key.1.as_str(), &e);
                self.postponed.entry(key.clone()).or_default().again();
            }
        }
    }

    /// One whose end has no consequence but that it is finished.
    fn attend_alone(&mut self, container: &Container, name: &ProcessId) -> Result<()> {
        let process = container.process(name)?;
        if process.exit_record()?.is_some() {
            self.finish(container, &process)?;
        }
        Ok(())
    }

    /// Whether the shim of a process that has ended has taken its last step; if not, it is waited for. Should it be killed before
    /// that, another takes the step in its place.
    fn finish(&mut self, container: &Container, process: &Process) -> Result<bool> {
        let key = key(process);
        if process.shim_lives()? {
            if process.will_hang_up()? {
                self.sources
                    .wait_for(&key, duplicate(process)?, Sign::HangUp)?;
            } else {
                // It is being killed, and lets go of its lock in an instant: nothing tells when.
                self.postponed.entry(key).or_default().again();
            }
            return Ok(false);
        }
        if let Some(shim) = process.waiting_to_run_exit_command()? {
            // Nobody waits for that; but should it be killed before, another runs the command.
            self.sources.wait_for(&key, shim, Sign::Readable)?;
            return Ok(true);
        }
        self.notifier.alive();
        match container.recover(process.id()) {
            Ok(_) => Ok(true),
            // By another, which is waited for in turn.
            Err(holdfast::Error::AdoptedElsewhere { .. }) => {
                self.queue.push(key);
                Ok(false)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn attend(&mut self, container: &Container, why: Why) -> Result<()> {
        let id = container.id();
        let init = container.init()?;
        if let Some(record) = init.exit_record()? {
            return self.attend_ended(container, &init, &record, why);
        }
        let launcher = init.launcher();
        let is_mine = launcher.is_some() && launcher == self.me;
        let mut status = container.status()?;
        if status == Status::Creating && launcher.is_some() {
            // Before its status is read again: what comes after that is news.
            self.sources.watch_init(id, init.dir())?;
            status = container.status()?;
        }
        if status != Status::Creating {
            self.sources.unwatch_init(id);
        }
        match status {
            Status::Creating | Status::Created if launcher.is_none() => Ok(()),
            // A launch of ours is over: it was cut off.
            Status::Creating if is_mine => self.finish_cut_off(container, &init),
            // A new file, or its end, is news.
            Status::Creating => Ok(()),
            Status::Created if is_stopped(container) => Ok(()),
            Status::Created => {
                let launcher = launcher.filter(|_| !is_mine);
                let lives = launcher.map(|launcher| launcher.open()).transpose();
                let failed = |e| Error::io("look at the launcher of", container.dir(), e);
                if let Some(lives) = lives.map_err(failed)?.flatten() {
                    return self.sources.wait_for(&key(&init), lives, Sign::Readable);
                }
                if why == Why::News && self.retry(id).due.is_some() {
                    return Ok(());
                }
                self.start(container, &init, "started", json!({}));
                Ok(())
            }
            Status::Running | Status::Pausing | Status::Paused => {
                *self.retry(id) = Retry::default();
                Ok(())
            }
            // Its end is about to be on record, or its shim is gone without.
            Status::Stopped => self.finish_cut_off(container, &init),
        }
    }

    /// One that has no record of its end; once it has, it is looked at again.
    fn finish_cut_off(&mut self, container: &Container, init: &Process) -> Result<()> {
        if self.finish(container, init)? && init.exit_record()?.is_some() {
            self.queue.push(key(init));
        }
        Ok(())
    }

    fn attend_ended(
        &mut self,
        container: &Container,
        init: &Process,
        record: &ExitRecord,
        why: Why,
    ) -> Result<()> {
        let id = container.id();
        if !self.finish(container, init)? {
            return Ok(());
        }
        let made = init.restarts();
        let mut case = Case::of(container, init, record);
        case.restarts = case.restarts.saturating_add(self.retry(id).failures);
        match case.decide() {
            Decision::Leave => return Ok(()),
            Decision::GiveUp => {
                if !std::mem::replace(&mut self.retry(id).gave_up, true) {
                    let more = json!({ "restarts": case.restarts });
                    self.report.event(id.as_str(), "init", "gave-up", more);
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
        self.notifier.alive();
        let error = match container.restart(next) {
            Ok(init) => {
                *self.retry(id) = Retry::default();
                self.watch_process(&init);
                let more = json!({
                    "count": next.count,
                    "inARow": next.in_a_row,
                    "delayMs": u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                });
                self.start(container, &init, "restart", more);
                return Ok(());
            }
            Err(holdfast::Error::Busy { .. }) => {
                self.retry(id).due = Some(Instant::now() + policy::delay(0));
                return Ok(());
            }
            Err(error) => error,
        };
        self.report.failed(id, "init", &error);
        let init = container.init()?;
        if init.restarts() == made {
            // Nothing of it is on record: what stands in its way may go on doing so.
            let retry = self.retry(id);
            retry.failures = retry.failures.saturating_add(1);
            let attempts = next.in_a_row.saturating_add(retry.failures) - 1;
            retry.due = Some(Instant::now() + policy::delay(attempts));
            return Ok(());
        }
        // The attempt is on record as an end of its own, or will be; that has been told.
        self.known.note(&init);
        self.queue.push(key(&init));
        Ok(())
    }

    fn start(&mut self, container: &Container, init: &Process, event: &str, mut more: Value) {
        let id = container.id();
        self.notifier.alive();
        match container.try_start() {
            Ok(()) => {
                *self.retry(id) = Retry::default();
                if let Ok(Some(identity)) = init.identity() {
                    more["pid"] = identity.pid.into();
                }
                self.report.event(id.as_str(), "init", event, more);
            }
            // Somebody else has, or it is over.
            Err(holdfast::Error::NotCreated { .. } | holdfast::Error::NotFound { .. }) => (),
            Err(holdfast::Error::Busy { .. }) => {
                self.retry(id).due = Some(Instant::now() + policy::delay(0));
            }
            Err(e) => {
                self.retry(id).again();
                self.report.failed(id, "init", &e);
            }
        }
    }
}

/// Whether it was stopped on purpose, and its policy respects that.
fn is_stopped(container: &Container) -> bool {
    container.restart_policy() == RestartPolicy::UnlessStopped && container.is_marked_stopped()
}
