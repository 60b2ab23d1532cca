//! In which format a log is.

use holdfast_common::log_entry::{BadEntry, Entry, cri, json_file};

/// Formats that can be read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Kubernetes'.
    Cri,
    /// Docker's.
    JsonFile,
}

impl Format {
    /// Understands a line.
    pub fn decode(self, line: &[u8]) -> Result<Entry<'_>, BadEntry> {
        match self {
            Format::Cri => cri::decode(line),
            Format::JsonFile => json_file::decode(line),
        }
    }
}
