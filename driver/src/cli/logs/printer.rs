//! Entries on our standard streams: the bytes as they were written, in batches, in the order in which they came.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};

use holdfast::{LogEntry, Stream};
use holdfast_common::log_entry::Stamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cli::error::{Error, Result};

/// Bytes that are written at once.
pub const BATCH: usize = 64 << 10;

/// Where entries are printed.
#[derive(Debug)]
pub struct Printer {
    stdout: File,
    stderr: File,
    timestamps: bool,
    /// What was not written yet, and where it goes.
    batch: Vec<u8>,
    stream: Stream,
    /// Whether a line has begun, of stdout and stderr.
    begun: [bool; 2],
}

impl Printer {
    /// Prints on our standard streams.
    ///
    /// # Errors
    /// One of them is closed.
    pub fn new(timestamps: bool) -> Result<Self> {
        let own = |fd: BorrowedFd<'_>, name: &str| {
            let fd = fd.try_clone_to_owned();
            fd.map(File::from).map_err(|e| Error::io("open", name, e))
        };
        Ok(Self {
            stdout: own(io::stdout().as_fd(), "stdout")?,
            stderr: own(io::stderr().as_fd(), "stderr")?,
            timestamps,
            batch: Vec::with_capacity(BATCH),
            stream: Stream::Stdout,
            begun: [false; 2],
        })
    }

    /// Standard output, to see whether anybody takes it.
    pub fn stdout(&self) -> BorrowedFd<'_> {
        self.stdout.as_fd()
    }

    /// Prints an entry.
    ///
    /// # Errors
    /// As [`Printer::flush`].
    pub fn push(&mut self, entry: &LogEntry) -> Result<()> {
        self.turn_to(entry.stream)?;
        let begun = &mut self.begun[usize::from(entry.stream == Stream::Stderr)];
        if self.timestamps && !*begun {
            self.batch
                .extend_from_slice(Stamp::of(entry.time).as_bytes());
            self.batch.push(b' ');
        }
        *begun = !entry.ends;
        entry.append_to(&mut self.batch);
        self.flush_if_full()
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    /// As [`Printer::flush`].
    pub fn print(&mut self, stream: Stream, bytes: &[u8]) -> Result<()> {
        self.turn_to(stream)?;
        self.batch.extend_from_slice(bytes);
        self.flush_if_full()
    }

    /// The other stream's turn comes when this one's is written: both may be the same file.
    fn turn_to(&mut self, stream: Stream) -> Result<()> {
        if stream != self.stream {
            self.flush()?;
            self.stream = stream;
        }
        Ok(())
    }

    fn flush_if_full(&mut self) -> Result<()> {
        if self.batch.len() >= BATCH {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what was not written yet.
    ///
    /// # Errors
    /// write(2)'s; `EPIPE` when nobody takes it any more.
    pub fn flush(&mut self) -> Result<()> {
        let file = match self.stream {
            Stream::Stderr => &self.stderr,
            Stream::Stdin | Stream::Stdout => &self.stdout,
        };
        let written = write_all(file, &self.batch);
        self.batch.clear();
        written.map_err(|e| Error::io("write", self.stream.name(), e))
    }
}

/// As [`Write::write_all`], also where whoever shares our stream has made it non-blocking.
fn write_all(mut file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut fds, PollTimeout::NONE) {
                    Ok(_) | Err(nix::Error::EINTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
