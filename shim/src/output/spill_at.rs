//! Where a spill's file goes on: the offset of the first byte that was not passed on, as decimal text in a file of its own, written in
//! place.
//!
//! A shim may be killed between passing bytes on and saying so. So it says first what it is about to do, and the FIFO's own time of
//! change tells the next shim whether that was done: pieces are passed on whole or not at all (`PIPE_BUF`, pipe(7)). That time is set
//! before each piece, to one that is long over: the clock's own may be the same before and after, as it ticks every few milliseconds
//! only (Linux < 6.13).
//!
//!     AT
//!     AT LENGTH CHANGED

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::{fstat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::write;

/// As long as every text that is written, so that none needs space on the disk that the first did not.
const LENGTH: usize = 80;

/// What the FIFO's time of change is set to, in turns: seconds, as not every file system has finer ones. What was announced before is
/// therefore done already when the next is about to be.
const MARKS: [i64; 2] = [1, 2];

/// The file.
#[derive(Debug)]
pub struct At {
    file: File,
    at: u64,
    /// Which of the marks is next.
    turn: usize,
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
        let mut this = Self { file, at, turn: 0 };
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
            self.announce(fifo, piece)?;
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

    /// Says that this is passed on next.
    fn announce(&mut self, fifo: &OwnedFd, piece: &[u8]) -> io::Result<()> {
        let before = self.mark(fifo)?;
        self.say(&format!("{} {} {before}", self.at, piece.len()))
    }

    /// Sets the FIFO's time of change to what it was at no announcement that may still stand; what it is now.
    fn mark(&mut self, fifo: &OwnedFd) -> io::Result<i128> {
        let mark = TimeSpec::new(MARKS[self.turn], 0);
        self.turn = (self.turn + 1) % MARKS.len();
        // It may be somebody else's, who alone may set it: then it is as the clock has it.
        let _ = futimens(fifo, &TimeSpec::UTIME_OMIT, &mark);
        changed(fifo)
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

/// When a FIFO was last written to, in nanoseconds: what is written into it through a descriptor of it changes its file's time (the
/// kernel's `pipe_write`). Or what that was set to.
fn changed(fifo: &OwnedFd) -> io::Result<i128> {
    let stat = fstat(fifo)?;
    Ok(i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;

    use nix::sys::stat::Mode;

    use super::*;

    /// A shim is killed at each moment of many pieces, faster than any clock ticks.
    #[test]
    fn the_next_shim_knows_of_each_piece_whether_it_was_passed_on() {
        let dir = std::env::temp_dir().join(format!("holdfast-shim-{}-at", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let name = dir.join("fifo");
        nix::unistd::mkfifo(&name, Mode::S_IRWXU).unwrap();
        let open = |name: &str| {
            let mut how = File::options();
            let how = how.read(true).write(true).create(true);
            how.open(dir.join(name)).unwrap()
        };
        let mut reader = open("fifo");
        let fifo = OwnedFd::from(reader.try_clone().unwrap());
        let next = || At::new(open("at"), &fifo).unwrap();
        next().set(1000).unwrap();
        for n in 0..1000 {
            let (before, after) = (1000 + 5 * n, 1005 + 5 * n);
            let mut at = next();
            at.announce(&fifo, b"piece").unwrap();
            assert_eq!(next().get(), before, "it was announced and not written");
            at.announce(&fifo, b"piece").unwrap();
            write(&fifo, b"piece").unwrap();
            if n % 2 == 0 {
                at.mark(&fifo).unwrap();
            }
            assert_eq!(next().get(), after, "it was written");
            reader.read_exact(&mut [0; 5]).unwrap();
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
