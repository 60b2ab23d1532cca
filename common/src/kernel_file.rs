//! Reading what the kernel makes up as it is read: files of /proc, /sys and cgroups. They have no size to go by, and what is asked
//! of them so often deserves better than the three or four small reads with which std feels its way.

use std::io::{self, Read};
use std::path::Path;

use crate::sys::fd;

/// What most of them fit into, with room for the read that finds the end.
const USUAL: usize = 2048;

/// All that a file says.
///
/// # Errors
/// open(2)'s and read(2)'s.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(USUAL);
    // Limited, because std asks a plain file for its size and position first.
    let file = fd::open(path.as_ref(), libc::O_RDONLY, 0)?;
    file.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a file says that the kernel makes up at once, such as /proc/PID/stat, into `room`, which it fits into: in one read, and without
/// memory of its own.
///
/// # Errors
/// open(2)'s and read(2)'s; `InvalidData` when it does not fit.
pub fn read_into(path: impl AsRef<Path>, room: &mut [u8]) -> io::Result<&[u8]> {
    let count = fd::open(path.as_ref(), libc::O_RDONLY, 0)?.read(room)?;
    if count == room.len() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(&room[..count])
}

/// All that a file says, as text.
///
/// # Errors
/// open(2)'s and read(2)'s; `InvalidData` when it is none.
pub fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_ones_are_read_whole() {
        let stat = read_text("/proc/self/stat").unwrap();
        assert!(stat.starts_with(&std::process::id().to_string()) && stat.ends_with('\n'));
        let path = std::env::temp_dir().join(format!("holdfast-kernel-{}", std::process::id()));
        let long = "x".repeat(3 * USUAL);
        std::fs::write(&path, &long).unwrap();
        assert_eq!(read_text(&path).unwrap(), long);
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read_text(&path).is_err());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
