//! What a supervisor says: one JSON object a line, `time`, `id`, `process`, `event`, and what belongs to the event.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime};

use holdfast::{ContainerId, ExitRecord, Finding, Recovery, Verdict};
use serde_json::{Map, Value, json};

use super::super::error::{Error, Result};
use super::outlet::Outlet;

/// How long a reader that is slow is waited for in the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells events on standard output. It keeps nobody waiting, and fails nobody.
#[derive(Debug)]
pub struct Report(Outlet);

impl Report {
    /// To standard output.
    ///
    /// # Errors
    /// It is no descriptor that can be used.
    pub fn to_stdout() -> Result<Self> {
        let outlet = Outlet::new(io::stdout().as_fd());
        let outlet = outlet.map_err(|e| Error::io("open", "stdout", e))?;
        Ok(Self(outlet))
    }

    /// Tells an event; `more` is an object.
    pub fn event(&mut self, id: &str, process: &str, event: &str, more: Value) {
        let dropped = |count| line("", "", "dropped", json!({ "count": count }));
        self.0.line(line(id, process, event, more), dropped);
    }

    /// Tells what was found, and done, at the start.
    pub fn restored(&mut self, verdict: &Verdict) {
        let mut more = match &verdict.finding {
            Finding::Exited(ended) => record(ended),
            Finding::Lost { reason } => json!({ "reason": reason }),
            Finding::Unreadable(error) => json!({ "error": error.to_string() }),
            _ => json!({}),
        };
        let name = match &verdict.finding {
            Finding::Unreadable(_) => "unreadable",
            _ => match &verdict.recovery {
                Ok(Recovery::Adopted(_)) => "adopted",
                Ok(Recovery::Removed) => "removed",
                Ok(Recovery::Unneeded | Recovery::Finished) => "restored",
                Err(error) => {
                    more["error"] = error.to_string().into();
                    "failed"
                }
            },
        };
        more["state"] = state(&verdict.finding).into();
        if verdict.terminal_lost {
            more["terminalLost"] = true.into();
        }
        self.event(&verdict.id, &verdict.process, name, more);
    }

    /// Tells a failure; it is not ours, and we go on.
    pub fn failed(&mut self, id: &ContainerId, process: &str, error: &impl ToString) {
        let more = json!({ "error": error.to_string() });
        self.event(id.as_str(), process, "failed", more);
    }

    /// Whether something waits until there is room: poll for it, and [`Report::flush`].
    pub fn is_waiting(&self) -> bool {
        self.0.is_waiting()
    }

    /// Writes what there is room for.
    pub fn flush(&mut self) {
        self.0.flush();
    }

    /// The end: what waits is written, if there is room for it soon.
    pub fn finish(&mut self) {
        self.0.finish(PATIENCE);
    }
}

impl AsFd for Report {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn line(id: &str, process: &str, event: &str, more: Value) -> Vec<u8> {
    let time = humantime::format_rfc3339_nanos(SystemTime::now()).to_string();
    let mut line = Map::new();
    line.insert("time".to_owned(), time.into());
    if !id.is_empty() {
        line.insert("id".to_owned(), id.into());
    }
    if !process.is_empty() {
        line.insert("process".to_owned(), process.into());
    }
    line.insert("event".to_owned(), event.into());
    if let Value::Object(more) = more {
        line.extend(more);
    }
    format!("{}\n", Value::Object(line)).into_bytes()
}

/// How a process ended, as exit.json has it.
pub fn record(record: &ExitRecord) -> Value {
    serde_json::to_value(record).unwrap_or_default()
}

fn state(finding: &Finding) -> &'static str {
    match finding {
        Finding::Launching => "creating",
        Finding::Created => "created",
        Finding::Running => "running",
        Finding::Exited(_) => "exited",
        Finding::Orphaned => "orphaned",
        Finding::Lost { .. } => "lost",
        // And whatever a later library finds.
        _ => "unknown",
    }
}
