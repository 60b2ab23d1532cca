//! What was kept of output that nobody had read when its process ended: `<stream>.unread`, what was in the FIFO, and
//! `<stream>.spill`, what the FIFO had no room for. It is read where it is, and stays there.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use holdfast_common::layout::Stream;
use nix::libc;

use crate::error::{Error, Result};
use crate::process::Process;

/// Bytes that nobody had read.
#[derive(Debug)]
pub struct Leftover(io::Chain<Part, Part>);

/// A file that may not be there.
#[derive(Debug)]
struct Part(Option<File>);

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.as_mut().map_or(Ok(0), |file| file.read(buffer))
    }
}

impl Read for Leftover {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Process {
    /// What nobody had read of a stream when the process ended, and its shim with it; `None` when everything was, or the stream
    /// is none that somebody reads. It is there for who comes next too.
    ///
    /// # Errors
    /// [`Error::ProcessNotExited`]; the system's.
    pub fn leftover(&self, stream: Stream) -> Result<Option<Leftover>> {
        if self.exit_record()?.is_none() || self.shim_lives()? {
            return Err(Error::ProcessNotExited {
                id: self.container_id().clone(),
                process: self.id().clone(),
            });
        }
        let failed = |name: String| Error::io("open", self.dir().join(name));
        let unread = unread(self.dir(), stream).map_err(failed(stream.unread_file()))?;
        let spilled = spilled(self.dir(), stream).map_err(failed(stream.spill_file()))?;
        Ok(match (unread, spilled) {
            (None, None) => None,
            (unread, spilled) => Some(Leftover(Part(unread).chain(Part(spilled)))),
        })
    }
}

/// What was in a stream's FIFO.
pub(crate) fn unread(dir: &Path, stream: Stream) -> io::Result<Option<File>> {
    open(&dir.join(stream.unread_file()))
}

/// What was in a stream's spill and not passed on, from there on; `None` when that is nothing.
pub(crate) fn spilled(dir: &Path, stream: Stream) -> io::Result<Option<File>> {
    let Some(mut spill) = open(&dir.join(stream.spill_file()))? else {
        return Ok(None);
    };
    let at = passed_on(dir, stream)?;
    if at >= spill.metadata()?.len() {
        return Ok(None);
    }
    spill.seek(SeekFrom::Start(at))?;
    Ok(Some(spill))
}

/// How far a spill was passed on. A shim that was killed in the middle of it had said so before: from where, how much, and when the
/// FIFO was written to last; if that is not so any more, it was done.
fn passed_on(dir: &Path, stream: Stream) -> io::Result<u64> {
    let Some(file) = open(&dir.join(stream.spill_at_file()))? else {
        return Ok(0);
    };
    let mut text = String::new();
    file.take(128).read_to_string(&mut text)?;
    let bad = || io::Error::from(ErrorKind::InvalidData);
    let words = text.split_ascii_whitespace().map(str::parse::<i128>);
    let words: Vec<i128> = words
        .collect::<std::result::Result<_, _>>()
        .map_err(|_| bad())?;
    let at = match words[..] {
        [at] => at,
        [at, length, before] => match std::fs::metadata(dir.join(stream.name())) {
            Ok(fifo) => {
                let changed =
                    i128::from(fifo.mtime()) * 1_000_000_000 + i128::from(fifo.mtime_nsec());
                if changed == before { at } else { at + length }
            }
            Err(e) => return Err(e),
        },
        _ => return Err(bad()),
    };
    u64::try_from(at).map_err(|_| bad())
}

fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut options = OpenOptions::new();
    match options.read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
