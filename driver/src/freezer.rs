//! How far the kernel is with freezing a process: its cgroup's freezer, in either version of cgroups (cgroups(7)). Read from
//! the files alone: asking the runtime would take a hundred times as long, and runc waits until a freeze is through.

use std::path::Path;
use std::sync::RwLock;

use holdfast_common::kernel_file;

use crate::cgroup::{self, Cgroups, Version};

/// The mounts of cgroups as they were last found. To have the kernel list its mounts takes longer than all else that is done here, before
/// each exec; they hardly ever change, and where they have, what they led to is not there any more.
static MOUNTS: RwLock<String> = RwLock::new(String::new());

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freezer {
    /// Nobody asked for it, or there is no freezer.
    Thawed,
    /// It was asked for, and some process has not come to a stop yet: one that waits in the kernel without being interruptible
    /// keeps a cgroup so for as long as it waits.
    Freezing,
    /// Nothing in the cgroup runs.
    Frozen,
}

/// How far a process's cgroup is.
pub(crate) fn of(pid: i32) -> Freezer {
    let Ok(memberships) = cgroup::memberships(pid) else {
        return Freezer::Thawed;
    };
    let known = MOUNTS.read().ok();
    let known = known.and_then(|mounts| look(&memberships, &mounts));
    let found = known.or_else(|| {
        let mounts = cgroup::mounts().ok()?;
        let found = look(&memberships, &mounts);
        if let Ok(mut known) = MOUNTS.write() {
            *known = mounts;
        }
        found
    });
    found.unwrap_or(Freezer::Thawed)
}

/// None where these mounts show no freezer.
fn look(memberships: &str, mounts: &str) -> Option<Freezer> {
    let place = Cgroups::find_controller("freezer", memberships, mounts)?;
    match place.version {
        Version::V1 => of_v1(&place.dir),
        Version::V2 => of_v2(&place.dir),
    }
}

/// Whether a process's cgroup is frozen, or about to be.
pub(crate) fn is_frozen(pid: i32) -> bool {
    of(pid) != Freezer::Thawed
}

/// `freezer.state` says what comes of the cgroup's own request and of those above it (kernel: cgroup-v1/freezer-subsystem).
fn of_v1(dir: &Path) -> Option<Freezer> {
    Some(match read(dir, "freezer.state")?.trim() {
        "FROZEN" => Freezer::Frozen,
        "FREEZING" => Freezer::Freezing,
        _ => Freezer::Thawed,
    })
}

/// `cgroup.events` says what has come of it, `cgroup.freeze` what was asked for, each of its own cgroup alone (kernel:
/// cgroup-v2): a container's process may sit below the cgroup that the runtime freezes.
fn of_v2(dir: &Path) -> Option<Freezer> {
    let events = read(dir, "cgroup.events")?;
    if events.lines().any(|line| line == "frozen 1") {
        return Some(Freezer::Frozen);
    }
    let mut requests = dir.ancestors().map_while(|dir| read(dir, "cgroup.freeze"));
    Some(match requests.any(|request| request.trim() == "1") {
        true => Freezer::Freezing,
        false => Freezer::Thawed,
    })
}

fn read(dir: &Path, name: &str) -> Option<String> {
    kernel_file::read_text(dir.join(name)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    #[test]
    fn each_version_says_how_far_it_is_in_its_own_words() {
        let dir = scratch("freezer");
        for (state, wanted) in [
            ("THAWED\n", Freezer::Thawed),
            ("FREEZING\n", Freezer::Freezing),
            ("FROZEN\n", Freezer::Frozen),
        ] {
            std::fs::write(dir.join("freezer.state"), state).unwrap();
            assert_eq!(of_v1(&dir), Some(wanted));
        }
        assert_eq!(of_v1(&dir.join("gone")), None);

        // A container that has made a cgroup of its own for its process; the root has no such file.
        let below = dir.join("web/inner");
        std::fs::create_dir_all(&below).unwrap();
        for (asked, below_asked, frozen, wanted) in [
            ("0\n", "0\n", "0", Freezer::Thawed),
            ("1\n", "0\n", "0", Freezer::Freezing),
            ("1\n", "0\n", "1", Freezer::Frozen),
            ("0\n", "1\n", "0", Freezer::Freezing),
            // Thawed, and not yet told so.
            ("0\n", "0\n", "1", Freezer::Frozen),
        ] {
            std::fs::write(dir.join("web/cgroup.freeze"), asked).unwrap();
            std::fs::write(below.join("cgroup.freeze"), below_asked).unwrap();
            let events = format!("populated 1\nfrozen {frozen}\n");
            std::fs::write(below.join("cgroup.events"), events).unwrap();
            assert_eq!(of_v2(&below), Some(wanted), "{asked}{below_asked}{frozen}");
        }
        assert_eq!(of_v2(&dir.join("gone")), None);
    }

    #[test]
    fn this_process_is_not_frozen() {
        assert!(!is_frozen(i32::try_from(std::process::id()).unwrap()));
        assert!(!is_frozen(-1));
    }
}
