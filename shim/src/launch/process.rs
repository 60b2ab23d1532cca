//! The process that the runtime has created: who it is, and what its end will ask for.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use holdfast_common::identity::{Identity, executable_of};
use holdfast_common::layout;
use holdfast_common::process_state::ProcessState;
use holdfast_common::state_file;
use holdfast_common::sys::{pidfd, process};
use holdfast_common::time_limit::Deadline;
use nix::poll::{PollFd, PollFlags, poll};

use crate::error::Error;
use crate::handover::{Kind, Launched};
use crate::notify;

/// How long a process may take from giving up its memory to its end, milliseconds.
const ENDING: u16 = 1000;
/// What fails for a process that is there, and that this user may not see: some runtimes' own, which wait for a start.
const HIDDEN: &str = "find a process that /proc hides from this user (mount option hidepid):";

/// Reads `pid`, writes `created` and `starttime`. The process may have ended already; it has not been reaped, so it
/// still is who it was.
pub fn record(dir: &Path, state: &ProcessState) -> Result<Identity, Error> {
    let pid: i32 = state_file::read_value(&dir.join(layout::PID_FILE))?;
    let stat = format!("/proc/{pid}/stat");
    let identity = match Identity::of(pid) {
        // Where /proc hides others' processes (hidepid), a child that ends is hidden from a user, too. Nobody will look for it.
        Err(e) if e.kind() == io::ErrorKind::NotFound && is_ending(pid) => Identity::ended(pid),
        Err(e) if e.kind() == io::ErrorKind::NotFound && pidfd::open(pid).is_ok() => {
            return Err(Error::io(HIDDEN, stat)(e));
        }
        identity => identity.map_err(Error::io("read the start time from", stat))?,
    };
    // An exec or a restored container does not wait for a `start`.
    if !state.exec && state.checkpoint.is_empty() {
        record_executable(dir, pid)?;
    }
    begin_time(dir, state)?;
    let start_time = identity.start_time.to_string();
    state_file::write_bytes(&dir.join(layout::START_TIME_FILE), start_time.as_bytes())?;
    Ok(identity)
}

/// The time of a process that runs already begins; a container's, which waits for its `start`, begins there.
fn begin_time(dir: &Path, state: &ProcessState) -> Result<(), Error> {
    let limit = state.holdfast.as_ref().and_then(|ours| ours.time_limit);
    match limit {
        Some(limit) if state.exec || !state.checkpoint.is_empty() => {
            Ok(Deadline::from_now(&limit).write(dir)?)
        }
        _ => Ok(()),
    }
}

/// Whether this is a child of ours that has ended, or is about to.
fn is_ending(pid: i32) -> bool {
    let Ok(child) = pidfd::open(pid) else {
        return false;
    };
    let mut fds = [PollFd::new(child.as_fd(), PollFlags::POLLIN)];
    let _ = poll(&mut fds, ENDING);
    process::has_ended(pid)
}

fn record_executable(dir: &Path, pid: i32) -> Result<(), Error> {
    use io::ErrorKind::{NotFound, PermissionDenied};
    match executable_of(pid) {
        Ok(text) => Ok(state_file::write_bytes(
            &dir.join(layout::CREATED_FILE),
            text.as_bytes(),
        )?),
        // It has ended, or (without root) may not be looked at.
        Err(e) if matches!(e.kind(), NotFound | PermissionDenied) => Ok(()),
        Err(e) => Err(Error::io("look at", format!("/proc/{pid}/exe"))(e)),
    }
}

/// What the process's end will ask for.
pub fn kind(state: &ProcessState, has_private_pids: impl FnOnce() -> bool) -> Kind {
    Kind {
        exec: state.exec,
        shared_pids: !state.exec && !has_private_pids(),
        ours: state.holdfast.is_some(),
        auto_remove: state.holdfast.as_ref().is_some_and(|ours| ours.auto_remove),
        main: notify::asked(state).is_some_and(|notify| notify.main),
        launched: Some(Launched::of(state)),
    }
}
