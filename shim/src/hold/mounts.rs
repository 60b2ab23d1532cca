//! The container's mount namespace, which the shim keeps from ending before the end of its process is told. A process that is the
//! last in one takes it down as it exits, before anybody hears of it: each mount is let go, and the kernel waits for all of its processors
//! (RCU), as a rule a tenth of a millisecond, now and then several. Held here, it is taken down when the shim lets go of it, right after
//! whoever waits has been told, and before anything else is done: who goes by the shim's end finds no mount left.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use holdfast_common::sys::pidfd;

use super::watch::Watch;
use crate::handover::{Holding, Stdio};

/// A container's. None for an exec, which is in one that its init is in too, nor with a terminal, whose shim has enough descriptors as it is,
/// nor where the kernel does not let us have it: a container goes on, and ends, just as well.
pub fn hold(holding: &Holding, watch: &Watch) -> Option<OwnedFd> {
    if holding.kind.exec || matches!(holding.stdio, Stdio::Terminal(_)) {
        return None;
    }
    let namespace = File::open(format!("/proc/{}/ns/mnt", holding.pid)).ok()?;
    // In this order: its pid was nobody else's when its namespace was opened.
    let lives = |fd: &OwnedFd| pidfd::has_ended(fd.as_fd()).is_ok_and(|ended| !ended);
    let is_its = watch.child().is_some() || holding.pidfd.as_ref().is_some_and(lives);
    is_its.then(|| namespace.into())
}
