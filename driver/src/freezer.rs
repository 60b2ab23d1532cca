//! Whether the kernel has frozen a process: its cgroup's freezer, in either version of cgroups (cgroups(7)). Read from
//! the files alone: asking the runtime would take a hundred times as long.

use std::path::{Path, PathBuf};

/// Whether a process's cgroup is frozen; false where there is no freezer.
pub(crate) fn is_frozen(pid: i32) -> bool {
    let Ok(memberships) = std::fs::read_to_string(format!("/proc/{pid}/cgroup")) else {
        return false;
    };
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo") else {
        return false;
    };
    let Some(place) = find(&memberships, &mounts) else {
        return false;
    };
    let read = |name: &str| std::fs::read_to_string(place.dir.join(name)).unwrap_or_default();
    match place.version {
        Version::V1 => matches!(read("freezer.state").trim(), "FROZEN" | "FREEZING"),
        Version::V2 => read("cgroup.events").lines().any(|line| line == "frozen 1"),
    }
}

#[derive(Debug, PartialEq)]
enum Version {
    V1,
    V2,
}

/// The directory of the cgroup whose freezer counts.
#[derive(Debug, PartialEq)]
struct Place {
    version: Version,
    dir: PathBuf,
}

fn find(memberships: &str, mounts: &str) -> Option<Place> {
    // "6:freezer:/web" (version 1), "0::/web" (version 2)
    let lines = || {
        memberships.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?, fields.next()?))
        })
    };
    let (version, path) = lines()
        .find(|(controllers, _)| controllers.split(',').any(|name| name == "freezer"))
        .map(|(_, path)| (Version::V1, path))
        .or_else(|| {
            lines()
                .find(|(controllers, _)| controllers.is_empty())
                .map(|(_, path)| (Version::V2, path))
        })?;
    let dir = mounts.lines().find_map(|line| {
        // proc_pid_mountinfo(5): fields 4 and 5 are the root inside the file system and the mount point; after " - "
        // come type, source and the file system's own options.
        let (mount, rest) = line.split_once(" - ")?;
        let mut rest = rest.split(' ');
        let fits = match version {
            Version::V1 => {
                rest.next()? == "cgroup"
                    && rest.nth(1)?.split(',').any(|option| option == "freezer")
            }
            Version::V2 => rest.next()? == "cgroup2",
        };
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let below = Path::new(path).strip_prefix(root).ok()?;
        fits.then(|| Path::new(point).join(below))
    })?;
    Some(Place { version, dir })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime shared:7 - cgroup cgroup rw,freezer
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

    fn found(memberships: &str, mounts: &str) -> Option<(Version, String)> {
        let place = find(memberships, mounts)?;
        Some((place.version, place.dir.to_str()?.to_owned()))
    }

    #[test]
    fn the_old_freezer_counts_where_there_is_one() {
        let hybrid = "7:pids:/web\n6:freezer:/web\n0::/web\n";
        assert_eq!(
            found(hybrid, MOUNTS),
            Some((Version::V1, "/sys/fs/cgroup/freezer/web".to_owned()))
        );
        let unified = "0::/a.slice/web\n";
        assert_eq!(
            found(unified, MOUNTS),
            Some((Version::V2, "/sys/fs/cgroup/unified/a.slice/web".to_owned()))
        );
    }

    #[test]
    fn a_mount_that_shows_a_part_is_looked_into_at_the_right_place() {
        let inside = "41 31 0:38 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(
            found("0::/docker/abc/web\n", inside),
            Some((Version::V2, "/sys/fs/cgroup/web".to_owned()))
        );
        assert_eq!(found("0::/elsewhere\n", inside), None);
        assert_eq!(found("", inside), None);
    }

    #[test]
    fn this_process_is_not_frozen() {
        assert!(!is_frozen(i32::try_from(std::process::id()).unwrap()));
        assert!(!is_frozen(-1));
    }
}
