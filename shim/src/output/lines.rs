//! Output as entries of a file, in Kubernetes' format or in docker's. What cannot be written is dropped, by whole entries; a line
//! that lost its end is ended, so that nobody takes what comes next for the rest of it.

use std::path::PathBuf;

use holdfast_common::layout::Stream;
use holdfast_common::log_entry::{Stamp, cri, json_file, pieces};
use serde::{Deserialize, Serialize};

use super::file::{Limits, LogFile};
use super::health::Health;

/// Entries are written when there are so many bytes of them.
const A_WRITE: usize = 64 << 10;

/// How entries are written.
#[derive(Debug)]
pub enum Format {
    /// Kubernetes'.
    Cri,
    /// Docker's, with the JSON object that each entry has (or none).
    JsonFile(Vec<u8>),
}

impl Format {
    fn encode(&self, out: &mut Vec<u8>, stamp: &Stamp, stream: Stream, piece: &[u8], ends: bool) {
        match self {
            Format::Cri => cri::encode(out, stamp, stream, piece, ends),
            Format::JsonFile(attrs) => {
                json_file::encode(out, stamp, stream, piece, ends, attrs);
            }
        }
    }
}

/// A file of entries, and its forerunners.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    limits: Limits,
    format: Format,
    /// None before it was opened, or while it cannot be.
    file: Option<LogFile>,
    /// Of stdout and stderr: what was written last.
    last: [Last; 2],
}

/// What another shim needs to go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinesState([Last; 2]);

/// What was written last of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Last {
    /// A line's end, or nothing.
    #[default]
    End,
    /// A piece of a line.
    Piece,
    /// A piece of a line, and what followed was dropped.
    Lost,
}

impl Lines {
    pub fn new(path: PathBuf, limits: Limits, format: Format, state: LinesState) -> Self {
        Self {
            path,
            limits,
            format,
            file: None,
            last: state.0,
        }
    }

    /// For the next shim.
    pub fn state(&self) -> LinesState {
        LinesState(self.last)
    }

    /// Opens the file by its name, whether or not it is open.
    pub fn open(&mut self, health: &mut Health) {
        self.file = match LogFile::open(&self.path, self.limits) {
            Ok(file) => Some(file),
            Err(e) => {
                health.failed(&holdfast_common::sys::errno_text(&e));
                None
            }
        };
    }

    /// Writes what was read, or drops it, or the end of it.
    pub fn take(
        &mut self,
        stream: Stream,
        bytes: &[u8],
        stamp: &Stamp,
        scratch: &mut Vec<u8>,
        health: &mut Health,
    ) {
        if !health.may_try() {
            return self.lose(stream, bytes.len(), health);
        }
        if self.file.is_none() || health.is_troubled() {
            // It may have been another file's, or nobody's, name meanwhile.
            self.open(health);
        }
        let left = self.write(stream, bytes, stamp, scratch, health);
        if left > 0 {
            self.lose(stream, left, health);
        } else if !bytes.is_empty() {
            health.works();
        }
    }

    fn lose(&mut self, stream: Stream, bytes: usize, health: &mut Health) {
        health.drop_bytes(bytes);
        let last = &mut self.last[index(stream)];
        if *last == Last::Piece {
            *last = Last::Lost;
        }
    }

    /// Returns how many bytes, at the end, were not written.
    fn write(
        &mut self,
        stream: Stream,
        bytes: &[u8],
        stamp: &Stamp,
        scratch: &mut Vec<u8>,
        health: &mut Health,
    ) -> usize {
        scratch.clear();
        // How much of `bytes` is written, and is in the scratch.
        let (mut written, mut waiting) = (0, 0);
        if self.last[index(stream)] == Last::Lost {
            self.format.encode(scratch, stamp, stream, b"", true);
        }
        for (piece, ends) in pieces(bytes) {
            let mark = scratch.len();
            self.format.encode(scratch, stamp, stream, piece, ends);
            let Some(file) = &self.file else { break };
            if file.is_full_with(scratch.len()) {
                // What came before this entry is the file's last.
                let entry = scratch.split_off(mark);
                written += self.flush(stream, &bytes[written..][..waiting], stamp, scratch, health);
                waiting = 0;
                *scratch = entry;
                self.rotate_unless_new(scratch.len(), health);
            }
            waiting += piece.len() + usize::from(ends);
            if scratch.len() >= A_WRITE {
                written += self.flush(stream, &bytes[written..][..waiting], stamp, scratch, health);
                waiting = 0;
                scratch.clear();
            }
            if self.file.is_none() {
                break;
            }
        }
        written += self.flush(stream, &bytes[written..][..waiting], stamp, scratch, health);
        bytes.len() - written
    }

    /// Writes entries, of these bytes; returns how many of the bytes were.
    fn flush(
        &mut self,
        stream: Stream,
        bytes: &[u8],
        stamp: &Stamp,
        entries: &[u8],
        health: &mut Health,
    ) -> usize {
        let Some(file) = &mut self.file else {
            return 0;
        };
        if entries.is_empty() {
            return 0;
        }
        let written = match file.append(entries) {
            Ok(()) => bytes.len(),
            Err(cut) => {
                health.failed(&holdfast_common::sys::errno_text(&cut.cause));
                self.file = None;
                let count = self.bytes_in(&entries[..cut.written], stream, bytes, stamp);
                if cut.written > 0 {
                    // If not a byte of these, then the end of the line before them.
                    self.last[index(stream)] = Last::End;
                }
                count
            }
        };
        if let Some(&last) = bytes[..written].last() {
            self.last[index(stream)] = if last == b'\n' {
                Last::End
            } else {
                Last::Piece
            };
        }
        written
    }

    /// How many bytes are in these entries, which were made of bytes that begin so. Entries are not measured while all is well.
    fn bytes_in(&self, entries: &[u8], stream: Stream, bytes: &[u8], stamp: &Stamp) -> usize {
        let (mut length, mut count) = (0, 0);
        let mut entry = Vec::new();
        if self.last[index(stream)] == Last::Lost {
            self.format.encode(&mut entry, stamp, stream, b"", true);
            length += entry.len();
        }
        for (piece, ends) in pieces(bytes) {
            entry.clear();
            self.format.encode(&mut entry, stamp, stream, piece, ends);
            length += entry.len();
            if length > entries.len() {
                break;
            }
            count += piece.len() + usize::from(ends);
        }
        count
    }

    fn rotate_unless_new(&mut self, bytes: usize, health: &mut Health) {
        let Some(file) = self.file.take_if(|file| file.is_full_with(bytes)) else {
            return;
        };
        match file.rotate() {
            Ok(file) => self.file = Some(file),
            Err(e) => health.failed(&holdfast_common::sys::errno_text(&e)),
        }
    }
}

fn index(stream: Stream) -> usize {
    usize::from(stream == Stream::Stderr)
}
