//! What a directory tree is at one moment, to show later that nobody changed it: for what promises only to look.
//!
//! Looking changes nothing: only regular files are opened, and no more of them is read than state files have.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// More of a file than this is not compared; its size and time of change are.
const MOST: u64 = 64 << 10;

/// Every path of a tree, and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    top: PathBuf,
    nodes: BTreeMap<PathBuf, Node>,
}

/// A directory's own time of change is left out: a file that came and went is nobody's loss.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    inode: u64,
    file: Option<Contents>,
    target: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Contents {
    size: u64,
    changed: (i64, i64),
    start: String,
}

impl Snapshot {
    /// The tree below `dir`, and `dir` itself.
    ///
    /// # Panics
    /// When something of it cannot be looked at.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        let mut nodes = BTreeMap::new();
        walk(dir, &mut nodes);
        Self {
            top: dir.to_owned(),
            nodes,
        }
    }

    /// Whether the tree is still the same.
    ///
    /// # Panics
    /// As [`Snapshot::of`].
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        *self == Self::of(&self.top)
    }

    /// Asserts that the tree is still the same, whatever has happened; `what` is named when it is not.
    ///
    /// # Panics
    /// When it is not; the message says what differs.
    #[track_caller]
    pub fn assert_unchanged(&self, what: &str) {
        let (before, after) = (&self.nodes, Self::of(&self.top).nodes);
        let mut paths: Vec<_> = before.keys().chain(after.keys()).collect();
        paths.sort_unstable();
        paths.dedup();
        let changes: Vec<_> = paths
            .into_iter()
            .map(|path| (path, before.get(path), after.get(path)))
            .filter(|(_, before, after)| before != after)
            .map(|(path, before, after)| {
                format!(
                    "{}\n  before: {before:?}\n  after:  {after:?}",
                    path.display()
                )
            })
            .collect();
        assert!(changes.is_empty(), "{what} changed {}", changes.join("\n"));
    }
}

fn walk(path: &Path, nodes: &mut BTreeMap<PathBuf, Node>) {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        // It went while we looked.
        Err(e) if e.kind() == ErrorKind::NotFound => return,
        Err(e) => panic!("look at {}: {e}", path.display()),
    };
    let kind = meta.file_type();
    let contents = || Contents {
        size: meta.len(),
        changed: (meta.mtime(), meta.mtime_nsec()),
        start: start(path),
    };
    nodes.insert(
        path.to_owned(),
        Node {
            kind: match kind {
                _ if kind.is_dir() => "directory",
                _ if kind.is_file() => "file",
                _ if kind.is_symlink() => "link",
                _ if kind.is_fifo() => "fifo",
                _ if kind.is_socket() => "socket",
                _ => "device",
            },
            mode: meta.mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
            inode: meta.ino(),
            file: kind.is_file().then(contents),
            target: fs::read_link(path).ok(),
        },
    );
    if kind.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten() {
            walk(&entry.expect("read a directory").path(), nodes);
        }
    }
}

fn start(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_seen_and_looking_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("init");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("pid"), "1").unwrap();
        crate::fifo::make(&path.join("exit"));
        let before = Snapshot::of(dir.path());
        before.assert_unchanged("looking");

        fs::write(path.join("pid"), "2").unwrap();
        assert!(!before.is_unchanged());
        let before = Snapshot::of(dir.path());
        fs::remove_file(path.join("exit")).unwrap();
        assert!(!before.is_unchanged());
        let before = Snapshot::of(dir.path());
        fs::write(dir.path().join("new"), "").unwrap();
        assert!(!before.is_unchanged());
    }
}
