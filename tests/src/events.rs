//! What `holdfast events` says, read as anybody would who knows the format.

use serde_json::Value;

use crate::Sandbox;

/// The events of `holdfast events WORDS`.
///
/// # Panics
/// When it fails, or a line is no event.
#[must_use]
pub fn told(sandbox: &Sandbox, words: &[&str]) -> Vec<Value> {
    let words = ["events", "--format", "json"].iter().chain(words);
    lines(&sandbox.run_ok(words))
}

/// A text of a JSON object a line.
///
/// # Panics
/// When a line is none.
#[must_use]
pub fn lines(text: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    text.lines().map(parse).collect()
}

/// `init exit`, `job start-process` …
///
/// # Panics
/// When one names no process or no state.
#[must_use]
pub fn words(events: &[Value]) -> Vec<String> {
    let word = |event: &Value| {
        let [process, state] = ["processID", "state"].map(|key| event[key].as_str().unwrap());
        format!("{process} {state}")
    };
    events.iter().map(word).collect()
}
