//! What a shim says of itself, one JSON object on one line, when it is run with [`QUESTION`]: for whoever wants to know what an
//! executable understands before there is a container that depends on it.

use serde::{Deserialize, Serialize};

use crate::control;
use crate::process_state::Extension;

/// The shim's only argument then. A single word, so that no container's id, bundle and runtime can be taken for it.
pub const QUESTION: &str = "--version=json";

/// What a shim is, and what it understands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShimVersion {
    /// Its version.
    pub version: String,
    /// The commit that it was built from, where that was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The numbers of what it speaks.
    pub protocols: Protocols,
    /// The keys of process.json's object `holdfast` that it knows.
    pub features: Vec<String>,
}

/// The numbers of what a shim speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Protocols {
    /// Between a shim and the one that takes its place: it understands this and every one below.
    pub handover: u32,
    /// The types of control messages that it takes.
    pub control: Vec<u8>,
}

impl ShimVersion {
    /// What this build of the shim understands; `handover` is the shim's own affair.
    pub fn of_this_build(version: &str, commit: Option<&str>, handover: u32) -> Self {
        Self {
            version: version.to_owned(),
            commit: commit.map(str::to_owned),
            protocols: Protocols {
                handover,
                control: control::TYPES.iter().map(|(_, number)| *number).collect(),
            },
            features: Extension::KEYS.map(str::to_owned).to_vec(),
        }
    }

    /// As a line, end included.
    ///
    /// # Errors
    /// Never; texts and numbers can be encoded.
    pub fn encode(&self) -> serde_json::Result<String> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        Ok(line)
    }

    /// A line back. Keys that a later shim may have are skipped, those that it lacks are empty.
    ///
    /// # Errors
    /// It is something else.
    pub fn decode(line: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        for commit in [None, Some("0123abc")] {
            let said = ShimVersion::of_this_build("1.2.3", commit, 7);
            let line = said.encode().unwrap();
            assert!(
                line.ends_with("}\n") && line.matches('\n').count() == 1,
                "{line}"
            );
            assert_eq!(ShimVersion::decode(line.as_bytes()).unwrap(), said);
            assert_eq!(line.contains("commit"), commit.is_some());
        }
        let later = br#"{"version":"9","colour":"blue"}"#;
        assert_eq!(ShimVersion::decode(later).unwrap().version, "9");
        assert!(ShimVersion::decode(b"holdfast-shim 0.1.0\n").is_err());
    }
}
