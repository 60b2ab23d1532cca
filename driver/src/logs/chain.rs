//! The files of a log as one: `log.2`, `log.1`, `log`, and those to come. A rotation in the middle of reading neither skips nor
//! doubles anything: files are opened newest first, so that one that moves on meanwhile is met twice rather than never, and are
//! told apart by what they are, not by what they are called.
//!
//! A file is over when the next one has something in it: who rotates from outside leaves an empty one, and the shim goes on with
//! the old one until it is told. What is in a file that is over is looked at once more, and then no more.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use holdfast_common::log_entry::Entry;

use super::cursor::Spot;
use super::file::{FileId, LogFile, open};
use super::format::Format;
use super::source::Source;

/// No log has more files.
const MOST: u32 = 10_000;

/// A place in a log: before everything that comes later in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Which of its files, counted from the oldest that there was.
    pub file: u64,
    /// Where in it, bytes.
    pub offset: u64,
}

/// The files from the one that is being read on.
#[derive(Debug)]
pub(super) struct Chain {
    path: PathBuf,
    format: Format,
    /// How many are kept; there may be more, if somebody else keeps them.
    kept: u32,
    files: VecDeque<LogFile>,
    /// The number of the first of them.
    first: u64,
    /// Those before them, as far as they may still be there: no news.
    older: VecDeque<FileId>,
    /// Lines that are no entries.
    pub skipped: u64,
}

/// What [`Chain::extend`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Files that follow each other without a gap, so many of them new.
    Next(u64),
    /// So many new ones, and nothing says that there was none between them and the last.
    Apart(u64),
}

impl Chain {
    /// A log of which nothing is opened yet.
    pub fn new(source: Source) -> Self {
        Self {
            path: source.path,
            format: source.format,
            kept: source.kept.max(1),
            files: VecDeque::new(),
            first: 0,
            older: VecDeque::new(),
            skipped: 0,
        }
    }

    /// The path of the file that is written to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that are open, each with what it is.
    pub fn files(&self) -> impl Iterator<Item = (FileId, BorrowedFd<'_>)> {
        use std::os::fd::AsFd;
        self.files.iter().map(|file| (file.id(), file.as_fd()))
    }

    /// Whether as many are open as are kept: more would keep from the disk what rotation should give back.
    pub fn is_full(&self) -> bool {
        self.files.len() > self.kept as usize
    }

    /// The files to come are those of this log.
    pub fn go_on_at(&mut self, source: Source) {
        self.path = source.path;
        self.format = source.format;
        self.kept = source.kept.max(1);
    }

    /// Begins with a file that was open before: its name may be gone.
    pub fn begin_with(&mut self, file: std::fs::File) -> io::Result<()> {
        self.files.push_back(LogFile::new(file)?);
        Ok(())
    }

    /// Opens the files that are new. While names are looked at, from the newest on, files move on to higher numbers, past us if
    /// they are quick. So no older file is ever missed, and one that is met again is older than all that were met since.
    pub fn extend(&mut self) -> io::Result<Found> {
        let last = self.files.back().map(LogFile::id);
        let mut met = last.is_none();
        // Newest first.
        let mut new: Vec<LogFile> = Vec::new();
        for number in 0..MOST {
            let Some(file) = open(&self.name(number))? else {
                // One may be missing while others are being renamed.
                if number >= self.kept {
                    break;
                }
                continue;
            };
            let file = LogFile::new(file)?;
            if Some(file.id()) == last {
                met = true;
                break;
            }
            if let Some(again) = new.iter().position(|other| other.id() == file.id()) {
                new.remove(again);
            } else if self.is_known(file.id()) {
                continue;
            }
            new.push(file);
        }
        // What has fallen off meanwhile was not met again, and is older than all that has not.
        let mut gone = Vec::with_capacity(new.len());
        for file in &new {
            gone.push((file.is_gone()?, file.id()));
        }
        let is_gone = |file: &LogFile| gone.contains(&(true, file.id()));
        new.sort_by_key(is_gone);
        let count = new.len() as u64;
        self.files.extend(new.into_iter().rev());
        Ok(if met {
            Found::Next(count)
        } else {
            Found::Apart(count)
        })
    }

    fn is_known(&self, id: FileId) -> bool {
        self.older.contains(&id) || self.files.iter().any(|file| file.id() == id)
    }

    fn name(&self, number: u32) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    /// Where what is open ends now.
    pub fn end(&self) -> io::Result<Place> {
        let file = self.first + (self.files.len() as u64).saturating_sub(1);
        let offset = self.files.back().map_or(Ok(0), LogFile::len)?;
        Ok(Place { file, offset })
    }

    /// Up to where it was read; `None` while there is no file.
    pub fn here(&self) -> Option<Place> {
        self.files.front().map(|file| Place {
            file: self.first,
            offset: file.offset(),
        })
    }

    /// A place as what outlives us; `None` when its file is not open.
    pub fn spot(&self, place: Place) -> Option<Spot> {
        let number = usize::try_from(place.file.checked_sub(self.first)?).ok()?;
        self.files.get(number).map(|file| Spot {
            file: file.id(),
            offset: place.offset,
        })
    }

    /// The place that somebody had come to; `None` when that file is not there any more.
    pub fn find(&self, spot: Spot) -> io::Result<Option<Place>> {
        let number = self.files.iter().position(|file| file.id() == spot.file);
        let Some(number) = number else {
            return Ok(None);
        };
        let is_cut = self.files[number].len()? < spot.offset;
        Ok(Some(Place {
            file: self.first + number as u64,
            // Somebody has emptied it: what is in it is new.
            offset: if is_cut { 0 } else { spot.offset },
        }))
    }

    /// Leaves out what is before; it must be where a line begins.
    pub fn skip_to(&mut self, place: Place) {
        while self.first < place.file && self.files.len() > 1 {
            self.drop_first();
        }
        if let Some(file) = self.files.front_mut() {
            file.seek(place.offset);
        }
    }

    /// Reads nothing that is written from now on.
    pub fn stop_here(&mut self) -> io::Result<()> {
        if let Some(file) = self.files.back_mut() {
            let length = file.len()?;
            file.limit(length);
        }
        Ok(())
    }

    /// The next entry, and where it begins, in the log and in its file; `None` when there is none yet. `ended` says that nobody
    /// writes any more.
    pub fn next(&mut self, ended: bool) -> io::Result<Option<(Place, Spot, Entry<'static>)>> {
        let mut over = false;
        loop {
            let number = self.first;
            let Some(file) = self.files.front_mut() else {
                return Ok(None);
            };
            while let Some((offset, line)) = file.line()? {
                let line = file.bytes(line);
                match self.format.decode(line) {
                    Ok(entry) => {
                        let place = Place {
                            file: number,
                            offset,
                        };
                        let entry = owned(entry);
                        let spot = Spot {
                            file: file.id(),
                            offset,
                        };
                        self.skipped += file.take_skipped();
                        return Ok(Some((place, spot, entry)));
                    }
                    Err(_) if line.is_empty() => {}
                    Err(_) => self.skipped += 1,
                }
            }
            self.skipped += file.take_skipped();
            if over {
                over = false;
                self.drop_first();
            } else if self.files.len() > 1 && (ended || self.has_successor()?) {
                over = true;
            } else {
                return Ok(None);
            }
        }
    }

    /// Whether there is something in a later file.
    fn has_successor(&self) -> io::Result<bool> {
        for file in self.files.iter().skip(1) {
            if file.len()? > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn drop_first(&mut self) {
        let Some(file) = self.files.pop_front() else {
            return;
        };
        self.skipped += u64::from(file.is_torn());
        self.first += 1;
        self.older.push_back(file.id());
        while self.older.len() > self.kept as usize {
            self.older.pop_front();
        }
    }

    /// Whether the last thing in it is the beginning of a line.
    pub fn is_torn(&self) -> bool {
        self.files.back().is_some_and(LogFile::is_torn)
    }

    /// The entries from the last on, each with where it begins, until it is enough.
    pub fn entries_backwards(
        &self,
        mut each: impl FnMut(Place, &Entry<'_>) -> ControlFlow<()>,
    ) -> io::Result<()> {
        for (number, file) in self.files.iter().enumerate().rev() {
            let number = self.first + number as u64;
            let flow = file.lines_backwards(|offset, line| match self.format.decode(line) {
                Ok(entry) => each(
                    Place {
                        file: number,
                        offset,
                    },
                    &entry,
                ),
                Err(_) => ControlFlow::Continue(()),
            })?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn owned(entry: Entry<'_>) -> Entry<'static> {
    Entry {
        time: entry.time,
        stream: entry.stream,
        ends: entry.ends,
        bytes: entry.bytes.into_owned().into(),
    }
}
