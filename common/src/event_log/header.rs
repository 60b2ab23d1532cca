//! Which log this is, and which of its files.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use serde::{Deserialize, Serialize};

/// The first line of a file: which log it belongs to, and which of its files it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The log's own name, 16 hexadecimal digits: a container of the same id that comes later has another.
    pub log: String,
    /// 0 for the first file, one more for each that followed.
    pub generation: u64,
}

impl Header {
    /// The first file of a new log.
    pub fn fresh() -> Self {
        // std seeds it from the system's random source, anew each time.
        let random = RandomState::new().build_hasher().finish();
        Self {
            log: format!("{random:016x}"),
            generation: 0,
        }
    }

    /// The line, end included.
    pub fn encode(&self) -> Vec<u8> {
        // A string and a number: cannot fail to serialize.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// Understands a line, with or without its end.
    pub fn decode(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// The header of an open file; `None` when its first line is none.
    pub fn read(file: &File) -> Option<Self> {
        let mut line = Vec::new();
        let mut file = file;
        file.seek(SeekFrom::Start(0)).ok()?;
        // One is shorter than this.
        BufReader::with_capacity(256, file.take(256))
            .read_until(b'\n', &mut line)
            .ok()?;
        Self::decode(&line)
    }
}
