//! The files that a container's limits are in: what they say before a change, so that it can be undone, and the one that
//! runtimes do not write any more.

use std::path::PathBuf;

use super::{Resources, Unenforced};
use crate::cgroup::{Cgroups, Version, file};
use crate::error::{Error, Result};

/// What an update may change in version 1, in the order in which a set of them is most likely to be taken.
const V1: [(&str, &str); 14] = [
    ("memory", "memory.limit_in_bytes"),
    ("memory", "memory.memsw.limit_in_bytes"),
    ("memory", "memory.soft_limit_in_bytes"),
    ("memory", TCP),
    ("cpu", "cpu.shares"),
    ("cpu", "cpu.cfs_period_us"),
    ("cpu", "cpu.cfs_quota_us"),
    ("cpu", "cpu.rt_period_us"),
    ("cpu", "cpu.rt_runtime_us"),
    ("cpuset", "cpuset.cpus"),
    ("cpuset", "cpuset.mems"),
    ("blkio", "blkio.weight"),
    ("blkio", "blkio.bfq.weight"),
    ("pids", "pids.max"),
];

/// The same in version 2.
const V2: [(&str, &str); 10] = [
    ("memory", "memory.max"),
    ("memory", "memory.swap.max"),
    ("memory", "memory.low"),
    ("cpu", "cpu.weight"),
    ("cpu", "cpu.max"),
    ("cpuset", "cpuset.cpus"),
    ("cpuset", "cpuset.mems"),
    ("io", "io.weight"),
    ("io", "io.bfq.weight"),
    ("pids", "pids.max"),
];

const TCP: &str = "memory.kmem.tcp.limit_in_bytes";
const KERNEL: &str = "memory.kmem.limit_in_bytes";

/// Every limit of a container at one moment.
#[derive(Debug)]
pub(super) struct Settings {
    /// A file, and what it said.
    files: Vec<(PathBuf, String)>,
    /// The directory of version 1's controller `memory`.
    memory_v1: Option<PathBuf>,
}

impl Settings {
    /// What they are now.
    pub fn of(cgroups: &Cgroups) -> Result<Self> {
        let mut files = Vec::new();
        let all = V1.iter().map(|it| (Version::V1, it));
        for (version, (controller, name)) in all.chain(V2.iter().map(|it| (Version::V2, it))) {
            let Some(place) = cgroups.controller(controller) else {
                continue;
            };
            if place.version == version
                && let Some(text) = file::text(&place.dir, name)?
            {
                files.push((place.dir.join(name), text));
            }
        }
        let memory = cgroups.controller("memory");
        let memory_v1 = memory.filter(|place| place.version == Version::V1);
        Ok(Self {
            files,
            memory_v1: memory_v1.map(|place| place.dir),
        })
    }

    /// What to ask a runtime for. With version 2, that is nothing of what it has not got, which crun refuses; and both halves of
    /// `cpu.max` where one is to change, since crun gives the other its default.
    pub fn complete(&self, resources: &Resources) -> Resources {
        let mut asked = resources.clone();
        if self.memory_v1.is_none() {
            asked.kernel_memory = None;
            asked.kernel_tcp_memory = None;
        }
        let cpu_max = self
            .files
            .iter()
            .find(|(path, _)| path.ends_with("cpu.max"));
        if let Some((quota, period)) = cpu_max.and_then(|(_, text)| text.split_once(' ')) {
            let is_asked = |number: Option<i64>| number.is_some_and(|number| number != 0);
            let period_is_asked = asked.cpu_period.is_some_and(|period| period != 0);
            match (is_asked(asked.cpu_quota), period_is_asked) {
                (true, false) => asked.cpu_period = period.trim().parse().ok(),
                // `max` is no number, and no limit.
                (false, true) => asked.cpu_quota = Some(quota.parse().unwrap_or(-1)),
                (true, true) | (false, false) => {}
            }
        }
        asked
    }

    /// Sets the limit of TCP's buffers, where the kernel has one.
    pub fn set_tcp(&self, limit: Option<i64>) -> Result<()> {
        let (Some(dir), Some(limit)) = (&self.memory_v1, limit) else {
            return Ok(());
        };
        let path = dir.join(TCP);
        if !path.exists() {
            return Ok(());
        }
        std::fs::write(&path, limit.to_string()).map_err(Error::io("write", path))
    }

    /// Which of the limits that were to change the kernel does not have, or takes without heeding them.
    pub fn unenforced(&self, resources: &Resources) -> Vec<Unenforced> {
        let holds = |name: &str, wanted: i64| {
            let dir = self.memory_v1.as_ref()?;
            let limit = file::number(dir, name).ok()??;
            // In whole pages, whatever their size here; no limit is the largest number of those.
            let wanted = u64::try_from(wanted).unwrap_or(i64::MAX as u64);
            Some(wanted.abs_diff(limit) < 1 << 16)
        };
        let lost = |name, wanted: Option<i64>, as_what| {
            let wanted = wanted?;
            (!holds(name, wanted).unwrap_or(false)).then_some(as_what)
        };
        let kernel = lost(KERNEL, resources.kernel_memory(), Unenforced::KernelMemory);
        let tcp = lost(
            TCP,
            resources.kernel_tcp_memory(),
            Unenforced::KernelTcpMemory,
        );
        kernel.into_iter().chain(tcp).collect()
    }

    /// Makes them what they were. Some depend on each other (memory, and memory with swap), so whatever is refused is tried
    /// again once another has changed.
    pub fn put_back(&self) -> Result<()> {
        let mut changed: Vec<_> = self.files.iter().collect();
        loop {
            let before = changed.len();
            let mut refused = None;
            changed.retain(|(path, text)| match put_back(path, text) {
                Ok(()) => false,
                Err(e) => {
                    refused = Some(e);
                    true
                }
            });
            match refused {
                None => return Ok(()),
                Some(e) if changed.len() == before => return Err(e),
                Some(_) => {}
            }
        }
    }
}

fn put_back(path: &PathBuf, text: &str) -> Result<()> {
    let now = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    if now == text {
        return Ok(());
    }
    // One setting a write: a line each (`io.weight`), and none at all is an empty line (`cpuset.cpus`).
    let lines = if text.is_empty() { "\n" } else { text };
    for line in lines.lines() {
        let written = std::fs::write(path, format!("{line}\n"));
        written.map_err(Error::io("put back", path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;
    use std::path::Path;

    fn cgroups(dir: &Path, kind: &str, controller: &str) -> Cgroups {
        let members = if kind == "cgroup2" {
            "0::/web\n".to_owned()
        } else {
            format!("7:{controller}:/web\n")
        };
        let dir = dir.display();
        Cgroups::find(
            &members,
            &format!("31 23 0:28 / {dir} rw - {kind} x rw,{controller}"),
        )
    }

    #[test]
    fn what_has_changed_is_put_back_in_version_2() {
        let dir = scratch("settings-v2");
        let web = dir.join("web");
        std::fs::create_dir(&web).unwrap();
        let at = |name: &str| web.join(name);
        let files = [
            ("memory.max", "max\n"),
            ("cpu.max", "max 100000\n"),
            ("cpuset.cpus", ""),
            ("pids.max", "20\n"),
        ];
        for (name, text) in files {
            std::fs::write(at(name), text).unwrap();
        }
        let settings = Settings::of(&cgroups(&dir, "cgroup2", "")).unwrap();
        assert_eq!(settings.files.len(), files.len());
        std::fs::write(at("memory.max"), "67108864\n").unwrap();
        std::fs::write(at("cpuset.cpus"), "0\n").unwrap();
        let untouched = std::fs::metadata(at("pids.max"))
            .unwrap()
            .modified()
            .unwrap();
        settings.put_back().unwrap();
        for (name, text) in files {
            let now = std::fs::read_to_string(at(name)).unwrap();
            assert_eq!(now.trim(), text.trim(), "{name}");
        }
        let after = std::fs::metadata(at("pids.max")).unwrap().modified();
        assert_eq!(after.unwrap(), untouched);
        // There is neither in version 2.
        let both = Resources {
            kernel_memory: Some(1 << 20),
            kernel_tcp_memory: Some(1 << 20),
            ..Resources::default()
        };
        let none = [Unenforced::KernelMemory, Unenforced::KernelTcpMemory];
        assert_eq!(settings.unenforced(&both), none);
        settings.set_tcp(Some(1)).unwrap();
        assert!(!at(TCP).exists());
    }

    #[test]
    fn a_runtime_is_asked_for_both_halves_of_a_limit_and_for_none_that_there_is_not() {
        let dir = scratch("settings-both");
        let web = dir.join("web");
        std::fs::create_dir(&web).unwrap();
        let cgroups = cgroups(&dir, "cgroup2", "");
        let asked = |there: &str, cpu_quota, cpu_period| {
            std::fs::write(web.join("cpu.max"), there).unwrap();
            let asked = Settings::of(&cgroups).unwrap().complete(&Resources {
                cpu_quota,
                cpu_period,
                kernel_memory: Some(1 << 20),
                kernel_tcp_memory: Some(1 << 20),
                ..Resources::default()
            });
            assert_eq!((asked.kernel_memory, asked.kernel_tcp_memory), (None, None));
            (asked.cpu_quota, asked.cpu_period)
        };
        let there = "20000 50000\n";
        assert_eq!(asked(there, Some(9000), None), (Some(9000), Some(50_000)));
        assert_eq!(asked(there, Some(-1), Some(0)), (Some(-1), Some(50_000)));
        assert_eq!(asked(there, None, Some(9000)), (Some(20_000), Some(9000)));
        assert_eq!(
            asked(there, Some(5000), Some(9000)),
            (Some(5000), Some(9000))
        );
        assert_eq!(asked(there, None, None), (None, None));
        let unlimited = "max 100000\n";
        assert_eq!(asked(unlimited, None, Some(9000)), (Some(-1), Some(9000)));
    }

    #[test]
    fn a_limit_that_the_kernel_does_not_heed_is_told_from_one_that_it_does() {
        let dir = scratch("settings-v1");
        let web = dir.join("web");
        std::fs::create_dir(&web).unwrap();
        for name in [KERNEL, TCP] {
            std::fs::write(web.join(name), "9223372036854771712\n").unwrap();
        }
        let settings = Settings::of(&cgroups(&dir, "cgroup", "memory")).unwrap();
        let asked = |kernel, tcp| {
            settings.unenforced(&Resources {
                kernel_memory: kernel,
                kernel_tcp_memory: tcp,
                ..Resources::default()
            })
        };
        settings.set_tcp(Some(1 << 20)).unwrap();
        assert_eq!(
            asked(Some(1 << 20), Some(1 << 20)),
            [Unenforced::KernelMemory]
        );
        assert_eq!(asked(Some(-1), Some((1 << 20) + 5)), []);
        assert_eq!(asked(None, Some(0)), []);
    }

    #[test]
    fn what_cannot_be_put_back_is_said() {
        let dir = scratch("settings-lost");
        let web = dir.join("web");
        std::fs::create_dir(&web).unwrap();
        std::fs::write(web.join("pids.max"), "20\n").unwrap();
        let settings = Settings::of(&cgroups(&dir, "cgroup2", "")).unwrap();
        std::fs::remove_file(web.join("pids.max")).unwrap();
        std::fs::create_dir(web.join("pids.max")).unwrap();
        let error = settings.put_back().unwrap_err().to_string();
        assert!(error.contains("pids.max: is a directory"), "{error}");
    }
}
