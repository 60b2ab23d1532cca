//! What `holdfast stats` and the library count is what runc counts, read without it, and what runc does not count.

use std::collections::BTreeMap;

use holdfast::{ContainerId, Stats};
use holdfast_tests::command::show;
use holdfast_tests::worker::limited;
use holdfast_tests::{Sandbox, cgroup};
use serde_json::{Value, json};

fn ours(sandbox: &Sandbox, id: &str) -> Value {
    let line = sandbox.run_ok(["stats", "-f", "json", id]);
    assert_eq!(line.matches('\n').count(), 1, "{line}");
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&event["type"], &event["id"]),
        (&json!("stats"), &json!(id))
    );
    event["data"].clone()
}

fn runcs(sandbox: &Sandbox, id: &str) -> Value {
    let output = sandbox.output_of(sandbox.runc(["events", "--stats", id]));
    assert!(output.status.success(), "{}", show(&output));
    let event: Value = serde_json::from_slice(&output.stdout).unwrap();
    event["data"].clone()
}

/// Every number by its path. What is zero is left out, as runc does.
fn numbers(value: &Value, path: &str, found: &mut BTreeMap<String, u64>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                numbers(value, &format!("{path}/{key}"), found);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                numbers(value, &format!("{path}/{index}"), found);
            }
        }
        Value::Number(number) if number.as_u64() != Some(0) => {
            found.extend(number.as_u64().map(|number| (path.to_owned(), number)));
        }
        _ => {}
    }
}

/// Numbers that there are in version 1 alone.
const V1_ONLY: &[&str] = &[
    "/memory/usage/max",
    "/memory/usage/failcnt",
    "/memory/kernel/usage",
];

/// Numbers of ours that runc does not show of version 2 (1.1; later ones show the peaks).
const UNIFIED_ONLY_OURS: &[&str] = &[
    "/memory/usage/max",
    "/memory/usage/failcnt",
    "/memory/swap/max",
    "/memory/swap/failcnt",
    "/memory/kernel/usage",
    "/memory/kernel/limit",
];

/// What both count: settings, and what only one of them tells, left out.
fn counted(mut data: Value) -> BTreeMap<String, u64> {
    if cgroup::is_unified() {
        // runc shows no discards of version 2.
        for table in data["blkio"].as_object_mut().into_iter().flatten() {
            let entries = table.1.as_array_mut().into_iter();
            entries.for_each(|entries| entries.retain(|entry| entry["op"] != "Discard"));
        }
    }
    let mut found = BTreeMap::new();
    numbers(&data, "", &mut found);
    found.retain(|path, _| {
        let only_one = ["/cpuset/", "/intel_rdt/", "/network_interfaces/"];
        !only_one.iter().any(|part| path.starts_with(part)) && !path.contains("/psi/")
    });
    found
}

#[test]
fn what_runc_counts_is_what_we_count() {
    let sandbox = Sandbox::new("stats-runc");
    let (id, _gate) = sandbox.worker("quiet");
    // It does nothing any more; the kernel may still write back and reclaim for it, and then it is looked at again.
    let same = sandbox.wait_for("two samples alike", || {
        let before = counted(ours(&sandbox, &id));
        let runcs = counted(runcs(&sandbox, &id));
        let after = counted(ours(&sandbox, &id));
        (before == after).then_some((before, runcs))
    });
    let (ours, runcs) = same;
    let mut shared = ours.clone();
    if cgroup::is_unified() {
        // What version 2 tells and runc does not show.
        shared.retain(|path, _| !UNIFIED_ONLY_OURS.contains(&path.as_str()));
    }
    assert_eq!(shared, runcs);
    // So that the two do not agree on nothing.
    let (shmem, more) = match cgroup::is_unified() {
        true => ("/memory/raw/shmem", &[][..]),
        false => ("/memory/raw/total_shmem", V1_ONLY),
    };
    let both = [
        "/cpu/usage/total",
        "/cpu/usage/user",
        "/cpu/throttling/throttledPeriods",
        "/cpu/throttling/throttledTime",
        "/memory/usage/usage",
        "/memory/swap/usage",
        "/memory/cache",
        "/pids/current",
    ];
    for path in both.iter().chain(more) {
        assert!(runcs.contains_key(*path), "{path} of {runcs:#?}");
    }
    let on_one = |path: &String| path.starts_with("/cpu/usage/percpu/");
    assert_eq!(
        runcs.keys().any(on_one),
        !cgroup::is_unified(),
        "{runcs:#?}"
    );
    assert_eq!(ours["/memory/usage/limit"], 16 << 20);
    assert_eq!(ours["/pids/limit"], 50);
    // It holds 3 MiB, of which older kernels may not have counted the last few pages yet.
    assert!(ours[shmem] >= 2 << 20, "{}", ours[shmem]);
}

#[test]
fn what_grows_lies_between_two_samples_of_ours() {
    let sandbox = Sandbox::new("stats-busy");
    let id = sandbox.id("busy");
    let bundle = limited(sandbox.sh("while :; do true; cat /proc/self/stat > /dev/null; done"));
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let before = ours(&sandbox, &id);
    let between = runcs(&sandbox, &id);
    let after = ours(&sandbox, &id);
    let both = [
        "/cpu/usage/total",
        "/cpu/usage/kernel",
        "/cpu/usage/user",
        "/cpu/throttling/periods",
        "/cpu/throttling/throttledPeriods",
        "/cpu/throttling/throttledTime",
    ];
    let more: &[&str] = match cgroup::is_unified() {
        true => &["/memory/raw/pgfault"],
        false => &[
            "/cpu/usage/percpu/0",
            "/cpu/usage/percpu/1",
            "/cpu/usage/percpu_kernel/0",
            "/cpu/usage/percpu_user/1",
            "/memory/usage/max",
            "/memory/raw/total_pgfault",
            "/memory/raw/total_pgpgin",
        ],
    };
    for path in both.iter().chain(more) {
        let at = |data: &Value| data.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        let (low, middle, high) = (at(&before), at(&between), at(&after));
        assert!(
            low <= middle && middle <= high,
            "{path}: {low}, {middle}, {high}"
        );
    }
    // It always has work, but not always a processor.
    let total = |stats: &Value| stats["cpu"]["usage"]["total"].as_u64();
    sandbox.wait_until("more use of a processor", || {
        total(&ours(&sandbox, &id)) > total(&before)
    });
}

#[test]
fn interfaces_are_those_of_the_containers_own_namespace() {
    let sandbox = Sandbox::new("stats-net");
    let (id, _gate) = sandbox.worker("net");
    let inside = sandbox.run_ok(["exec", &id, "cat", "/proc/net/dev"]);
    let lo = inside
        .lines()
        .find_map(|line| line.trim().strip_prefix("lo:"))
        .unwrap();
    let lo: Vec<u64> = lo
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    let stats = ours(&sandbox, &id);
    let found = &stats["network_interfaces"][0];
    assert_eq!(found["Name"], "lo");
    assert!(lo[0] > 0, "{inside}");
    assert_eq!(
        (&found["RxBytes"], &found["RxPackets"]),
        (&json!(lo[0]), &json!(lo[1]))
    );
    assert_eq!(
        (&found["TxBytes"], &found["TxPackets"]),
        (&json!(lo[8]), &json!(lo[9]))
    );

    let shared = sandbox.id("hostnet");
    let bundle = sandbox.bundle(["sleep", "1000"]).edit(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "network");
    });
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &shared]);
    let stats = ours(&sandbox, &shared);
    assert!(stats.get("network_interfaces").is_none(), "{stats}");
    assert!(stats.get("memory").is_some(), "{stats}");
}

#[test]
fn pressure_is_the_containers_own() {
    let sandbox = Sandbox::new("stats-psi");
    let id = sandbox.id("psi");
    let bundle = limited(sandbox.sh("while :; do :; done"));
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    // It was throttled: for that long, all of it waited for a processor. The whole machine did not. It may be throttled at this
    // very moment; for how long is counted when that is over.
    let mut waited = 0;
    sandbox.wait_until("a container that was throttled", || {
        let stats = ours(&sandbox, &id);
        let throttled = &stats["cpu"]["throttling"]["throttledTime"];
        waited = stats["cpu"]["psi"]["some"]["total"].as_u64().unwrap();
        throttled.as_u64().unwrap() > 0 && waited > 0
    });
    let own = match cgroup::is_unified() {
        true => sandbox.cgroup(&id, "cpu"),
        // Beside version 1, it is version 2 that knows.
        false => format!("/sys/fs/cgroup/unified/{id}").into(),
    };
    let own = own.join("cpu.pressure");
    let pressure = std::fs::read_to_string(&own);
    let pressure = pressure.unwrap_or_else(|e| panic!("{}: {e}", own.display()));
    let total = pressure.lines().next().unwrap().rsplit_once('=').unwrap().1;
    assert!(waited <= total.parse().unwrap(), "{pressure}");
}

#[test]
fn the_library_reads_the_same() {
    let sandbox = Sandbox::new("stats-lib");
    let (id, _gate) = sandbox.worker("lib");
    let container = sandbox
        .driver()
        .load(&ContainerId::new(id.as_str()).unwrap())
        .unwrap();
    let stats = container.stats().unwrap();
    let memory = stats.memory.as_ref().unwrap();
    assert_eq!(memory.usage.limited(), Some(16 << 20));
    assert_eq!(memory.swap.unwrap().limited(), None);
    assert!(memory.working_set() <= memory.usage.usage);
    assert_eq!(stats.pids.unwrap().limit, Some(50));
    let printed: Stats = serde_json::from_value(ours(&sandbox, &id)).unwrap();
    let quota = |stats: &Stats| {
        stats
            .cpu
            .as_ref()
            .unwrap()
            .throttling
            .unwrap()
            .throttled_periods
    };
    assert!(quota(&stats) <= quota(&printed));
    assert!(container.uptime().unwrap().unwrap().as_secs() < 600);
}
