//! `shim.json`: which shim looks after a process. Information only; that it *lives* is said by `shim.lock` alone.

use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::kernel_file;
use crate::layout;
use crate::state_file::{self, RECORD_LIMIT, StateFileError};

/// What a process directory's `shim.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShimRecord {
    /// The shim's pid.
    pub pid: i32,
    /// Field 22 of its /proc/PID/stat.
    pub start_time: u64,
    /// Its version.
    pub version: String,
    /// The boot it belongs to (/proc/sys/kernel/random/boot_id): pids and start times of another boot mean nothing.
    #[serde(default)]
    pub boot_id: String,
    /// Its executable, which a re-exec (control type 3) executes again.
    pub executable: String,
    /// How often it was asked to be replaced (control type 3): who asks sees by this when it was answered.
    #[serde(default)]
    pub asked: u32,
    /// Why the last replacement was not made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Which boot of this host this is (random(4)); empty where the kernel does not tell. Nobody outlives it: it is read once.
pub fn boot_id() -> &'static str {
    static READ: OnceLock<String> = OnceLock::new();
    let text = READ.get_or_init(|| {
        kernel_file::read_text("/proc/sys/kernel/random/boot_id").unwrap_or_default()
    });
    text.trim()
}

impl ShimRecord {
    /// Reads `shim.json` of a process directory.
    ///
    /// # Errors
    /// Those of [`state_file::read_json`].
    pub fn read(process_dir: &Path) -> Result<Self, StateFileError> {
        state_file::read_json(&process_dir.join(layout::SHIM_FILE), RECORD_LIMIT)
    }

    /// Writes `shim.json` of a process directory.
    ///
    /// # Errors
    /// Those of [`state_file::write_json`].
    pub fn write(&self, process_dir: &Path) -> Result<(), StateFileError> {
        state_file::write_json(&process_dir.join(layout::SHIM_FILE), self)
    }

    /// Whether it is of a boot before this one, and everything in its directory with it. One that names no boot, as none
    /// of ours, is of this.
    pub fn is_of_another_boot(&self) -> bool {
        !self.boot_id.is_empty() && self.boot_id != boot_id()
    }

    /// The shim's identity.
    pub fn identity(&self) -> Identity {
        if self.is_of_another_boot() {
            return Identity::of_another_boot(self.pid);
        }
        Identity {
            pid: self.pid,
            start_time: self.start_time,
        }
    }
}
