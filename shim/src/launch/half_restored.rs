//! What a restore that was cut off leaves behind, and no runtime clears away:
//! - CRIU: it is nobody's child but the runtime's, and may wait for ever for processes that have been killed;
//! - what CRIU has mounted in its working directory: cgroups, at `.criu.cgyard.*`;
//! - what runc has mounted for CRIU: the root file system once more, at `criu-root` in its own directory of the container. Its
//!   next `delete` takes that directory away with everything in it: it would empty the container's root file system.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holdfast_common::layout;
use holdfast_common::process_state::ProcessState;
use holdfast_common::sys::pidfd;
use nix::errno::Errno;
use nix::libc::SIGKILL;
use nix::mount::{MntFlags, umount2};

use super::cgroup::ends_until;

/// As CRIU calls itself.
const CRIU: &str = "criu";
const CRIU_MOUNTS: &[u8] = b".criu.";
/// How long it may take to go.
const PATIENCE: Duration = Duration::from_secs(5);

const RUNC_MOUNT: &str = "criu-root";
/// Where runc has its directories, unless told otherwise (runc(8), `--root`).
const RUNC_ROOT: &str = "/run/runc";

/// Clears it away. To be called in the process directory when no runtime is at work on this container any more, and before one
/// deletes it. Does nothing where nothing was to be restored.
///
/// # Errors
/// There is a mount, and it stays.
pub fn clear(state: &ProcessState, runtime_args: &[OsString], id: &OsStr) -> io::Result<()> {
    if state.checkpoint.is_empty() {
        return Ok(());
    }
    let work = work_dir(state);
    kill_criu(&work);
    for entry in fs::read_dir(&work).into_iter().flatten().flatten() {
        if entry.file_name().as_bytes().starts_with(CRIU_MOUNTS) {
            unmount(&entry.path())?;
        }
    }
    unmount(&root(runtime_args).join(id).join(RUNC_MOUNT))
}

/// Where CRIU works.
fn work_dir(state: &ProcessState) -> PathBuf {
    let wishes = state
        .holdfast
        .as_ref()
        .and_then(|ours| ours.restore.as_ref());
    match wishes.and_then(|wishes| wishes.work_path.as_ref()) {
        Some(path) => path.into(),
        None => layout::RESTORE_DIR.into(),
    }
}

/// Kills the CRIU that works there, and waits until it is gone: it would go on writing there.
fn kill_criu(work: &Path) {
    let Ok(work) = fs::canonicalize(work) else {
        return;
    };
    let is_it = |pid: i32| {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm"));
        comm.is_ok_and(|comm| comm.trim_end() == CRIU)
            && fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == work)
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let killed: Vec<OwnedFd> = pids
        .filter(|&pid| is_it(pid))
        // Looked at again behind the pidfd: by then the pid cannot change its owner unnoticed.
        .filter_map(|pid| pidfd::open(pid).ok().filter(|_| is_it(pid)))
        .filter(|criu| pidfd::send_signal(criu.as_fd(), SIGKILL).is_ok())
        .collect();
    let until = Instant::now() + PATIENCE;
    for criu in killed {
        ends_until(criu.as_fd(), until);
    }
}

fn unmount(place: &Path) -> io::Result<()> {
    // It may cover another.
    loop {
        match umount2(place, MntFlags::MNT_DETACH) {
            Ok(()) => log::debug!("unmounted {}", place.display()),
            // Not there, or no mount.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EINVAL) => return Ok(()),
            Err(e) => {
                let place = place.display();
                return Err(io::Error::other(format!("unmount {place}: {}", e.desc())));
            }
        }
    }
}

/// The runtime's root directory: the last that it is told.
fn root(runtime_args: &[OsString]) -> PathBuf {
    let mut named = runtime_args.iter().enumerate().filter_map(|(n, arg)| {
        let value = arg.as_bytes().strip_prefix(b"--root")?;
        match value.strip_prefix(b"=") {
            Some(path) => Some(OsStr::from_bytes(path)),
            None if value.is_empty() => runtime_args.get(n + 1).map(OsString::as_os_str),
            None => None,
        }
    });
    named
        .next_back()
        .map_or(RUNC_ROOT.into(), |path| Path::new(path).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_where_the_runtime_is_told() {
        let root_of = |args: &[&str]| root(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(root_of(&["--debug"]), Path::new("/run/runc"));
        assert_eq!(root_of(&["--root", "/a", "--debug"]), Path::new("/a"));
        assert_eq!(root_of(&["--root=/a", "--root=/b"]), Path::new("/b"));
        assert_eq!(root_of(&["--rootless", "true"]), Path::new("/run/runc"));
    }
}
