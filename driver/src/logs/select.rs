//! Which entries are wanted, and pieces of a line as one. A line is wanted or not as a whole: what its first piece says, its
//! others follow.

use std::time::SystemTime;

use holdfast_common::layout::Stream;
use holdfast_common::log_entry::Entry;

use super::chain::Place;
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
        if !self.has(entry.stream) || self.beginning.is_before(entry.stream, place) {
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
pub(super) struct Join([Option<Entry<'static>>; 2]);

impl Join {
    /// Takes a piece; the whole line when it is the last.
    pub fn push(&mut self, entry: Entry<'static>) -> Option<Entry<'static>> {
        let begun = &mut self.0[index(entry.stream)];
        let line = match begun.take() {
            None => entry,
            Some(mut line) => {
                line.bytes.to_mut().extend_from_slice(&entry.bytes);
                line.ends = entry.ends;
                line
            }
        };
        if line.ends || line.bytes.len() >= LONGEST_LINE {
            return Some(line);
        }
        *begun = Some(line);
        None
    }

    /// What has begun and will not end.
    pub fn rest(&mut self) -> Option<Entry<'static>> {
        self.0.iter_mut().find_map(Option::take)
    }
}
