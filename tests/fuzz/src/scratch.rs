//! The directory in which the state files are that a property reads and writes: files, because their readers take paths,
//! and what they think of an empty one is part of what they are. One a thread, as tests run beside each other.

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use holdfast_common::state_file::StateFileError;
use tempfile::TempDir;

thread_local! {
    static DIR: TempDir = tempfile::Builder::new()
        .prefix("holdfast-fuzz-")
        .tempdir()
        .expect("make a scratch directory");
}

/// Puts bytes into a file, and takes from the directory what `read` makes of it. A refusal must name the file.
pub fn read<T>(
    name: &str,
    bytes: &[u8],
    read: impl Fn(&Path) -> Result<T, StateFileError>,
) -> Option<T> {
    put(name, Some(bytes));
    DIR.with(|dir| match read(dir.path()) {
        Ok(value) => Some(value),
        Err(e) => {
            assert_eq!(e.path, dir.path().join(name), "{e}");
            assert!(!e.is_absent(), "{e}");
            let shown = e.to_string();
            assert!(shown.starts_with("read ") && shown.len() < 4096, "{shown}");
            None
        }
    })
}

/// Writes a value and reads it again: it must be the same. Returns the bytes of the file in between.
pub fn round_trip<T: PartialEq + Debug>(
    name: &str,
    value: &T,
    write: impl Fn(&T, &Path) -> Result<(), StateFileError>,
    read: impl Fn(&Path) -> Result<T, StateFileError>,
) -> Vec<u8> {
    DIR.with(|dir| {
        // A rename over an old file can cost a flush to the disk.
        put(name, None);
        write(value, dir.path()).expect("write what was read");
        let again = read(dir.path()).expect("read what was written");
        assert_eq!(&again, value, "{name} after it was written");
        fs::read(dir.path().join(name)).expect("read what was written")
    })
}

/// Puts bytes into a file, or takes it away.
pub fn put(name: &str, bytes: Option<&[u8]>) {
    DIR.with(|dir| {
        let path = dir.path().join(name);
        match bytes {
            Some(bytes) => fs::write(path, bytes).expect("write a scratch file"),
            None => drop(fs::remove_file(path)),
        }
    });
}

/// The directory, for what reads more than one file.
pub fn with_dir<T>(f: impl FnOnce(&Path) -> T) -> T {
    DIR.with(|dir| f(dir.path()))
}
