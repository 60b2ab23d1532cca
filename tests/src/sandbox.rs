//! One test's own world: a holdfast root, a runtime root, bundles, and ids that no other test uses.
//!
//! Nothing of it outlives the test, passed or panicked. How it is taken down is in [`crate::cleanup`].

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::mount::{MsFlags, mount};
use tempfile::TempDir;

use crate::{Bundle, binaries, cleanup, dump, runtime};

/// Unix socket paths end after 107 bytes, whatever `TMPDIR` says, and ids alone may take 128.
const PARENT: &str = "/tmp";

/// The directories, ids and presets of one test; dropping it removes them and whatever still runs in them.
#[derive(Debug)]
pub struct Sandbox {
    // Dropped after our own `drop`, which needs it.
    _dir: TempDir,
    path: PathBuf,
    ids: Mutex<Vec<String>>,
    next_bundle: AtomicU32,
    dumped: AtomicBool,
}

/// Ids name cgroups, which all tests on the machine share.
static NEXT_ID: AtomicU32 = AtomicU32::new(0);

impl Sandbox {
    /// A fresh sandbox; `name` shows in its path and should be a word.
    ///
    /// # Panics
    /// When its directories cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::prepared(name, Path::new(PARENT), |_| ())
    }

    /// A fresh sandbox in a directory, another sandbox's perhaps, whose files are in memory, as those below /run are.
    ///
    /// # Panics
    /// When its directories cannot be made, or nothing can be mounted.
    #[must_use]
    pub fn in_memory(name: &str, parent: &Path) -> Self {
        Self::prepared(name, parent, |path| {
            let no = None::<&str>;
            mount(Some("holdfast"), path, Some("tmpfs"), MsFlags::empty(), no)
                .unwrap_or_else(|e| panic!("mount a tmpfs at {}: {e}", path.display()));
        })
    }

    fn prepared(name: &str, parent: &Path, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::Builder::new()
            .prefix(&format!("hf-{name}-"))
            .tempdir_in(parent)
            .unwrap_or_else(|e| panic!("make a sandbox in {}: {e}", parent.display()));
        // /proc/PID/cwd, by which we know our processes, has no symbolic links in it.
        let path = fs::canonicalize(dir.path()).expect("resolve the sandbox's path");
        prepare(&path);
        let sandbox = Self {
            _dir: dir,
            path,
            ids: Mutex::default(),
            next_bundle: AtomicU32::new(0),
            dumped: AtomicBool::new(false),
        };
        for dir in [sandbox.root(), sandbox.runtime_root(), sandbox.bundles()] {
            DirBuilder::new()
                .mode(0o700)
                .create(&dir)
                .unwrap_or_else(|e| panic!("make {}: {e}", dir.display()));
        }
        sandbox
    }

    /// The directory that everything else is in.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Holdfast's root (`HOLDFAST_ROOT`).
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.path.join("root")
    }

    /// The runtime's root (`HOLDFAST_RUNTIME_ROOT`, `runc --root`).
    #[must_use]
    pub fn runtime_root(&self) -> PathBuf {
        self.path.join("runc")
    }

    /// The directory of the container `id`, whether or not it exists.
    #[must_use]
    pub fn container_dir(&self, id: &str) -> PathBuf {
        self.root().join(id)
    }

    /// The directory of a process (`init` or an exec's id) of the container `id`.
    #[must_use]
    pub fn process_dir(&self, id: &str, process: &str) -> PathBuf {
        self.container_dir(id).join(process)
    }

    /// An id that no other test uses: `NAME-PID-COUNTER`.
    #[must_use]
    pub fn id(&self, name: &str) -> String {
        let n = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let id = format!("{name}-{}-{n}", std::process::id());
        self.ids().push(id.clone());
        id
    }

    /// An id of this name and no other: for one that no other test on the machine can have a use for.
    pub fn claim(&self, id: &str) {
        self.ids().push(id.to_owned());
    }

    /// A bundle that runs `args` in the shared busybox root file system.
    #[must_use]
    pub fn bundle<A: AsRef<str>>(&self, args: impl IntoIterator<Item = A>) -> Bundle {
        let n = self.next_bundle.fetch_add(1, Ordering::Relaxed);
        Bundle::new(self.bundles().join(n.to_string()), args)
    }

    /// A bundle that runs a shell script.
    #[must_use]
    pub fn sh(&self, script: &str) -> Bundle {
        self.bundle(["sh", "-c", script])
    }

    /// Asserts that a finished test left no process, no runtime state, no container directory and no cgroup.
    /// What is on its way out (a shim lives on for a moment after the status is on record) is waited for.
    ///
    /// # Panics
    /// When something is still there at the deadline.
    pub fn assert_clean(&self) {
        let mut left = Vec::new();
        if !crate::wait::until(crate::DEADLINE, || {
            left = cleanup::leftovers(self);
            left.is_empty()
        }) {
            self.give_up(&format!("everything to be gone, but: {left:#?}"));
        }
    }

    /// Prints the sandbox's state and panics: `what` was waited for in vain.
    ///
    /// # Panics
    /// Always.
    #[track_caller]
    pub fn give_up(&self, what: &str) -> ! {
        self.dump();
        panic!("deadline passed, waited for {what}");
    }

    /// Prints the sandbox's state once; a test that fails later does it only when nobody did before.
    pub fn dump(&self) {
        if !self.dumped.swap(true, Ordering::Relaxed) {
            eprintln!("{}", dump::state(&self.path));
        }
    }

    /// The ids given out so far.
    pub(crate) fn ids(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.ids
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn bundles(&self) -> PathBuf {
        self.path.join("b")
    }

    /// The preset environment of `holdfast` commands.
    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let mut environment = vec![
            ("HOLDFAST_ROOT", self.root()),
            ("HOLDFAST_RUNTIME_ROOT", self.runtime_root()),
            ("HOLDFAST_SHIM", binaries::shim()),
            // Most tests look into the FIFOs; what is usual without this, presets.rs tests.
            ("HOLDFAST_STDIO", "fifo".into()),
        ];
        // Which one is the default is tested, too.
        if runtime::name() != runtime::RUNC {
            environment.push(("HOLDFAST_RUNTIME", runtime::program().into()));
        }
        environment
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dump();
        }
        cleanup::sweep(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_between_sandboxes_and_name_their_test() {
        let (one, other) = (Sandbox::new("ids"), Sandbox::new("ids"));
        let ids = [one.id("web"), one.id("web"), other.id("web")];
        assert!(ids.iter().all(|id| id.starts_with("web-")));
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    }

    #[test]
    fn paths_leave_room_for_sockets() {
        let sandbox = Sandbox::new("a-rather-long-name");
        let id = sandbox.id("container");
        let dir = sandbox.process_dir(&id, "init");
        assert!(dir.as_os_str().len() < 80, "{} is too long", dir.display());
    }
}
