//! The present file of a log: opened, locked, added to, and succeeded by the next.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::header::Header;
use super::{FULL, OVERFULL, Place};
use crate::layout;
use crate::sys::fd;

/// How long a lock is waited for.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// The present file of a log, locked if that was to be had.
pub struct Open<'a> {
    pub path: &'a Path,
    pub file: File,
    /// Its inode.
    pub inode: u64,
    /// How long it was when it was opened, bytes.
    pub size: u64,
    pub locked: bool,
    /// How it ends, where it was read under the lock, which nobody who adds a line does without.
    pub end: Option<Ending>,
}

/// How a file ends.
#[derive(Clone, Copy)]
pub struct Ending {
    /// How long it is, bytes.
    pub size: u64,
    /// Whether its last line has only begun.
    pub torn: bool,
}

impl<'a> Open<'a> {
    pub fn new(path: &'a Path) -> io::Result<Self> {
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
    pub fn place(&self) -> Place {
        Place {
            file: self.inode,
            at: self.size,
        }
    }

    /// Adds a line, in this file or in the next.
    pub fn add(&mut self, line: &[u8]) -> io::Result<()> {
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
}

/// The name of the file that was full before a log's present one.
pub fn previous(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(layout::PREVIOUS_SUFFIX);
    name.into()
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

pub fn open_file_to_read(path: &Path) -> io::Result<(File, Metadata)> {
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

pub fn create_new(path: &Path) -> io::Result<File> {
    // A namesake of ours, whose pid this process has now, died half way.
    let _ = std::fs::remove_file(path);
    fd::open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, 0o600)
}
