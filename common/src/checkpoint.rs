//! `config.json` of a checkpoint's directory: how it was made, in containerd 0.2's keys, and in one object what holdfast must know
//! to restore it. Unknown keys are kept. What the images beside it say is CRIU's business.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::layout::{self, Stream};
use crate::state_file::{self, DOCUMENT_LIMIT, StateFileError};

/// What a checkpoint's `config.json` says (containerd 0.2: `Checkpoint`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// When it was made, RFC 3339. Whoever writes this file writes this key; a bundle's `config.json` has none.
    pub created: String,
    /// Its name: that of its directory, when it was made.
    pub name: String,
    /// Established TCP connections are in it.
    #[serde(default)]
    pub tcp: bool,
    /// Unix sockets whose other end is outside of the container are in it.
    #[serde(default)]
    pub unix_sockets: bool,
    /// The container was a job of a shell's, with a terminal of somebody else's.
    #[serde(default)]
    pub shell: bool,
    /// The container ended with it.
    #[serde(default)]
    pub exit: bool,
    /// Namespaces that are restored empty.
    #[serde(
        default,
        rename = "emptyNS",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub empty_ns: Vec<String>,
    /// What holdfast adds; absent when containerd 0.2 wrote the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdfast: Option<Extension>,
    /// Any key that is not known here.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The `holdfast` object of a checkpoint's `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Extension {
    /// The container that it was made of.
    pub container: String,
    /// The process had a terminal.
    pub terminal: bool,
    /// Its stdin was closed: the restored process is to see the end of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stdin_closed: bool,
    /// File locks are in it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub file_locks: bool,
    /// How cgroups are restored: CRIU's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manage_cgroups_mode: Option<String>,
    /// Memory alone, for a later checkpoint to build upon.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pre_dump: bool,
    /// The container's streams that are FIFOs or files of the host's.
    pub streams: Vec<StreamFile>,
}

/// A stream of a container's as its checkpoint's images know it: something outside, for which another is put in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamFile {
    /// Which.
    pub stream: Stream,
    /// CRIU's name for the file behind it: `file[MOUNT:INODE]`, hexadecimal.
    pub id: String,
    /// Type and permissions (`st_mode`, inode(7)): what takes its place must have the same.
    pub mode: u32,
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    // Go writes a nil slice as null.
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl StreamFile {
    /// CRIU's name for a file (criu(8), `--external file[mnt_id:inode]`).
    pub fn id_of(mount: u64, inode: u64) -> String {
        format!("file[{mount:x}:{inode:x}]")
    }
}

impl Checkpoint {
    /// Reads `config.json` of a checkpoint's directory.
    ///
    /// # Errors
    /// Those of [`state_file::read_json`].
    pub fn read(dir: &Path) -> Result<Self, StateFileError> {
        state_file::read_json(&dir.join(layout::CHECKPOINT_FILE), DOCUMENT_LIMIT)
    }

    /// Writes `config.json` of a checkpoint's directory.
    ///
    /// # Errors
    /// Those of [`state_file::write_json`].
    pub fn write(&self, dir: &Path) -> Result<(), StateFileError> {
        state_file::write_json(&dir.join(layout::CHECKPOINT_FILE), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As containerd 0.2.9 writes it.
    const CONTAINERD: &str = r#"{"created":"2016-11-04T22:13:20.123456789-07:00","name":"first","tcp":true,"unixSockets":false,"shell":false,"exit":true,"emptyNS":["network"]}"#;

    #[test]
    fn containerds_file_is_understood_and_written_back_with_every_key() {
        let checkpoint: Checkpoint = serde_json::from_str(CONTAINERD).unwrap();
        assert!(checkpoint.tcp && checkpoint.exit && !checkpoint.shell);
        assert_eq!(checkpoint.empty_ns, ["network"]);
        assert_eq!(serde_json::to_string(&checkpoint).unwrap(), CONTAINERD);
        let without = CONTAINERD.replace(r#"["network"]"#, "null");
        let checkpoint: Checkpoint = serde_json::from_str(&without).unwrap();
        assert!(checkpoint.empty_ns.is_empty());
    }

    #[test]
    fn our_own_keys_stay_in_their_object() {
        let ours = Extension {
            container: "web".to_owned(),
            stdin_closed: true,
            streams: vec![StreamFile {
                stream: Stream::Stdout,
                id: StreamFile::id_of(27, 0x9a_0002),
                mode: 0o10_600,
            }],
            ..Extension::default()
        };
        let checkpoint = Checkpoint {
            created: "2026-01-02T03:04:05Z".to_owned(),
            name: "first".to_owned(),
            holdfast: Some(ours),
            ..Checkpoint::default()
        };
        let text = serde_json::to_string(&checkpoint).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"created":"2026-01-02T03:04:05Z","name":"first","tcp":false,"unixSockets":false,"shell":false,"#,
                r#""exit":false,"holdfast":{"container":"web","terminal":false,"stdinClosed":true,"#,
                r#""streams":[{"stream":"stdout","id":"file[1b:9a0002]","mode":4480}]}}"#
            )
        );
        let back: Checkpoint = serde_json::from_str(&text).unwrap();
        assert_eq!(back, checkpoint);
    }

    #[test]
    fn a_bundles_configuration_is_no_checkpoints() {
        let bundle = r#"{"ociVersion":"1.0.2","process":{"args":["sh"]},"root":{"path":"rootfs"}}"#;
        assert!(serde_json::from_str::<Checkpoint>(bundle).is_err());
    }
}
