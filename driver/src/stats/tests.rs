//! Trees of files as kernels make them, in each version and in both at once: what is read from them, and what is not there.

use std::fmt::Write;
use std::path::Path;

use super::*;
use crate::testing::{Scratch, scratch};

/// A tree below a directory that stands for `/sys/fs/cgroup`.
struct Tree(Scratch);

impl Tree {
    fn new(name: &str) -> Self {
        Self(scratch(&format!("stats-{name}")))
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// What a container has whose process is in these cgroups.
    fn stats(&self, memberships: &str, mounts: &[(&str, &str)]) -> Result<Stats> {
        let mut text = String::new();
        for (point, controller) in mounts {
            let point = self.0.join(point);
            let point = point.display();
            let kind = if controller.is_empty() {
                "cgroup2"
            } else {
                "cgroup"
            };
            writeln!(text, "31 23 0:28 / {point} rw - {kind} x rw,{controller}").unwrap();
        }
        Stats::of_cgroups(&Cgroups::find(memberships, &text))
    }

    fn unified(&self) -> Result<Stats> {
        self.stats("0::/web\n", &[("", "")])
    }

    fn hybrid(&self) -> Result<Stats> {
        let controllers = ["cpu", "cpuacct", "memory", "blkio", "pids", "hugetlb"];
        let mut memberships = String::from("0::/web\n");
        let mut mounts = vec![("unified", "")];
        for controller in controllers {
            writeln!(memberships, "7:{controller}:/web").unwrap();
            mounts.push((controller, controller));
        }
        self.stats(&memberships, &mounts)
    }
}

const PRESSURE: &str = "some avg10=1.50 avg60=0.25 avg300=0.00 total=58530
full avg10=0.50 avg60=0.00 avg300=0.00 total=50679\n";

fn entry(op: &str, value: u64) -> BlkioEntry {
    BlkioEntry {
        major: 8,
        minor: 16,
        op: op.to_owned(),
        value,
    }
}

#[test]
fn version_2_is_read() {
    let tree = Tree::new("v2")
        .file("web/cpu.stat", "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\nnr_periods 9\nnr_throttled 4\nthrottled_usec 70\nnr_bursts 0\n")
        .file("web/cpu.pressure", PRESSURE)
        .file("web/memory.current", "7471104\n")
        .file("web/memory.peak", "8785920\n")
        .file("web/memory.max", "67108864\n")
        .file("web/memory.events", "low 0\nhigh 0\nmax 17\noom 1\noom_kill 1\n")
        .file("web/memory.swap.current", "4096\n")
        .file("web/memory.swap.peak", "8192\n")
        .file("web/memory.swap.max", "max\n")
        .file("web/memory.swap.events", "high 0\nmax 3\nfail 0\n")
        .file("web/memory.stat", "anon 49152\nfile 7163904\nkernel 258048\ninactive_file 71104\n")
        .file("web/memory.pressure", PRESSURE)
        .file("web/pids.current", "3\n")
        .file("web/pids.max", "20\n")
        .file("web/io.stat", "8:16 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=512 dios=1 cost.usage=12\n")
        .file("web/io.pressure", PRESSURE)
        .file("web/hugetlb.2MB.current", "2097152\n")
        .file("web/hugetlb.2MB.max", "max\n")
        .file("web/hugetlb.2MB.events", "max 5\n")
        .file("web/hugetlb.2MB.rsvd.current", "0\n");
    let stats = tree.unified().unwrap();

    let cpu = stats.cpu.unwrap();
    let usage = CpuUsage {
        total: 5_000_000,
        kernel: 2_000_000,
        user: 3_000_000,
        ..CpuUsage::default()
    };
    assert_eq!(cpu.usage, usage);
    let throttling = cpu.throttling.unwrap();
    assert_eq!((throttling.periods, throttling.throttled_periods), (9, 4));
    assert_eq!(throttling.throttled_time, 70_000);
    let psi = cpu.psi.unwrap();
    assert_eq!(
        (psi.some.avg10, psi.some.avg60, psi.some.total),
        (1.5, 0.25, 58530)
    );
    assert_eq!(psi.full.unwrap().total, 50679);

    let memory = stats.memory.unwrap();
    let usage = MemoryEntry {
        limit: 64 << 20,
        usage: 7_471_104,
        max: Some(8_785_920),
        failcnt: Some(17),
    };
    assert_eq!(memory.usage, usage);
    assert_eq!(memory.usage.limited(), Some(64 << 20));
    let swap = memory.swap.unwrap();
    assert_eq!((swap.usage, swap.limited()), (7_471_104 + 4096, None));
    assert_eq!(swap.failcnt, Some(3));
    assert_eq!(memory.cache, 7_163_904);
    assert_eq!(memory.working_set(), 7_400_000);
    assert_eq!(memory.kernel.unwrap().usage, 258_048);
    assert_eq!(memory.raw["anon"], 49152);
    assert!(memory.psi.is_some());

    let pids = Pids {
        current: 3,
        limit: Some(20),
    };
    assert_eq!(stats.pids, Some(pids));
    let blkio = stats.blkio.unwrap();
    assert_eq!(
        blkio.io_service_bytes_recursive,
        [
            entry("Read", 4096),
            entry("Write", 8192),
            entry("Discard", 512)
        ]
    );
    assert_eq!(
        blkio.io_serviced_recursive,
        [entry("Read", 1), entry("Write", 2), entry("Discard", 1)]
    );
    assert_eq!((blkio.bytes_read(), blkio.bytes_written()), (4096, 8192));
    assert!(blkio.psi.is_some());
    let huge = Hugetlb {
        usage: 2 << 20,
        max: None,
        failcnt: 5,
    };
    assert_eq!(stats.hugetlb, BTreeMap::from([("2MB".to_owned(), huge)]));
}

#[test]
fn both_limits_of_version_2_add_up_as_in_version_1() {
    let tree = Tree::new("v2-swap")
        .file("web/memory.current", "100\n")
        .file("web/memory.max", "1000\n")
        .file("web/memory.swap.current", "10\n")
        .file("web/memory.swap.max", "500\n");
    let memory = tree.unified().unwrap().memory.unwrap();
    let swap = memory.swap.unwrap();
    assert_eq!((swap.usage, swap.limited()), (110, Some(1500)));
    // Before Linux 5.19 and 5.18.
    assert_eq!((memory.usage.max, memory.usage.failcnt), (None, None));
    assert_eq!(memory.kernel, None);
}

#[test]
fn what_is_not_delegated_in_version_2_is_not_there() {
    // The core's part of cpu.stat is in every cgroup.
    let tree =
        Tree::new("v2-bare").file("web/cpu.stat", "usage_usec 5\nuser_usec 3\nsystem_usec 2\n");
    let stats = tree.unified().unwrap();
    let cpu = stats.cpu.clone().unwrap();
    assert_eq!(
        (cpu.usage.total, cpu.throttling, cpu.psi),
        (5000, None, None)
    );
    let rest = Stats { cpu: None, ..stats };
    assert_eq!(rest, Stats::default());
    assert_eq!(serde_json::to_string(&rest).unwrap(), r#"{"hugetlb":{}}"#);
}

fn hybrid(name: &str) -> Tree {
    let tree = Tree::new(name)
        .file("cpuacct/web/cpuacct.usage", "71702792\n")
        .file("cpuacct/web/cpuacct.usage_percpu", "786188 70916604 \n")
        .file(
            "cpuacct/web/cpuacct.usage_all",
            "cpu user system\n0 0 7\n1 67579068 12000000\n",
        )
        .file("cpuacct/web/cpuacct.stat", "user 6\nsystem 1\n")
        .file(
            "cpu/web/cpu.stat",
            "nr_periods 3\nnr_throttled 2\nthrottled_time 41\nnr_bursts 0\nburst_time 0\n",
        )
        .file("unified/web/cpu.pressure", PRESSURE)
        .file("unified/web/memory.pressure", PRESSURE)
        .file("unified/web/io.pressure", PRESSURE)
        // Of the hierarchy that does not count: to be left alone.
        .file("unified/web/cpu.stat", "usage_usec 1\n")
        .file("pids/web/pids.current", "1\n")
        .file("pids/web/pids.max", "max\n")
        .file("hugetlb/web/hugetlb.1GB.usage_in_bytes", "1073741824\n")
        .file("hugetlb/web/hugetlb.1GB.max_usage_in_bytes", "2147483648\n")
        .file("hugetlb/web/hugetlb.1GB.failcnt", "2\n")
        .file("hugetlb/web/hugetlb.1GB.rsvd.usage_in_bytes", "0\n")
        .file(
            "memory/web/memory.stat",
            "cache 7163904\ninactive_file 1\ntotal_inactive_file 71104\n",
        );
    ["memory", "memory.memsw", "memory.kmem", "memory.kmem.tcp"]
        .iter()
        .enumerate()
        .fold(tree, |tree, (n, of)| {
            let file = |what: &str| format!("memory/web/{of}.{what}");
            tree.file(&file("usage_in_bytes"), &format!("{}\n", 7_471_104 + n))
                .file(&file("max_usage_in_bytes"), "8785920\n")
                .file(&file("limit_in_bytes"), "9223372036854771712\n")
                .file(&file("failcnt"), "3\n")
        })
}

#[test]
fn version_1_is_read_and_pressure_beside_it() {
    let tree = hybrid("hybrid")
        .file(
            "blkio/web/blkio.throttle.io_serviced_recursive",
            "8:16 Read 5\n8:16 Total 5\nTotal 5\n",
        )
        .file(
            "blkio/web/blkio.throttle.io_service_bytes_recursive",
            "8:16 Read 20480\n8:16 Total 20480\nTotal 20480\n",
        );
    let stats = tree.hybrid().unwrap();
    let cpu = stats.cpu.unwrap();
    let usage = CpuUsage {
        total: 71_702_792,
        percpu: vec![786_188, 70_916_604],
        percpu_kernel: vec![7, 12_000_000],
        percpu_user: vec![0, 67_579_068],
        kernel: 10_000_000,
        user: 60_000_000,
    };
    assert_eq!(cpu.usage, usage);
    let throttling = Throttling {
        periods: 3,
        throttled_periods: 2,
        throttled_time: 41,
    };
    assert_eq!(cpu.throttling, Some(throttling));
    assert!(cpu.psi.is_some());
    let memory = stats.memory.unwrap();
    let entry_of = |n: u64| MemoryEntry {
        limit: 9_223_372_036_854_771_712,
        usage: 7_471_104 + n,
        max: Some(8_785_920),
        failcnt: Some(3),
    };
    assert_eq!(memory.usage, entry_of(0));
    assert_eq!(memory.usage.limited(), None);
    assert_eq!(memory.swap, Some(entry_of(1)));
    assert_eq!(memory.kernel, Some(entry_of(2)));
    assert_eq!(memory.kernel_tcp, Some(entry_of(3)));
    assert_eq!((memory.cache, memory.working_set()), (7_163_904, 7_400_000));
    assert!(memory.psi.is_some());
    let pids = Pids {
        current: 1,
        limit: None,
    };
    assert_eq!(stats.pids, Some(pids));
    let blkio = stats.blkio.unwrap();
    assert_eq!(
        blkio.io_service_bytes_recursive,
        [entry("Read", 20480), entry("Total", 20480)]
    );
    assert!(blkio.psi.is_some() && blkio.sectors_recursive.is_empty());
    let huge = Hugetlb {
        usage: 1 << 30,
        max: Some(2 << 30),
        failcnt: 2,
    };
    assert_eq!(stats.hugetlb, BTreeMap::from([("1GB".to_owned(), huge)]));
}

/// Which files of `blkio` count, as runc chooses them.
#[test]
fn the_scheduler_that_counts_is_the_one_that_is_read() {
    let read = |name: &str, files: &[(&str, &str)]| {
        let tree = files.iter().fold(hybrid(name), |tree, (file, text)| {
            tree.file(&format!("blkio/web/blkio.{file}"), text)
        });
        tree.hybrid().unwrap().blkio.unwrap()
    };
    let bfq = read(
        "bfq",
        &[
            ("bfq.io_serviced_recursive", "8:16 Read 1\nTotal 1\n"),
            ("bfq.io_service_bytes_recursive", "8:16 Read 10\nTotal 10\n"),
            ("throttle.io_serviced_recursive", "8:16 Read 2\nTotal 2\n"),
        ],
    );
    assert_eq!(bfq.io_serviced_recursive, [entry("Read", 1)]);
    assert_eq!(bfq.io_service_bytes_recursive, [entry("Read", 10)]);
    let idle_bfq = read(
        "idle-bfq",
        &[
            ("bfq.io_serviced_recursive", "Total 0\n"),
            ("throttle.io_serviced_recursive", "8:16 Read 2\nTotal 2\n"),
            (
                "throttle.io_service_bytes_recursive",
                "8:16 Read 20\nTotal 20\n",
            ),
        ],
    );
    assert_eq!(idle_bfq.io_serviced_recursive, [entry("Read", 2)]);
    let cfq = read(
        "cfq",
        &[
            ("sectors_recursive", "8:16 40\n"),
            ("io_service_time_recursive", "8:16 Read 4\nTotal 4\n"),
            ("io_wait_time_recursive", "8:16 Read 5\nTotal 5\n"),
            ("io_merged_recursive", "8:16 Read 6\nTotal 6\n"),
            ("io_queued_recursive", "8:16 Read 7\nTotal 7\n"),
            ("time_recursive", "8:16 8\n"),
            ("io_serviced_recursive", "8:16 Read 9\nTotal 9\n"),
            ("io_service_bytes_recursive", "8:16 Read 10\nTotal 10\n"),
        ],
    );
    let wanted = Blkio {
        sectors_recursive: vec![entry("", 40)],
        io_service_time_recursive: vec![entry("Read", 4)],
        io_wait_time_recursive: vec![entry("Read", 5)],
        io_merged_recursive: vec![entry("Read", 6)],
        io_queued_recursive: vec![entry("Read", 7)],
        io_time_recursive: vec![entry("", 8)],
        io_serviced_recursive: vec![entry("Read", 9)],
        io_service_bytes_recursive: vec![entry("Read", 10)],
        psi: cfq.psi,
    };
    assert_eq!(cfq, wanted);
}

#[test]
fn a_file_that_says_something_else_is_an_error_and_no_zero() {
    for (file, text) in [
        ("cpuacct/web/cpuacct.usage", "much\n"),
        ("cpuacct/web/cpuacct.usage_percpu", "1 x\n"),
        ("cpuacct/web/cpuacct.usage_all", "cpu user system\n0 1\n"),
        ("cpu/web/cpu.stat", "nr_periods\n"),
        ("memory/web/memory.usage_in_bytes", "\n"),
        ("memory/web/memory.stat", "cache -1\n"),
        ("pids/web/pids.max", "none\n"),
        (
            "blkio/web/blkio.throttle.io_serviced_recursive",
            "sda Read 1\n",
        ),
        (
            "blkio/web/blkio.throttle.io_serviced_recursive",
            "8:0 Read 1 2\n",
        ),
        ("unified/web/cpu.pressure", "half avg10=0.00\n"),
        (
            "unified/web/io.pressure",
            "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
        ),
    ] {
        let error = hybrid("malformed").file(file, text).hybrid().unwrap_err();
        let name = Path::new(file).file_name().unwrap().to_str().unwrap();
        let error = error.to_string();
        assert!(
            error.contains(name) && error.contains("cannot understand"),
            "{error}"
        );
    }
    for (file, text) in [
        ("web/io.stat", "8:16 rbytes\n"),
        ("web/io.stat", "8 rbytes=1\n"),
        ("web/memory.max", "-1\n"),
    ] {
        let tree = Tree::new("malformed-v2")
            .file("web/memory.current", "1\n")
            .file(file, text);
        let error = tree.unified().unwrap_err().to_string();
        assert!(error.contains("cannot understand"), "{error}");
    }
}

#[test]
fn a_container_without_cgroups_of_its_own_has_no_stats_of_others() {
    let tree = hybrid("shared");
    let stats = tree.stats("", &[]).unwrap();
    assert_eq!(stats, Stats::default());
}

#[test]
fn json_comes_back_as_it_was() {
    let stats = hybrid("json").hybrid().unwrap();
    let text = serde_json::to_string(&stats).unwrap();
    assert_eq!(serde_json::from_str::<Stats>(&text).unwrap(), stats);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["cpu"]["throttling"]["throttledPeriods"], 2);
    assert_eq!(value["memory"]["kernelTCP"]["failcnt"], 3);
    assert_eq!(value["pids"]["limit"], serde_json::Value::Null);
}
