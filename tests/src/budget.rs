//! What a container may cost, in bytes and counts: what a machine that is busy with something else measures the same. Each limit is
//! a little above what was measured last; a change that needs more changes the figure here, and its message says why.
//!
//! What it costs in time stands in docs/benchmarks.md, beside what its peers cost.

use std::fmt;

use crate::binaries;

/// A cost, and the most that it may be.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Of what, in words.
    pub what: &'static str,
    /// The most that is allowed.
    pub most: u64,
    /// The most that is allowed to a shim that is linked with glibc, where that is more.
    pub with_glibc: Option<u64>,
    /// Of what unit.
    pub unit: &'static str,
}

/// A limit of so much of `what`.
const fn most(most: u64, unit: &'static str, what: &'static str) -> Budget {
    let with_glibc = None;
    Budget {
        what,
        most,
        with_glibc,
        unit,
    }
}

/// Memory of an idle shim that is its own alone.
pub const PRIVATE_DIRTY: Budget = most(44, "KiB", "private dirty memory, idle").with_glibc(68);
/// The same where it holds a terminal, or moves output.
pub const PRIVATE_DIRTY_MOVING: Budget =
    most(56, "KiB", "private dirty memory, idle, with a terminal").with_glibc(76);
/// What the kernel keeps to map an idle shim's memory.
pub const PAGE_TABLES: Budget = most(28, "KiB", "page tables, idle").with_glibc(44);
/// Threads, always.
pub const THREADS: Budget = most(1, "threads", "threads");
/// Wake-ups of an idle shim, in all the time that it is watched.
pub const WAKE_UPS: Budget = most(0, "wake-ups", "wake-ups, idle");
/// Open descriptors of an idle shim.
pub const DESCRIPTORS: Budget = most(16, "descriptors", "open descriptors, idle");
/// The shim's executable.
pub const SHIM_SIZE: Budget = most(1190, "KiB", "the shim's executable").with_glibc(1745);
/// The command's executable.
pub const DRIVER_SIZE: Budget = most(6900, "KiB", "the command's executable");

/// What the command does for `run -d`, without the shim and the runtime.
pub const RUN_CALLS: Budget = most(350, "system calls", "`run -d`, the command");
/// What the shim does from its start to its first wait, without the runtime.
pub const LAUNCH_CALLS: Budget = most(300, "system calls", "a launch, the shim");
/// What the shim does from the end of its process to its own.
pub const EXIT_CALLS: Budget = most(96, "system calls", "an end, the shim");
/// What it does of that until whoever waits has been told, and it has let go of the container's mounts.
pub const TOLD_CALLS: Budget = most(30, "system calls", "an end, the shim, until it is told");
/// What the command does for `exec -d`.
pub const EXEC_CALLS: Budget = most(234, "system calls", "`exec -d`, the command");
/// What an exec's shim does from its start to its end.
pub const EXEC_SHIM_CALLS: Budget = most(310, "system calls", "an exec, its shim, to its end");
/// What a daemon does that comes back, for each container that lives; one in four looks whether a descriptor is open before that is closed, as
/// Rust does in a debug build.
pub const REATTACH_CALLS: Budget =
    most(76, "system calls", "reattaching to a container that lives");

impl Budget {
    const fn with_glibc(mut self, most: u64) -> Self {
        self.with_glibc = Some(most);
        self
    }

    /// The most that is allowed to the shim under test.
    fn limit(&self) -> u64 {
        let more = self.with_glibc.filter(|_| binaries::shim_has_glibc());
        more.unwrap_or(self.most)
    }

    /// Prints what was measured; whether that is too much.
    #[must_use]
    pub fn is_exceeded_by(&self, measured: u64) -> bool {
        println!("{self}: {measured}");
        measured > self.limit()
    }

    /// Prints what was measured.
    ///
    /// # Panics
    /// When that is too much.
    #[track_caller]
    pub fn check(&self, measured: u64) {
        assert!(
            !self.is_exceeded_by(measured),
            "{self}, and it is {measured}"
        );
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, unit, .. } = self;
        write!(f, "{what}: at most {} {unit}", self.limit())
    }
}
