//! Going through the lines of a log's files.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::OVERFULL;
use super::file::{Ending, open_file_to_read, previous};

/// How much of a file is read at a time, bytes.
const PIECE: usize = 64 << 10;

/// Goes through both files of a log, oldest line first.
pub fn each_of_both(path: &Path, file: &File, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    if let Some((before, size)) = before(path, file)? {
        each_line(&before, farthest(size), size, each)?;
    }
    let size = file.metadata()?.len();
    each_line(file, farthest(size), size, each).map(drop)
}

/// The file before a log's present one, and its size.
pub fn before(path: &Path, file: &File) -> io::Result<Option<(File, u64)>> {
    match open_file_to_read(&previous(path)) {
        // A link that is left of an interrupted change: the same file.
        Ok((_, meta)) if meta.ino() == file.metadata()?.ino() => Ok(None),
        Ok((before, meta)) => Ok(Some((before, meta.len()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// As far back in a file as one of ours may reach: whatever else has been put there, what is read of it has a bound.
pub fn farthest(size: u64) -> u64 {
    size.saturating_sub(OVERFULL)
}

/// Goes through a file from a place on. How it ends, unless that was not reached. Most are read at once: `size` is how long it was, and what
/// has come since is found too.
pub fn each_line(
    file: &File,
    begin: u64,
    size: u64,
    each: &mut dyn FnMut(&[u8]),
) -> io::Result<Option<Ending>> {
    // A byte more than there is shows that there is no more.
    let most = usize::try_from(size - begin + 1).map_or(PIECE, |most| most.min(PIECE));
    let (mut piece, mut begun) = (vec![0; most], Vec::new());
    let mut at = begin;
    while at <= begin + OVERFULL {
        let count = match file.read_at(&mut piece, at) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        at += count as u64;
        for line in piece[..count].split_inclusive(|&byte| byte == b'\n') {
            let ends = line.ends_with(b"\n");
            if ends && begun.is_empty() {
                each(line);
                continue;
            }
            begun.extend_from_slice(line);
            if ends {
                each(&begun);
                begun.clear();
            }
        }
        if count < piece.len() {
            let torn = !begun.is_empty();
            if torn {
                each(&begun);
            }
            return Ok(Some(Ending { size: at, torn }));
        }
    }
    Ok(None)
}
