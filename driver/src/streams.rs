//! A process's streams, for whoever attaches.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The near ends of a process's FIFOs. A stream that is no FIFO (a file, /dev/null, the launcher's own) is `None`.
#[derive(Debug)]
pub struct Streams {
    /// Write end, non-blocking. `None` too when nobody reads it any more.
    pub stdin: Option<OwnedFd>,
    /// Everything from the first byte that nobody has read yet.
    pub stdout: Option<Reader>,
    /// Likewise; always `None` with a terminal.
    pub stderr: Option<Reader>,
}

/// The only reader of a stream, non-blocking: [`Read::read`] fails with [`io::ErrorKind::WouldBlock`] when there is
/// nothing now, and returns 0 at the end for good. Read before polling: a FIFO opened after its writers have
/// left is at its end, but never hangs up.
#[derive(Debug)]
pub struct Reader(OwnedFd);

impl Read for Reader {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        todo!()
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
