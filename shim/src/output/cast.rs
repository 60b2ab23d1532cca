//! What a terminal shows, as asciinema plays it (asciicast v2): a header, then an event a line, `o` for output and `r` for another
//! size, with the seconds since the beginning. Output is text there: a character that is cut between two reads is written when it
//! is whole, and bytes that are no UTF-8 are U+FFFD.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use holdfast_common::sys::errno_text;
use holdfast_common::sys::pty::Size;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::file::{Limits, LogFile};
use super::health::Health;

/// A terminal that nobody gave a size.
const USUAL: Size = Size {
    columns: 80,
    rows: 24,
};
/// The longest event that is looked for at the end of a file, bytes.
const LONGEST_EVENT: u64 = 1 << 20;

/// A recording.
#[derive(Debug)]
pub struct Cast {
    path: PathBuf,
    file: Option<LogFile>,
    /// What kind of terminal it is, as its programs know it.
    kind: Option<String>,
    size: Option<Size>,
    /// What the clock (`CLOCK_MONOTONIC`) said when the recording began; none before it has.
    zero: Option<Duration>,
    /// A character that has only begun.
    partial: Vec<u8>,
}

/// What another shim needs to go on.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CastState {
    /// As [`Cast::zero`].
    pub zero: Option<Duration>,
    /// As [`Cast::partial`].
    pub partial: Vec<u8>,
    /// Columns and rows that were recorded last.
    pub size: Option<(u16, u16)>,
}

impl Cast {
    pub fn new(path: PathBuf, kind: Option<String>, state: CastState) -> Self {
        Self {
            path,
            file: None,
            kind,
            size: state.size.map(|(columns, rows)| Size { columns, rows }),
            zero: state.zero,
            partial: state.partial,
        }
    }

    /// For the next shim.
    pub fn state(&self) -> CastState {
        CastState {
            zero: self.zero,
            partial: self.partial.clone(),
            size: self.size.map(|size| (size.columns, size.rows)),
        }
    }

    /// Opens the file by its name, if it was open.
    pub fn reopen(&mut self, health: &mut Health) {
        if self.file.is_some() {
            self.open(health);
        }
    }

    fn open(&mut self, health: &mut Health) {
        self.file = None;
        match self.begin() {
            Ok(file) => self.file = Some(file),
            Err(e) => health.failed(&errno_text(&e)),
        }
    }

    fn begin(&mut self) -> std::io::Result<LogFile> {
        let mut file = LogFile::open(&self.path, Limits::NONE)?;
        if file.size() > 0 {
            if self.zero.is_none() {
                // Another's recording goes on: a restarted container's.
                let last = last_time(&self.path)?;
                self.zero = Some(now().saturating_sub(last));
            }
            return Ok(file);
        }
        let size = self.size.unwrap_or(USUAL);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let mut header = json!({
            "version": 2,
            "width": size.columns,
            "height": size.rows,
            "timestamp": since.unwrap_or_default().as_secs(),
        });
        if let Some(kind) = &self.kind {
            header["env"] = json!({"TERM": kind});
        }
        file.append(format!("{header}\n").as_bytes())
            .map_err(|cut| cut.cause)?;
        self.zero.get_or_insert_with(now);
        Ok(file)
    }

    /// Records what was read, or drops it.
    pub fn take(&mut self, bytes: &[u8], health: &mut Health) {
        let text = self.text(bytes);
        if !text.is_empty() {
            self.event("o", &text, bytes.len(), health);
        }
    }

    /// Records that the terminal has another size.
    pub fn resize(&mut self, size: Size, health: &mut Health) {
        let before = self.size.replace(size).unwrap_or(USUAL);
        // Its first size is in the header.
        if before != size && self.zero.is_some() {
            let text = format!("{}x{}", size.columns, size.rows);
            self.event("r", &text, 0, health);
        }
    }

    /// Writes what only began, since nothing follows.
    pub fn finish(&mut self, health: &mut Health) {
        if !self.partial.is_empty() {
            let count = self.partial.len();
            self.partial.clear();
            self.event("o", "\u{fffd}", count, health);
        }
    }

    fn event(&mut self, kind: &str, text: &str, bytes: usize, health: &mut Health) {
        if !health.may_try() {
            return health.drop_bytes(bytes);
        }
        if self.file.is_none() || health.is_troubled() {
            self.open(health);
        }
        let Some(file) = &mut self.file else {
            return health.drop_bytes(bytes);
        };
        let at = now().saturating_sub(self.zero.unwrap_or_default());
        let line = format!(
            "[{}.{:06}, \"{kind}\", {}]\n",
            at.as_secs(),
            at.subsec_micros(),
            json!(text)
        );
        match file.append(line.as_bytes()) {
            Ok(()) => health.works(),
            Err(cut) => {
                self.file = None;
                health.failed(&errno_text(&cut.cause));
                health.drop_bytes(bytes);
            }
        }
    }

    /// What is whole of what was read so far.
    fn text(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.partial);
        all.extend_from_slice(bytes);
        let mut text = String::with_capacity(all.len());
        for chunk in all.utf8_chunks() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            let begins = std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none());
            if begins && all.ends_with(invalid) && is_last(&all, invalid) {
                self.partial = invalid.to_vec();
            } else if !invalid.is_empty() {
                text.push('\u{fffd}');
            }
        }
        text
    }
}

/// Whether a part of some bytes is their end.
fn is_last(all: &[u8], part: &[u8]) -> bool {
    all.as_ptr_range().end == part.as_ptr_range().end
}

fn now() -> Duration {
    // It is always there (clock_gettime(2)).
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// When the last event of a recording was.
fn last_time(path: &std::path::Path) -> std::io::Result<Duration> {
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(LONGEST_EVENT)))?;
    let mut tail = Vec::new();
    file.take(LONGEST_EVENT).read_to_end(&mut tail)?;
    let time = |line: &[u8]| {
        let (seconds, _, _): (f64, &str, std::borrow::Cow<'_, str>) =
            serde_json::from_slice(line).ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    };
    let last = tail.split(|&byte| byte == b'\n').rev().find_map(time);
    Ok(last.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast() -> Cast {
        Cast::new("/x".into(), None, CastState::default())
    }

    #[test]
    fn a_character_that_is_cut_is_written_when_it_is_whole() {
        let whole = "h\u{e9}\u{1f600}x";
        for size in 1..whole.len() {
            let mut cast = cast();
            let mut seen = String::new();
            for piece in whole.as_bytes().chunks(size) {
                seen += &cast.text(piece);
                cast = Cast::new("/x".into(), None, cast.state());
            }
            assert_eq!(seen, whole);
            assert!(cast.partial.is_empty());
        }
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        let mut cast = cast();
        assert_eq!(cast.text(b"a\xffb\xc3(\xe2\x82"), "a\u{fffd}b\u{fffd}(");
        assert_eq!(cast.partial, b"\xe2\x82");
        assert_eq!(cast.text(b"c"), "\u{fffd}c");
    }
}
