//! Which process directories have been taken note of, so that no process is watched, and its end told, twice: an event may
//! come for a directory that was there already when we looked, or that we made ourselves.
//!
//! A directory is known by the `exit` FIFO that was open when it was noted, and a file by its inode number and its time of
//! birth: file systems hand a number out again as soon as it is free, and an exec that bears the name of one before it would
//! be taken for that.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use holdfast::{ContainerId, Process, ProcessId};

/// A process by its names.
pub type Key = (ContainerId, ProcessId);

/// A process's names.
pub fn key(process: &Process) -> Key {
    (process.container_id().clone(), process.id().clone())
}

/// What tells a process from another of the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Birth {
    device: u64,
    inode: u64,
    /// As far as the file system keeps it (statx(2), `STATX_BTIME`).
    born: Option<SystemTime>,
}

impl Birth {
    fn of(process: &Process) -> io::Result<Self> {
        // Of what is open, not of what bears its path by now; without another descriptor, of which there may be none.
        let exit = process.as_fd().as_raw_fd();
        let meta = std::fs::metadata(format!("/proc/self/fd/{exit}"))?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            born: meta.created().ok(),
        })
    }
}

/// The processes that have been noted.
#[derive(Debug, Default)]
pub struct Known(HashMap<Key, Birth>);

impl Known {
    /// Whether it was noted, and not merely another of its names.
    pub fn has(&self, process: &Process) -> bool {
        let noted = self.0.get(&key(process));
        noted.is_some_and(|noted| Birth::of(process).is_ok_and(|birth| birth == *noted))
    }

    /// Notes a process.
    pub fn note(&mut self, process: &Process) {
        match Birth::of(process) {
            Ok(birth) => self.0.insert(key(process), birth),
            Err(_) => self.0.remove(&key(process)),
        };
    }

    /// Whatever bears these names is news.
    pub fn forget(&mut self, key: &Key) {
        self.0.remove(key);
    }

    /// A container is gone.
    pub fn forget_container(&mut self, id: &ContainerId) {
        self.0.retain(|(of, _), _| of != id);
    }

    /// A directory of these names went away; `now` bears them, if anything does. Without a time of birth the two cannot be told
    /// apart: better to tell an end twice than never.
    pub fn went(&mut self, key: &Key, now: Option<&Process>) {
        let is_dated = self.0.get(key).is_some_and(|noted| noted.born.is_some());
        if !is_dated || !now.is_some_and(|process| self.has(process)) {
            self.forget(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use holdfast::{Driver, ProcessState};

    /// A process directory in a container's, and the process.
    fn make(root: &Path, name: &str) -> Process {
        let dir = root.join("web").join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(root.join("web/state.json"), r#"{"bundle":"/b"}"#).unwrap();
        ProcessState::default().write(&dir).unwrap();
        nix::unistd::mkfifo(&dir.join("exit"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let driver = Driver::builder().root(root).build().unwrap();
        let container = driver.load(&ContainerId::new("web").unwrap()).unwrap();
        container.process(&ProcessId::new(name).unwrap()).unwrap()
    }

    #[test]
    fn another_process_of_the_same_name_is_not_known() {
        let root = scratch();
        let mut known = Known::default();
        let first = make(&root.0, "e1");
        assert!(!known.has(&first));
        known.note(&first);
        assert!(known.has(&first));
        for _ in 0..5 {
            // All of its inodes are free, and are handed out again where that is done.
            fs::remove_dir_all(root.0.join("web/e1")).unwrap();
            let next = make(&root.0, "e1");
            assert!(!known.has(&next));
            known.note(&next);
        }
    }

    #[test]
    fn what_went_leaves_no_note_and_what_is_still_there_keeps_its_own() {
        let root = scratch();
        let mut known = Known::default();
        let process = make(&root.0, "e1");
        known.note(&process);
        let dated = known.0[&key(&process)].born.is_some();
        // News of one of its name that went before it came.
        known.went(&key(&process), Some(&process));
        assert_eq!(known.has(&process), dated);
        known.note(&process);
        known.went(&key(&process), None);
        assert!(known.0.is_empty());
    }

    struct Scratch(std::path::PathBuf);

    fn scratch() -> Scratch {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("holdfast-known-{}-{n}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
