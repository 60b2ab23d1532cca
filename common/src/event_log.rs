//! A container's `events.log`: appending to it, as anybody may who has done something to the container, the shim among
//! them. Lines of [`EventRecord`], after one that names the log ([`Header`]). Reading it in order is the driver's.
//!
//! - A line is one write, by the holder of the file's lock; what a full disk cuts short is taken back. So a reader, who
//!   needs no lock, sees whole lines, and at worst one at the end that has only begun.
//! - A file that is full makes room by rename, under the same lock, and never disappears for an instant: a link keeps it as
//!   `events.log.1`, then its successor, with its first line in it, takes its name.
//! - Nobody waits long for the lock: a holder who was stopped must not stop a shim. The line is then written without it,
//!   which O_APPEND allows; only making room waits for the next.

use std::fs::{File, Metadata};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

// The one that asks for nothing of the processor: to ask what it can do costs a virtual machine more than the search.
use memchr::arch::all::twoway::Finder;
use serde::{Deserialize, Serialize};

use crate::event_record::EventRecord;
use crate::layout;
use crate::state_file::{Cause, StateFileError};
use crate::sys::fd;

/// How long a file may grow, bytes; there are two of them.
pub const FULL: u64 = 1 << 20;
/// How far beyond that, when no successor can be made.
const OVERFULL: u64 = 2 * FULL;
/// How much of a file is read at a time, bytes.
const PIECE: usize = 64 << 10;
/// How long a lock is waited for.
const PATIENCE: Duration = Duration::from_millis(250);

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

/// One container's log.
#[derive(Debug, Clone)]
pub struct EventLog {
    path: PathBuf,
}

impl EventLog {
    /// The log of the container that has this directory; it need not exist.
    pub fn of(container_dir: &Path) -> Self {
        Self {
            path: container_dir.join(layout::EVENTS_FILE),
        }
    }

    /// Makes it, while nobody else knows of the directory yet.
    ///
    /// # Errors
    /// The system's.
    pub fn make(&self) -> Result<(), StateFileError> {
        let make = || create_new(&self.path)?.write_all(&Header::fresh().encode());
        make().map_err(|e| self.failed(e))
    }

    /// Adds an event; where it begins.
    ///
    /// # Errors
    /// The system's; nothing was added then.
    pub fn append(&self, event: &EventRecord) -> Result<Place, StateFileError> {
        let append = || {
            let mut open = Open::new(&self.path)?;
            let place = open.place();
            open.add(&event.encode())?;
            Ok(place)
        };
        append().map_err(|e| self.failed(e))
    }

    /// Adds an event that happens once, unless somebody was quicker; whether it was added.
    ///
    /// # Errors
    /// The system's; nothing was added then.
    pub fn append_once(&self, event: &EventRecord) -> Result<bool, StateFileError> {
        Ok(self.append_missing(std::slice::from_ref(event), None, |_| true)? > 0)
    }

    /// Adds those of some events, which happen once each, that are not told yet, in their order; how many. Where that cannot be
    /// told any more, because older lines were dropped, a beginning was told long ago, and an end was not. Of one that is not told, it is
    /// asked whether it `happened`. Nothing is told of them before `since`, where that is known.
    ///
    /// # Errors
    /// The system's; the rest was not added then.
    pub fn append_missing(
        &self,
        events: &[EventRecord],
        since: Option<Place>,
        happened: impl Fn(&EventRecord) -> bool,
    ) -> Result<usize, StateFileError> {
        let append = || {
            let mut open = Open::new(&self.path)?;
            let told = open.search(events, since)?;
            let mut added = 0;
            for (event, told) in events.iter().zip(told) {
                if told || event.word.begins() && open.is_forgetful() || !happened(event) {
                    continue;
                }
                if added > 0 {
                    open = Open::new(&self.path)?;
                }
                open.add(&event.encode())?;
                added += 1;
            }
            Ok(added)
        };
        append().map_err(|e| self.failed(e))
    }

    /// Goes through everything that it still says, oldest first. One that is not there says nothing.
    ///
    /// # Errors
    /// The system's.
    pub fn each(&self, mut each: impl FnMut(EventRecord)) -> Result<(), StateFileError> {
        let mut line = |line: &[u8]| EventRecord::decode(line).into_iter().for_each(&mut each);
        let mut read = || match open_to_read(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            file => each_of_both(&self.path, &file?, &mut line),
        };
        read().map_err(|e| StateFileError {
            operation: "read",
            path: self.path.clone(),
            cause: Cause::Io(e),
        })
    }

    fn failed(&self, cause: io::Error) -> StateFileError {
        StateFileError {
            operation: "append to",
            path: self.path.clone(),
            cause: Cause::Io(cause),
        }
    }
}

/// The name of the file that was full before a log's present one.
pub fn previous(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(layout::PREVIOUS_SUFFIX);
    name.into()
}

/// A place in a log, while the file that it is in is the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The file's inode.
    file: u64,
    /// Bytes from its beginning.
    at: u64,
}

/// The present file of a log, locked if that was to be had.
struct Open<'a> {
    path: &'a Path,
    file: File,
    /// Its inode.
    inode: u64,
    /// How long it was when it was opened, bytes.
    size: u64,
    locked: bool,
    /// How it ends, where it was read under the lock, which nobody who adds a line does without.
    end: Option<Ending>,
}

/// How a file ends.
#[derive(Clone, Copy)]
struct Ending {
    /// How long it is, bytes.
    size: u64,
    /// Whether its last line has only begun.
    torn: bool,
}

impl<'a> Open<'a> {
    fn new(path: &'a Path) -> io::Result<Self> {
        let until = Instant::now() + PATIENCE;
        loop {
            let (file, held) = open(path)?;
            let mut locked = file.try_lock().is_ok();
            while !locked && Instant::now() < until {
                // Nothing tells when a lock is released: a millisecond must pass.
                std::thread::sleep(Duration::from_millis(1));
                locked = file.try_lock().is_ok();
            }
            let there = std::fs::symlink_metadata(path);
            let same =
                there.is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino()));
            // Else it has a successor since.
            if same || Instant::now() >= until {
                let end = None;
                return Ok(Self {
                    path,
                    file,
                    inode: held.ino(),
                    size: held.len(),
                    locked,
                    end,
                });
            }
        }
    }

    /// The end of the file as it was opened: what is added comes behind it, or in another file.
    fn place(&self) -> Place {
        Place {
            file: self.inode,
            at: self.size,
        }
    }

    /// Adds a line, in this file or in the next.
    fn add(&mut self, line: &[u8]) -> io::Result<()> {
        let Ending { size, torn } = self.ending()?;
        if size == 0 {
            let header = self.successor().encode();
            return self.write(size, &[&header, line].concat());
        }
        if self.locked && size + line.len() as u64 > FULL {
            match self.make_room(line) {
                Ok(()) => return Ok(()),
                // No space for a new file, perhaps, where there is still some for a line.
                Err(e) if size + line.len() as u64 > OVERFULL => return Err(e),
                Err(_) => (),
            }
        }
        if torn {
            // A machine that stopped in the middle of a write: what comes next is not to become part of that.
            return self.write(size, &[b"\n", line].concat());
        }
        self.write(size, line)
    }

    fn write(&mut self, size: u64, bytes: &[u8]) -> io::Result<()> {
        let written = loop {
            match self.file.write(bytes) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
                written => break written?,
            }
        };
        if written == bytes.len() {
            return Ok(());
        }
        // The disk was full in the middle of it. Without the lock, somebody else's line may stand behind.
        if self.locked {
            self.file.set_len(size)?;
        }
        Err(nix::Error::ENOSPC.into())
    }

    fn ending(&self) -> io::Result<Ending> {
        if let Some(end) = self.end {
            return Ok(end);
        }
        let size = self.file.metadata()?.len();
        let mut last = *b"\n";
        if let Some(before) = size.checked_sub(1) {
            self.file.read_exact_at(&mut last, before)?;
        }
        let torn = last != *b"\n";
        Ok(Ending { size, torn })
    }

    /// Puts a successor with a first line in this file's place.
    fn make_room(&mut self, line: &[u8]) -> io::Result<()> {
        let unfinished = |name: &str| {
            let name = format!("{}{name}.{}", layout::UNFINISHED, std::process::id());
            self.path.with_file_name(name)
        };
        let (next, kept) = (
            unfinished(layout::EVENTS_FILE),
            unfinished(layout::PREVIOUS_SUFFIX),
        );
        let header = self.successor().encode();
        let replace = || -> io::Result<()> {
            create_new(&next)?.write_all(&[&header, line].concat())?;
            let _ = std::fs::remove_file(&kept);
            std::fs::hard_link(self.path, &kept)?;
            std::fs::rename(&kept, previous(self.path))?;
            std::fs::rename(&next, self.path)
        };
        replace().inspect_err(|_| {
            // Best effort: the failure itself is the one to tell.
            let _ = (std::fs::remove_file(&next), std::fs::remove_file(&kept));
        })
    }

    /// What the file after this one begins with; after one that is empty, and was nobody's file yet, its own.
    fn successor(&self) -> Header {
        let before = Header::read(&self.file);
        let before = before.or_else(|| Header::read(&open_to_read(&previous(self.path)).ok()?));
        match before {
            Some(Header { log, generation }) => Header {
                log,
                generation: generation + 1,
            },
            None => Header::fresh(),
        }
    }

    /// Which of some events it tells of, from a place on that is before all of them.
    fn search(&mut self, events: &[EventRecord], since: Option<Place>) -> io::Result<Vec<bool>> {
        let mut told = vec![false; events.len()];
        // A log may have ten thousand lines, and an exec looks through it: only what can be one of them is understood.
        let mut marks: Vec<Vec<u8>> = events.iter().map(EventRecord::mark).collect();
        // Most often they are all about one process.
        marks.dedup();
        let finders: Vec<_> = marks.iter().map(|mark| (Finder::new(mark), mark)).collect();
        let mut look = |line: &[u8]| {
            let mut marks = finders.iter();
            if !marks.any(|(finder, mark)| finder.find(line, mark).is_some()) {
                return;
            }
            let Some(line) = EventRecord::decode(line) else {
                return;
            };
            for (event, told) in events.iter().zip(&mut told) {
                *told |= line.is_same_event(event);
            }
        };
        // Somebody waits for what comes after this: not more is read than must be, and the file before only where this one, as its
        // first line says, follows another.
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

    /// Whether older lines are not there any more.
    fn is_forgetful(&self) -> bool {
        let oldest = match open_to_read(&previous(self.path)) {
            Ok(file) => Header::read(&file),
            Err(_) => Header::read(&self.file),
        };
        oldest.is_some_and(|header| header.generation > 0)
    }
}

/// Goes through both files of a log, oldest line first.
fn each_of_both(path: &Path, file: &File, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    if let Some((before, size)) = before(path, file)? {
        each_line(&before, farthest(size), size, each)?;
    }
    let size = file.metadata()?.len();
    each_line(file, farthest(size), size, each).map(drop)
}

/// The file before a log's present one, and its size.
fn before(path: &Path, file: &File) -> io::Result<Option<(File, u64)>> {
    match open_file_to_read(&previous(path)) {
        // A link that is left of an interrupted change: the same file.
        Ok((_, meta)) if meta.ino() == file.metadata()?.ino() => Ok(None),
        Ok((before, meta)) => Ok(Some((before, meta.len()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// As far back in a file as one of ours may reach: whatever else has been put there, what is read of it has a bound.
fn farthest(size: u64) -> u64 {
    size.saturating_sub(OVERFULL)
}

/// Goes through a file from a place on. How it ends, unless that was not reached. Most are read at once: `size` is how long it was, and what
/// has come since is found too.
fn each_line(
    file: &File,
    begin: u64,
    size: u64,
    each: &mut dyn FnMut(&[u8]),
) -> io::Result<Option<Ending>> {
    // A byte more than there is shows that there is no more.
    let most = usize::try_from(size - begin + 1).map_or(PIECE, |most| most.min(PIECE));
    let (mut piece, mut begun) = (vec![0; most], Vec::new());
    let mut at = begin;
    while at <= begin + OVERFULL {
        let count = match file.read_at(&mut piece, at) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        at += count as u64;
        for line in piece[..count].split_inclusive(|&byte| byte == b'\n') {
            let ends = line.ends_with(b"\n");
            if ends && begun.is_empty() {
                each(line);
                continue;
            }
            begun.extend_from_slice(line);
            if ends {
                each(&begun);
                begun.clear();
            }
        }
        if count < piece.len() {
            let torn = !begun.is_empty();
            if torn {
                each(&begun);
            }
            return Ok(Some(Ending { size: at, torn }));
        }
    }
    Ok(None)
}

const FLAGS: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;

fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = FLAGS | libc::O_RDWR | libc::O_APPEND | libc::O_CREAT;
    must_be_a_file(fd::open(path, flags, 0o600)?)
}

/// Opens one of a log's files for reading, whatever may bear its name.
///
/// # Errors
/// open(2)'s; `InvalidInput` when it is no regular file.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    open_file_to_read(path).map(|(file, _)| file)
}

fn open_file_to_read(path: &Path) -> io::Result<(File, Metadata)> {
    must_be_a_file(fd::open(path, FLAGS, 0)?)
}

fn must_be_a_file(file: File) -> io::Result<(File, Metadata)> {
    let meta = file.metadata()?;
    if meta.is_file() {
        Ok((file, meta))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a file"))
    }
}

fn create_new(path: &Path) -> io::Result<File> {
    // A namesake of ours, whose pid this process has now, died half way.
    let _ = std::fs::remove_file(path);
    fd::open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, 0o600)
}

#[cfg(test)]
mod tests;
