//! The one reader of a stream, from the first byte that nobody has read: the FIFO, then what was kept.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use holdfast_common::layout::Stream;
use holdfast_common::sys::flock::Lock;
use nix::fcntl::{SpliceFFlags, splice};

use super::orphan::{self, Orphan};
use crate::kept;

/// The only reader of a stream, non-blocking: [`Read::read`] fails with [`io::ErrorKind::WouldBlock`] when there is
/// nothing now, and returns 0 at the end, for good. Read before polling: a FIFO that was opened after its writers had
/// left is at its end, but never hangs up.
#[derive(Debug)]
pub struct Reader {
    fifo: Lock,
    /// Where to look for what was kept.
    dir: PathBuf,
    stream: Stream,
    /// Whether what the FIFO has no room for is in a file.
    spills: bool,
    phase: Phase,
    /// While the FIFO is at an end that is not the stream's.
    orphan: Option<Orphan>,
}

#[derive(Debug)]
enum Phase {
    /// Reading the FIFO, which has not given anything yet.
    Nothing,
    /// Reading the FIFO.
    Fifo,
    /// Reading what was kept of the FIFO.
    Unread(File),
    /// Reading what the FIFO had no room for.
    Spilled(File),
    /// Everything has been read.
    End,
}

impl Reader {
    /// Reads from a FIFO that is ours.
    pub(super) fn new(fifo: Lock, dir: &Path, stream: Stream, spills: bool) -> Self {
        Self {
            fifo,
            dir: dir.to_owned(),
            stream,
            spills,
            phase: Phase::Nothing,
            orphan: None,
        }
    }

    /// Whether there may be more than a FIFO holds when the process has ended: what it had no room for was kept.
    pub fn spills(&self) -> bool {
        self.spills
    }

    /// Whether it has come to what was kept, which never has to be waited for. Its descriptor does not tell.
    pub fn is_at_kept(&self) -> bool {
        matches!(self.phase, Phase::Unread(_) | Phase::Spilled(_))
    }

    /// Moves at most so many bytes to another descriptor, inside the kernel (splice(2)): they are in the FIFO or over
    /// there, never only in this program, so that killing it at any moment loses none. Otherwise like [`Read::read`];
    /// [`io::ErrorKind::WouldBlock`] may also mean that there is no room over there.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] where the kernel cannot do it: the rest must be read, nothing has been lost. Errors of
    /// the other descriptor.
    pub fn move_to(&mut self, to: impl AsFd, most: usize) -> io::Result<usize> {
        if most == 0 {
            return Ok(0);
        }
        match self.phase {
            Phase::Nothing | Phase::Fifo => {}
            // No FIFO, so it cannot.
            Phase::Unread(_) | Phase::Spilled(_) => return Err(io::ErrorKind::InvalidInput.into()),
            Phase::End => return Ok(0),
        }
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        loop {
            let moved = splice(self.fifo.file(), None, &to, None, most, flags);
            let count = self.look_after_try(moved.map_err(io::Error::from))?;
            if count > 0 {
                self.phase = Phase::Fifo;
                return Ok(count);
            }
            if self.is_at_end()? {
                break;
            }
        }
        self.go_on()?;
        match self.phase {
            Phase::End => Ok(0),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// After the FIFO was tried: whoever has it open to write is the shim of an orphan no more.
    fn look_after_try(&mut self, tried: io::Result<usize>) -> io::Result<usize> {
        match &tried {
            Ok(0) => {}
            Ok(_) => self.orphan = None,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.orphan = None,
            Err(_) => {}
        }
        tried
    }

    /// Whether the end of the FIFO is the stream's. Nobody but the shim writes to one that spills, and a shim may be killed; false
    /// when the FIFO is to be tried again.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] while the process runs, and nobody passes its output on.
    fn is_at_end(&mut self) -> io::Result<bool> {
        if !self.spills || orphan::is_over(&self.dir)? {
            self.orphan = None;
            return Ok(true);
        }
        match &self.orphan {
            Some(orphan) => {
                orphan.take();
                Err(io::ErrorKind::WouldBlock.into())
            }
            None => {
                // Who adopts it may have come before the watch.
                self.orphan = Some(Orphan::watch(&self.dir, self.stream)?);
                Ok(false)
            }
        }
    }

    /// What comes after what is at its end.
    fn go_on(&mut self) -> io::Result<()> {
        if let Phase::Nothing = self.phase
            && let Some(file) = kept::unread(&self.dir, self.stream)?
        {
            self.phase = Phase::Unread(file);
            return Ok(());
        }
        self.phase = match self.phase {
            Phase::Nothing | Phase::Fifo | Phase::Unread(_) if self.spills => {
                kept::spilled(&self.dir, self.stream)?.map_or(Phase::End, Phase::Spilled)
            }
            _ => Phase::End,
        };
        Ok(())
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let count = match &mut self.phase {
                Phase::Nothing | Phase::Fifo => {
                    let read = self.fifo.file().read(buffer);
                    let count = self.look_after_try(read)?;
                    if count == 0 && !self.is_at_end()? {
                        continue;
                    }
                    count
                }
                Phase::Unread(file) | Phase::Spilled(file) => file.read(buffer)?,
                Phase::End => return Ok(0),
            };
            if count == 0 {
                self.go_on()?;
                continue;
            }
            if let Phase::Nothing = self.phase {
                self.phase = Phase::Fifo;
            }
            return Ok(count);
        }
    }
}

/// The FIFO: readable while it has something, hung up at its end. Ask anew before each poll: where output is spilled, and its shim
/// was killed, the FIFO is hung up before its end, and it is another descriptor that tells.
impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.orphan {
            Some(orphan) => orphan.as_fd(),
            None => self.fifo.file().as_fd(),
        }
    }
}
