//! A process's streams, for whoever attaches: the FIFOs are the process's own, so nobody is in between.
//!
//! A reader locks the FIFO, so that a second one is told instead of getting every other byte. One that comes when the
//! process has ended, and everybody has let go of the FIFO, finds in a file what nobody had read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use holdfast_common::layout::Stream;
use holdfast_common::process_state::ProcessState;
use holdfast_common::sys::fifo;
use holdfast_common::sys::flock::{self, Lock};
use nix::fcntl::{SpliceFFlags, splice};

use crate::error::{Error, Result};

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
/// nothing now, and returns 0 at the end, for good. Read before polling: a FIFO that was opened after its writers had
/// left is at its end, but never hangs up.
#[derive(Debug)]
pub struct Reader {
    fifo: Lock,
    /// Where to look when the FIFO is at its end without having given anything.
    unread: PathBuf,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Reading the FIFO, which has not given anything yet.
    Nothing,
    /// Reading the FIFO.
    Fifo,
    /// Reading what was kept.
    Unread(File),
    /// Everything has been read.
    End,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let (count, next) = match &self.phase {
                Phase::Nothing => match self.fifo.file().read(buffer)? {
                    0 => (
                        0,
                        open_unread(&self.unread)?.map_or(Phase::End, Phase::Unread),
                    ),
                    count => (count, Phase::Fifo),
                },
                Phase::Fifo => match self.fifo.file().read(buffer)? {
                    0 => (0, Phase::End),
                    count => return Ok(count),
                },
                Phase::Unread(file) => {
                    let mut file = file;
                    match file.read(buffer)? {
                        0 => (0, Phase::End),
                        count => return Ok(count),
                    }
                }
                Phase::End => return Ok(0),
            };
            self.phase = next;
            if count > 0 {
                return Ok(count);
            }
        }
    }
}

impl Reader {
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
            Phase::Unread(_) => return Err(io::ErrorKind::InvalidInput.into()),
            Phase::End => return Ok(0),
        }
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        let count = splice(self.fifo.file(), None, to, None, most, flags)?;
        if count > 0 {
            self.phase = Phase::Fifo;
            return Ok(count);
        }
        if let Phase::Nothing = self.phase
            && let Some(file) = open_unread(&self.unread)?
        {
            self.phase = Phase::Unread(file);
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.phase = Phase::End;
        Ok(0)
    }
}

/// The FIFO: readable while it has something, hung up at its end.
impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fifo.file().as_fd()
    }
}

fn open_unread(path: &Path) -> io::Result<Option<File>> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    let mut options = OpenOptions::new();
    match options.read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Read ends that were opened before a launch, so that nothing can be lost with a directory that the shim removes. Not
/// locked: whoever attaches first, reads.
#[derive(Debug, Default)]
pub(crate) struct Early {
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// Opens a process's FIFOs.
pub(crate) fn open(dir: &Path, state: &ProcessState, early: Early) -> Result<Streams> {
    let stdout = open_reader(dir, state, Stream::Stdout, early.stdout)?;
    let stderr = if state.terminal {
        None
    } else {
        open_reader(dir, state, Stream::Stderr, early.stderr)?
    };
    Ok(Streams {
        stdin: open_stdin(state)?,
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

fn open_stdin(state: &ProcessState) -> Result<Option<OwnedFd>> {
    let Some(path) = fifo_path(state, Stream::Stdin)? else {
        return Ok(None);
    };
    match fifo::open_write(path) {
        Ok(fd) => Ok(Some(fd)),
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
    let fd = File::from(fd);
    let again = fd.try_clone().map_err(Error::io("duplicate", path))?;
    let taken = Lock::try_take_open(fd).map_err(Error::io("lock", path))?;
    let Some(fifo) = taken else {
        let pid = flock::holder(&again);
        return Err(Error::StreamTaken { stream, pid });
    };
    Ok(Some(Reader {
        fifo,
        unread: dir.join(stream.unread_file()),
        phase: Phase::Nothing,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scratch, scratch};
    use nix::sys::stat::Mode;
    use std::io::Write;

    fn with_fifos(name: &str) -> (Scratch, ProcessState) {
        let dir = scratch(name);
        let path = |stream: Stream| {
            let path = dir.join(stream.name());
            nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let state = ProcessState {
            stdin: path(Stream::Stdin),
            stdout: path(Stream::Stdout),
            ..ProcessState::default()
        };
        (dir, state)
    }

    fn open_now(dir: &Path, state: &ProcessState) -> Result<Streams> {
        open(dir, state, Early::default())
    }

    #[test]
    fn a_second_reader_is_told_who_is_first() {
        let (dir, state) = with_fifos("streams-taken");
        let first = open_now(&dir, &state).unwrap();
        assert!(first.stdin.is_none() && first.stderr.is_none());
        let error = open_now(&dir, &state).unwrap_err();
        let me = i32::try_from(std::process::id()).ok();
        assert!(
            matches!(error, Error::StreamTaken { stream: Stream::Stdout, pid } if pid == me),
            "{error}"
        );
        drop(first);
        open_now(&dir, &state).unwrap();
    }

    #[test]
    fn a_reader_gets_what_is_there_then_waits_then_sees_the_end() {
        let (dir, state) = with_fifos("streams-live");
        let mut reader = open_now(&dir, &state).unwrap().stdout.unwrap();
        let mut writer = File::from(fifo::open_write(Path::new(&state.stdout)).unwrap());
        writer.write_all(b"hello").unwrap();
        let mut buffer = [0; 64];
        assert_eq!(reader.read(&mut buffer).unwrap(), 5);
        let waits = reader.read(&mut buffer).unwrap_err();
        assert_eq!(waits.kind(), io::ErrorKind::WouldBlock);
        drop(writer);
        // What was kept is what this reader has just read.
        std::fs::write(dir.join("stdout.unread"), "hello").unwrap();
        assert_eq!(reader.read(&mut buffer).unwrap(), 0);
        assert_eq!(reader.read(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn a_late_reader_gets_what_was_kept() {
        let (dir, state) = with_fifos("streams-late");
        std::fs::write(dir.join("stdout.unread"), "hello").unwrap();
        let mut reader = open_now(&dir, &state).unwrap().stdout.unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn bytes_move_to_another_descriptor_and_the_end_follows_them() {
        let (dir, state) = with_fifos("streams-move");
        let mut reader = open_now(&dir, &state).unwrap().stdout.unwrap();
        let mut writer = File::from(fifo::open_write(Path::new(&state.stdout)).unwrap());
        let file = File::create(dir.join("file")).unwrap();
        let waits = reader.move_to(&file, 64).unwrap_err();
        assert_eq!(waits.kind(), io::ErrorKind::WouldBlock);
        writer.write_all(b"hello").unwrap();
        assert_eq!(reader.move_to(&file, 3).unwrap(), 3);
        assert_eq!(reader.move_to(&file, 64).unwrap(), 2);
        // A descriptor that takes bytes at its end only cannot be moved to; nothing is lost by trying.
        let end = OpenOptions::new()
            .append(true)
            .open(dir.join("file"))
            .unwrap();
        writer.write_all(b" you").unwrap();
        let cannot = reader.move_to(&end, 64).unwrap_err();
        assert_eq!(cannot.kind(), io::ErrorKind::InvalidInput);
        let mut buffer = [0; 4];
        assert_eq!(reader.read(&mut buffer).unwrap(), 4);
        drop(writer);
        // What was kept is what this reader has just moved.
        std::fs::write(dir.join("stdout.unread"), "hello you").unwrap();
        assert_eq!(reader.move_to(&file, 64).unwrap(), 0);
        assert_eq!(reader.read(&mut buffer).unwrap(), 0);
        assert_eq!(std::fs::read(dir.join("file")).unwrap(), b"hello");
    }

    #[test]
    fn what_was_kept_is_read_where_it_cannot_be_moved() {
        let (dir, state) = with_fifos("streams-move-late");
        std::fs::write(dir.join("stdout.unread"), "hello").unwrap();
        let mut reader = open_now(&dir, &state).unwrap().stdout.unwrap();
        let file = File::create(dir.join("file")).unwrap();
        let cannot = reader.move_to(&file, 64).unwrap_err();
        assert_eq!(cannot.kind(), io::ErrorKind::InvalidInput);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn streams_that_are_no_fifos_are_nobodys_to_attach() {
        let dir = scratch("streams-none");
        std::fs::write(dir.join("file"), "").unwrap();
        let state = ProcessState {
            stdout: dir.join("file").to_str().unwrap().to_owned(),
            stderr: dir.join("absent").to_str().unwrap().to_owned(),
            ..ProcessState::default()
        };
        let streams = open_now(&dir, &state).unwrap();
        assert!(streams.stdin.is_none() && streams.stdout.is_none() && streams.stderr.is_none());
    }
}
