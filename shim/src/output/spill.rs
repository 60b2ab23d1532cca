//! Output that goes to a FIFO, with a file behind it for what the FIFO has no room for, or nobody to read it:
//!
//! 1. what is in the file is passed on first, in its order, as far as there is a reader and room;
//! 2. when the file is empty, bytes move from one FIFO to the other inside the kernel;
//! 3. what cannot, is appended to the file, also by the kernel alone.
//!
//! So every byte is in one of three places that outlive this program: the process's FIFO, which the process holds; the file; the
//! reader's FIFO, which the reader holds. When the reader goes, what it has left is taken back into the file, ahead of the rest.
//!
//! The file: what is before `at` was passed on, and given back to the disk; the end is the file's. It begins at [`BEGIN`], so that there
//! is room for what is taken back. `at` stands in a file of its own ([`At`]).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use holdfast_common::layout::Stream;
use holdfast_common::output::{SpillOptions, WhenFull};
use holdfast_common::sys::{errno_text, fifo};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, SpliceFFlags, fallocate, splice};
use nix::libc;
use nix::unistd::write;

use super::full_disk::FullDisk;
use super::outlet::Outlet;
use super::scratch::Scratch;
use super::spill_at::At;

/// Where the file begins: as far in as a FIFO may be made large (fcntl(2), F_SETPIPE_SZ).
const BEGIN: u64 = 1 << 20;
/// The most that is moved at a time, bytes.
const PIECE: usize = 256 << 10;
/// How much is given back to the disk at a time, bytes.
const HOLE: u64 = 1 << 20;
/// How long a reader may take nothing, and in all, before it gets the rest from the file.
const LAST_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// A stream that is spilled.
#[derive(Debug)]
pub struct Spill {
    stream: Stream,
    options: SpillOptions,
    /// The reader's FIFO.
    outlet: Outlet,
    file: File,
    at: At,
    end: u64,
    /// Up to where the file was given back to the disk.
    hole: u64,
    dropped: u64,
    disk: FullDisk,
}

/// The descriptors of one.
#[derive(Debug)]
pub struct Descriptors {
    /// The write end of the reader's FIFO.
    pub outer: OwnedFd,
    /// What it had no room for.
    pub file: OwnedFd,
    /// [`At`]'s file.
    pub at: OwnedFd,
}

/// Why nothing more can be done now.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// There is nothing more to move.
    Drained,
    /// There is no room for it.
    NoRoom,
    /// Nobody reads.
    NoReader,
}

impl Spill {
    /// Opens the FIFO and the files of a stream in the working directory, or makes them; goes on where another shim was.
    pub fn open(stream: Stream, fifo: &Path, options: SpillOptions) -> io::Result<Self> {
        let mut how = OpenOptions::new();
        how.read(true).write(true).create(true).mode(0o600);
        how.custom_flags(libc::O_NOFOLLOW);
        let descriptors = Descriptors {
            outer: fifo::open_write_without_reader(fifo)?,
            file: how.open(stream.spill_file())?.into(),
            at: how.open(stream.spill_at_file())?.into(),
        };
        Self::resume(stream, options, descriptors, 0)
    }

    /// Goes on with what another shim had open.
    pub fn resume(
        stream: Stream,
        options: SpillOptions,
        descriptors: Descriptors,
        dropped: u64,
    ) -> io::Result<Self> {
        let Descriptors { outer, file, at } = descriptors;
        let file = File::from(file);
        let size = file.metadata()?.len();
        let mut at = At::new(at.into(), &outer)?;
        if at.get() == 0 || size <= at.get() {
            // It is new; or everything was passed on, and it was being emptied.
            file.set_len(0)?;
            at.set(BEGIN)?;
        }
        Ok(Self {
            end: size.max(at.get()),
            hole: at.get() / HOLE * HOLE,
            stream,
            options,
            outlet: Outlet::new(outer, stream)?,
            file,
            at,
            dropped,
            disk: FullDisk::default(),
        })
    }

    /// What the next shim needs to go on, by name.
    pub fn descriptors(&self) -> [(&'static str, BorrowedFd<'_>); 3] {
        [
            ("outer", self.outlet.fifo().as_fd()),
            ("spill", self.file.as_fd()),
            ("at", self.at.as_fd()),
        ]
    }

    /// The reader's FIFO: to poll for room and its reader's end, and for who opens it.
    pub fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    pub fn stream(&self) -> Stream {
        self.stream
    }

    pub fn options(&self) -> SpillOptions {
        self.options
    }

    /// How many bytes the file has that were not passed on.
    pub fn kept(&self) -> u64 {
        self.end - self.at.get()
    }

    /// How many bytes were dropped because it was full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether bytes would be taken now.
    pub fn has_room(&self) -> bool {
        let bound = self.options.full == WhenFull::DropOldest || self.kept() < self.options.max;
        bound && !self.disk.is_full()
    }

    /// When there is something to be tried again.
    pub fn due(&self) -> Option<Instant> {
        self.disk.due()
    }

    /// Moves what can be moved out of the process's FIFO, for one turn; whether there may be more.
    pub fn turn(&mut self, inner: Option<&OwnedFd>, pieces: usize, scratch: &mut Scratch) -> bool {
        let mut reader = self.outlet.has_reader();
        if !reader {
            self.take_back();
        }
        let Some(inner) = inner else {
            // A terminal's output comes by itself.
            if reader {
                self.pass_on(scratch);
            }
            return false;
        };
        for _ in 0..pieces {
            if reader && self.pass_on(scratch) {
                match self.move_directly(inner, scratch) {
                    Ok(()) => continue,
                    Err(Stop::Drained) => return false,
                    Err(Stop::NoRoom) => (),
                    Err(Stop::NoReader) => reader = false,
                }
            }
            if self.append_from(inner, scratch).is_err() {
                return false;
            }
        }
        true
    }

    /// Takes bytes that were read, of a terminal; returns how many.
    pub fn take(&mut self, bytes: &[u8], scratch: &mut Scratch) -> usize {
        let mut taken = 0;
        if !self.outlet.has_reader() {
            self.take_back();
        } else if self.pass_on(scratch) {
            // Whoever is gone, or has no room, does without: it goes into the file.
            taken = write(self.outlet.fifo(), bytes).unwrap_or(0);
        }
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            let Some(room) = self.room(rest.len()) else {
                break;
            };
            match self.file.write_at(&rest[..room], self.end) {
                Ok(count) if count > 0 => {
                    self.end += count as u64;
                    taken += count;
                    self.disk.had_room(self.stream);
                }
                Ok(_) => break,
                Err(e) => {
                    self.disk.had_none(self.stream, &e);
                    break;
                }
            }
        }
        taken
    }

    /// Passes on what the file has, as far as there is room; whether there may be more room.
    fn pass_on(&mut self, scratch: &mut Scratch) -> bool {
        while self.kept() > 0 {
            let most = usize::try_from(self.kept()).unwrap_or(usize::MAX);
            scratch.touch();
            let piece = scratch.piece();
            let most = most.min(piece.len());
            let piece = &mut piece[..most];
            let cause = match self.file.read_at(piece, self.at.get()) {
                Ok(0) => "it was cut short".to_owned(),
                Ok(count) => match self.at.pass_on(self.outlet.fifo(), &piece[..count]) {
                    Ok(passed) => {
                        self.give_back();
                        if passed < count {
                            return false;
                        }
                        continue;
                    }
                    Err(e) => {
                        if e.raw_os_error() != Some(libc::EPIPE) {
                            log::warn!("pass on {}: {}", self.stream.name(), errno_text(&e));
                        }
                        return false;
                    }
                },
                Err(e) => errno_text(&e),
            };
            let (name, kept) = (self.stream.spill_file(), self.kept());
            log::error!("read {name}: {cause}; {kept} bytes are lost");
            self.dropped += kept;
            self.empty();
        }
        true
    }

    /// From one FIFO to the other.
    fn move_directly(&self, inner: &OwnedFd, scratch: &mut Scratch) -> Result<(), Stop> {
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        match splice(inner, None, self.outlet.fifo(), None, PIECE, flags) {
            Ok(0) => Err(Stop::Drained),
            Ok(count) => {
                scratch.count(count);
                Ok(())
            }
            Err(Errno::EINTR) => Ok(()),
            // One is empty, or the other full.
            Err(Errno::EAGAIN) => match fifo::waiting(inner.as_fd()) {
                Ok(0) => Err(Stop::Drained),
                _ => Err(Stop::NoRoom),
            },
            Err(Errno::EPIPE) => Err(Stop::NoReader),
            Err(e) => {
                log::warn!("move {}: {}", self.stream.name(), e.desc());
                Err(Stop::NoRoom)
            }
        }
    }

    /// From the process's FIFO to the end of the file.
    fn append_from(&mut self, inner: &OwnedFd, scratch: &mut Scratch) -> Result<(), Stop> {
        let waiting = fifo::waiting(inner.as_fd()).unwrap_or(0);
        let waiting = usize::try_from(waiting).unwrap_or(PIECE).min(PIECE);
        if waiting == 0 {
            return Err(Stop::Drained);
        }
        let room = self.room(waiting).ok_or(Stop::NoRoom)?;
        let mut offset = i64::try_from(self.end).map_err(|_| Stop::NoRoom)?;
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        match splice(inner, None, &self.file, Some(&mut offset), room, flags) {
            Ok(0) | Err(Errno::EAGAIN) => Err(Stop::Drained),
            Ok(count) => {
                self.end += count as u64;
                scratch.count(count);
                self.disk.had_room(self.stream);
                Ok(())
            }
            Err(Errno::EINTR) => Ok(()),
            Err(e) => {
                self.disk.had_none(self.stream, &e.into());
                Err(Stop::NoRoom)
            }
        }
    }

    /// How many of so many bytes the file may have, making room for them if that is what was asked for; `None` for none.
    fn room(&mut self, bytes: usize) -> Option<usize> {
        if self.disk.due().is_some_and(|at| at > Instant::now()) {
            return None;
        }
        let room = self.options.max.saturating_sub(self.kept());
        if room >= bytes as u64 {
            return Some(bytes);
        }
        match self.options.full {
            WhenFull::Block => usize::try_from(room).ok().filter(|&room| room > 0),
            WhenFull::DropOldest => {
                let bytes = usize::try_from(self.options.max).map_or(bytes, |max| max.min(bytes));
                self.drop_oldest((bytes as u64) - room);
                Some(bytes)
            }
        }
    }

    fn drop_oldest(&mut self, bytes: u64) {
        if self.dropped == 0 {
            log::warn!(
                "{} has more than {} bytes that nobody reads: the oldest are dropped",
                self.stream.name(),
                self.options.max
            );
        }
        let bytes = bytes.min(self.kept());
        self.dropped += bytes;
        if let Err(e) = self.at.set(self.at.get() + bytes) {
            log::warn!("{}: {}", self.stream.spill_at_file(), errno_text(&e));
        }
        self.give_back();
    }

    /// Gives what was passed on back to the disk.
    fn give_back(&mut self) {
        if self.kept() == 0 {
            return self.empty();
        }
        let until = self.at.get() / HOLE * HOLE;
        if until > self.hole {
            let range = (i64::try_from(self.hole), i64::try_from(until - self.hole));
            let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            if let (Ok(from), Ok(length)) = range {
                // Where a file system has no holes, the space comes back when the file is empty.
                let _ = fallocate(&self.file, flags, from, length);
            }
            self.hole = until;
        }
    }

    /// First the file, then where it begins: a file that ends before that place is empty.
    fn empty(&mut self) {
        let emptied = self.file.set_len(0).and_then(|()| self.at.set(BEGIN));
        if let Err(e) = emptied {
            log::warn!("{}: {}", self.stream.spill_file(), errno_text(&e));
            return;
        }
        self.end = BEGIN;
        self.hole = 0;
    }

    /// The reader is gone: what it has not read goes back, ahead of the rest.
    fn take_back(&mut self) {
        let waiting = self.outlet.waiting();
        if waiting == 0 || waiting >= self.at.get() {
            return;
        }
        if let Err(e) = self.take_back_now(waiting) {
            // They stay where they are: ahead of the rest as well.
            log::warn!(
                "take back what nobody read of {}: {}",
                self.stream.name(),
                errno_text(&e)
            );
        }
    }

    fn take_back_now(&mut self, waiting: u64) -> io::Result<()> {
        let reader = self.outlet.open_read()?;
        let mut bytes = vec![0; usize::try_from(waiting).unwrap_or(PIECE)];
        // All of it at once, or another reader might get what comes before and what comes after.
        let count = nix::unistd::read(&reader, &mut bytes)?;
        let bytes = &bytes[..count];
        let at = self.at.get() - count as u64;
        match self.file.write_all_at(bytes, at) {
            Ok(()) => {
                self.at.set(at)?;
                // The file may have been empty.
                self.end = self.end.max(at + count as u64);
                self.hole = self.hole.min(at / HOLE * HOLE);
                self.disk.had_room(self.stream);
                Ok(())
            }
            Err(e) => {
                // It was all that was in there, so there is room for it.
                write(self.outlet.fifo(), bytes)?;
                self.disk.had_none(self.stream, &e);
                Ok(())
            }
        }
    }

    /// From now on the file has room for whatever comes: nothing can wait any more.
    pub fn unbind(&mut self) {
        self.options.max = u64::MAX;
        self.disk = FullDisk::default();
    }

    /// At the end: passes on what the file has while a reader takes it. The rest stays in the file.
    pub fn finish(&mut self, scratch: &mut Scratch) {
        let deadline = Instant::now() + LAST_WAIT.1;
        while self.kept() > 0 && self.outlet.has_reader() {
            if self.pass_on(scratch) {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.outlet.wait_for_room(left.min(LAST_WAIT.0)) {
                break;
            }
        }
        if !self.outlet.has_reader() {
            self.take_back();
        }
    }

    /// So many bytes could not even be put into the file.
    pub fn lose(&mut self, bytes: u64) {
        self.dropped += bytes;
    }
}
