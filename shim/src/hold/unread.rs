//! What nobody has read of a stream when its process has ended. It is copied; only where there is no room for a copy, and nobody who
//! could read it, is it taken.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use holdfast_common::sys::fifo;
use nix::libc::{O_ACCMODE, O_WRONLY};

/// What waits in the FIFO that a descriptor reads from.
pub fn of(hold: &OwnedFd) -> io::Result<Vec<u8>> {
    match fifo::peek(hold.as_fd()) {
        // Whoever reads has it as long as it reads on, and must not be overtaken; whoever comes waits until it is where late
        // readers look: the lock goes with the descriptor.
        Err(e)
            if e.kind() == io::ErrorKind::PermissionDenied
                && File::from(hold.try_clone()?).try_lock().is_ok()
                && !is_read(hold)? =>
        {
            fifo::take(hold.as_fd())
        }
        copied => copied,
    }
}

/// Whether another process that we may look at could read from it.
fn is_read(hold: &OwnedFd) -> io::Result<bool> {
    let own = fs::metadata(format!("/proc/self/fd/{}", hold.as_raw_fd()))?;
    let me = std::process::id().to_string();
    for process in fs::read_dir("/proc")?.flatten() {
        let is_other = process
            .file_name()
            .to_str()
            .is_some_and(|name| name != me && name.starts_with(|c: char| c.is_ascii_digit()));
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for descriptor in descriptors.flatten().filter(|_| is_other) {
            let same = |meta: fs::Metadata| (meta.dev(), meta.ino()) == (own.dev(), own.ino());
            if fs::metadata(descriptor.path()).is_ok_and(same)
                && reads(&process.path().join("fdinfo").join(descriptor.file_name()))
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// proc_pid_fdinfo(5): `flags` in octal.
fn reads(info: &std::path::Path) -> bool {
    let info = fs::read_to_string(info).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & O_ACCMODE != O_WRONLY)
}
