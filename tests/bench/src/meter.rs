//! What a group of processes costs, by the kernel's own account: a cgroup around whoever launches, with the containers' cgroups below
//! it. It counts what `/proc` does not show (kernel memory, pages of files in memory), and nobody else on the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use holdfast_tests::Proc;
use nix::unistd::getpid;

/// Where cgroups are.
const TOP: &str = "/sys/fs/cgroup";
/// Bytes of a page, on the machines that this is for.
const PAGE: u64 = 4096;
/// How long a kernel may look for what can be had back, each time.
const RECLAIM_SECONDS: &str = "2";
/// How many times it is asked, at most.
const MOST_RECLAIMS: u32 = 8;
/// Less than this is nothing, with what two hundred containers take.
const SETTLED_BYTES: f64 = 65_536.0;

/// A cgroup, with a child that this process is in. It is removed by who keeps the place, when this process is no more.
pub struct Meter {
    /// Below the top of each hierarchy.
    name: String,
    /// The hierarchies: memory and processor time apart (version 1), or one.
    dirs: Vec<PathBuf>,
    unified: bool,
}

impl Meter {
    /// Makes the cgroup and enters its child.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn enter(name: &str) -> Self {
        let unified = !Path::new(TOP).join("memory").exists();
        let hierarchies: &[&str] = if unified {
            &[""]
        } else {
            &["memory", "cpuacct"]
        };
        let mut meter = Self {
            name: name.to_owned(),
            dirs: Vec::new(),
            unified,
        };
        for hierarchy in hierarchies {
            let top = Path::new(TOP).join(hierarchy);
            let dir = top.join(name);
            fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("make {}: {e}", dir.display()));
            if unified {
                for dir in [&top, &dir] {
                    write(&dir.join("cgroup.subtree_control"), "+memory +cpu");
                }
            }
            fs::create_dir_all(dir.join("launcher")).expect("make a cgroup's child");
            write(&dir.join("launcher/cgroup.procs"), &getpid().to_string());
            meter.dirs.push(dir);
        }
        meter
    }

    /// `linux.cgroupsPath` of a container that is to be counted.
    pub fn path_for(&self, id: &str) -> String {
        format!("/{}/{id}", self.name)
    }

    /// Bytes that are charged to the group, once everything that can be had back has been taken back. What files that are on a disk have in
    /// memory is left out: a program's is charged to whoever ran it first, and is there once, for however many.
    pub fn memory(&self) -> f64 {
        let mut before = self.charged();
        for _ in 0..MOST_RECLAIMS {
            self.reclaim();
            let now = self.charged();
            // It also settles what each processor has in hand.
            if before - now < SETTLED_BYTES {
                return now;
            }
            before = now;
        }
        before
    }

    /// Takes back what can be had back. Best effort: what cannot is what is asked for.
    fn reclaim(&self) {
        let reclaim = if self.unified {
            "echo 1G >memory.reclaim"
        } else {
            "echo 1 >memory.force_empty"
        };
        // A kernel may find a little more for ever, until it is killed: whoever keeps the place has blocked the signals that could be.
        let mut bounded = Command::new("timeout");
        bounded.args(["--signal=KILL", RECLAIM_SECONDS, "sh", "-c", reclaim]);
        let _ = bounded
            .current_dir(&self.dirs[0])
            .stderr(Stdio::null())
            .status();
    }

    fn charged(&self) -> f64 {
        let dir = &self.dirs[0];
        let (usage, files) = if self.unified {
            ("memory.current", ["active_file ", "inactive_file "])
        } else {
            (
                "memory.usage_in_bytes",
                ["total_active_file ", "total_inactive_file "],
            )
        };
        let stat = fs::read_to_string(dir.join("memory.stat")).expect("read memory.stat");
        let of_files = stat.lines().filter_map(|line| {
            let bytes = files.iter().find_map(|name| line.strip_prefix(name))?;
            bytes.parse::<f64>().ok()
        });
        number(&dir.join(usage)) - of_files.sum::<f64>()
    }

    /// Processor time that the group has used.
    pub fn cpu(&self) -> Duration {
        if self.unified {
            let text = fs::read_to_string(self.dirs[0].join("cpu.stat")).expect("read cpu.stat");
            let micros = text
                .lines()
                .find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok());
            return Duration::from_micros(micros.expect("cpu.stat has usage_usec"));
        }
        let text = fs::read_to_string(self.dirs[1].join("cpuacct.usage")).expect("read cpuacct");
        Duration::from_nanos(text.trim().parse().expect("cpuacct.usage is a number"))
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
}

fn number(path: &Path) -> f64 {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
    text.trim().parse().expect("a number")
}

/// What the whole machine has left, in bytes (`MemAvailable`, proc_meminfo(5)): with everything in it, everybody else's doing too. What each
/// processor keeps in hand (`count` of a pageset, proc_zoneinfo(5)) is free as well, and counted nowhere; it goes up and down by tens
/// of megabytes with what was launched and ended just before.
pub fn available() -> f64 {
    let text = fs::read_to_string("/proc/meminfo").expect("read /proc/meminfo");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    let zones = fs::read_to_string("/proc/zoneinfo").expect("read /proc/zoneinfo");
    let in_hand: u64 = zones
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("count:")?
                .trim()
                .parse::<u64>()
                .ok()
        })
        .sum();
    kib.expect("MemAvailable in /proc/meminfo") * 1024.0 + count_of(in_hand * PAGE)
}

/// Switches and processor time of all threads of some processes so far.
pub fn activity(processes: &[Proc]) -> (f64, f64) {
    let mut sum = (0.0, 0.0);
    for process in processes {
        let tasks = format!("/proc/{}/task", process.pid());
        for task in fs::read_dir(&tasks).expect("look at its threads").flatten() {
            let text = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let switches = text("status");
            let switches = switches.lines().filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.ends_with("voluntary_ctxt_switches")
                    .then(|| value.trim().parse::<u64>().ok())?
            });
            sum.0 += count_of(switches.sum());
            let ns = text("schedstat");
            let ns = ns.split(' ').next().and_then(|ns| ns.parse().ok());
            sum.1 += Duration::from_nanos(ns.unwrap_or_default()).as_secs_f64();
        }
    }
    sum
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub fn count_of(count: u64) -> f64 {
    count as f64
}
