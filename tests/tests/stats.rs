//! What `holdfast stats` and the library count is what runc counts, read without it, and what runc does not count.

use std::collections::BTreeMap;

use holdfast::{ContainerId, Stats};
use holdfast_tests::Sandbox;
use holdfast_tests::command::show;
use holdfast_tests::worker::limited;
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

/// What both count: settings, and what only one of them tells, left out.
fn counted(data: &Value) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    numbers(data, "", &mut found);
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
        let before = counted(&ours(&sandbox, &id));
        let runcs = counted(&runcs(&sandbox, &id));
        let after = counted(&ours(&sandbox, &id));
        (before == after).then_some((before, runcs))
    });
    let (ours, runcs) = same;
    assert_eq!(ours, runcs);
    // So that the two do not agree on nothing.
    for path in [
        "/cpu/usage/total",
        "/cpu/usage/user",
        "/cpu/throttling/throttledPeriods",
        "/cpu/throttling/throttledTime",
        "/memory/usage/max",
        "/memory/usage/failcnt",
        "/memory/swap/usage",
        "/memory/kernel/usage",
        "/memory/cache",
        "/memory/raw/total_shmem",
        "/pids/current",
    ] {
        assert!(ours.contains_key(path), "{path} of {ours:#?}");
    }
    let on_one = |path: &String| path.starts_with("/cpu/usage/percpu/");
    assert!(ours.keys().any(on_one), "{ours:#?}");
    assert_eq!(ours["/memory/usage/limit"], 16 << 20);
    assert_eq!(ours["/pids/limit"], 50);
    assert!(ours["/memory/raw/total_shmem"] >= 3 << 20);
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
    for path in [
        "/cpu/usage/total",
        "/cpu/usage/kernel",
        "/cpu/usage/user",
        "/cpu/usage/percpu/0",
        "/cpu/usage/percpu/1",
        "/cpu/usage/percpu_kernel/0",
        "/cpu/usage/percpu_user/1",
        "/cpu/throttling/periods",
        "/cpu/throttling/throttledPeriods",
        "/cpu/throttling/throttledTime",
        "/memory/usage/max",
        "/memory/raw/total_pgfault",
        "/memory/raw/total_pgpgin",
    ] {
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
    let own = format!("/sys/fs/cgroup/unified/{id}/cpu.pressure");
    let pressure = std::fs::read_to_string(&own).unwrap_or_else(|e| panic!("{own}: {e}"));
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
