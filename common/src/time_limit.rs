//! How long a process may run, and the moment at which its time is over: what `process.json` asks for, and `deadline`, which holds
//! from the process's start on. The moment is a reading of the clock that began with the boot and counts while the host
//! sleeps (`CLOCK_BOOTTIME`, clock_gettime(2)), so that any shim of this boot can go by it, and no change of the date matters.

use std::path::Path;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::layout;
use crate::state_file::{self, RECORD_LIMIT, StateFileError};

/// How long a process may run, and how it is ended then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeLimit {
    /// Seconds from its start; more than 0.
    pub seconds: u32,
    /// The signal that it is sent then.
    #[serde(default = "TimeLimit::default_signal")]
    pub signal: i32,
    /// After how many seconds more it is killed, if that has not ended it; with 0 at once, and there is no other signal.
    #[serde(default = "TimeLimit::default_grace")]
    pub grace: u32,
}

impl TimeLimit {
    /// As `docker stop` ends a container: SIGTERM, and ten seconds later SIGKILL.
    pub fn new(seconds: u32) -> Self {
        Self {
            seconds,
            signal: Self::default_signal(),
            grace: Self::default_grace(),
        }
    }

    fn default_signal() -> i32 {
        libc::SIGTERM
    }

    fn default_grace() -> u32 {
        10
    }
}

/// `deadline`: when a process's time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deadline {
    /// Milliseconds since the boot.
    pub at: u64,
    /// When, on the same clock, it was found to be over, and ending the process began; absent before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<u64>,
}

impl Deadline {
    /// That of a process that starts now.
    pub fn from_now(limit: &TimeLimit) -> Self {
        Self {
            at: since_boot().saturating_add(u64::from(limit.seconds) * 1000),
            over: None,
        }
    }

    /// The same, over now.
    #[must_use]
    pub fn over_now(self) -> Self {
        Self {
            over: Some(since_boot()),
            ..self
        }
    }

    /// How long it is until it is over.
    pub fn left(&self) -> Duration {
        until(self.at)
    }

    /// How long it is until so many seconds have passed since it was over; `None` before that.
    pub fn grace_left(&self, grace: u32) -> Option<Duration> {
        let over = self.over?;
        Some(until(over.saturating_add(u64::from(grace) * 1000)))
    }

    /// Reads it from a process directory; `None` while there is none.
    ///
    /// # Errors
    /// The file is there and cannot be understood.
    pub fn read(process_dir: &Path) -> Result<Option<Self>, StateFileError> {
        match state_file::read_json(&process_dir.join(layout::DEADLINE_FILE), RECORD_LIMIT) {
            Ok(deadline) => Ok(Some(deadline)),
            Err(e) if e.is_absent() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes it into a process directory.
    ///
    /// # Errors
    /// Those of [`state_file::write_json`].
    pub fn write(&self, process_dir: &Path) -> Result<(), StateFileError> {
        state_file::write_json(&process_dir.join(layout::DEADLINE_FILE), self)
    }
}

fn until(moment: u64) -> Duration {
    Duration::from_millis(moment.saturating_sub(since_boot()))
}

/// Milliseconds since the boot.
fn since_boot() -> u64 {
    // No kernel that has pidfds lacks this clock, and it never runs below zero.
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_docker_stops() {
        let limit: TimeLimit = serde_json::from_str(r#"{"seconds":60}"#).unwrap();
        assert_eq!(limit, TimeLimit::new(60));
        let text = serde_json::to_string(&limit).unwrap();
        assert_eq!(text, r#"{"seconds":60,"signal":15,"grace":10}"#);
        assert_eq!(serde_json::from_str::<TimeLimit>(&text).unwrap(), limit);
    }

    #[test]
    fn a_deadline_is_as_far_away_as_its_limit_says() {
        let deadline = Deadline::from_now(&TimeLimit::new(60));
        let left = deadline.left();
        assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(60));
        assert_eq!(deadline.grace_left(10), None);
        let grace = deadline.over_now().grace_left(10).unwrap();
        assert!(grace > Duration::from_secs(5) && grace <= Duration::from_secs(10));
        let passed = Deadline {
            at: 1,
            over: Some(2),
        };
        assert_eq!(passed.left(), Duration::ZERO);
        assert_eq!(passed.grace_left(0), Some(Duration::ZERO));
        let text = serde_json::to_string(&passed).unwrap();
        assert_eq!(text, r#"{"at":1,"over":2}"#);
        assert_eq!(serde_json::from_str::<Deadline>(&text).unwrap(), passed);
        let far = Deadline::from_now(&TimeLimit::new(u32::MAX));
        assert!(far.left() > Duration::from_secs(u32::MAX as u64 / 2));
    }
}
