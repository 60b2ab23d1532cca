//! Output as entries of a file, in Kubernetes' format or in docker's. What cannot be written is dropped, by whole entries; a line
//! that lost its end is ended, so that nobody takes what comes next for the rest of it.

use std::path::PathBuf;

use holdfast_common::layout::Stream;
use holdfast_common::log_entry::{Stamp, cri, json_file};
use holdfast_common::state_file;
use holdfast_common::sys::errno_text;
use serde::{Deserialize, Serialize};

use super::file::{Limits, LogFile};
use super::health::Health;

/// The most that is written at a time, bytes: what a read's worth of lines comes to.
const A_WRITE: usize = 256 << 10;

/// How much of a file is looked at for its last entries, bytes.
const LAST_ENTRIES: u64 = 256 << 10;

/// How entries are written.
#[derive(Debug)]
pub enum Format {
    /// Kubernetes'.
    Cri,
    /// Docker's, with the JSON object that each entry has (or none).
    JsonFile(Vec<u8>),
}

impl Format {
    /// Appends entries, of which there are then no more than `most` bytes; returns how many of the output's bytes they are of.
    fn encode(
        &self,
        out: &mut Vec<u8>,
        stamp: &Stamp,
        stream: Stream,
        bytes: &[u8],
        most: usize,
    ) -> usize {
        match self {
            Format::Cri => cri::encode_all(out, stamp, stream, bytes, most),
            Format::JsonFile(attrs) => {
                json_file::encode_all(out, stamp, stream, bytes, attrs, most)
            }
        }
    }

    /// Appends the end of a line that had only begun.
    fn end_line(&self, out: &mut Vec<u8>, stamp: &Stamp, stream: Stream) {
        self.encode(out, stamp, stream, b"\n", usize::MAX);
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
                health.failed(&errno_text(&e));
                None
            }
        };
    }

    /// Another process begins here: a line that the last one in this file has not ended is nobody's to go on with.
    pub fn begin(&mut self) {
        let tail = state_file::read_tail(&self.path, LAST_ENTRIES).unwrap_or_default();
        let decode = match self.format {
            Format::Cri => cri::decode,
            Format::JsonFile(_) => json_file::decode,
        };
        let mut last = [None; 2];
        for line in tail.split(|&byte| byte == b'\n').rev() {
            if let Ok(entry) = decode(line) {
                last[index(entry.stream)].get_or_insert(entry.ends);
            }
            if !last.contains(&None) {
                break;
            }
        }
        self.last = last.map(|ends| match ends {
            Some(false) => Last::Lost,
            Some(true) | None => Last::End,
        });
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
        let mut left = bytes;
        while !left.is_empty() {
            let Some(file) = &self.file else { break };
            scratch.clear();
            if self.last[index(stream)] == Last::Lost {
                self.format.end_line(scratch, stamp, stream);
            }
            let most = A_WRITE.min(file.room());
            let mut count = self.format.encode(scratch, stamp, stream, left, most);
            if count == 0 {
                // One entry alone; longer than a write may be, or than what is left of the file.
                count = memchr::memchr(b'\n', left).map_or(left.len(), |end| end + 1);
                let entry = &left[..count];
                self.format
                    .encode(scratch, stamp, stream, entry, usize::MAX);
                if scratch.len() > file.room() && !file.is_new() {
                    self.rotate(health);
                    continue;
                }
            }
            let written = self.flush(stream, &left[..count], stamp, scratch, health);
            left = &left[written..];
        }
        left.len()
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
        let written = match file.append(entries) {
            Ok(()) => bytes.len(),
            Err(cut) => {
                health.failed(&errno_text(&cut.cause));
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

    /// How many bytes are in these entries, which were made of bytes that begin so. They are not measured while all is well.
    fn bytes_in(&self, entries: &[u8], stream: Stream, bytes: &[u8], stamp: &Stamp) -> usize {
        let mut again = Vec::new();
        if self.last[index(stream)] == Last::Lost {
            self.format.end_line(&mut again, stamp, stream);
        }
        let most = entries.len();
        self.format.encode(&mut again, stamp, stream, bytes, most)
    }

    fn rotate(&mut self, health: &mut Health) {
        match self.file.take().map(LogFile::rotate) {
            Some(Ok(file)) => self.file = Some(file),
            Some(Err(e)) => health.failed(&errno_text(&e)),
            None => (),
        }
    }
}

fn index(stream: Stream) -> usize {
    usize::from(stream == Stream::Stderr)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn no_file_is_larger_than_it_may_be_however_long_an_entry_is() {
        let dir = std::env::temp_dir().join(format!("holdfast-shim-{}-lines", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let limits = Limits {
            max_size: 1 << 20,
            max_files: 100,
        };
        let stamp = Stamp::of(SystemTime::now());
        for (name, format) in [("log", Format::Cri), ("json", Format::JsonFile(Vec::new()))] {
            let mut lines = Lines::new(dir.join(name), limits, format, LinesState::default());
            let mut health = Health::new("log".to_owned(), 0);
            // Each of these is six in docker's format.
            let read = [1; 128 << 10];
            for length in (0..40).map(|step| 1 + step * 3_300 % read.len()) {
                lines.take(
                    Stream::Stdout,
                    &read[..length],
                    &stamp,
                    &mut Vec::new(),
                    &mut health,
                );
            }
            assert_eq!(health.dropped(), 0);
        }
        let files: Vec<_> = std::fs::read_dir(&dir).unwrap().collect();
        let size =
            |file: std::io::Result<std::fs::DirEntry>| file.unwrap().metadata().unwrap().len();
        let (count, sizes) = (files.len(), files.into_iter().map(size));
        let sizes: Vec<u64> = sizes.collect();
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(count > 10, "{count}");
        assert!(
            sizes.iter().all(|&size| size <= limits.max_size),
            "{sizes:?}"
        );
    }
}
