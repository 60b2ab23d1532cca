//! Containers in the background whose output is logged.

use std::path::PathBuf;

use crate::Sandbox;
use crate::entries::{self, LogEntry};

/// Where the log of a process is, unless it is told otherwise.
#[must_use]
pub fn log_of(sandbox: &Sandbox, id: &str, process: &str) -> PathBuf {
    sandbox.process_dir(id, process).join("log")
}

/// Runs a container of a script to its end; its log and the entries in it.
///
/// # Panics
/// When it does not run.
#[must_use]
pub fn logged(
    sandbox: &Sandbox,
    name: &str,
    script: &str,
    flags: &[&str],
) -> (PathBuf, Vec<LogEntry>) {
    let bundle = sandbox.sh(script);
    let id = sandbox.id(name);
    run(sandbox, flags, bundle.arg(), &id);
    end(sandbox, &id);
    let log = log_of(sandbox, &id, "init");
    let entries = entries::of_log(&log);
    (log, entries)
}

/// `holdfast run -d FLAGS`.
///
/// # Panics
/// When it fails.
pub fn run(sandbox: &Sandbox, flags: &[&str], bundle: &str, id: &str) {
    let mut args = vec!["run", "-d"];
    args.extend_from_slice(flags);
    args.extend_from_slice(&["-b", bundle, id]);
    sandbox.run_ok(args);
}

/// Waits for a container's end, and its shim's, by which everything is written; its exit status.
///
/// # Panics
/// When the deadline passes.
pub fn end(sandbox: &Sandbox, id: &str) -> String {
    let status = sandbox.run_ok(["wait", id]);
    sandbox.wait_done(&sandbox.process_dir(id, "init"));
    status.trim().to_owned()
}

/// What a stream's entries say that was written, which is text.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn lines(entries: &[LogEntry], stream: &str) -> String {
    String::from_utf8(entries::written(entries, stream)).expect("text")
}
