//! Where a spill's file goes on: the offset of the first byte that was not passed on, as decimal text in a file of its own, written in
//! place.
//!
//! A shim may be killed between passing bytes on and saying so. So it says first what it is about to do, and the FIFO's own time of
//! change tells the next shim whether that was done: pieces are passed on whole or not at all (`PIPE_BUF`, pipe(7)).
//!
//!     AT
//!     AT LENGTH CHANGED

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::fstat;
use nix::unistd::write;

/// As long as every text that is written, so that none needs space on the disk that the first did not.
const LENGTH: usize = 80;

/// The file.
#[derive(Debug)]
pub struct At {
    file: File,
    at: u64,
}

impl At {
    /// Takes the file over, and finds out whether what was announced was done. An empty one says 0.
    pub fn new(file: File, fifo: &OwnedFd) -> io::Result<Self> {
        let mut text = [0; LENGTH];
        let count = file.read_at(&mut text, 0)?;
        let text = String::from_utf8_lossy(&text[..count]);
        let mut words = text.split_ascii_whitespace().map(str::parse::<i128>);
        let mut word = || words.next().and_then(Result::ok);
        let (at, announced) = (word().unwrap_or(0), word().zip(word()));
        let done = match announced {
            Some((length, before)) if before != changed(fifo)? => length,
            _ => 0,
        };
        let at = u64::try_from(at + done).unwrap_or(0);
        let mut this = Self { file, at };
        this.set(at)?;
        Ok(this)
    }

    /// The offset.
    pub fn get(&self) -> u64 {
        self.at
    }

    /// Goes there.
    pub fn set(&mut self, at: u64) -> io::Result<()> {
        self.say(&at.to_string())?;
        self.at = at;
        Ok(())
    }

    /// Passes bytes on that are at the offset, and goes behind those that were taken; returns how many.
    pub fn pass_on(&mut self, fifo: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
        let mut passed = 0;
        for piece in bytes.chunks(libc::PIPE_BUF) {
            let before = changed(fifo)?;
            self.say(&format!("{} {} {before}", self.at, piece.len()))?;
            match write(fifo, piece) {
                Ok(count) => {
                    self.at += count as u64;
                    passed += count;
                }
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                Err(e) if passed == 0 => return Err(e.into()),
                Err(_) => break,
            }
        }
        // What was announced last is done, or never will be.
        self.say(&self.at.to_string())?;
        Ok(passed)
    }

    /// The file.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn say(&self, text: &str) -> io::Result<()> {
        let line = format!("{text:<width$}\n", width = LENGTH - 1);
        self.file.write_all_at(line.as_bytes(), 0)
    }
}

/// When a FIFO was last written to, in nanoseconds. What is written into a FIFO through a descriptor of it changes its file's time
/// (the kernel's `pipe_write`), since Linux 6.13 always to a later one when the former was looked at, before that when the clock has
/// ticked.
fn changed(fifo: &OwnedFd) -> io::Result<i128> {
    let stat = fstat(fifo)?;
    Ok(i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec))
}
