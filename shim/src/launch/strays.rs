//! Processes of an exec that was cut off before anybody had its pid on record. They are known by what they hold: the process's
//! own ends of its FIFOs, which are opened as no client opens them (docs/state-directory.md, "stdio").

use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use holdfast_common::layout::Stream;
use holdfast_common::process_state::ProcessState;
use holdfast_common::sys::pidfd;
use nix::libc::{O_ACCMODE, O_RDONLY, O_RDWR, SIGKILL};

/// How often one looks again, for what was forked meanwhile.
const PASSES: usize = 16;

/// Kills them, and what they have forked.
pub fn kill(state: &ProcessState) {
    let ends: Vec<End> = Stream::ALL
        .into_iter()
        .filter_map(|stream| End::of(state, stream))
        .collect();
    for _ in 0..PASSES {
        if !kill_all(&ends) {
            return;
        }
    }
}

/// Whether there was any.
fn kill_all(ends: &[End]) -> bool {
    let holds = |pid: i32| ends.iter().any(|end| end.is_held_by(pid));
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return false;
    };
    let pids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found = false;
    for pid in pids.filter(|&pid| holds(pid)) {
        // Looked at again behind the pidfd: by then the pid cannot change its owner unnoticed.
        if let Ok(process) = pidfd::open(pid)
            && holds(pid)
        {
            found |= pidfd::send_signal(process.as_fd(), SIGKILL).is_ok();
        }
    }
    found
}

/// A FIFO, and how the process itself has it open.
struct End {
    number: usize,
    device: u64,
    inode: u64,
    mode: i32,
}

impl End {
    /// None for a stream that is no FIFO of its own.
    fn of(state: &ProcessState, stream: Stream) -> Option<Self> {
        let inner = state.moved(stream).map(|_| stream.inner_fifo());
        let path = inner.as_deref().unwrap_or(state.stdio(stream));
        let meta = std::fs::metadata(path).ok()?;
        let own = meta.file_type().is_fifo() && !state.inherits(stream);
        own.then(|| Self {
            number: stream as usize,
            device: meta.dev(),
            inode: meta.ino(),
            mode: if stream == Stream::Stdin {
                O_RDONLY
            } else {
                O_RDWR
            },
        })
    }

    fn is_held_by(&self, pid: i32) -> bool {
        let same = |meta: std::fs::Metadata| (meta.dev(), meta.ino()) == (self.device, self.inode);
        std::fs::metadata(format!("/proc/{pid}/fd/{}", self.number)).is_ok_and(same)
            && self.mode_in(pid) == Some(self.mode)
    }

    /// proc_pid_fdinfo(5): `flags` in octal.
    fn mode_in(&self, pid: i32) -> Option<i32> {
        let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", self.number)).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let flags = i32::from_str_radix(flags.trim(), 8).ok()?;
        Some(flags & O_ACCMODE)
    }
}
