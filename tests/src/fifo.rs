//! The test's ends of a process's FIFOs: opened without blocking, read and written with a deadline.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use nix::sys::stat::Mode;

use crate::wait::{DEADLINE, events};
use crate::{Sandbox, wait};

/// Makes a FIFO.
///
/// # Panics
/// When it cannot be made.
pub fn make(path: &Path) {
    nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o600))
        .unwrap_or_else(|e| panic!("mkfifo {}: {e}", path.display()));
}

/// Opens a FIFO for reading. Without a writer it reads as ended.
///
/// # Panics
/// When it cannot be opened.
#[must_use]
pub fn reader(path: &Path) -> File {
    open(path, OpenOptions::new().read(true))
        .unwrap_or_else(|e| panic!("open {} for reading: {e}", path.display()))
}

/// Opens a FIFO for writing.
///
/// # Errors
/// `ENXIO` when nobody has it open for reading.
pub fn writer(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().write(true))
}

/// Opens a FIFO for both, which keeps either side from ending.
///
/// # Panics
/// When it cannot be opened.
#[must_use]
pub fn both(path: &Path) -> File {
    open(path, OpenOptions::new().read(true).write(true))
        .unwrap_or_else(|e| panic!("open {}: {e}", path.display()))
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.custom_flags(OFlag::O_NONBLOCK.bits()).open(path)
}

impl Sandbox {
    /// Reads what comes next, at most `buffer`; 0 at the end.
    ///
    /// # Panics
    /// When nothing comes before the deadline.
    #[track_caller]
    pub fn read_some(&self, mut file: &File, buffer: &mut [u8]) -> usize {
        loop {
            match file.read(buffer) {
                Ok(n) => return n,
                // A terminal whose other side is gone.
                Err(e) if e.raw_os_error() == Some(nix::libc::EIO) => return 0,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait_readable(file),
                Err(e) => panic!("read: {e}"),
            }
        }
    }

    /// Reads to the end.
    ///
    /// # Panics
    /// When nothing comes before the deadline.
    #[track_caller]
    pub fn read_to_end(&self, file: &File) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.read_some(file, &mut buffer) {
                0 => return all,
                n => all.extend_from_slice(&buffer[..n]),
            }
        }
    }

    /// Reads byte by byte until what was read ends with `end`, so that what follows stays in the FIFO.
    ///
    /// # Panics
    /// When the file ends or the deadline passes first.
    #[track_caller]
    pub fn read_until(&self, file: &File, end: &str) -> String {
        let mut all = Vec::new();
        let mut byte = [0];
        while !all.ends_with(end.as_bytes()) {
            let n = self.read_some(file, &mut byte);
            assert!(
                n > 0,
                "ended before {end:?}, after {:?}",
                String::from_utf8_lossy(&all)
            );
            all.push(byte[0]);
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Writes all of `bytes`, waiting for room where there is none.
    ///
    /// # Panics
    /// When nobody reads before the deadline, or the reader has gone.
    #[track_caller]
    pub fn write_all(&self, mut file: &File, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match file.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if events(file, PollFlags::POLLOUT, DEADLINE).is_empty() {
                        self.give_up("room to write");
                    }
                }
                Err(e) => panic!("write: {e}"),
            }
        }
    }

    /// Opens a FIFO for writing as soon as somebody has it open for reading.
    ///
    /// # Panics
    /// When nobody has at the deadline.
    #[track_caller]
    pub fn open_writer(&self, path: &Path) -> File {
        self.wait_for(&format!("a reader of {}", path.display()), || {
            writer(path).ok()
        })
    }

    /// Reads a file as soon as it is there and not empty, as state files are from the moment they are renamed.
    ///
    /// # Panics
    /// When it is not there at the deadline.
    #[track_caller]
    pub fn wait_file(&self, path: &Path) -> String {
        self.wait_for(&format!("{} to be written", path.display()), || {
            std::fs::read_to_string(path).ok().filter(|s| !s.is_empty())
        })
    }

    /// Asserts that nothing can be read and nobody hung up.
    ///
    /// # Panics
    /// When there is something.
    #[track_caller]
    pub fn assert_quiet(&self, mut file: &File) {
        let seen = wait::events(
            file,
            PollFlags::POLLIN,
            std::time::Duration::from_millis(50),
        );
        if !seen.is_empty() {
            let mut bytes = [0; 256];
            let length = file.read(&mut bytes).unwrap_or(0);
            let said = bytes[..length].escape_ascii();
            panic!("expected silence, got {seen:?} and \"{said}\"")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_is_read_to_its_end_and_written_past_its_capacity() {
        let sandbox = Sandbox::new("fifo");
        let path = sandbox.path().join("f");
        make(&path);
        assert!(writer(&path).is_err(), "nobody reads yet");
        let from = reader(&path);
        let to = sandbox.open_writer(&path);
        let sent = vec![b'x'; 1 << 20];
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let line = sandbox.read_until(&from, "\n");
                (line, sandbox.read_to_end(&from))
            });
            sandbox.write_all(&to, b"first line\n");
            sandbox.write_all(&to, &sent);
            drop(to);
            let (line, rest) = reading.join().unwrap();
            assert_eq!(line, "first line\n");
            assert!(rest == sent, "{} bytes arrived", rest.len());
        });
    }
}
