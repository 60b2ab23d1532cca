//! What a log tells already. Somebody waits for what comes after this: not more is read than must be.

use std::io;

// The one that asks for nothing of the processor: to ask what it can do costs a virtual machine more than the search.
use memchr::arch::all::twoway::Finder;

use super::Place;
use super::file::{Open, open_to_read, previous};
use super::header::Header;
use super::lines::{before, each_line, farthest};
use crate::event_record::EventRecord;

/// How far from the end the last lines reach, bytes: half a dozen of them.
const LATELY: u64 = 1024;

impl Open<'_> {
    /// Which of some events it tells of, from a place on that is before all of them.
    pub fn search(
        &mut self,
        events: &[EventRecord],
        since: Option<Place>,
    ) -> io::Result<Vec<bool>> {
        let mut told = vec![false; events.len()];
        let wanted = Wanted::of(events);
        let mut look = |line: &[u8]| {
            if let Some(line) = wanted.decode(line) {
                for (event, told) in events.iter().zip(&mut told) {
                    *told |= line.is_same_event(event);
                }
            }
        };
        // The file before only where this one, as its first line says, follows another.
        let since = since.filter(|place| place.file == self.inode && place.at <= self.size);
        let begin = since.map_or_else(|| farthest(self.size), |place| place.at);
        let mut first = None;
        let end = each_line(&self.file, begin, self.size, &mut |line| {
            first.get_or_insert_with(|| Header::decode(line));
            look(line);
        })?;
        let is_the_first = first.flatten().is_some_and(|header| header.generation == 0);
        if since.is_none()
            && !is_the_first
            && let Some((before, size)) = before(self.path, &self.file)?
        {
            each_line(&before, farthest(size), size, &mut look)?;
        }
        self.end = end.filter(|_| self.locked);
        Ok(told)
    }

    /// Whether its last lines tell of one of some events.
    pub fn tells_lately(&mut self, events: &[EventRecord]) -> io::Result<bool> {
        let begin = self.size.saturating_sub(LATELY);
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let end = each_line(&self.file, begin, self.size, &mut |line| {
            lines.push(line.to_vec());
        })?;
        self.end = end.filter(|_| self.locked);
        let wanted = Wanted::of(events);
        let mut lines = lines.iter().rev().filter_map(|line| wanted.decode(line));
        Ok(lines.any(|line| events.iter().any(|event| line.is_same_event(event))))
    }

    /// Whether older lines are not there any more.
    pub fn is_forgetful(&self) -> bool {
        let oldest = match open_to_read(&previous(self.path)) {
            Ok(file) => Header::read(&file),
            Err(_) => Header::read(&self.file),
        };
        oldest.is_some_and(|header| header.generation > 0)
    }
}

/// What to look for. A log may have ten thousand lines, and an exec looks through it: only what can be one of some events is understood.
struct Wanted(Vec<(Finder, Vec<u8>)>);

impl Wanted {
    fn of(events: &[EventRecord]) -> Self {
        let mut marks: Vec<Vec<u8>> = events.iter().map(EventRecord::mark).collect();
        // Most often they are all about one process.
        marks.dedup();
        let finders = marks.into_iter().map(|mark| (Finder::new(&mark), mark));
        Self(finders.collect())
    }

    fn decode(&self, line: &[u8]) -> Option<EventRecord> {
        let mut marks = self.0.iter();
        let is_wanted = marks.any(|(finder, mark)| finder.find(line, mark).is_some());
        is_wanted.then(|| EventRecord::decode(line))?
    }
}
