//! `state.json`: what was asked for when a container was created. containerd 0.2's keys, holdfast's own in one object;
//! unknown keys are kept.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::layout;
use crate::restart::RestartPolicy;
use crate::state_file::{self, DOCUMENT_LIMIT, StateFileError};

/// What a container directory's `state.json` says (containerd 0.2: `state`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerState {
    /// Absolute path of the bundle.
    pub bundle: String,
    /// The caller's own words, uninterpreted.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub labels: Vec<String>,
    /// Path of the init process's stdin.
    #[serde(default)]
    pub stdin: String,
    /// Path of the init process's stdout.
    #[serde(default)]
    pub stdout: String,
    /// Path of the init process's stderr.
    #[serde(default)]
    pub stderr: String,
    /// The OCI runtime: a path, or a name to find in `$PATH`.
    #[serde(default)]
    pub runtime: String,
    /// Arguments that go before the runtime's verb.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub runtime_args: Vec<String>,
    /// The shim's executable.
    #[serde(default)]
    pub shim: String,
    /// Passed to the runtime as `--no-pivot`.
    #[serde(default)]
    pub no_pivot_root: bool,
    /// What holdfast adds; absent when containerd 0.2 wrote the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdfast: Option<Extension>,
    /// Any key that is not known here.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The `holdfast` object of `state.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Extension {
    /// When the container was created, RFC 3339.
    pub created_at: String,
    /// `ociVersion` of the bundle at creation.
    pub oci_version: String,
    /// Absolute path of the root file system.
    pub rootfs: String,
    /// Annotations of the bundle at creation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// When a supervisor restarts it.
    #[serde(skip_serializing_if = "RestartPolicy::is_no")]
    pub restart_policy: RestartPolicy,
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    // Go writes a nil slice as null.
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl ContainerState {
    /// Reads `state.json` of a container directory.
    ///
    /// # Errors
    /// Those of [`state_file::read_json`].
    pub fn read(container_dir: &Path) -> Result<Self, StateFileError> {
        state_file::read_json(&container_dir.join(layout::STATE_FILE), DOCUMENT_LIMIT)
    }

    /// Writes `state.json` of a container directory.
    ///
    /// # Errors
    /// Those of [`state_file::write_json`].
    pub fn write(&self, container_dir: &Path) -> Result<(), StateFileError> {
        state_file::write_json(&container_dir.join(layout::STATE_FILE), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerds_file_is_understood_and_written_back_with_every_key() {
        let text = r#"{"bundle":"/b","labels":["a=b"],"stdin":"","stdout":"","stderr":"","runtime":"docker-runc","runtimeArgs":["--root","/r"],"shim":"docker-containerd-shim","noPivotRoot":false,"aKeyOfTomorrow":7}"#;
        let state: ContainerState = serde_json::from_str(text).unwrap();
        assert_eq!(state.runtime_args, ["--root", "/r"]);
        assert_eq!(serde_json::to_string(&state).unwrap(), text);
    }

    #[test]
    fn a_nil_slice_of_gos_is_an_empty_list() {
        let state: ContainerState =
            serde_json::from_str(r#"{"bundle":"/b","labels":null,"runtimeArgs":null}"#).unwrap();
        assert!(state.labels.is_empty() && state.runtime_args.is_empty());
    }
}
