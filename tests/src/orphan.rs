//! Shims killed under their processes, and what is said and done about it.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{Proc, Sandbox};

impl Sandbox {
    /// The shim of a process.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn shim_of(&self, dir: &Path) -> Proc {
        Proc::shim_of(dir).unwrap_or_else(|| {
            self.dump();
            panic!("{} has no shim", dir.display())
        })
    }

    /// The shim of a process, once it holds and waits: its launch is over, and the next thing that it does is a test's doing.
    ///
    /// # Panics
    /// When there is none, or it does not come so far.
    #[track_caller]
    #[must_use]
    pub fn idle_shim_of(&self, dir: &Path) -> Proc {
        let shim = self.shim_of(dir);
        self.wait_until("the shim to hold and wait", || {
            shim.argv().get(4).is_some_and(|word| word == "hold") && shim.waits_in("epoll")
        });
        shim
    }

    /// Kills the shim of a process with SIGKILL, and returns when its lock is free.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn kill_shim(&self, dir: &Path) {
        let shim = self.shim_of(dir);
        shim.signal(Signal::SIGKILL);
        // A process closes its files before it becomes a zombie.
        self.wait_until("the shim's end", || !shim.is_alive());
    }

    /// exit.json of a process, once it is there.
    ///
    /// # Panics
    /// When it does not come, or is no JSON.
    #[track_caller]
    #[must_use]
    pub fn exit_json(&self, id: &str, process: &str) -> Value {
        let text = self.wait_file(&self.process_dir(id, process).join("exit.json"));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text}"))
    }

    /// Has a container recovered; returns what was said about its own process.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    #[must_use]
    pub fn recovered(&self, id: &str) -> String {
        let said = self.run_ok(["recover", id]);
        let said = said
            .strip_prefix(&format!("{id}/init: "))
            .map(str::to_owned);
        said.map(|said| said.trim_end().to_owned())
            .unwrap_or_default()
    }
}
