//! A process's streams, for whoever attaches: the FIFOs are the process's own, so nobody is in between.
//!
//! A reader locks the FIFO, so that a second one is told instead of getting every other byte, and whoever writes to stdin locks
//! that. One that comes when the process has ended, and everybody has let go of the FIFO, finds in a file what nobody had
//! read.

mod orphan;
mod reader;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use holdfast_common::layout::Stream;
use holdfast_common::output::Moved;
use holdfast_common::process_state::ProcessState;
use holdfast_common::shim_record::ShimRecord;
use holdfast_common::sys::fifo;
use holdfast_common::sys::flock::{self, Lock};

pub use reader::Reader;

use nix::poll::PollFlags;

use crate::deadline::Deadline;
use crate::error::{Error, Result};

/// How long a shim may take to put aside what nobody has read.
const PUT_ASIDE: Duration = Duration::from_secs(5);
/// How often one looks whether it has.
const TURN: Duration = Duration::from_millis(1);

/// The near ends of a process's FIFOs. A stream that is no FIFO (a file, /dev/null, the launcher's own) is `None`.
#[derive(Debug)]
pub struct Streams {
    /// Write end, non-blocking, ours alone as far as others ask. `None` too when nobody reads it any more.
    pub stdin: Option<OwnedFd>,
    /// Everything from the first byte that nobody has read yet.
    pub stdout: Option<Reader>,
    /// Likewise; always `None` with a terminal.
    pub stderr: Option<Reader>,
}

/// What was opened before a launch, so that nothing can be lost with a directory that the shim removes. Not locked: whoever
/// attaches first, reads.
#[derive(Debug, Default)]
pub(crate) struct Early {
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    /// The log's first file.
    pub log: Option<File>,
}

impl Early {
    /// The FIFOs, once.
    pub fn take_streams(&mut self) -> Self {
        Self {
            stdout: self.stdout.take(),
            stderr: self.stderr.take(),
            log: None,
        }
    }
}

/// Opens a process's FIFOs, those for output and, if it is wanted, stdin.
pub(crate) fn open(dir: &Path, state: &ProcessState, early: Early, stdin: bool) -> Result<Streams> {
    // Output first: where there is one reader, it is that of whom the next should hear.
    let stdout = open_reader(dir, state, Stream::Stdout, early.stdout)?;
    let stderr = if state.terminal {
        None
    } else {
        open_reader(dir, state, Stream::Stderr, early.stderr)?
    };
    Ok(Streams {
        stdin: if stdin { open_stdin(dir, state)? } else { None },
        stdout,
        stderr,
    })
}

/// The path of a stream's FIFO, if it is one.
fn fifo_path(state: &ProcessState, stream: Stream) -> Result<Option<&Path>> {
    if state.inherits(stream) {
        return Ok(None);
    }
    let path = Path::new(state.stdio(stream));
    match std::fs::metadata(path) {
        Ok(meta) => Ok(meta.file_type().is_fifo().then_some(path)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("open", path)(e)),
    }
}

fn open_stdin(dir: &Path, state: &ProcessState) -> Result<Option<OwnedFd>> {
    let Some(path) = fifo_path(state, Stream::Stdin)? else {
        return Ok(None);
    };
    match fifo::open_write(path) {
        Ok(fd) => lock(dir, fd, Stream::Stdin, path).map(|lock| Some(lock.into_file().into())),
        // Nobody has it open for reading: the process has ended, or has closed its stdin.
        Err(e) if e.raw_os_error() == Some(nix::libc::ENXIO) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("open stdin fifo", path)(e)),
    }
}

fn open_reader(
    dir: &Path,
    state: &ProcessState,
    stream: Stream,
    early: Option<OwnedFd>,
) -> Result<Option<Reader>> {
    let path = Path::new(state.stdio(stream));
    let fd = match early {
        Some(fd) => fd,
        None => match fifo_path(state, stream)? {
            Some(path) => fifo::open_read(path).map_err(Error::io("open output fifo", path))?,
            None => return Ok(None),
        },
    };
    let spills = state.moved(stream) == Some(Moved::Spill);
    let fifo = lock(dir, fd, stream, path)?;
    Ok(Some(Reader::new(fifo, dir, stream, spills)))
}

/// Takes a stream for ourselves. The shim may hold it for a moment at the end, while it puts aside what nobody has read.
fn lock(dir: &Path, fd: OwnedFd, stream: Stream, path: &Path) -> Result<Lock> {
    let fd = File::from(fd);
    let deadline = Deadline::after(Some(PUT_ASIDE));
    let mut let_go = false;
    loop {
        let again = fd.try_clone().map_err(Error::io("duplicate", path))?;
        if let Some(lock) = Lock::try_take_open(again).map_err(Error::io("lock", path))? {
            return Ok(lock);
        }
        let pid = flock::holder(&fd);
        if pid.is_none() && !std::mem::replace(&mut let_go, true) {
            // Whoever held it has just let it go.
            continue;
        }
        let shim = ShimRecord::read(dir).ok().map(|shim| shim.identity());
        let shim = shim.filter(|shim| Some(shim.pid) == pid && !deadline.has_passed());
        let Some(shim) = shim else {
            return Err(Error::StreamTaken { stream, pid });
        };
        let failed = |e| Error::io("wait for the shim of", dir)(e);
        if let Some(shim) = shim.open().map_err(failed)? {
            let turn = deadline.at_most(TURN);
            turn.poll(shim.as_fd(), PollFlags::POLLIN).map_err(failed)?;
        }
    }
}
