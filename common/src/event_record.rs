//! One line of a container's `events.log`: what happened, to which process, when. The words are docker's (libcontainerd's
//! `State…` constants; `checkpoint` is the daemon's), the fields those of its `StateInfo`, plus what tells one process from another with its pid.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::exit_record::{ExitRecord, ExitStatus};
use crate::id::ProcessId;
use crate::identity::Identity;

/// How long a line is as a rule, at most, bytes.
const USUAL: usize = 160;

/// What happened (libcontainerd: `StateStart` … `stateLive`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventWord {
    /// The container's own process runs.
    StartContainer,
    /// Every process of the container is frozen.
    Pause,
    /// They go on.
    Resume,
    /// A checkpoint of it was made, and is in its place.
    Checkpoint,
    /// The container's own process ended.
    Exit,
    /// The container has another process of its own, in place of one that ended.
    Restart,
    /// The container's own process comes from a checkpoint, and runs.
    Restore,
    /// Another process runs in the container.
    StartProcess,
    /// Such a process ended.
    ExitProcess,
    /// The kernel killed a process of the container for want of memory.
    Oom,
    /// The container was found running by somebody who came back to look after it.
    Live,
}

impl EventWord {
    /// All of them.
    pub const ALL: [EventWord; 11] = [
        EventWord::StartContainer,
        EventWord::Pause,
        EventWord::Resume,
        EventWord::Checkpoint,
        EventWord::Exit,
        EventWord::Restart,
        EventWord::Restore,
        EventWord::StartProcess,
        EventWord::ExitProcess,
        EventWord::Oom,
        EventWord::Live,
    ];

    /// Whether it is among the first things told of a process.
    pub const fn begins(self) -> bool {
        match self {
            EventWord::StartContainer
            | EventWord::Restart
            | EventWord::Restore
            | EventWord::StartProcess => true,
            EventWord::Pause
            | EventWord::Resume
            | EventWord::Checkpoint
            | EventWord::Exit
            | EventWord::ExitProcess
            | EventWord::Oom
            | EventWord::Live => false,
        }
    }

    /// docker's word.
    pub const fn word(self) -> &'static str {
        match self {
            EventWord::StartContainer => "start-container",
            EventWord::Pause => "pause",
            EventWord::Resume => "resume",
            EventWord::Checkpoint => "checkpoint",
            EventWord::Exit => "exit",
            EventWord::Restart => "restart",
            EventWord::Restore => "restore",
            EventWord::StartProcess => "start-process",
            EventWord::ExitProcess => "exit-process",
            EventWord::Oom => "oom",
            EventWord::Live => "live",
        }
    }
}

impl fmt::Display for EventWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A word that docker does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownEventWord(pub String);

impl fmt::Display for UnknownEventWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no event", self.0)
    }
}

impl std::error::Error for UnknownEventWord {}

impl FromStr for EventWord {
    type Err = UnknownEventWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|word| word.word() == text);
        found.ok_or_else(|| UnknownEventWord(text.to_owned()))
    }
}

/// What happened to a process of a container (libcontainerd: `StateInfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// When, as whoever saw it knows.
    pub time: SystemTime,
    /// What (`State`).
    pub word: EventWord,
    /// To which process (`ProcessID`).
    pub process: ProcessId,
    /// Its pid (`Pid`) and start time, where they are known.
    pub identity: Option<Identity>,
    /// `exit`, `exit-process`: how it ended, as one number: the code, 128 + signal, or 255 when unknown (`ExitCode`).
    pub exit_code: Option<u8>,
    /// `exit`, `exit-process`: why that is unknown.
    pub reason: Option<String>,
    /// `exit`: whether the kernel killed it for want of memory; `None` where nobody could tell (`OOMKilled`).
    pub oom_killed: Option<bool>,
    /// `exit`, `exit-process`: whether it was being ended because its time was over.
    pub timed_out: bool,
    /// `oom`: how many processes the kernel has killed for want of memory since the container's own process came to be.
    pub oom_kills: Option<u64>,
}

impl EventRecord {
    /// Something that happens now.
    pub fn now(word: EventWord, process: ProcessId, identity: Option<Identity>) -> Self {
        Self::at(SystemTime::now(), word, process, identity)
    }

    /// Something that has happened.
    pub fn at(
        time: SystemTime,
        word: EventWord,
        process: ProcessId,
        identity: Option<Identity>,
    ) -> Self {
        Self {
            time,
            word,
            process,
            identity,
            exit_code: None,
            reason: None,
            oom_killed: None,
            timed_out: false,
            oom_kills: None,
        }
    }

    /// The end of a process: of the container's own, or of another in it.
    pub fn of_end(process: ProcessId, identity: Option<Identity>, record: &ExitRecord) -> Self {
        let word = if process.is_init() {
            EventWord::Exit
        } else {
            EventWord::ExitProcess
        };
        let reason = match &record.status {
            ExitStatus::Unknown { reason } => Some(reason.clone()),
            ExitStatus::Code(_) | ExitStatus::Signal { .. } => None,
        };
        Self {
            exit_code: Some(record.status.number()),
            reason,
            oom_killed: record.oom_killed,
            timed_out: record.timed_out,
            ..Self::at(record.exited_at, word, process, identity)
        }
    }

    /// Whether another record speaks of the same event, whenever and by whomever it was written: what happens once to a
    /// process is to be told once. Where there was no process (a restart that failed), the time, which is that of exit.json,
    /// has to do.
    pub fn is_same_event(&self, other: &Self) -> bool {
        self.word == other.word
            && self.process == other.process
            && self.identity == other.identity
            && self.oom_kills == other.oom_kills
            && (self.identity.is_some() || self.time == other.time)
    }

    /// Bytes that stand in the line of every record of the same event.
    pub fn mark(&self) -> Vec<u8> {
        match &self.identity {
            // The two follow each other, as they do in `Encoded`.
            Some(identity) if identity.is_of_another_boot() => {
                format!("\"pid\":{}", identity.pid).into_bytes()
            }
            Some(Identity { pid, start_time }) => {
                format!("\"pid\":{pid},\"startTime\":{start_time}").into_bytes()
            }
            None => humantime::format_rfc3339_nanos(self.time)
                .to_string()
                .into_bytes(),
        }
    }

    /// The line as bytes, end included, for one write.
    pub fn encode(&self) -> Vec<u8> {
        // Strings, numbers and booleans: cannot fail to serialize.
        let mut line = Vec::with_capacity(USUAL);
        let _ = serde_json::to_writer(&mut line, &Encoded::from(self));
        line.push(b'\n');
        line
    }

    /// Understands a line, with or without its end; `None` when it is none of ours, or torn.
    pub fn decode(line: &[u8]) -> Option<Self> {
        Self::try_from(serde_json::from_slice::<Encoded>(line).ok()?).ok()
    }
}

/// The line, key by key.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Encoded {
    time: String,
    state: EventWord,
    #[serde(rename = "processID")]
    process_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_time: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oom_killed: Option<bool>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    timed_out: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oom_kills: Option<u64>,
}

impl From<&EventRecord> for Encoded {
    fn from(record: &EventRecord) -> Self {
        Self {
            time: humantime::format_rfc3339_nanos(record.time).to_string(),
            state: record.word,
            process_id: record.process.to_string(),
            pid: record.identity.map(|identity| identity.pid),
            // One of another boot has none that means anything.
            start_time: record
                .identity
                .filter(|identity| !identity.is_of_another_boot())
                .map(|identity| identity.start_time),
            exit_code: record.exit_code,
            reason: record.reason.clone(),
            oom_killed: record.oom_killed,
            timed_out: record.timed_out,
            oom_kills: record.oom_kills,
        }
    }
}

impl TryFrom<Encoded> for EventRecord {
    type Error = ();

    fn try_from(encoded: Encoded) -> Result<Self, ()> {
        let identity = match (encoded.pid, encoded.start_time) {
            (Some(pid), Some(start_time)) => Some(Identity { pid, start_time }),
            (Some(pid), None) => Some(Identity::of_another_boot(pid)),
            (None, _) => None,
        };
        Ok(Self {
            time: humantime::parse_rfc3339(&encoded.time).map_err(drop)?,
            word: encoded.state,
            process: ProcessId::new(encoded.process_id).map_err(drop)?,
            identity,
            exit_code: encoded.exit_code,
            reason: encoded.reason,
            oom_killed: encoded.oom_killed,
            timed_out: encoded.timed_out,
            oom_kills: encoded.oom_kills,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit_record::Source;
    use std::time::{Duration, UNIX_EPOCH};

    fn identity() -> Option<Identity> {
        Some(Identity {
            pid: 42,
            start_time: 4711,
        })
    }

    fn end(status: ExitStatus, oom_killed: Option<bool>) -> EventRecord {
        let record = ExitRecord {
            pid: 42,
            exited_at: UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789),
            status,
            oom_killed,
            timed_out: oom_killed == Some(true),
            dropped: Default::default(),
            source: Source::Reaped,
        };
        EventRecord::of_end(ProcessId::init(), identity(), &record)
    }

    #[test]
    fn every_event_survives_the_round_trip() {
        let mut events: Vec<EventRecord> = EventWord::ALL
            .into_iter()
            .map(|word| EventRecord::now(word, ProcessId::init(), identity()))
            .collect();
        let exec = ProcessId::new("sh").unwrap();
        events.push(EventRecord::now(EventWord::StartProcess, exec, None));
        events.push(EventRecord {
            oom_kills: Some(3),
            identity: Some(Identity::of_another_boot(7)),
            ..events[0].clone()
        });
        events.push(end(ExitStatus::Code(7), Some(false)));
        let reason = "host rebooted".to_owned();
        events.push(end(ExitStatus::Unknown { reason }, None));
        for event in events {
            let line = event.encode();
            let mark = event.mark();
            assert!(line.windows(mark.len()).any(|part| part == mark));
            assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            assert_eq!(EventRecord::decode(&line), Some(event));
        }
    }

    #[test]
    fn the_keys_are_the_documented_ones() {
        let signal = ExitStatus::Signal {
            signal: 9,
            core_dumped: false,
        };
        assert_eq!(
            String::from_utf8(end(signal, Some(true)).encode()).unwrap(),
            concat!(
                r#"{"time":"2023-11-14T22:13:20.123456789Z","state":"exit","processID":"init","pid":42,"#,
                r#""startTime":4711,"exitCode":137,"oomKilled":true,"timedOut":true}"#,
                "\n"
            )
        );
    }

    #[test]
    fn the_words_are_dockers() {
        for word in EventWord::ALL {
            assert_eq!(word.word().parse(), Ok(word));
            let json = serde_json::to_string(&word).unwrap();
            assert_eq!(json, format!("{:?}", word.word()));
        }
        assert!("die".parse::<EventWord>().is_err());
    }

    #[test]
    fn what_is_torn_or_alien_is_none_of_ours() {
        let line = end(ExitStatus::Code(0), None).encode();
        for torn in [
            &line[..line.len() / 2],
            &line[1..],
            b"",
            b"\n",
            b"null",
            b"{}",
            b"\xff\xfe",
            br#"{"time":"now","state":"exit","processID":"init"}"#,
            br#"{"time":"2023-11-14T22:13:20Z","state":"die","processID":"init"}"#,
            br#"{"time":"2023-11-14T22:13:20Z","state":"exit","processID":"../x"}"#,
            br#"{"time":"2023-11-14T22:13:20Z","state":"exit","processID":"init","exitCode":256}"#,
        ] {
            assert_eq!(EventRecord::decode(torn), None);
        }
    }
}
