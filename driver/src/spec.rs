//! The OCI process of an exec, with every key that it came with.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::Result;

/// An OCI process (runtime-spec, config.json `process`), key by key, so that ones of tomorrow survive.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessSpec(Map<String, Value>);

impl ProcessSpec {
    /// A process as it is.
    pub fn new(process: Map<String, Value>) -> Self {
        Self(process)
    }

    /// The process in a file (`exec --process FILE`).
    ///
    /// # Errors
    /// It cannot be read, or is no JSON object.
    pub fn read(_file: &Path) -> Result<Self> {
        todo!()
    }

    /// The process of a bundle's config.json, to derive an exec's from: set its `args` at least, and `terminal`.
    ///
    /// # Errors
    /// The bundle cannot be read, or has no process.
    pub fn of_bundle(_bundle: &Path) -> Result<Self> {
        todo!()
    }

    /// Runs these words instead.
    #[must_use]
    pub fn args<I: IntoIterator<Item: Into<String>>>(self, _args: I) -> Self {
        todo!()
    }

    /// Adds `NAME=VALUE`s to the environment.
    #[must_use]
    pub fn env<I: IntoIterator<Item: Into<String>>>(self, _env: I) -> Self {
        todo!()
    }

    /// Runs in this directory of the container.
    #[must_use]
    pub fn cwd(self, _cwd: impl Into<String>) -> Self {
        todo!()
    }

    /// Runs as this user; without a gid, the group stays.
    #[must_use]
    pub fn user(self, _uid: u32, _gid: Option<u32>) -> Self {
        todo!()
    }

    /// Adds supplementary groups.
    #[must_use]
    pub fn additional_gids<I: IntoIterator<Item = u32>>(self, _gids: I) -> Self {
        todo!()
    }

    /// Adds capabilities, as `runc exec --cap` does.
    #[must_use]
    pub fn capabilities<I: IntoIterator<Item: Into<String>>>(self, _capabilities: I) -> Self {
        todo!()
    }

    /// Sets a key of the process to whatever OCI lets it be (`noNewPrivileges`, `apparmorProfile`, `selinuxLabel` …).
    #[must_use]
    pub fn set(self, _key: &str, _value: Value) -> Self {
        todo!()
    }

    /// With a terminal, or without.
    #[must_use]
    pub fn terminal(self, _terminal: bool) -> Self {
        todo!()
    }

    /// Whether it asks for a terminal.
    pub fn has_terminal(&self) -> bool {
        todo!()
    }

    /// The process, key by key.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }
}
