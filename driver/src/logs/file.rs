//! One file of a log, read line by line: forwards as it grows, or backwards from its end. What is in a line is not looked at.
//!
//! A file is known by its inode and its birth, whatever it is called by now, so that a rotation changes nothing for whoever
//! has it open.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::{ControlFlow, Range};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use nix::libc;

/// Bytes read at a time.
const PIECE: usize = 128 << 10;
/// A line that is longer is none of ours: docker's format takes up to six bytes for one.
const LONGEST: usize = 8 << 20;

/// What tells a file from others, also from those that get its inode number after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    pub device: u64,
    pub inode: u64,
    /// As far as the file system keeps it (statx(2), `STATX_BTIME`).
    pub born: Option<SystemTime>,
}

impl FileId {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            born: meta.created().ok(),
        }
    }
}

/// Opens what may be a file of a log; `None` where there is none, or something else.
pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    // A FIFO of that name is not waited for.
    options
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    match options.open(path) {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e),
    }
}

/// A file, and how far its lines were read.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    id: FileId,
    /// What was read and not yet taken is in the middle of it.
    buffer: Vec<u8>,
    /// Up to where it was taken.
    taken: usize,
    /// Up to where there is no line end after what was taken.
    searched: usize,
    /// Up to where it was read.
    filled: usize,
    /// Where in the file the buffer begins.
    base: u64,
    /// Whether the beginning of this line was let go: it is too long.
    overlong: bool,
    /// Whether the last thing that was read is the beginning of a line.
    torn: bool,
    /// Nothing is read beyond.
    limit: u64,
    /// Lines that were too long, or lost their end.
    skipped: u64,
}

impl LogFile {
    /// A file from its beginning on.
    pub fn new(file: File) -> io::Result<Self> {
        let id = FileId::of(&file.metadata()?);
        Ok(Self {
            file,
            id,
            buffer: Vec::new(),
            taken: 0,
            searched: 0,
            filled: 0,
            base: 0,
            overlong: false,
            torn: false,
            limit: u64::MAX,
            skipped: 0,
        })
    }

    /// Which file it is.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Its size, bytes.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether it has no name any more.
    pub fn is_gone(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    /// Begins here, where a line begins.
    pub fn seek(&mut self, offset: u64) {
        (self.taken, self.searched, self.filled) = (0, 0, 0);
        self.base = offset;
        self.overlong = false;
    }

    /// Up to where its lines were taken.
    pub fn offset(&self) -> u64 {
        self.base + self.taken as u64
    }

    /// Reads nothing beyond.
    pub fn limit(&mut self, offset: u64) {
        self.limit = offset;
    }

    /// The next line that is whole, without its line end, as a range of [`LogFile::bytes`], and where it begins. `None` when there
    /// is none yet; what there is of it is read anew the next time, because whoever could not write all of an entry takes it
    /// back, and writes another.
    pub fn line(&mut self) -> io::Result<Option<(u64, Range<usize>)>> {
        loop {
            let unsearched = &self.buffer[self.searched..self.filled];
            if let Some(length) = memchr::memchr(b'\n', unsearched) {
                let line = self.taken..self.searched + length;
                self.taken = line.end + 1;
                self.searched = self.taken;
                if std::mem::take(&mut self.overlong) {
                    self.skipped += 1;
                    continue;
                }
                return Ok(Some((self.base + line.start as u64, line)));
            }
            self.searched = self.filled;
            if self.filled - self.taken > LONGEST {
                self.overlong = true;
                self.taken = self.filled;
            }
            if self.fill()? == 0 {
                self.torn = self.filled > self.taken;
                self.searched = self.taken;
                self.filled = self.taken;
                return Ok(None);
            }
        }
    }

    /// Bytes of the line that was returned last.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Reads more; how much that was.
    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.copy_within(self.taken..self.filled, 0);
        self.base += self.taken as u64;
        self.searched -= self.taken;
        self.filled -= self.taken;
        self.taken = 0;
        let end = self.base + self.filled as u64;
        let most = self.limit.saturating_sub(end).min(PIECE as u64);
        let most = usize::try_from(most).unwrap_or(PIECE);
        if self.buffer.len() < self.filled + most {
            self.buffer.resize(self.filled + most, 0);
        }
        let room = &mut self.buffer[self.filled..self.filled + most];
        let count = loop {
            match self.file.read_at(room, end) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.filled += count;
        if count == 0 && most > 0 && self.len()? < self.base {
            // Somebody emptied it (`: > log`, logrotate's copytruncate): what comes is new.
            self.seek(0);
            return self.fill();
        }
        Ok(count)
    }

    /// Whether there is the beginning of a line after the last whole one.
    pub fn is_torn(&self) -> bool {
        self.overlong || self.torn
    }

    /// How many lines were passed over since this was asked last.
    pub fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// The lines that are whole, last first, each with where it begins, until it is enough.
    pub fn lines_backwards(
        &self,
        mut each: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        // Where what is in `buffer` begins; all that comes after it was told.
        let mut start = self.len()?.min(self.limit);
        let mut buffer: Vec<u8> = Vec::new();
        // The bytes after the last line end are no line, and neither are those of one that is too long.
        let mut whole = false;
        while start > 0 {
            let length = usize::try_from(start.min(PIECE as u64)).unwrap_or(PIECE);
            start -= length as u64;
            let before = buffer;
            buffer = vec![0; length];
            match self.file.read_exact_at(&mut buffer, start) {
                // Somebody has just emptied it.
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => break,
                read => read?,
            }
            buffer.extend_from_slice(&before);
            while let Some(at) = memchr::memrchr(b'\n', &buffer) {
                if whole && each(start + at as u64 + 1, &buffer[at + 1..]).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                buffer.truncate(at);
                whole = true;
            }
            if buffer.len() > LONGEST {
                buffer.clear();
                whole = false;
            }
        }
        if whole && start == 0 {
            return Ok(each(0, &buffer));
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl AsFd for LogFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
