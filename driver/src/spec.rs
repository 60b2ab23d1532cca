//! The OCI process of an exec, with every key that it came with.

use std::path::Path;

use holdfast_common::process_state::{Extension, ProcessState};
use holdfast_common::state_file::{self, DOCUMENT_LIMIT};
use serde_json::{Map, Value};

use crate::bundle::Bundle;
use crate::error::{Error, Result};

/// An OCI process (runtime-spec, config.json `process`), key by key, so that ones of tomorrow survive.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProcessSpec(Map<String, Value>);

impl ProcessSpec {
    /// A process as it is.
    pub fn new(process: Map<String, Value>) -> Self {
        Self(process)
    }

    /// The process in a file (`exec --process FILE`).
    ///
    /// # Errors
    /// [`Error::BadProcess`], with line and column: it cannot be read, or is no JSON object.
    pub fn read(file: &Path) -> Result<Self> {
        let bad = |cause: String| Error::BadProcess {
            path: file.to_owned(),
            cause,
        };
        // A state file may be no link; a user's file may well be one.
        let target =
            std::fs::canonicalize(file).map_err(|e| bad(holdfast_common::sys::errno_text(&e)))?;
        let process = state_file::read_json(&target, DOCUMENT_LIMIT);
        process.map(Self).map_err(|e| bad(e.cause.to_string()))
    }

    /// The process of a bundle's config.json, to derive an exec's from, as `runc exec` does: everything stays but what
    /// is set here. Set [`args`](Self::args) at least, and [`terminal`](Self::terminal).
    ///
    /// # Errors
    /// The bundle cannot be read, or has no process.
    pub fn of_bundle(bundle: &Path) -> Result<Self> {
        Bundle::read(bundle).map(|bundle| Self(bundle.process))
    }

    /// Runs these words instead.
    #[must_use]
    pub fn args<I: IntoIterator<Item: Into<String>>>(self, args: I) -> Self {
        let args: Vec<String> = args.into_iter().map(Into::into).collect();
        self.set("args", args.into())
    }

    /// Adds `NAME=VALUE`s to the environment; of two with one name, runtimes take the later.
    #[must_use]
    pub fn env<I: IntoIterator<Item: Into<String>>>(mut self, env: I) -> Self {
        append(
            &mut self.0,
            "env",
            env.into_iter().map(|entry| Value::String(entry.into())),
        );
        self
    }

    /// Runs in this directory of the container.
    #[must_use]
    pub fn cwd(self, cwd: impl Into<String>) -> Self {
        self.set("cwd", Value::String(cwd.into()))
    }

    /// Runs as this user; without a gid, the group stays.
    #[must_use]
    pub fn user(mut self, uid: u32, gid: Option<u32>) -> Self {
        let user = object(&mut self.0, "user");
        user.insert("uid".to_owned(), uid.into());
        if let Some(gid) = gid {
            user.insert("gid".to_owned(), gid.into());
        }
        self
    }

    /// Adds supplementary groups.
    #[must_use]
    pub fn additional_gids<I: IntoIterator<Item = u32>>(mut self, gids: I) -> Self {
        let user = object(&mut self.0, "user");
        append(user, "additionalGids", gids.into_iter().map(Value::from));
        self
    }

    /// Adds capabilities, as `runc exec --cap` does: to all sets but the inheritable one.
    #[must_use]
    pub fn capabilities<I: IntoIterator<Item: Into<String>>>(mut self, capabilities: I) -> Self {
        let added: Vec<Value> = capabilities
            .into_iter()
            .map(|name| Value::String(name.into()))
            .collect();
        let sets = object(&mut self.0, "capabilities");
        for set in ["bounding", "effective", "permitted", "ambient"] {
            append(sets, set, added.iter().cloned());
        }
        self
    }

    /// Sets a key of the process to whatever OCI lets it be (`noNewPrivileges`, `apparmorProfile`, `selinuxLabel` …).
    #[must_use]
    pub fn set(mut self, key: &str, value: Value) -> Self {
        self.0.insert(key.to_owned(), value);
        self
    }

    /// With a terminal, or without.
    #[must_use]
    pub fn terminal(self, terminal: bool) -> Self {
        self.set("terminal", Value::Bool(terminal))
    }

    /// Whether it asks for a terminal.
    pub fn has_terminal(&self) -> bool {
        self.0.get("terminal") == Some(&Value::Bool(true))
    }

    /// The process, key by key.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The process as process.json begins: what is neither OCI's nor the caller's is still to be filled in. Keys that
    /// process.json has for itself are dropped, lest one be there twice.
    pub(crate) fn to_state(&self) -> ProcessState {
        let terminal = self.has_terminal();
        let mut process = self.0.clone();
        let empty = ProcessState {
            holdfast: Some(Extension::default()),
            ..ProcessState::default()
        };
        if let Ok(Value::Object(taken)) = serde_json::to_value(empty) {
            process.retain(|key, _| !taken.contains_key(key));
        }
        ProcessState {
            terminal,
            process,
            ..ProcessState::default()
        }
    }
}

impl From<oci_spec::runtime::Process> for ProcessSpec {
    fn from(process: oci_spec::runtime::Process) -> Self {
        match serde_json::to_value(process) {
            Ok(Value::Object(process)) => Self(process),
            // A struct serializes to an object.
            _ => Self::default(),
        }
    }
}

/// The object under a key, made if there is none.
fn object<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = map.entry(key).or_insert(Value::Null);
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(object) => object,
        _ => unreachable!("made an object above"),
    }
}

/// Appends to the list under a key, made if there is none.
fn append(map: &mut Map<String, Value>, key: &str, more: impl Iterator<Item = Value>) {
    let value = map.entry(key).or_insert(Value::Null);
    match value {
        Value::Array(list) => list.extend(more),
        // Nothing, or nonsense: the runtime would refuse it.
        other => *other = more.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    fn spec(json: &str) -> ProcessSpec {
        ProcessSpec(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn what_is_not_set_stays() {
        let derived = spec(
            r#"{"terminal":true,"user":{"uid":1,"gid":2},"args":["sh"],"env":["A=1"],"cwd":"/","capabilities":{"bounding":["CAP_KILL"]},"aKeyOfTomorrow":1}"#,
        )
        .args(["ls", "-l"])
        .env(["B=2"])
        .user(5, None)
        .additional_gids([7])
        .capabilities(["CAP_CHOWN"])
        .terminal(false);
        let text = serde_json::to_string(derived.as_map()).unwrap();
        assert_eq!(
            text,
            r#"{"terminal":false,"user":{"uid":5,"gid":2,"additionalGids":[7]},"args":["ls","-l"],"env":["A=1","B=2"],"cwd":"/","capabilities":{"bounding":["CAP_KILL","CAP_CHOWN"],"effective":["CAP_CHOWN"],"permitted":["CAP_CHOWN"],"ambient":["CAP_CHOWN"]},"aKeyOfTomorrow":1}"#
        );
    }

    #[test]
    fn keys_of_ours_cannot_be_smuggled_in() {
        let state = spec(r#"{"args":["sh"],"exec":false,"containerdStdout":"/etc/passwd","holdfast":{"autoRemove":true},"terminal":true}"#).to_state();
        assert!(state.terminal && state.stdout.is_empty() && state.holdfast.is_none());
        let text = serde_json::to_string(&state).unwrap();
        let back: ProcessState = serde_json::from_str(&text).unwrap();
        assert_eq!(back, state);
    }

    #[test]
    fn a_typed_process_becomes_the_same_keys() {
        let process = oci_spec::runtime::ProcessBuilder::default()
            .args(["true".to_owned()])
            .build()
            .unwrap();
        let spec = ProcessSpec::from(process.clone());
        assert_eq!(spec.to_state().oci_process().unwrap(), process);
    }

    #[test]
    fn a_process_file_that_is_wrong_says_where() {
        let dir = scratch("spec");
        let file = dir.join("p.json");
        let error = || ProcessSpec::read(&file).unwrap_err().to_string();
        assert!(
            error().ends_with("p.json: no such file or directory"),
            "{}",
            error()
        );
        std::fs::write(&file, "{\n]").unwrap();
        assert!(error().contains("line 2 column 1"), "{}", error());
        std::fs::write(&file, "[1]").unwrap();
        assert!(error().contains("expected a map"), "{}", error());
    }
}
