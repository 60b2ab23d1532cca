//! One entry of a container's log: a line, or a piece of one, with when and where it was written. What is in a file is the same
//! entries whatever its format: [`cri`] is Kubernetes', [`json_file`] docker's. In each, one function encodes and one decodes.
//!
//! Invariant: the bytes of all of a stream's entries, each with a line end where its line ends, are the bytes that were
//! written. What cannot be understood is an error, never a panic, and never an entry that nobody wrote.
//!
//! Files, their rotation and their order are not here.

pub mod cri;
pub mod json_file;

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use crate::layout::Stream;

/// A line, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// When it was read from the process.
    pub time: SystemTime,
    /// Where the process wrote it: stdout or stderr.
    pub stream: Stream,
    /// Whether its line ends here; else the stream's next entry goes on with it.
    pub ends: bool,
    /// What was written, without the line end.
    pub bytes: Cow<'a, [u8]>,
}

impl Entry<'_> {
    /// The bytes that were written, line end included.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        if self.ends {
            out.push(b'\n');
        }
    }
}

/// Splits what was read into entries: each line, and what follows the last of them; with whether it ends.
pub fn pieces(bytes: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, ends) = match memchr::memchr(b'\n', rest) {
            Some(end) => (&rest[..end], true),
            None => (rest, false),
        };
        rest = &rest[piece.len() + usize::from(ends)..];
        Some((piece, ends))
    })
}

/// A time as entries bear it: RFC 3339 in UTC with all nine digits of a nanosecond, `2026-01-02T03:04:05.678901234Z`. Made once
/// for all entries of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp([u8; STAMP_LENGTH]);

const STAMP_LENGTH: usize = 30;

impl Stamp {
    /// A time's. One that a year of four digits cannot name is 1970's beginning.
    pub fn of(time: SystemTime) -> Self {
        use std::io::Write;
        let mut text = [0; STAMP_LENGTH];
        let since = since_epoch(time).unwrap_or_default();
        let time = SystemTime::UNIX_EPOCH + since;
        // It is as long as its place, whatever the time.
        let _ = write!(&mut text[..], "{}", humantime::format_rfc3339_nanos(time));
        Self(text)
    }

    /// Its text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The first moment of the year 10000.
const MOST: Duration = Duration::from_secs(253_402_300_800);

/// Why a line is no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadEntry {
    /// A part is missing: it is torn, or nobody's entry.
    Torn,
    /// Its time is none.
    Time,
    /// Its stream is neither `stdout` nor `stderr`.
    Stream,
    /// It does not say whether its line ends.
    Tag,
    /// It is no JSON object, or one without the keys of an entry.
    Json,
}

impl fmt::Display for BadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadEntry::Torn => "a part of the entry is missing",
            BadEntry::Time => "the entry's time is none",
            BadEntry::Stream => "the entry's stream is neither stdout nor stderr",
            BadEntry::Tag => "the entry does not say whether its line ends",
            BadEntry::Json => "the entry is no JSON object of a log",
        })
    }
}

impl std::error::Error for BadEntry {}

/// RFC 3339 with seconds, any number of digits after them, and `Z` or an offset: other writers use local time. Only what a
/// [`Stamp`] can name.
///
/// # Errors
/// It is no such time.
pub fn parse_time(text: &str) -> Result<SystemTime, BadEntry> {
    let local = |text: &str| humantime::parse_rfc3339(text).ok();
    // The parser would also have a blank there.
    let has_t = text.as_bytes().get(10) == Some(&b'T');
    let time = match text.strip_suffix('Z') {
        Some(_) => local(text),
        None => split_offset(text).and_then(|(text, east, offset)| {
            let local = local(&format!("{text}Z"))?;
            if east {
                local.checked_sub(offset)
            } else {
                local.checked_add(offset)
            }
        }),
    };
    time.filter(|time| has_t && since_epoch(*time).is_some())
        .ok_or(BadEntry::Time)
}

/// `…+02:00` as what is before it, whether it is east of Greenwich, and how far.
fn split_offset(text: &str) -> Option<(&str, bool, Duration)> {
    let (text, offset) = text.split_at_checked(text.len().checked_sub("+02:00".len())?)?;
    let east = offset.starts_with('+');
    let (hours, minutes) = offset.strip_prefix(['+', '-'])?.split_once(':')?;
    let number = |digits: &str, most: u64| {
        let all = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse().ok().filter(|number| all && *number <= most);
        number.map(Duration::from_secs)
    };
    Some((
        text,
        east,
        number(hours, 23)? * 3600 + number(minutes, 59)? * 60,
    ))
}

/// How long after 1970's beginning it is; `None` where a year of four digits cannot name it.
fn since_epoch(time: SystemTime) -> Option<Duration> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since < MOST).then_some(since)
}

fn parse_stream(word: &[u8]) -> Result<Stream, BadEntry> {
    match word {
        b"stdout" => Ok(Stream::Stdout),
        b"stderr" => Ok(Stream::Stderr),
        _ => Err(BadEntry::Stream),
    }
}

#[cfg(test)]
mod tests;
