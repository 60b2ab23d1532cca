//! Undoing a launch of our driver's that failed, in the reverse order of its steps. Nothing that another made is touched:
//! a container that the runtime knew under this id before we came stays.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use holdfast_common::process_state::ProcessState;
use holdfast_common::request::{Launch, Wire};
use holdfast_common::sys::{pidfd, process, signal};

use crate::hold::leave;
use crate::runtime;
use std::ffi::OsString;
use std::os::fd::AsFd;

/// How long the runtime may take to clean up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What has been done so far.
#[derive(Default)]
pub struct Done {
    /// The directory has its final name.
    pub committed: bool,
    /// The runtime said that it had created the process.
    pub created: bool,
    /// The runtime was killed in the middle of it.
    pub timed_out: bool,
}

/// Undoes a launch whose shim was killed in the middle of it: the runtime was killed with it, and what it had made, if
/// anything, never ran. The working directory is the process directory.
pub fn undo_cut_off(wire: &Wire, state: &ProcessState) {
    let cut_off = Done {
        committed: true,
        created: false,
        timed_out: true,
    };
    cut_off.delete_container(wire);
    if let Ok(dir) = std::env::current_dir() {
        leave::remove_dir(if state.exec {
            &dir
        } else {
            dir.parent().unwrap_or(&dir)
        });
    }
}

impl Done {
    /// Undoes it. What cannot be undone is nobody's to hear: the launch's own failure is the one to report.
    pub fn undo(&self, wire: &Wire, launch: &Launch) {
        if self.created || self.timed_out {
            self.delete_container(wire);
        }
        if self.created || self.timed_out {
            kill_children();
        }
        leave::remove_dir(if self.committed {
            &launch.to
        } else {
            &launch.from
        });
    }

    fn delete_container(&self, wire: &Wire) {
        // What the runtime was asked to create stands in the file that it was asked with.
        let Ok(state) = ProcessState::read(Path::new(".")) else {
            return;
        };
        if state.exec {
            return;
        }
        let Ok(signals) = signal::open_signalfd() else {
            return;
        };
        let args: Vec<OsString> = state.runtime_args.iter().map(Into::into).collect();
        // A runtime that hung may have hung over a container of somebody else's; one that succeeded did not.
        if self.timed_out && !is_ours(wire, &args) {
            return;
        }
        let mut delete = runtime::command(&wire.runtime, Path::new("."), &args, "delete");
        let _ = runtime::run(
            delete.args(["--force", "--"]).arg(&wire.id),
            &signals,
            PATIENCE,
        );
    }
}

/// Whether the runtime knows a container of this id made from our bundle.
fn is_ours(wire: &Wire, args: &[OsString]) -> bool {
    #[derive(serde::Deserialize)]
    struct State {
        bundle: std::path::PathBuf,
    }
    let mut command = runtime::command(&wire.runtime, Path::new("."), args, "state");
    let output = command
        .arg("--")
        .arg(&wire.id)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let state = output
        .ok()
        .and_then(|output| serde_json::from_slice::<State>(&output.stdout).ok());
    state.is_some_and(|state| state.bundle == wire.bundle)
}

/// Kills what the runtime left behind: as subreaper, the shim is the parent of all of it.
fn kill_children() {
    for pid in process::children() {
        // A child of ours keeps its pid until we reap it: no stranger can have it.
        if let Ok(child) = pidfd::open(pid) {
            let _ = pidfd::send_signal(child.as_fd(), nix::libc::SIGKILL);
        }
    }
}
