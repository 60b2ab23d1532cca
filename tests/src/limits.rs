//! The limits of a container as the kernel has them, to show what an update has changed and what it has not.

use std::collections::BTreeMap;
use std::fs;

use crate::{Sandbox, cgroup};

/// Every file that a limit is in, of the version that there is, and what it says.
pub type Limits = BTreeMap<&'static str, String>;

const V1: [(&str, &str); 14] = [
    ("memory", "memory.limit_in_bytes"),
    ("memory", "memory.memsw.limit_in_bytes"),
    ("memory", "memory.soft_limit_in_bytes"),
    ("memory", "memory.kmem.limit_in_bytes"),
    ("memory", "memory.kmem.tcp.limit_in_bytes"),
    ("cpu", "cpu.shares"),
    ("cpu", "cpu.cfs_period_us"),
    ("cpu", "cpu.cfs_quota_us"),
    ("cpu", "cpu.rt_period_us"),
    ("cpu", "cpu.rt_runtime_us"),
    ("cpuset", "cpuset.cpus"),
    ("cpuset", "cpuset.mems"),
    ("blkio", "blkio.bfq.weight"),
    ("pids", "pids.max"),
];

const V2: [(&str, &str); 9] = [
    ("memory", "memory.max"),
    ("memory", "memory.swap.max"),
    ("memory", "memory.low"),
    ("cpu", "cpu.weight"),
    ("cpu", "cpu.max"),
    ("cpuset", "cpuset.cpus"),
    ("cpuset", "cpuset.mems"),
    ("io", "io.weight"),
    ("pids", "pids.max"),
];

/// What version 1 says where there is no limit.
pub const UNLIMITED: &str = "9223372036854771712";

impl Sandbox {
    /// What the limits of a container are now.
    ///
    /// # Panics
    /// When it does not run, or a file is not there.
    #[track_caller]
    #[must_use]
    pub fn limits(&self, id: &str) -> Limits {
        let files: &[_] = if cgroup::is_unified() { &V2 } else { &V1 };
        files
            .iter()
            .map(|(controller, name)| {
                let path = self.cgroup(id, controller).join(name);
                let text = fs::read_to_string(&path);
                let text = text.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                (*name, text.trim().to_owned())
            })
            .collect()
    }
}

/// Asserts that these limits, and no others, have changed to these values.
///
/// # Panics
/// When that is not so, or one of them was so before.
#[track_caller]
pub fn assert_changed(
    before: &Limits,
    after: &Limits,
    changes: &[(&'static str, &str)],
    what: &str,
) {
    let mut wanted = before.clone();
    for (name, value) in changes {
        assert_ne!(before[name], *value, "{what} would change nothing");
        wanted.insert(name, (*value).to_owned());
    }
    assert_eq!(*after, wanted, "{what}");
}
