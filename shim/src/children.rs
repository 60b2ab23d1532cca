//! What a runtime, or a container that shares its pid namespace, has left to the shim: as subreaper it is the parent of all of it, of a
//! child's children as soon as that is gone.

use std::os::fd::AsFd;
use std::time::Instant;

use holdfast_common::sys::pidfd;
use holdfast_common::sys::process::{self, Children};
use nix::libc::SIGKILL;
use nix::sys::signalfd::SignalFd;

use crate::runtime;

/// Reaps what has ended.
pub fn reap_all() {
    while matches!(process::reap(-1), Children::Ended(_)) {}
}

/// Kills it, and waits until it is gone, no longer than until the deadline: until then it may still write.
pub fn kill(signals: &SignalFd, deadline: Instant) {
    loop {
        for pid in process::children() {
            // A child of ours keeps its pid until we reap it: no stranger can have it.
            if let Ok(child) = pidfd::open(pid) {
                let _ = pidfd::send_signal(child.as_fd(), SIGKILL);
            }
        }
        match process::reap(-1) {
            Children::Ended(_) => (),
            Children::None => return,
            Children::Living => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() || runtime::wait_for_signal(signals, Some(left)).is_err() {
                    return;
                }
            }
        }
    }
}
