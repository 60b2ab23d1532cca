//! Reading and writing one state file. Writing is atomic (unique temporary file, write, rename): a reader sees
//! the old file or the whole new one. Reading trusts nothing: it follows no link, opens no FIFO or device,
//! reads no more than a bound, and says what it found instead.
//!
//! No fsync: see docs/state-directory.md.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::layout;
use crate::sys::fd;

/// Bound for files that describe a process or a container, bytes. Linux bounds an argument list and environment to
/// a fraction of this.
pub const DOCUMENT_LIMIT: u64 = 16 << 20;
/// Bound for files that hold a number or a short record, bytes.
pub const RECORD_LIMIT: u64 = 64 << 10;

/// What went wrong with a state file, and with which.
#[derive(Debug)]
pub struct StateFileError {
    /// What was being done: `read`, `write`.
    pub operation: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What stood in the way.
    pub cause: Cause,
}

/// What stands in the way of reading or writing a state file.
#[derive(Debug)]
pub enum Cause {
    /// The system said so.
    Io(io::Error),
    /// Something else bears the file's name: a directory, a FIFO, a symbolic link …
    NotAFile(&'static str),
    /// The file has more bytes than this one may have.
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The most it may have.
        limit: u64,
    },
    /// The file has no content, as after a crash or a full disk.
    Empty,
    /// The content is not what it should be; for JSON, with line and column.
    Malformed(String),
}

impl StateFileError {
    /// Whether there is no such file.
    pub fn is_absent(&self) -> bool {
        matches!(&self.cause, Cause::Io(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
    }

    /// Whether there was no space for it (`ENOSPC`, `EDQUOT`): it may be had later.
    pub fn is_for_want_of_space(&self) -> bool {
        matches!(&self.cause, Cause::Io(e) if matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)))
    }

    fn read(path: &Path, cause: Cause) -> Self {
        Self {
            operation: "read",
            path: path.to_owned(),
            cause,
        }
    }
}

impl fmt::Display for StateFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {}",
            self.operation,
            self.path.display(),
            self.cause
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Io(e) => write!(f, "{}", crate::sys::errno_text(e)),
            Cause::NotAFile(kind) => write!(f, "is {kind}, not a file"),
            Cause::TooLarge { size, limit } => {
                write!(f, "has {size} bytes, more than the {limit} it may have")
            }
            Cause::Empty => f.write_str("is empty"),
            Cause::Malformed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for StateFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Io(e) => Some(e),
            _ => None,
        }
    }
}

/// Reads a whole state file of at most `limit` bytes.
///
/// # Errors
/// Absent, not a regular file, too large, empty, or unreadable.
pub fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, StateFileError> {
    let failed = |cause| StateFileError::read(path, cause);
    let (file, size) = open_regular(path).map_err(failed)?;
    if size > limit {
        return Err(failed(Cause::TooLarge { size, limit }));
    }
    let bytes = read_all(&file, size, limit).map_err(|e| failed(Cause::Io(e)))?;
    let size = bytes.len() as u64;
    if size > limit {
        return Err(failed(Cause::TooLarge { size, limit }));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(failed(Cause::Empty));
    }
    Ok(bytes)
}

/// All of a file that has `size` bytes, most often in one read: one that is short has found the end. Should the file grow meanwhile, a
/// byte beyond `limit` at most.
fn read_all(mut file: &File, size: u64, limit: u64) -> io::Result<Vec<u8>> {
    let room = usize::try_from(size + 1).map_err(io::Error::other)?;
    let mut bytes = vec![0; room];
    let count = loop {
        match file.read(&mut bytes) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
            count => break count?,
        }
    };
    bytes.truncate(count);
    if count == room {
        file.take(limit.saturating_sub(size))
            .read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Reads the last bytes of a file that grows, at most `limit`; it may be empty.
///
/// # Errors
/// Absent, not a regular file, or unreadable.
pub fn read_tail(path: &Path, limit: u64) -> Result<Vec<u8>, StateFileError> {
    let failed = |cause| StateFileError::read(path, cause);
    let (mut file, size) = open_regular(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(size.saturating_sub(limit)))
        .and_then(|_| file.take(limit).read_to_end(&mut bytes))
        .map_err(|e| failed(Cause::Io(e)))?;
    Ok(bytes)
}

/// Opens a regular file, whatever may bear its name, and tells its size in bytes.
fn open_regular(path: &Path) -> Result<(File, u64), Cause> {
    // O_NONBLOCK: a FIFO in the file's place must not make us wait for a writer.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = fd::open(path, flags, 0).map_err(|e| match e.raw_os_error() {
        Some(libc::ELOOP) => Cause::NotAFile("a symbolic link"),
        // Opening a socket.
        Some(libc::ENXIO) => Cause::NotAFile("a socket"),
        _ => Cause::Io(e),
    })?;
    let meta = file.metadata().map_err(Cause::Io)?;
    let kind = meta.file_type();
    if !kind.is_file() {
        return Err(Cause::NotAFile(match () {
            () if kind.is_dir() => "a directory",
            () if kind.is_fifo() => "a fifo",
            () => "a device",
        }));
    }
    Ok((file, meta.len()))
}

/// Reads a JSON state file.
///
/// # Errors
/// As [`read_bytes`], or [`Cause::Malformed`] with line and column.
pub fn read_json<T: DeserializeOwned>(path: &Path, limit: u64) -> Result<T, StateFileError> {
    let bytes = read_bytes(path, limit)?;
    let malformed = |what| StateFileError::read(path, Cause::Malformed(what));
    let value = serde_json::from_slice(&bytes).map_err(|e| malformed(e.to_string()))?;
    // serde takes a list for a struct too, by position: somebody else's file would be an exit status.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(malformed("is not a JSON object".to_owned()));
    }
    Ok(value)
}

/// Reads a file that holds one value as text, such as `pid` or `starttime`.
///
/// # Errors
/// As [`read_bytes`], or [`Cause::Malformed`].
pub fn read_value<T: std::str::FromStr>(path: &Path) -> Result<T, StateFileError> {
    let bytes = read_bytes(path, RECORD_LIMIT)?;
    let text = std::str::from_utf8(&bytes).ok().map(str::trim);
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(32)]).into_owned();
        StateFileError::read(
            path,
            Cause::Malformed(format!("{shown:?} is not what belongs here")),
        )
    })
}

/// Writes a state file: all of it or none.
///
/// # Errors
/// The system's, with the path; nothing is left behind.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), StateFileError> {
    static UNIQUE: AtomicU32 = AtomicU32::new(0);
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("file");
    let unique = UNIQUE.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_file_name(format!(
        "{}{name}.{}-{unique}",
        layout::UNFINISHED,
        std::process::id()
    ));
    let written = create_new(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|e| {
        // Best effort: the write's own failure is the one to tell.
        let _ = std::fs::remove_file(&temporary);
        StateFileError {
            operation: "write",
            path: path.to_owned(),
            cause: Cause::Io(e),
        }
    })
}

/// Writes a JSON state file: all of it or none.
///
/// # Errors
/// As [`write_bytes`].
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StateFileError> {
    let bytes = serde_json::to_vec(value).map_err(|e| StateFileError {
        operation: "write",
        path: path.to_owned(),
        cause: Cause::Malformed(e.to_string()),
    })?;
    write_bytes(path, &bytes)
}

fn create_new(path: &Path) -> io::Result<File> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
    let create = || fd::open(path, flags, 0o600);
    match create() {
        // A namesake of ours, whose pid this process has now, died half way.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(path)?;
            create()
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir =
            std::env::temp_dir().join(format!("holdfast-state-file-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn what_was_written_is_read_back_and_nothing_else_is_left() {
        let dir = scratch("round-trip");
        let path = dir.join("pid");
        write_bytes(&path, b"42").unwrap();
        assert_eq!(read_value::<u32>(&path).unwrap(), 42);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_temporary() {
        let dir = scratch("failed-write");
        let path = dir.join("state.json");
        std::fs::create_dir(&path).unwrap();
        let error = write_bytes(&path, b"{}").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("write {}: ", path.display())),
            "{error}"
        );
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_stale_temporary_of_a_namesake_is_no_obstacle() {
        let dir = scratch("namesake");
        let path = dir.join("pid");
        for n in 0..1000 {
            std::fs::write(
                dir.join(format!("~pid.{}-{n}", std::process::id())),
                "stale",
            )
            .unwrap();
        }
        write_bytes(&path, b"7").unwrap();
        assert_eq!(read_value::<u32>(&path).unwrap(), 7);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn whatever_bears_the_name_is_named() {
        let dir = scratch("aliens");
        let path = dir.join("process.json");
        let found = |path: &Path| read_json::<serde_json::Value>(path, 1024).unwrap_err();
        assert!(found(&path).is_absent());
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(found(&path).cause, Cause::NotAFile("a directory")));
        std::fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert!(matches!(
            found(&path).cause,
            Cause::NotAFile("a symbolic link")
        ));
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(found(&path).cause, Cause::NotAFile("a fifo")));
        std::fs::remove_file(&path).unwrap();
        for (content, wanted) in [
            ("", "is empty"),
            ("\n", "is empty"),
            ("{\n\"a\": 1", "line 2 column 6"),
            ("[1, \"a\"]", "is not a JSON object"),
        ] {
            std::fs::write(&path, content).unwrap();
            assert!(
                found(&path).to_string().contains(wanted),
                "{}",
                found(&path)
            );
        }
        std::fs::write(&path, vec![b' '; 1025]).unwrap();
        assert!(matches!(
            found(&path).cause,
            Cause::TooLarge {
                size: 1025,
                limit: 1024
            }
        ));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
