//! A gate in a container's way: its script waits there until the test opens it. Better than letting it sleep for a
//! while, which is too short on a slow machine and too long on a fast one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Sandbox, fifo};

/// A FIFO that a container reads a line from, in a directory for [`crate::Bundle::bind`].
#[derive(Debug)]
pub struct Gate<'a> {
    sandbox: &'a Sandbox,
    dir: PathBuf,
}

impl Sandbox {
    /// A gate of its own.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn gate(&self) -> Gate<'_> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = self.path().join(format!("gate-{n}"));
        std::fs::create_dir(&dir).unwrap_or_else(|e| panic!("make {}: {e}", dir.display()));
        let gate = Gate { sandbox: self, dir };
        fifo::make(&gate.path());
        gate
    }
}

impl Gate<'_> {
    /// The shell command that waits at the gate. Again when it sees the end instead of a line: whoever let the last one
    /// pass may only just be leaving.
    pub const WAIT: &'static str = "until read go < /host/gate; do :; done";

    /// The directory to bind; a script may leave files for the test in it, as `/host/…`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Lets one that waits pass, as soon as there is one.
    ///
    /// # Panics
    /// When nobody comes to the gate before the deadline.
    #[track_caller]
    pub fn open(&self) {
        let gate = self.sandbox.open_writer(&self.path());
        self.sandbox.write_all(&gate, b"go\n");
    }

    fn path(&self) -> PathBuf {
        self.dir.join("gate")
    }
}
