//! Where a process's cgroups are: version 1, version 2, or both at once (*hybrid*: some controllers here, some there), as
//! `/proc/PID/cgroup` and the mounts of this process say it (cgroups(7), proc_pid_mountinfo(5)). What stands in their
//! files is read by [`file`]; what it means is each reader's business.

pub(crate) mod file;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use holdfast_common::identity::Identity;
use holdfast_common::kernel_file;

/// Which of the two a cgroup is of: they have different files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// One hierarchy a controller, or a few.
    V1,
    /// One hierarchy for all.
    V2,
}

/// A cgroup's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub version: Version,
    pub dir: PathBuf,
}

/// The cgroups of one process, as far as they are mounted where this process can see them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cgroups {
    v1: BTreeMap<String, PathBuf>,
    v2: Option<PathBuf>,
}

impl Cgroups {
    /// Those of a process.
    ///
    /// # Errors
    /// There is no such process; read(2)'s.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self::find(&memberships(pid)?, &mounts()?))
    }

    /// Those of a container's process that it does not share with its shim, or with us when it has none: what stands in a
    /// shared one is not about the container.
    ///
    /// # Errors
    /// Those of [`Cgroups::of`].
    pub fn of_container(init: Identity, shim: Option<i32>) -> io::Result<Self> {
        let own = Self::of(init.pid)?;
        let outside = match shim.map(Self::of) {
            Some(Ok(outside)) => outside,
            _ => Self::of_self()?,
        };
        Ok(own.apart_from(&outside))
    }

    fn of_self() -> io::Result<Self> {
        let pid = i32::try_from(std::process::id()).map_err(io::Error::other)?;
        Self::of(pid)
    }

    /// Without those that `others` has too.
    fn apart_from(mut self, others: &Self) -> Self {
        self.v1
            .retain(|controller, dir| others.v1.get(controller) != Some(dir));
        self.v2 = self.v2.filter(|dir| others.v2.as_ref() != Some(dir));
        self
    }

    /// Whether there is none, of either version.
    pub fn is_empty(&self) -> bool {
        self.v1.is_empty() && self.v2.is_none()
    }

    /// The cgroup in which a controller acts on the process: where version 1 has it, there it is.
    pub fn controller(&self, name: &str) -> Option<Place> {
        let place = |version, dir: &PathBuf| Place {
            version,
            dir: dir.clone(),
        };
        let v1 = self.v1.get(name).map(|dir| place(Version::V1, dir));
        v1.or_else(|| self.v2.as_ref().map(|dir| place(Version::V2, dir)))
    }

    /// The cgroup of version 2, which a hybrid system has beside the others.
    pub fn unified(&self) -> Option<&Path> {
        self.v2.as_deref()
    }

    /// The cgroup in which one controller acts, from what [`memberships`] and [`mounts`] say: the other dozen are not looked for, before each
    /// start and each exec.
    pub fn find_controller(name: &str, memberships: &str, mounts: &str) -> Option<Place> {
        let is_wanted = |line: &&str| {
            let controllers = line.split(':').nth(1).unwrap_or_default();
            controllers.is_empty() || controllers.split(',').any(|it| it == name)
        };
        let wanted: String = memberships
            .split_inclusive('\n')
            .filter(is_wanted)
            .collect();
        Self::find(&wanted, mounts).controller(name)
    }

    /// From what [`memberships`] and [`mounts`] say.
    pub fn find(memberships: &str, mounts: &str) -> Self {
        let mut found = Self::default();
        // "6:freezer:/web", "4:cpu,cpuacct:/web" (version 1), "9:name=systemd:/web" (no controller), "0::/web" (version 2)
        for line in memberships.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
                continue;
            };
            if controllers.is_empty() {
                let is_mounted = |mount: &Mount| mount.kind == "cgroup2";
                found.v2 = mounted_at(mounts, path, is_mounted);
                continue;
            }
            for controller in controllers.split(',') {
                let is_mounted = |mount: &Mount| {
                    mount.kind == "cgroup" && mount.options.split(',').any(|it| it == controller)
                };
                if let Some(dir) = mounted_at(mounts, path, is_mounted) {
                    found.v1.insert(controller.to_owned(), dir);
                }
            }
        }
        found
    }
}

/// The text of `/proc/PID/cgroup`.
///
/// # Errors
/// There is no such process; read(2)'s.
pub(crate) fn memberships(pid: i32) -> io::Result<String> {
    kernel_file::read_text(format!("/proc/{pid}/cgroup"))
}

/// The lines of `/proc/self/mountinfo` that are about cgroups.
///
/// # Errors
/// read(2)'s.
pub(crate) fn mounts() -> io::Result<String> {
    let all = kernel_file::read_text("/proc/self/mountinfo")?;
    let is_cgroup = |line: &&str| line.contains(" - cgroup");
    Ok(all.split_inclusive('\n').filter(is_cgroup).collect())
}

/// A line of mountinfo, as far as it is looked at.
struct Mount<'a> {
    root: PathBuf,
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// proc_pid_mountinfo(5): fields 4 and 5 are the root inside the file system and the mount point; after " - " come type,
    /// source and the file system's own options.
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, rest) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let mut rest = rest.split(' ');
        Some(Self {
            root: unescaped(mount.next()?).into(),
            point: unescaped(mount.next()?).into(),
            kind: rest.next()?,
            options: rest.nth(1)?,
        })
    }
}

/// Where a path of a hierarchy is, if a mount shows it. A mount may show a part only, as a cgroup namespace's does.
fn mounted_at(mounts: &str, path: &str, fits: impl Fn(&Mount<'_>) -> bool) -> Option<PathBuf> {
    mounts.lines().filter_map(Mount::parse).find_map(|mount| {
        let below = Path::new(path).strip_prefix(&mount.root).ok()?;
        fits(&mount).then(|| mount.point.join(below))
    })
}

/// Blanks and backslashes stand there as three octal digits (`\040`).
fn unescaped(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let octal = after.get(..3);
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                text.push(char::from(byte));
                rest = &after[3..];
            }
            None => {
                text.push('\\');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime shared:7 - cgroup cgroup rw,freezer
38 31 0:35 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
39 31 0:36 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

    fn at(version: Version, dir: &str) -> Option<Place> {
        let dir = dir.into();
        Some(Place { version, dir })
    }

    #[test]
    fn each_controller_is_where_it_acts() {
        let memberships =
            "9:name=systemd:/web\n7:pids:/web\n6:freezer:/web\n5:cpu,cpuacct:/a b/web\n0::/web\n";
        let found = Cgroups::find(memberships, HYBRID);
        let freezer = "/sys/fs/cgroup/freezer/web";
        assert_eq!(found.controller("freezer"), at(Version::V1, freezer));
        let cpu = "/sys/fs/cgroup/cpu,cpuacct/a b/web";
        assert_eq!(found.controller("cpu"), at(Version::V1, cpu));
        assert_eq!(found.controller("cpuacct"), at(Version::V1, cpu));
        // Its hierarchy of version 1 is not mounted, or there is none.
        let unified = "/sys/fs/cgroup/unified/web";
        for elsewhere in ["pids", "memory"] {
            assert_eq!(found.controller(elsewhere), at(Version::V2, unified));
        }
        assert_eq!(found.unified(), Some(Path::new(unified)));
        for name in ["freezer", "cpu", "cpuacct", "pids", "memory"] {
            let alone = Cgroups::find_controller(name, memberships, HYBRID);
            assert_eq!(alone, found.controller(name), "{name}");
        }
    }

    #[test]
    fn a_mount_that_shows_a_part_is_looked_into_at_the_right_place() {
        let inside = r"41 31 0:38 /docker/abc /sys/fs/my\040cgroup rw - cgroup2 cgroup2 rw";
        let found = Cgroups::find("0::/docker/abc/web\n", inside);
        let dir = "/sys/fs/my cgroup/web";
        assert_eq!(found.controller("memory"), at(Version::V2, dir));
        for unseen in ["0::/elsewhere\n", "0::/docker/abcdef\n", "", "0:\n"] {
            assert_eq!(Cgroups::find(unseen, inside), Cgroups::default());
        }
    }

    #[test]
    fn what_is_shared_is_not_ones_own() {
        let found = |memberships| Cgroups::find(memberships, HYBRID);
        let container = found("6:freezer:/web\n5:cpu,cpuacct:/shared\n0::/shared\n");
        let shim = found("6:freezer:/\n5:cpu,cpuacct:/shared\n0::/shared\n");
        let own = container.apart_from(&shim);
        let freezer = "/sys/fs/cgroup/freezer/web";
        assert_eq!(own.controller("freezer"), at(Version::V1, freezer));
        assert_eq!(own.controller("cpu"), None);
        assert_eq!(own.unified(), None);
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescaped(r"a\040b\134c\011"), "a b\\c\t");
        assert_eq!(unescaped(r"odd\04"), r"odd\04");
        assert_eq!(unescaped(r"\999"), r"\999");
    }

    #[test]
    fn this_process_is_somewhere_and_no_process_is_not() {
        let here = Cgroups::of_self().unwrap();
        assert_ne!(here, Cgroups::default());
        assert_eq!(here.clone().apart_from(&here), Cgroups::default());
        assert_eq!(Cgroups::of(-1).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
