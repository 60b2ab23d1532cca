//! How a process ended: [`ExitStatus`], and the [`ExitRecord`] that `exit.json` and `exitStatus` hold. A status is
//! never invented: it was reaped, read through a pidfd, or is unknown with a reason.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::layout;
use crate::state_file::{self, Cause, RECORD_LIMIT, StateFileError};

/// The number that stands for an unknown status in `exitStatus` (containerd 0.2: `UnknownStatus`).
pub const UNKNOWN: u8 = 255;

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitStatus {
    /// It called exit(2) with this code.
    Code(u8),
    /// A signal ended it.
    Signal {
        /// The signal's number, 1 to 64.
        signal: u8,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
    /// Nobody could tell any more, for this reason.
    Unknown {
        /// Why, for people.
        reason: String,
    },
}

impl ExitStatus {
    /// The status from the word that wait(2) and `PIDFD_GET_INFO` report; `None` for a word that does not say that a
    /// process ended.
    pub fn from_wait_word(word: i32) -> Option<Self> {
        if libc::WIFEXITED(word) {
            return Some(ExitStatus::Code(
                u8::try_from(libc::WEXITSTATUS(word)).ok()?,
            ));
        }
        if libc::WIFSIGNALED(word) {
            let signal = u8::try_from(libc::WTERMSIG(word)).ok()?;
            return Some(ExitStatus::Signal {
                signal,
                core_dumped: libc::WCOREDUMP(word),
            });
        }
        None
    }

    /// The status as one number: the code, 128 + signal, or [`UNKNOWN`].
    pub fn number(&self) -> u8 {
        match self {
            ExitStatus::Code(code) => *code,
            ExitStatus::Signal { signal, .. } => 128u8.saturating_add(*signal),
            ExitStatus::Unknown { .. } => UNKNOWN,
        }
    }
}

/// Where a status comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The process's parent reaped it.
    Reaped,
    /// It was read through a pidfd (`PIDFD_GET_INFO`, Linux ≥ 6.15).
    Pidfd,
    /// Nobody knows.
    Unknown,
}

/// One process's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Encoded", into = "Encoded")]
pub struct ExitRecord {
    /// The process, in the shim's pid namespace.
    pub pid: i32,
    /// When the status was learned.
    pub exited_at: SystemTime,
    /// How it ended.
    pub status: ExitStatus,
    /// Whether the kernel killed it for want of memory; `None` where nobody watched.
    pub oom_killed: Option<bool>,
    /// Whether the time that it was given was over before it ended, and it was being ended for that.
    pub timed_out: bool,
    /// Where the status comes from.
    pub source: Source,
    /// How many bytes of its output were dropped, by log driver, and by stream where it was spilled; only what is not 0.
    pub dropped: BTreeMap<String, u64>,
}

/// `exit.json`, key by key.
#[derive(Serialize, Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Encoded {
    pid: i32,
    exited_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    core_dumped: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_killed: Option<bool>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    timed_out: bool,
    source: Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    dropped: BTreeMap<String, u64>,
}

impl From<ExitRecord> for Encoded {
    fn from(record: ExitRecord) -> Self {
        let mut encoded = Encoded {
            pid: record.pid,
            exited_at: humantime::format_rfc3339_nanos(record.exited_at).to_string(),
            code: None,
            signal: None,
            core_dumped: None,
            oom_killed: record.oom_killed,
            timed_out: record.timed_out,
            source: record.source,
            reason: None,
            dropped: record.dropped,
        };
        match record.status {
            ExitStatus::Code(code) => encoded.code = Some(code),
            ExitStatus::Signal {
                signal,
                core_dumped,
            } => {
                encoded.signal = Some(signal);
                encoded.core_dumped = Some(core_dumped);
            }
            ExitStatus::Unknown { reason } => encoded.reason = Some(reason),
        }
        encoded
    }
}

impl TryFrom<Encoded> for ExitRecord {
    type Error = String;

    fn try_from(encoded: Encoded) -> Result<Self, String> {
        let known = encoded.source != Source::Unknown;
        let status = match (encoded.code, encoded.signal, encoded.reason) {
            (Some(code), None, None) if known => ExitStatus::Code(code),
            (None, Some(signal @ 1..=64), None) if known => ExitStatus::Signal {
                signal,
                core_dumped: encoded.core_dumped.unwrap_or(false),
            },
            (None, None, Some(reason)) if !known => ExitStatus::Unknown { reason },
            _ => {
                return Err(
                    "needs code or signal (1 to 64), or, with source unknown, reason alone"
                        .to_owned(),
                );
            }
        };
        let exited_at =
            humantime::parse_rfc3339(&encoded.exited_at).map_err(|e| format!("exitedAt: {e}"))?;
        Ok(ExitRecord {
            pid: encoded.pid,
            exited_at,
            status,
            oom_killed: encoded.oom_killed,
            timed_out: encoded.timed_out,
            source: encoded.source,
            dropped: encoded.dropped,
        })
    }
}

impl ExitRecord {
    /// Writes `exit.json`, then `exitStatus`, into the process directory.
    ///
    /// # Errors
    /// Those of [`state_file::write_bytes`]; it is safe to call this again.
    pub fn write(&self, process_dir: &Path) -> Result<(), StateFileError> {
        state_file::write_json(&process_dir.join(layout::EXIT_FILE), self)?;
        // containerd 0.2 parses this with strconv.ParseUint, which takes no line end.
        let number = self.status.number().to_string();
        state_file::write_bytes(
            &process_dir.join(layout::EXIT_STATUS_FILE),
            number.as_bytes(),
        )
    }

    /// The line that a shim writes into `exit`: what `exit.json` says.
    pub fn encode_line(&self) -> Vec<u8> {
        // Strings, numbers and booleans: cannot fail to serialize.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// Reads `exit.json`; `None` when there is none yet.
    ///
    /// # Errors
    /// The file is there and cannot be understood.
    pub fn read(process_dir: &Path) -> Result<Option<Self>, StateFileError> {
        match state_file::read_json(&process_dir.join(layout::EXIT_FILE), RECORD_LIMIT) {
            Ok(record) => Ok(Some(record)),
            Err(e) if e.is_absent() => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Reads `exitStatus`, all that a containerd 0.2 shim leaves; `None` when there is none yet (containerd 0.2 takes an
/// empty file for that too).
///
/// # Errors
/// The file is there and cannot be understood.
pub fn read_status_number(process_dir: &Path) -> Result<Option<u32>, StateFileError> {
    match state_file::read_value(&process_dir.join(layout::EXIT_STATUS_FILE)) {
        Ok(number) => Ok(Some(number)),
        Err(e) if e.is_absent() || matches!(e.cause, Cause::Empty) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn record(status: ExitStatus, source: Source) -> ExitRecord {
        let exited_at = UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        ExitRecord {
            pid: 42,
            exited_at,
            status,
            oom_killed: None,
            timed_out: false,
            source,
            dropped: BTreeMap::new(),
        }
    }

    #[test]
    fn every_kind_of_end_survives_the_round_trip() {
        let reason = "host rebooted".to_owned();
        for (status, source, number) in [
            (ExitStatus::Code(0), Source::Reaped, 0),
            (ExitStatus::Code(255), Source::Pidfd, 255),
            (
                ExitStatus::Signal {
                    signal: 9,
                    core_dumped: false,
                },
                Source::Reaped,
                137,
            ),
            (
                ExitStatus::Signal {
                    signal: 11,
                    core_dumped: true,
                },
                Source::Pidfd,
                139,
            ),
            (ExitStatus::Unknown { reason }, Source::Unknown, 255),
        ] {
            assert_eq!(status.number(), number);
            let before = ExitRecord {
                timed_out: number == 137,
                ..record(status, source)
            };
            let text = serde_json::to_string(&before).unwrap();
            assert_eq!(text.contains("timedOut"), before.timed_out);
            assert_eq!(
                serde_json::from_str::<ExitRecord>(&text).unwrap(),
                before,
                "{text}"
            );
        }
    }

    #[test]
    fn the_keys_are_the_documented_ones() {
        let text = serde_json::to_string(&record(ExitStatus::Code(7), Source::Reaped)).unwrap();
        assert_eq!(
            text,
            r#"{"pid":42,"exitedAt":"2023-11-14T22:13:20.123456789Z","code":7,"source":"reaped"}"#
        );
    }

    #[test]
    fn a_record_that_says_two_things_or_nothing_is_refused() {
        let head = r#"{"pid":1,"exitedAt":"2023-11-14T22:13:20Z","source":"reaped""#;
        for tail in [
            "}",
            r#","code":1,"signal":9}"#,
            r#","signal":0}"#,
            r#","signal":65}"#,
            r#","reason":"x"}"#,
            r#","code":256}"#,
        ] {
            let text = format!("{head}{tail}");
            assert!(serde_json::from_str::<ExitRecord>(&text).is_err(), "{text}");
        }
        // Whoever says that nobody knows has not read a status.
        for status in [r#""code":0"#, r#""signal":9"#] {
            let text = format!(
                r#"{{"pid":1,"exitedAt":"2023-11-14T22:13:20Z","source":"unknown",{status}}}"#
            );
            assert!(serde_json::from_str::<ExitRecord>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn wait_words_that_say_stopped_are_no_end() {
        assert_eq!(
            ExitStatus::from_wait_word(0x0700),
            Some(ExitStatus::Code(7))
        );
        assert_eq!(
            ExitStatus::from_wait_word(9),
            Some(ExitStatus::Signal {
                signal: 9,
                core_dumped: false
            })
        );
        assert_eq!(ExitStatus::from_wait_word(0x137f), None);
    }
}
