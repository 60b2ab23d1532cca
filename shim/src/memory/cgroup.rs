//! Which cgroup counts a container's kills for want of memory, found the way the kernel tells it: `/proc/PID/cgroup` and
//! `/proc/self/mountinfo` (cgroups(7)), version 1, 2 or both beside each other.

use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use holdfast_common::kernel_file;

/// Version 1's file with the line `oom_kill N`, and the one to watch it by (kernel: admin-guide/cgroup-v1/memory, 10).
pub const V1_COUNTER: &str = "memory.oom_control";
/// Where version 1 is told whom to wake (kernel: admin-guide/cgroup-v1/memory, 9).
pub const V1_REGISTER: &str = "cgroup.event_control";
/// Version 2's file with the line `oom_kill N`; whoever has read it can poll it for POLLPRI (kernel: admin-guide/cgroup-v2).
pub const V2_COUNTER: &str = "memory.events";
const PROCS: &str = "cgroup.procs";

/// Where memory is counted here, and where ours is.
pub struct Counted {
    mounts: Mounts,
    ours: Option<PathBuf>,
}

impl Counted {
    /// Finds out, from something like `/proc`.
    pub fn find(proc: &Path) -> Option<Self> {
        let mounts = Mounts::parse(&kernel_file::read(proc.join("self/mountinfo")).ok()?);
        let ours = mounts.place(&read_cgroup(proc, "self")?);
        Some(Self { mounts, ours })
    }

    /// The directory of the cgroup that a process's memory is counted in; `None` where there is no such, where it is the
    /// top of its hierarchy, or where it is ours too: what is counted there says nothing about a container.
    pub fn of(&self, proc: &Path, pid: i32) -> Option<PathBuf> {
        let theirs = self.mounts.place(&read_cgroup(proc, &pid.to_string())?);
        theirs.filter(|dir| self.ours.as_ref() != Some(dir))
    }
}

fn read_cgroup(proc: &Path, who: &str) -> Option<String> {
    kernel_file::read_text(proc.join(who).join("cgroup")).ok()
}

/// Whether processes are in it that were not made for this container: right after its creation it has one alone.
pub fn is_shared(dir: &Path, pid: i32) -> bool {
    let procs = kernel_file::read_text(dir.join(PROCS)).unwrap_or_default();
    procs.lines().any(|line| line.trim() != pid.to_string())
}

/// Where the memory of a process can be counted.
struct Mounts {
    v1: Option<Mount>,
    v2: Option<Mount>,
}

/// A mounted hierarchy, or a part of one.
struct Mount {
    /// The part of the hierarchy that is mounted.
    root: PathBuf,
    point: PathBuf,
}

impl Mounts {
    /// proc_pid_mountinfo(5): `36 35 98:0 /root /mount/point rw,noatime master:1 - type source rw,memory`.
    fn parse(mountinfo: &[u8]) -> Self {
        let mut mounts = Self { v1: None, v2: None };
        for line in mountinfo.split(|&byte| byte == b'\n') {
            let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
            let Some(dash) = fields.iter().position(|field| *field == b"-") else {
                continue;
            };
            let (Some(&root), Some(&point), Some(&kind)) =
                (fields.get(3), fields.get(4), fields.get(dash + 1))
            else {
                continue;
            };
            let options = fields.get(dash + 3).copied().unwrap_or_default();
            let mount = || {
                Some(Mount {
                    root: unescape(root),
                    point: unescape(point),
                })
            };
            // The last one hides others in the same place; of several places, any will do.
            match kind {
                b"cgroup" if has_word(options, b"memory") => mounts.v1 = mount(),
                b"cgroup2" => mounts.v2 = mount(),
                _ => (),
            }
        }
        mounts
    }

    /// The directory of a process's memory cgroup, from its /proc/PID/cgroup: `4:memory:/path` or `0::/path`.
    fn place(&self, cgroup: &str) -> Option<PathBuf> {
        let path_of = |wanted: &dyn Fn(&str, &str) -> bool| {
            cgroup.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':');
                let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
                wanted(id, controllers).then_some(path)
            })
        };
        let v1 = path_of(&|_, controllers| has_word(controllers.as_bytes(), b"memory"));
        match (v1, &self.v1) {
            (Some(path), Some(mount)) => mount.place(path),
            // Bound to version 1, and nowhere to be seen.
            (Some(_), None) => None,
            (None, _) => {
                let path = path_of(&|id, controllers| id == "0" && controllers.is_empty())?;
                self.v2.as_ref()?.place(path)
            }
        }
    }
}

impl Mount {
    fn place(&self, path: &str) -> Option<PathBuf> {
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        // Out of this cgroup namespace, or of what is mounted here, paths lead over `..`.
        let plain = |part| matches!(part, Component::Normal(_));
        let inside = below.components().next().is_some() && below.components().all(plain);
        (path != "/" && inside).then(|| self.point.join(below))
    }
}

fn has_word(list: &[u8], word: &[u8]) -> bool {
    list.split(|&byte| byte == b',').any(|part| part == word)
}

/// Blanks and the like are written as `\040`.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = (first == b'\\').then(|| tail.get(..3)).flatten();
        let value =
            octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const HYBRID: &str = "\
25 20 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw
26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
27 25 0:24 / /sys/fs/cgroup/memory rw master:9 - cgroup cgroup rw,memory
28 25 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";

    /// A tree like /proc, with these files in it, and where process 42 is found to be counted.
    fn found(name: &str, mountinfo: &str, ours: &str, theirs: &str) -> Option<String> {
        let name = format!("holdfast-cgroup-{}-{name}", std::process::id());
        let proc = std::env::temp_dir().join(name);
        for (who, text) in [("self", ours), ("42", theirs)] {
            fs::create_dir_all(proc.join(who)).unwrap();
            fs::write(proc.join(who).join("cgroup"), text).unwrap();
        }
        fs::write(proc.join("self/mountinfo"), mountinfo).unwrap();
        let found = Counted::find(&proc).and_then(|counted| counted.of(&proc, 42));
        fs::remove_dir_all(proc).unwrap();
        found.map(|dir| dir.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_cgroup_is_found_in_every_arrangement() {
        let both = |path: &str| format!("5:cpu,cpuacct:/x\n4:memory:{path}\n0::/elsewhere\n");
        let v2 = |path: &str| format!("0::{path}\n");
        let within = UNIFIED.replace(" / /sys", " /docker/abc /sys");
        let spaced = UNIFIED.replace("/sys/fs/cgroup", "/my\\040cgroups");
        for (case, mountinfo, ours, theirs, wanted) in [
            (
                "hybrid",
                HYBRID,
                both("/me"),
                both("/web"),
                Some("/sys/fs/cgroup/memory/web"),
            ),
            (
                "unified",
                UNIFIED,
                v2("/me"),
                v2("/a.slice/web"),
                Some("/sys/fs/cgroup/a.slice/web"),
            ),
            // Memory belongs to version 2 here, and other controllers to version 1.
            (
                "moved",
                HYBRID,
                v2("/me"),
                format!("5:cpu,cpuacct:/x\n{}", v2("/web")),
                Some("/sys/fs/cgroup/unified/web"),
            ),
            (
                "mounted-below",
                &within,
                v2("/docker/abc"),
                v2("/docker/abc/web"),
                Some("/sys/fs/cgroup/web"),
            ),
            ("mounted-elsewhere", &within, v2("/me"), v2("/web"), None),
            (
                "blanks",
                &spaced,
                v2("/me"),
                v2("/web:1"),
                Some("/my cgroups/web:1"),
            ),
            ("top", HYBRID, both("/me"), both("/"), None),
            ("top-2", UNIFIED, v2("/me"), v2("/"), None),
            ("ours-too", HYBRID, both("/me"), both("/me"), None),
            ("out-of-sight", UNIFIED, v2("/me"), v2("/../web"), None),
            ("not-mounted", UNIFIED, both("/me"), both("/web"), None),
            ("nothing", "", v2("/me"), v2("/web"), None),
            (
                "torn",
                "27 25 0:24 /\n- -\n",
                both("/me"),
                "4:memory".to_owned(),
                None,
            ),
        ] {
            let found = found(case, mountinfo, &ours, &theirs);
            assert_eq!(found.as_deref(), wanted, "{case}");
        }
    }

    #[test]
    fn a_process_that_nobody_knows_is_nowhere() {
        let proc = Path::new("/proc");
        assert_eq!(
            Counted::find(proc).and_then(|counted| counted.of(proc, i32::MAX)),
            None
        );
    }
}
