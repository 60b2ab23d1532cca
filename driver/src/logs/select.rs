//! Which entries are wanted, and pieces of a line as one. A line is wanted or not as a whole: what its first piece says, its
//! others follow.

use std::time::SystemTime;

use holdfast_common::layout::Stream;
use holdfast_common::log_entry::Entry;

use super::chain::Place;
use super::cursor::Spot;
use super::tail::{Beginning, index};

/// A line of more bytes is not kept until it ends.
const LONGEST_LINE: usize = 16 << 20;

/// Which entries are wanted.
#[derive(Debug)]
pub(super) struct Select {
    /// `None` for both.
    pub stream: Option<Stream>,
    pub since: Option<SystemTime>,
    pub until: Option<SystemTime>,
    pub beginning: Beginning,
    /// Of each stream, whether the line that has begun is wanted; `None` between lines.
    line: [Option<bool>; 2],
}

impl Select {
    /// Everything but what these words leave out.
    pub fn new(
        stream: Option<Stream>,
        since: Option<SystemTime>,
        until: Option<SystemTime>,
    ) -> Self {
        Self {
            stream,
            since,
            until,
            beginning: Beginning::ALL,
            line: [None; 2],
        }
    }

    /// Whether a stream is wanted.
    pub fn has(&self, stream: Stream) -> bool {
        self.stream.is_none_or(|only| only == stream)
    }

    /// Whether an entry is wanted; to be asked of each in turn.
    pub fn takes(&mut self, place: Place, entry: &Entry<'_>) -> bool {
        if !self.has(entry.stream) || place < self.beginning.of(entry.stream) {
            return false;
        }
        let in_time = || {
            self.since.is_none_or(|since| entry.time >= since)
                && self.until.is_none_or(|until| entry.time < until)
        };
        let line = &mut self.line[index(entry.stream)];
        let wanted = line.unwrap_or_else(in_time);
        *line = (!entry.ends).then_some(wanted);
        wanted
    }
}

/// Puts the pieces of each stream's lines together.
#[derive(Debug, Default)]
pub(super) struct Join([Option<Begun>; 2]);

/// A line that has not ended.
#[derive(Debug)]
struct Begun {
    line: Entry<'static>,
    at: Spot,
}

impl Join {
    /// Takes a piece that begins there; the whole line when it is the last.
    pub fn push(&mut self, at: Spot, entry: Entry<'static>) -> Option<Entry<'static>> {
        let begun = &mut self.0[index(entry.stream)];
        let now = match begun.take() {
            None => Begun { line: entry, at },
            Some(mut begun) => {
                begun.line.bytes.to_mut().extend_from_slice(&entry.bytes);
                begun.line.ends = entry.ends;
                begun
            }
        };
        if now.line.ends || now.line.bytes.len() >= LONGEST_LINE {
            return Some(now.line);
        }
        *begun = Some(now);
        None
    }

    /// What has begun and will not end.
    pub fn rest(&mut self) -> Option<Entry<'static>> {
        let begun = self.0.iter_mut().find_map(Option::take);
        begun.map(|begun| begun.line)
    }

    /// Where the lines of each stream begin that have not ended.
    pub fn begun(&self) -> [Option<Spot>; 2] {
        let at = |begun: &Option<Begun>| begun.as_ref().map(|begun| begun.at);
        [at(&self.0[0]), at(&self.0[1])]
    }
}
