//! Undoing a launch of our driver's that failed, in the reverse order of its steps. Nothing that another made is touched:
//! a container that the runtime knew under this id before we came stays.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use holdfast_common::exit_record::{ExitRecord, ExitStatus, Source};
use holdfast_common::layout;
use holdfast_common::process_state::ProcessState;
use holdfast_common::request::{Launch, Wire};
use holdfast_common::sys::{rename, signal};
use nix::sys::signalfd::SignalFd;

use super::{cgroup, half_restored, strays};
use crate::claim::Claim;
use crate::error::Error;
use crate::hold::leave;
use crate::runtime::{self, Failure};
use crate::{children, events};

/// How long the runtime may take to clean up. All in all less than a launcher waits beyond its own time.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to say what it knows.
const STATE_PATIENCE: Duration = Duration::from_secs(5);
/// How long processes may take to go that have been killed.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// What has been done so far.
#[derive(Default)]
pub struct Done {
    /// The directory has its final name.
    pub committed: bool,
    /// The runtime said that it had created the process.
    pub created: bool,
    /// The runtime was killed in the middle of it.
    pub cut_off: bool,
}

/// Undoes a launch whose shim was killed in the middle of it. The runtime was killed with it; what it had created never ran,
/// what it executed in a container may have. The working directory is the process directory.
pub fn undo_cut_off(wire: &Wire, state: &ProcessState, claim: &Claim) {
    let cut_off = Done {
        committed: true,
        created: false,
        cut_off: true,
    };
    if let Ok(signals) = signal::open_signalfd()
        && cut_off.delete_container(wire, &signals)
    {
        cgroup::remove(wire);
    }
    if state.exec {
        strays::kill(state);
    }
    if state.is_restart() {
        record_failure("its restart was cut off");
        let _ = nix::unistd::write(&claim.lock, layout::DONE);
        return;
    }
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
    pub fn undo(&self, wire: &Wire, launch: &Launch, error: &Error) {
        if (self.created || self.cut_off)
            && let Ok(signals) = signal::open_signalfd()
        {
            let deleted = self.delete_container(wire, &signals);
            children::kill(&signals, Instant::now() + KILL_PATIENCE);
            if deleted && self.cut_off {
                cgroup::remove(wire);
            }
        }
        if self.committed && launch.replace && put_back(launch) {
            // What has failed bears the staging directory's name again.
            leave::remove_dir(&launch.from);
            return;
        }
        if self.committed && launch.replace {
            record_failure(&format!("it could not be restarted: {error}"));
            let _ = std::fs::write(layout::SHIM_LOCK_FILE, layout::DONE);
            return;
        }
        leave::remove_dir(if self.committed {
            &launch.to
        } else {
            &launch.from
        });
    }

    /// Whether there was a container, or the half of one, to delete.
    fn delete_container(&self, wire: &Wire, signals: &SignalFd) -> bool {
        // What the runtime was asked to create stands in the file that it was asked with.
        let Ok(state) = ProcessState::read(Path::new(".")) else {
            return false;
        };
        if state.exec {
            return false;
        }
        let args: Vec<OsString> = state.runtime_args.iter().map(Into::into).collect();
        // A runtime that hung may have hung over a container of somebody else's; one that succeeded did not. What it has
        // made by half it knows nothing of, and removes all the same when it is forced to.
        if self.cut_off && !may_be_ours(wire, &args, signals) {
            return false;
        }
        if let Err(e) = half_restored::clear(&state, &args, &wire.id) {
            log::error!("leave what was restored of {}: {e}", wire.id.display());
            return false;
        }
        let mut delete = runtime::command(&wire.runtime, Path::new("."), &args, "delete");
        let _ = runtime::run(
            delete.args(["--force", "--"]).arg(&wire.id),
            signals,
            PATIENCE,
        );
        true
    }
}

/// Puts back what a restore was to replace: the end that is on record there is still the last that there was. A restart that
/// failed goes on record instead, so that it is counted.
fn put_back(launch: &Launch) -> bool {
    let restored = ProcessState::read(Path::new("."));
    restored.is_ok_and(|state| !state.checkpoint.is_empty())
        && rename::exchange(&launch.from, &launch.to).is_ok()
}

/// A restart that failed leaves its directory, as the end of a process that never was: the container stays.
fn record_failure(reason: &str) {
    let record = ExitRecord {
        pid: 0,
        exited_at: SystemTime::now(),
        status: ExitStatus::Unknown {
            reason: reason.to_owned(),
        },
        oom_killed: None,
        timed_out: false,
        dropped: Default::default(),
        source: Source::Unknown,
    };
    if let Err(e) = record.write(Path::new(".")) {
        log::error!("{e}");
        return;
    }
    events::tell_failure(&record);
}

/// Whether what the runtime has under this id may be ours: a container made from our bundle, or the half of one.
fn may_be_ours(wire: &Wire, args: &[OsString], signals: &SignalFd) -> bool {
    #[derive(serde::Deserialize)]
    struct State {
        bundle: std::path::PathBuf,
    }
    let mut command = runtime::command(&wire.runtime, Path::new("."), args, "state");
    // It may hang in this as well.
    match runtime::output(command.arg("--").arg(&wire.id), signals, STATE_PATIENCE) {
        Ok(output) => {
            serde_json::from_slice::<State>(&output).is_ok_and(|state| state.bundle == wire.bundle)
        }
        // It knows of none.
        Err(e @ Failure::Ended(_)) => !e.is_signal(),
        Err(Failure::Io(_) | Failure::Hung(_)) => false,
    }
}
