//! Restart policies as pure functions: whether a container that ended is restarted, and how long that waits. What they are
//! given stands in files, so that two supervisors, one after the other, come to the same answer.

use std::time::{Duration, SystemTime};

use holdfast::{Container, ExitRecord, ExitStatus, Process, RestartPolicy, Restarts};

/// The first delay; each further restart in a row doubles it.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST: Duration = Duration::from_secs(60);
/// Who has run for so long starts again with the first delay.
const WELL: Duration = Duration::from_secs(10);

/// What becomes of a container that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing more.
    Leave,
    /// It has been restarted as often as it may be.
    GiveUp,
    /// It is restarted.
    Restart,
}

/// What a decision rests on.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The container's.
    pub policy: RestartPolicy,
    /// Whether somebody stopped it on purpose.
    pub stopped: bool,
    /// How often it was restarted, and how often that was tried in vain.
    pub restarts: u32,
    /// How it ended.
    pub record: &'a ExitRecord,
}

impl<'a> Case<'a> {
    /// What the files say of a container whose process has ended.
    pub fn of(container: &Container, init: &Process, record: &'a ExitRecord) -> Self {
        Self {
            policy: container.restart_policy(),
            stopped: container.is_marked_stopped(),
            restarts: init.restarts().count,
            record,
        }
    }

    /// Decides.
    pub fn decide(&self) -> Decision {
        match self.policy {
            RestartPolicy::No => Decision::Leave,
            RestartPolicy::Always => Decision::Restart,
            RestartPolicy::UnlessStopped if self.stopped => Decision::Leave,
            RestartPolicy::UnlessStopped => Decision::Restart,
            RestartPolicy::OnFailure { .. } if self.record.status == ExitStatus::Code(0) => {
                Decision::Leave
            }
            RestartPolicy::OnFailure { most: Some(most) } if self.restarts >= most.get() => {
                Decision::GiveUp
            }
            RestartPolicy::OnFailure { .. } => Decision::Restart,
        }
    }
}

/// How often it has been restarted in a row: not at all any more, if it ran well since.
pub fn in_a_row(restarts: Restarts, created_at: Option<SystemTime>, ended_at: SystemTime) -> u32 {
    let up = created_at.and_then(|created| ended_at.duration_since(created).ok());
    if up.is_some_and(|up| up >= WELL) {
        0
    } else {
        restarts.in_a_row
    }
}

/// How long a restart waits after so many in a row.
pub fn delay(in_a_row: u32) -> Duration {
    let factor = 2u32.checked_pow(in_a_row).unwrap_or(u32::MAX);
    SHORTEST.saturating_mul(factor).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast::Source;

    fn decide(policy: &str, status: ExitStatus, stopped: bool, restarts: u32) -> Decision {
        let record = ExitRecord {
            pid: 7,
            exited_at: SystemTime::UNIX_EPOCH,
            status,
            oom_killed: None,
            timed_out: false,
            dropped: Default::default(),
            source: Source::Reaped,
        };
        let policy = policy.parse().unwrap();
        Case {
            policy,
            stopped,
            restarts,
            record: &record,
        }
        .decide()
    }

    #[test]
    fn each_policy_has_its_own_way() {
        use Decision::{GiveUp, Leave, Restart};
        let code = ExitStatus::Code;
        let unknown = || ExitStatus::Unknown {
            reason: "test".into(),
        };
        for (policy, status, stopped, restarts, wanted) in [
            ("no", code(1), false, 0, Leave),
            ("always", code(0), true, 999, Restart),
            ("unless-stopped", code(0), false, 999, Restart),
            ("unless-stopped", code(1), true, 0, Leave),
            ("on-failure", code(0), false, 0, Leave),
            ("on-failure", code(1), false, 999, Restart),
            ("on-failure", unknown(), false, 0, Restart),
            ("on-failure:2", code(1), false, 1, Restart),
            ("on-failure:2", code(1), false, 2, GiveUp),
            ("on-failure:2", code(0), false, 2, Leave),
        ] {
            let decision = decide(policy, status.clone(), stopped, restarts);
            assert_eq!(decision, wanted, "{policy} {status:?} {stopped} {restarts}");
        }
    }

    #[test]
    fn the_delay_doubles_to_a_minute_and_begins_anew_after_running_well() {
        let delays: Vec<u128> = (0..12).map(|n| delay(n).as_millis()).collect();
        assert_eq!(delays[..4], [100, 200, 400, 800]);
        assert_eq!(delays[9..], [51_200, 60_000, 60_000]);
        assert_eq!(delay(u32::MAX), LONGEST);
        let restarts = Restarts {
            count: 5,
            in_a_row: 5,
        };
        let then = SystemTime::UNIX_EPOCH;
        for (created, seconds, wanted) in [
            (Some(then), 9, 5),
            (Some(then), 10, 0),
            (Some(then + Duration::from_secs(99)), 10, 5),
            (None, 10, 5),
        ] {
            let ended = then + Duration::from_secs(seconds);
            assert_eq!(in_a_row(restarts, created, ended), wanted);
        }
    }
}
