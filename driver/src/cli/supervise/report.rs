//! What a supervisor says: one JSON object a line, `time`, `id`, `process`, `event`, and what belongs to the event.

use std::time::SystemTime;

use holdfast::{ContainerId, ExitRecord, Finding, Recovery, Verdict};
use serde_json::{Map, Value, json};

use super::super::error::Result;
use super::super::output::print;

/// Prints an event; `more` is an object.
///
/// # Errors
/// Standard output cannot be written to.
pub fn event(id: &str, process: &str, event: &str, more: Value) -> Result<()> {
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
    print(&format!("{}\n", Value::Object(line)))
}

/// How a process ended, as exit.json has it.
pub fn record(record: &ExitRecord) -> Value {
    serde_json::to_value(record).unwrap_or_default()
}

/// Prints what was found, and done, at the start.
///
/// # Errors
/// Standard output cannot be written to.
pub fn restored(verdict: &Verdict) -> Result<()> {
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
    event(&verdict.id, &verdict.process, name, more)
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

/// Prints a failure; it is not ours, and we go on.
///
/// # Errors
/// Standard output cannot be written to.
pub fn failed(id: &ContainerId, process: &str, error: &holdfast::Error) -> Result<()> {
    let more = json!({ "error": error.to_string() });
    event(id.as_str(), process, "failed", more)
}
