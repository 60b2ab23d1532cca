//! Reading one container's event log from some place on, line by line, over changes of files. Reading needs no lock: what is
//! there ends with a line end, or has only begun and is left for the next time.
//!
//! The container's directory and the file are held open: what was written before either of them vanished is still read.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use holdfast_common::event_log::{Header, open_to_read, previous};
use holdfast_common::event_record::EventRecord;
use holdfast_common::layout;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::cursor::Position;

/// Bytes read at a time; a line is shorter, or none of ours.
const PIECE: usize = 64 << 10;

/// One log, and how far it was read.
#[derive(Debug)]
pub(super) struct Reader {
    /// The directory, by a name that stays right when it is renamed.
    dir: OwnedFd,
    file: Option<Open>,
    /// Lines that are none of ours.
    pub skipped: u64,
}

/// A file of it.
#[derive(Debug)]
struct Open {
    file: File,
    place: Position,
    /// Whether the place is in the middle of a line that is longer than any of ours.
    overlong: bool,
}

/// From where a log is read.
#[derive(Debug, Clone, Copy)]
pub(super) enum From<'a> {
    Beginning,
    Place(&'a Position),
    End,
}

impl Reader {
    /// Opens a container's directory; nothing of its log is read before [`Reader::begin`].
    pub fn open(dir: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(Self {
            dir: open(dir, flags, Mode::empty())?,
            file: None,
            skipped: 0,
        })
    }

    /// Finds the place to read from; there may be no log.
    pub fn begin(mut self, from: From<'_>) -> io::Result<Self> {
        self.file = self.first(from)?;
        Ok(self)
    }

    /// The directory's name for as long as this is open, whatever it is called by then.
    pub fn dir(&self) -> PathBuf {
        use std::os::fd::AsRawFd;
        format!("/proc/self/fd/{}", self.dir.as_fd().as_raw_fd()).into()
    }

    /// Up to where it was read.
    pub fn place(&self) -> Option<&Position> {
        self.file.as_ref().map(|open| &open.place)
    }

    /// Reads what is new; each event with the place right after it.
    pub fn read(&mut self, each: &mut impl FnMut(EventRecord, Position)) -> io::Result<()> {
        if self.file.is_none() {
            self.file = self.first(From::Beginning)?;
        }
        loop {
            let Some(open) = &mut self.file else {
                return Ok(());
            };
            self.skipped += open.read(each)?;
            // A file that has a successor gets no more lines: it was renamed by who had the lock. So one more look.
            let Some(next) = self.successor()? else {
                return Ok(());
            };
            let Some(open) = &mut self.file else {
                return Ok(());
            };
            self.skipped += open.read(each)? + open.torn()?;
            self.file = Some(next);
        }
    }

    /// The file to begin with.
    fn first(&self, from: From<'_>) -> io::Result<Option<Open>> {
        let Some(present) = self.present()? else {
            return Ok(None);
        };
        if let From::End = from {
            return present.at_end().map(Some);
        }
        let before = self.before(&present);
        if let From::Place(place) = from {
            let same = |open: &Open| {
                (&open.place.log, open.place.generation) == (&place.log, place.generation)
            };
            for open in [Some(&present), before.as_ref()].into_iter().flatten() {
                if same(open) && open.has(place.offset)? {
                    let file = open.file.try_clone()?;
                    let place = place.clone();
                    let overlong = false;
                    return Ok(Some(Open {
                        file,
                        place,
                        overlong,
                    }));
                }
            }
            // The present file is behind: it was cut off by hand, and what is in it is new.
        }
        Ok(Some(before.unwrap_or(present)))
    }

    /// The file that comes after the one that is open, if that is over.
    fn successor(&self) -> io::Result<Option<Open>> {
        let (Some(open), Some(present)) = (&self.file, self.present()?) else {
            return Ok(None);
        };
        if present.inode()? == open.inode()? {
            return Ok(None);
        }
        // It may have had several.
        let before = self.before(&present).filter(|before| {
            before.place.log != open.place.log || before.place.generation > open.place.generation
        });
        match before {
            Some(before) if before.inode()? != open.inode()? => Ok(Some(before)),
            _ => Ok(Some(present)),
        }
    }

    fn present(&self) -> io::Result<Option<Open>> {
        match open_to_read(&self.dir().join(layout::EVENTS_FILE)) {
            Ok(file) => Ok(Some(Open::new(file))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The file before the present one. One that cannot be read is none: what it said is gone.
    fn before(&self, present: &Open) -> Option<Open> {
        let path = previous(&self.dir().join(layout::EVENTS_FILE));
        let before = Open::new(open_to_read(&path).ok()?);
        // The other name of the same file, left by a change that was cut off.
        let other = before.inode().ok()? != present.inode().ok()?;
        other.then_some(before)
    }
}

impl Open {
    fn new(file: File) -> Self {
        let header = Header::read(&file);
        let (log, generation) = header.map_or_else(
            || (String::new(), 0),
            |header| (header.log, header.generation),
        );
        let place = Position {
            // What a header says is a stranger's word, and stands in a cursor.
            log: if log.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                log
            } else {
                String::new()
            },
            generation,
            offset: 0,
        };
        Self {
            file,
            place,
            overlong: false,
        }
    }

    fn inode(&self) -> io::Result<(u64, u64)> {
        let meta = self.file.metadata()?;
        Ok((meta.dev(), meta.ino()))
    }

    /// Whether a line ends (or the file begins) there.
    fn has(&self, offset: u64) -> io::Result<bool> {
        let Some(last) = offset.checked_sub(1) else {
            return Ok(true);
        };
        let mut byte = [0];
        Ok(self.file.read_at(&mut byte, last)? == 1 && byte == *b"\n")
    }

    fn at_end(mut self) -> io::Result<Self> {
        self.read(&mut |_, _| ())?;
        Ok(self)
    }

    /// Reads the lines that are whole; returns how many of them were none of ours.
    fn read(&mut self, each: &mut impl FnMut(EventRecord, Position)) -> io::Result<u64> {
        let mut skipped = 0;
        if self.file.metadata()?.len() < self.place.offset {
            // Somebody emptied it by hand; what comes is new.
            self.place.offset = 0;
        }
        let mut piece = vec![0; PIECE];
        loop {
            let length = self.file.read_at(&mut piece, self.place.offset)?;
            let bytes = &piece[..length];
            let Some(end) = bytes.iter().rposition(|&byte| byte == b'\n') else {
                if length == PIECE {
                    self.overlong = true;
                    self.place.offset += length as u64;
                    continue;
                }
                return Ok(skipped);
            };
            for line in bytes[..=end].split_inclusive(|&byte| byte == b'\n') {
                self.place.offset += line.len() as u64;
                if std::mem::take(&mut self.overlong) {
                    skipped += 1;
                    continue;
                }
                match EventRecord::decode(line) {
                    Some(event) => each(event, self.place.clone()),
                    None if line == b"\n" || Header::decode(line).is_some() => (),
                    None => skipped += 1,
                }
            }
        }
    }

    /// Whether there is the beginning of a line after the last whole one, as 1 or 0.
    fn torn(&self) -> io::Result<u64> {
        Ok(u64::from(self.file.metadata()?.len() > self.place.offset))
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
