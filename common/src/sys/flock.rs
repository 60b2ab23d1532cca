//! Locks that a process holds for as long as it lives (flock(2)), and who holds one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A lock held until this is dropped (or the process ends, however it ends).
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock of a file, which is made if need be; `None` when another holds it.
    ///
    /// # Errors
    /// open(2)'s and flock(2)'s.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        Self::try_take_open(open(path, true)?)
    }

    /// Takes the lock of a file, which is made if need be, waiting for whoever holds it.
    ///
    /// # Errors
    /// open(2)'s and flock(2)'s.
    pub fn take(path: &Path) -> io::Result<Self> {
        let file = open(path, true)?;
        file.lock()?;
        Ok(Self(file))
    }

    /// Takes a lock of a file that others may share, waiting for whoever holds it alone; the file is made if need be.
    ///
    /// # Errors
    /// open(2)'s and flock(2)'s.
    pub fn take_shared(path: &Path) -> io::Result<Self> {
        let file = open(path, true)?;
        file.lock_shared()?;
        Ok(Self(file))
    }

    /// Takes the lock of an open file (a FIFO will do); `None` when another holds it.
    ///
    /// # Errors
    /// flock(2)'s.
    pub fn try_take_open(file: File) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.0
    }

    /// Gives up the handle, not the lock: the open file goes on holding it.
    pub fn into_file(self) -> File {
        self.0
    }
}

/// Whether anybody holds the lock of a file. An absent file is not held. Two who ask at once do not take each other
/// for a holder.
///
/// # Errors
/// open(2)'s and flock(2)'s.
pub fn is_held(path: &Path) -> io::Result<bool> {
    Ok(test(path)?.is_some_and(|(held, _)| held))
}

/// As [`is_held`], with the file itself, to be read; `None` when there is none.
///
/// # Errors
/// open(2)'s and flock(2)'s.
pub fn test(path: &Path) -> io::Result<Option<(bool, File)>> {
    let file = match open(path, false) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let held = match file.try_lock_shared() {
        Ok(()) => {
            // At once: whoever takes it is not to find us.
            file.unlock()?;
            false
        }
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(e)) => return Err(e),
    };
    Ok(Some((held, file)))
}

/// The pid of a process that holds the lock of a file, as far as the kernel tells (/proc/locks, proc_locks(5)).
pub fn holder(file: &File) -> Option<i32> {
    let meta = file.metadata().ok()?;
    let device = format!(
        "{:02x}:{:02x}:{}",
        libc::major(meta.dev()),
        libc::minor(meta.dev()),
        meta.ino()
    );
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    // "1: FLOCK  ADVISORY  WRITE 4711 00:19:1234 0 EOF"
    locks.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let flock = fields.next()? == "FLOCK";
        let pid = fields.nth(2)?.parse().ok()?;
        (flock && fields.next()? == device).then_some(pid)
    })
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags);
    if create {
        options.write(true).create(true).truncate(false).mode(0o600);
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::comes_true;

    #[test]
    fn a_lock_is_held_until_dropped_and_its_holder_is_known() {
        let path = std::env::temp_dir().join(format!("holdfast-flock-{}", std::process::id()));
        assert!(!is_held(&path).unwrap());
        let lock = Lock::try_take(&path).unwrap().unwrap();
        assert!(is_held(&path).unwrap());
        assert!(Lock::try_take(&path).unwrap().is_none());
        assert_eq!(holder(lock.file()), i32::try_from(std::process::id()).ok());
        drop(lock);
        comes_true(|| !is_held(&path).unwrap());
        std::fs::remove_file(path).unwrap();
    }
}
