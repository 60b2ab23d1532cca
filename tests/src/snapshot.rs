//! What a directory tree is at one moment, to show later that nobody changed it: for what promises only to look.
//!
//! Looking changes nothing: only regular files are opened, and no more of them is read than state files have.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// More of a file than this is not compared; its size and time of change are.
const MOST: u64 = 64 << 10;

/// Every path of a tree, and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<PathBuf, Node>);

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
    /// When something of it cannot be read.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        let mut nodes = BTreeMap::new();
        walk(dir, &mut nodes);
        Self(nodes)
    }

    /// Asserts that the tree is still the same.
    ///
    /// # Panics
    /// When it is not; the message names what differs.
    #[track_caller]
    pub fn assert_same(&self, now: &Snapshot, what: &str) {
        let paths = self.0.keys().chain(now.0.keys());
        let mut changes: Vec<_> = paths
            .filter(|path| self.0.get(*path) != now.0.get(*path))
            .map(|path| {
                let (before, after) = (self.0.get(path), now.0.get(path));
                format!(
                    "{}\n  before: {before:?}\n  after:  {after:?}",
                    path.display()
                )
            })
            .collect();
        changes.dedup();
        assert!(changes.is_empty(), "{what} changed {}", changes.join("\n"));
    }
}

fn walk(path: &Path, nodes: &mut BTreeMap<PathBuf, Node>) {
    let failed = |e| panic!("look at {}: {e}", path.display());
    let meta = fs::symlink_metadata(path).unwrap_or_else(failed);
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
        for entry in fs::read_dir(path).unwrap_or_else(|e| panic!("read {}: {e}", path.display())) {
            walk(&entry.expect("read a directory").path(), nodes);
        }
    }
}

fn start(path: &Path) -> String {
    let mut bytes = Vec::new();
    let file = File::open(path).unwrap_or_else(|e| panic!("open {}: {e}", path.display()));
    file.take(MOST)
        .read_to_end(&mut bytes)
        .unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn every_change_is_seen_and_looking_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("init");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("pid"), "1").unwrap();
        crate::fifo::make(&path.join("exit"));
        let before = Snapshot::of(dir.path());
        before.assert_same(&Snapshot::of(dir.path()), "looking");

        let differs = |now: Snapshot| {
            let before = before.clone();
            catch_unwind(move || before.assert_same(&now, "something")).is_err()
        };
        fs::write(path.join("pid"), "2").unwrap();
        assert!(differs(Snapshot::of(dir.path())));
        fs::remove_file(path.join("exit")).unwrap();
        fs::write(path.join("pid"), "1").unwrap();
        assert!(differs(Snapshot::of(dir.path())));
    }
}
