//! How a process ended, read from what a shim left. A status is never invented: each one that is read was in the bytes.

use holdfast_common::exit_record::{self, ExitRecord, ExitStatus, Source};
use serde_json::{Map, Value, json};

use super::documents::object;
use super::scratch;

/// exit.json, and the exitStatus that is written with it.
pub fn exit_json(bytes: &[u8]) {
    let name = "exit.json";
    let read = |dir: &std::path::Path| {
        ExitRecord::read(dir).map(|record| record.expect("the file is there"))
    };
    let Some(record) = scratch::read(name, bytes, read) else {
        return;
    };
    if let Some(said) = object(bytes) {
        the_status_was_said(&record, &said);
    }
    let unknown = matches!(record.status, ExitStatus::Unknown { .. });
    assert_eq!(
        unknown,
        record.source == Source::Unknown,
        "who knows the status is known exactly when the status is"
    );
    scratch::round_trip(name, &record, ExitRecord::write, read);
    let number = scratch::with_dir(exit_record::read_status_number).expect("it was just written");
    assert_eq!(number, Some(record.status.number().into()));
}

fn the_status_was_said(record: &ExitRecord, said: &Map<String, Value>) {
    let says = |key: &str, value: Value| assert_eq!(said.get(key), Some(&value), "{key}");
    let silent = |key: &str| assert!(said.get(key).is_none_or(Value::is_null), "{key}");
    says("pid", json!(record.pid));
    match &record.status {
        ExitStatus::Code(code) => {
            says("code", json!(code));
            silent("signal");
            silent("reason");
        }
        ExitStatus::Signal { signal, .. } => {
            says("signal", json!(signal));
            silent("code");
            silent("reason");
        }
        ExitStatus::Unknown { reason } => {
            says("reason", json!(reason));
            silent("code");
            silent("signal");
        }
    }
}

/// exitStatus alone, as containerd 0.2's shim leaves it.
pub fn exit_status(bytes: &[u8]) {
    let Some(number) = scratch::read("exitStatus", bytes, exit_record::read_status_number) else {
        return;
    };
    let blank = bytes.iter().all(u8::is_ascii_whitespace);
    assert_eq!(number.is_none(), blank, "no status is an empty file");
    if let Some(number) = number {
        the_number_is_in(bytes, number.into());
    }
}

/// Asserts that a file says this number and nothing else.
pub fn the_number_is_in(bytes: &[u8], number: i128) {
    let text = std::str::from_utf8(bytes).expect("a number is text");
    assert_eq!(text.trim().parse(), Ok(number));
}
