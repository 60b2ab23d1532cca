//! One end of a direction: a container's stream, or one of our own, used so that it never blocks us. How bytes get from
//! one to the other is the pump's business.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use holdfast::Reader;
use nix::libc;

/// As much as a pipe takes without blocking once poll(2) calls it writable: one page.
pub const CAUTIOUS: usize = 4096;

/// One end of a direction.
#[derive(Debug)]
pub enum End {
    /// Can be used at any time: non-blocking, or a regular file.
    Ready(File),
    /// May block: used in small pieces, one each time poll(2) allows it.
    Cautious(File),
    /// A container's stream.
    Container(Reader),
}

impl End {
    /// One of our own standard streams. O_NONBLOCK would be set for everybody who shares it (our shell!), so it is
    /// opened anew; where that is not possible it is used with caution: one small piece each time poll(2) allows it.
    ///
    /// # Errors
    /// fstat(2)'s or dup(2)'s.
    pub fn own(fd: BorrowedFd<'_>, options: &mut OpenOptions) -> io::Result<Self> {
        let file = File::from(fd.try_clone_to_owned()?);
        let kind = file.metadata()?.file_type();
        if kind.is_file() {
            // Never blocks, and has a position to share.
            return Ok(End::Ready(file));
        }
        if kind.is_fifo() || kind.is_char_device() {
            let again = options
                .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
                .open(format!("/proc/self/fd/{}", fd.as_raw_fd()));
            if let Ok(file) = again {
                return Ok(End::Ready(file));
            }
        }
        Ok(End::Cautious(file))
    }

    /// Whether poll(2) must be asked before each use.
    pub fn is_cautious(&self) -> bool {
        matches!(self, End::Cautious(_))
    }

    /// Whether reading never has to wait, and poll(2) would not tell that it need not.
    pub fn is_at_kept(&self) -> bool {
        matches!(self, End::Container(reader) if reader.is_at_kept())
    }

    /// Reads once; see [`Read::read`].
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing now.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                End::Ready(file) | End::Cautious(file) => file.read(buffer),
                End::Container(reader) => reader.read(buffer),
            };
            match read {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Writes once, no more than surely fits; see [`Write::write`].
    ///
    /// # Errors
    /// `WouldBlock` when there is no room now.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (file, bytes) = match self {
            End::Ready(file) => (file, bytes),
            End::Cautious(file) => (file, &bytes[..bytes.len().min(CAUTIOUS)]),
            End::Container(_) => return Err(ErrorKind::Unsupported.into()),
        };
        loop {
            match file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            End::Ready(file) | End::Cautious(file) => file.as_fd(),
            End::Container(reader) => reader.as_fd(),
        }
    }
}
