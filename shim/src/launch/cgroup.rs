//! The cgroups of a container whose runtime was killed before it had written down that there is one. It knows nothing of them
//! any more, and nobody else does: they are looked for where runtimes put them (runtime-spec, "cgroupsPath"), and removed when nobody
//! is in them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holdfast_common::request::Wire;
use holdfast_common::sys::pidfd;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::bundle;

/// How long what the runtime has left behind may take to end: it does when it sees that the runtime is gone.
const PATIENCE: Duration = Duration::from_secs(1);

/// Removes them.
pub fn remove(wire: &Wire) {
    let until = Instant::now() + PATIENCE;
    for dir in places(wire) {
        while let Err(e) = fs::remove_dir(&dir)
            && e.kind() == io::ErrorKind::ResourceBusy
            && Instant::now() < until
            && is_left(&dir, until)
        {}
    }
}

/// Waits for the end of the processes in a cgroup. Whether there were any, and they have ended.
fn is_left(dir: &Path, until: Instant) -> bool {
    let processes = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let mut ended = false;
    for process in processes.lines().filter_map(|pid| pid.parse().ok()) {
        let Ok(process) = pidfd::open(process) else {
            // It has been reaped meanwhile.
            ended = true;
            continue;
        };
        if !ends_until(process.as_fd(), until) {
            return false;
        }
        ended = true;
    }
    ended
}

/// Whether the process behind a pidfd ends in time.
pub fn ends_until(process: BorrowedFd<'_>, until: Instant) -> bool {
    let left = until.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
    poll(&mut [PollFd::new(process, PollFlags::POLLIN)], timeout).is_ok_and(|ready| ready > 0)
}

/// Where they are in each hierarchy.
fn places(wire: &Wire) -> Vec<PathBuf> {
    let named = bundle::cgroups_path(&wire.bundle);
    // systemd's `slice:prefix:name` is systemd's to remove.
    if named.contains(':') {
        return Vec::new();
    }
    let relative = match named.as_str() {
        "" => vec![wire.id.clone(), youkis(&wire.id)],
        named => vec![named.into()],
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let hierarchies = mounts.lines().filter_map(Hierarchy::parse);
    hierarchies
        .flat_map(|hierarchy| {
            let places = |relative| hierarchy.places(Path::new(relative), &own);
            relative.iter().flat_map(places).collect::<Vec<_>>()
        })
        .collect()
}

/// youki's name for a container's cgroup when the bundle has none.
fn youkis(id: &OsStr) -> OsString {
    let mut name = OsString::from(":youki:");
    name.push(id);
    name
}

/// A mounted hierarchy (cgroups(7)).
struct Hierarchy<'a> {
    top: &'a Path,
    /// Its controllers, comma-separated among other options; `None` for version 2.
    controllers: Option<&'a str>,
}

impl<'a> Hierarchy<'a> {
    /// From a line of proc_pid_mountinfo(5).
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let top = Path::new(mount.split(' ').nth(4)?);
        let mut words = file_system.split(' ');
        let controllers = match words.next()? {
            "cgroup" => Some(words.nth(1)?),
            "cgroup2" => None,
            _ => return None,
        };
        Some(Self { top, controllers })
    }

    /// A path from the top. If it is relative, runc, our child, takes it from our own cgroup (version 1), or from beside it (version 2,
    /// where a cgroup that has processes has no children); crun and youki take it from the top all the same.
    fn places(&self, path: &Path, own: &str) -> Vec<PathBuf> {
        if let Ok(from_top) = path.strip_prefix("/") {
            return vec![self.top.join(from_top)];
        }
        let Some(own) = own.lines().find_map(|line| self.is_in(line)) else {
            return Vec::new();
        };
        let own = match self.controllers {
            Some(_) => own,
            None => own.parent().unwrap_or(own),
        };
        let own = own.strip_prefix("/").unwrap_or(own);
        vec![self.top.join(own).join(path), self.top.join(path)]
    }

    /// The cgroup in a line of /proc/PID/cgroup, `NUMBER:CONTROLLERS:PATH`, if it is one of this hierarchy.
    fn is_in<'b>(&self, line: &'b str) -> Option<&'b Path> {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let same = match self.controllers {
            None => controllers.is_empty(),
            Some(options) => {
                !controllers.is_empty()
                    && controllers
                        .split(',')
                        .all(|one| options.split(',').any(|option| option == one))
            }
        };
        same.then(|| Path::new(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "4:name=systemd:/\n2:cpu,cpuacct:/user/shell\n0::/user.slice/session\n";

    fn places(mount: &str, path: &str) -> Vec<PathBuf> {
        let hierarchy = Hierarchy::parse(mount);
        hierarchy.map_or(Vec::new(), |it| it.places(Path::new(path), OWN))
    }

    #[test]
    fn a_cgroup_is_where_runtimes_put_it() {
        let nowhere: &[&str] = &[];
        let cpu = "32 31 0:29 / /c/cpu rw,relatime shared:9 - cgroup cgroup rw,cpuacct,cpu";
        let systemd = "33 31 0:30 / /c/systemd rw - cgroup cgroup rw,xattr,name=systemd";
        let unified = "41 31 0:38 / /c/unified rw - cgroup2 cgroup2 rw";
        for (mount, path, expected) in [
            (cpu, "web", &["/c/cpu/user/shell/web", "/c/cpu/web"][..]),
            (cpu, "/a/web", &["/c/cpu/a/web"]),
            (systemd, "web", &["/c/systemd/web", "/c/systemd/web"]),
            (
                unified,
                "web",
                &["/c/unified/user.slice/web", "/c/unified/web"],
            ),
            (unified, "/web", &["/c/unified/web"]),
            (
                "34 31 0:31 / /c/pids rw - cgroup cgroup rw,pids",
                "web",
                nowhere,
            ),
            ("23 1 0:22 / /proc rw - proc proc rw", "web", nowhere),
        ] {
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(places(mount, path), expected, "{mount}");
        }
    }
}
