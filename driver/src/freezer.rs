//! Whether the kernel has frozen a process: its cgroup's freezer, in either version of cgroups (cgroups(7)). Read from
//! the files alone: asking the runtime would take a hundred times as long.

use crate::cgroup::{Cgroups, Version};

/// Whether a process's cgroup is frozen; false where there is no freezer.
pub(crate) fn is_frozen(pid: i32) -> bool {
    let Ok(cgroups) = Cgroups::of(pid) else {
        return false;
    };
    let Some(place) = cgroups.controller("freezer") else {
        return false;
    };
    let read = |name: &str| std::fs::read_to_string(place.dir.join(name)).unwrap_or_default();
    match place.version {
        Version::V1 => matches!(read("freezer.state").trim(), "FROZEN" | "FREEZING"),
        Version::V2 => read("cgroup.events").lines().any(|line| line == "frozen 1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_not_frozen() {
        assert!(!is_frozen(i32::try_from(std::process::id()).unwrap()));
        assert!(!is_frozen(-1));
    }
}
