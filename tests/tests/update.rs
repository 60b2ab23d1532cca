//! `holdfast update`: every limit, from flags or a file; what is left out stays, and what is refused changes nothing.

use std::fs;

use holdfast::{ContainerId, Error, Resources, Unenforced};
use holdfast_tests::command::{show, text};
use holdfast_tests::limits::{UNLIMITED, assert_changed};
use holdfast_tests::{FakeRuntime, Sandbox, Snapshot, cgroup};
use serde_json::{Value, json};

/// Flags, and the files that they change.
type Case = (
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
);

/// Each limit of version 1.
const V1: &[Case] = &[
    (
        &["--cpu-rt-period", "500000"],
        &[("cpu.rt_period_us", "500000")],
    ),
    (
        &["--cpu-rt-runtime", "1000"],
        &[("cpu.rt_runtime_us", "1000")],
    ),
    (&["--cpu-share", "512"], &[("cpu.shares", "512")]),
    (
        &["--cpu-period", "50000"],
        &[("cpu.cfs_period_us", "50000")],
    ),
    (&["--cpu-quota", "20000"], &[("cpu.cfs_quota_us", "20000")]),
    (&["--cpu-quota", "-1"], &[("cpu.cfs_quota_us", "-1")]),
    (&["--cpuset-cpus", "1"], &[("cpuset.cpus", "1")]),
    (&["--cpuset-cpus", "0-1"], &[("cpuset.cpus", "0-1")]),
    (&["--blkio-weight", "300"], &[("blkio.bfq.weight", "300")]),
    (
        &["--memory", "64M"],
        &[("memory.limit_in_bytes", "67108864")],
    ),
    (
        &["--memory-swap", "128M"],
        &[("memory.memsw.limit_in_bytes", "134217728")],
    ),
    (
        &["--memory", "96MiB"],
        &[("memory.limit_in_bytes", "100663296")],
    ),
    (
        &["--memory-reservation", "33554432"],
        &[("memory.soft_limit_in_bytes", "33554432")],
    ),
    (
        &["--kernel-memory-tcp", "8m"],
        &[("memory.kmem.tcp.limit_in_bytes", "8388608")],
    ),
    (
        &["--kernel-memory-tcp", "-1"],
        &[("memory.kmem.tcp.limit_in_bytes", UNLIMITED)],
    ),
    (
        &["--memory-swap", "-1"],
        &[("memory.memsw.limit_in_bytes", UNLIMITED)],
    ),
    (
        &["--memory-swap", "1G", "--memory", "1G"],
        &[
            ("memory.memsw.limit_in_bytes", "1073741824"),
            ("memory.limit_in_bytes", "1073741824"),
        ],
    ),
    // Without a limit on memory, none on both can hold.
    (
        &["--memory", "-1"],
        &[
            ("memory.limit_in_bytes", UNLIMITED),
            ("memory.memsw.limit_in_bytes", UNLIMITED),
        ],
    ),
    (&["--pids-limit", "20"], &[("pids.max", "20")]),
    (&["--pids-limit", "-1"], &[("pids.max", "max")]),
    (
        &["--pids-limit", "33", "--cpu-share", "0", "--memory", "0"],
        &[("pids.max", "33")],
    ),
];

/// Each limit of version 2, where processor time and its period are one, memory and swap are two, and nothing is realtime. Weights
/// have another scale, which runtimes convert to.
const UNIFIED: &[Case] = &[
    (&["--cpu-share", "512"], &[("cpu.weight", "20")]),
    (&["--cpu-period", "50000"], &[("cpu.max", "max 50000")]),
    (&["--cpu-quota", "20000"], &[("cpu.max", "20000 50000")]),
    (&["--cpu-quota", "-1"], &[("cpu.max", "max 50000")]),
    (&["--cpuset-cpus", "0"], &[("cpuset.cpus", "0")]),
    (&["--blkio-weight", "300"], &[("io.weight", "default 2930")]),
    (&["--memory", "64M"], &[("memory.max", "67108864")]),
    (
        &["--memory", "96MiB", "--memory-swap", "128M"],
        &[("memory.max", "100663296"), ("memory.swap.max", "33554432")],
    ),
    (
        &["--memory-reservation", "33554432"],
        &[("memory.low", "33554432")],
    ),
    (
        &["--memory-swap", "1G", "--memory", "1G"],
        &[("memory.max", "1073741824"), ("memory.swap.max", "0")],
    ),
    (&["--memory-swap", "-1"], &[("memory.swap.max", "max")]),
    (&["--memory", "-1"], &[("memory.max", "max")]),
    (&["--pids-limit", "20"], &[("pids.max", "20")]),
    (&["--pids-limit", "-1"], &[("pids.max", "max")]),
    (
        &["--pids-limit", "33", "--cpu-share", "0", "--memory", "0"],
        &[("pids.max", "33")],
    ),
];

/// A container that sleeps, with a limit of each kind from its bundle or none at all.
fn sleeper(sandbox: &Sandbox, name: &str, resources: &Value) -> String {
    let id = sandbox.id(name);
    let bundle = sandbox.bundle(["sleep", "1000"]).edit(|config| {
        let linux = config["linux"]["resources"].as_object_mut().unwrap();
        linux.extend(resources.as_object().unwrap().clone());
    });
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    id
}

#[test]
fn every_limit_is_changed_and_the_others_stay() {
    let sandbox = Sandbox::new("update");
    let id = sleeper(&sandbox, "each", &json!({}));
    let cases = if cgroup::is_unified() { UNIFIED } else { V1 };
    for (flags, changes) in cases {
        let before = sandbox.limits(&id);
        let output = sandbox.output([&["update"], *flags, &[&id]].concat());
        assert!(output.status.success(), "{flags:?}: {}", show(&output));
        assert!(
            output.stdout.is_empty() && output.stderr.is_empty(),
            "{}",
            show(&output)
        );
        assert_changed(
            &before,
            &sandbox.limits(&id),
            changes,
            &format!("{flags:?}"),
        );
    }
    // There is one memory node: it can only be set to what it is.
    sandbox.run_ok(["update", "--cpuset-mems", "0", &id]);
    let stats: Value = serde_json::from_str(&sandbox.run_ok(["stats", "-f", "json", &id])).unwrap();
    assert_eq!(stats["data"]["pids"]["limit"], 33);
}

#[test]
fn a_file_changes_what_it_names() {
    let sandbox = Sandbox::new("update-file");
    let id = sleeper(
        &sandbox,
        "file",
        &json!({ "memory": { "limit": 32 << 20 } }),
    );
    let before = sandbox.limits(&id);
    let file = sandbox.path().join("r.json");
    let resources = json!({
        "cpu": { "shares": 256, "quota": 30_000, "cpus": "0", "mems": "" },
        "memory": { "limit": 48 << 20, "kernelTCP": 1 << 20, "swap": 0 },
        "blockIO": { "weight": 500 },
        "pids": { "limit": 44 },
    });
    fs::write(&file, resources.to_string()).unwrap();
    sandbox.run_ok(["update", "-r", file.to_str().unwrap(), &id]);
    let changes: &[_] = match cgroup::is_unified() {
        true => &[
            ("cpu.weight", "10"),
            ("cpu.max", "30000 100000"),
            ("cpuset.cpus", "0"),
            ("memory.max", "50331648"),
            ("io.weight", "default 4950"),
            ("pids.max", "44"),
        ],
        false => &[
            ("cpu.shares", "256"),
            ("cpu.cfs_quota_us", "30000"),
            ("cpuset.cpus", "0"),
            ("memory.limit_in_bytes", "50331648"),
            ("memory.kmem.tcp.limit_in_bytes", "1048576"),
            ("blkio.bfq.weight", "500"),
            ("pids.max", "44"),
        ],
    };
    assert_changed(&before, &sandbox.limits(&id), changes, "a file");

    let before = sandbox.limits(&id);
    let update = sandbox.holdfast(["update", "--resources", "-", &id]);
    let output = sandbox.feed(update, b"{\"pids\": {\"limit\": 45}}\n");
    assert!(output.status.success(), "{}", show(&output));
    assert_changed(
        &before,
        &sandbox.limits(&id),
        &[("pids.max", "45")],
        "stdin",
    );
    // As a containerd 0.2 daemon says that nothing changes.
    let before = sandbox.limits(&id);
    let update = sandbox.holdfast(["update", "-r", "-", &id]);
    let output = sandbox.feed(
        update,
        br#"{"cpu":{"shares":0,"cpus":""},"memory":{"limit":0}}"#,
    );
    assert!(output.status.success(), "{}", show(&output));
    assert_changed(&before, &sandbox.limits(&id), &[], "zeros");
}

#[test]
fn what_is_refused_changes_nothing() {
    let sandbox = Sandbox::new("update-bad");
    // One has limits to go back to, the other has none.
    let given = json!({
        "memory": { "limit": 64 << 20 },
        "cpu": { "quota": 50_000, "period": 100_000, "shares": 512 },
        "pids": { "limit": 50 },
    });
    let ids = [
        sleeper(&sandbox, "limited", &given),
        sleeper(&sandbox, "free", &json!({})),
    ];
    let quota = match cgroup::is_unified() {
        true => "cpu.max",
        false => "cpu.cfs_quota_us",
    };
    // Less than it has already: version 2 kills rather than refuse.
    let less: &[(&[&str], &[&str])] = &[
        (&["--memory", "4096"], &["oci runtime: ", "memory limit"]),
        (
            &[
                "--cpu-share",
                "99",
                "--cpu-quota",
                "60000",
                "--pids-limit",
                "9",
                "--memory",
                "4096",
            ],
            &["oci runtime: ", "memory limit"],
        ),
    ];
    let less = if cgroup::is_unified() { &[] } else { less };
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &["nothing to change"]),
        (&["--cpu-share", "1"], &["cpu shares 1", "2 to 262144"]),
        (&["--cpu-share", "-5"], &["-5"]),
        (&["--cpu-period", "10"], &["cpu period 10"]),
        (&["--cpu-quota", "5"], &["cpu quota 5"]),
        (&["--blkio-weight", "5"], &["blkio weight 5"]),
        (&["--blkio-weight", "65546"], &["65546"]),
        (&["--memory", "lots"], &["lots", "64M"]),
        (&["--memory", "-2"], &["-2"]),
        (
            &["--memory", "64M", "--memory-swap", "32M"],
            &["less than memory"],
        ),
        (&["--pids-limit", "-7"], &["pids limit -7"]),
        (&["--pids-limit", "4194305"], &["4194305"]),
        (&["--cpuset-cpus", "zero"], &["cpuset cpus zero"]),
        (&["--frobnicate"], &["--frobnicate"]),
        (
            &["-r", "/nowhere/r.json"],
            &["/nowhere/r.json", "no such file"],
        ),
        (&["-r", "/"], &["is a directory"]),
        (
            &["-r", "x.json", "--memory", "64M"],
            &["cannot be used with"],
        ),
        // What only the kernel knows: whatever was changed before it refused is put back.
        (
            &["--cpuset-cpus", "4000"],
            &["oci runtime: ", "cpuset.cpus"],
        ),
        (
            &[
                "--memory",
                "48M",
                "--cpu-share",
                "99",
                "--cpuset-cpus",
                "4000",
            ],
            &["oci runtime: ", "cpuset.cpus"],
        ),
        // runc has set the memory by then, and does not take that back.
        (
            &["--memory", "48M", "--cpu-quota", "9000000000000000000"],
            &["oci runtime: ", quota],
        ),
        (
            &[
                "--memory",
                "1G",
                "--memory-swap",
                "2G",
                "--cpu-quota",
                "9000000000000000000",
            ],
            &["oci runtime: ", quota],
        ),
        (
            &[
                "--memory",
                "1G",
                "--memory-swap",
                "2G",
                "--kernel-memory-tcp",
                "1M",
                "--cpuset-mems",
                "77",
            ],
            &["oci runtime: ", "cpuset.mems"],
        ),
    ];
    for id in &ids {
        let before = sandbox.limits(id);
        for (flags, words) in cases.iter().chain(less) {
            sandbox.refused([&["update"], *flags, &[id]].concat(), words);
            assert_changed(&before, &sandbox.limits(id), &[], &format!("{flags:?}"));
        }
        for (json, words) in [
            ("", &["resources -", "line 1"][..]),
            ("{\"cpu\":\n{\"shares\": \"many\"}}", &["line 2 column"]),
            (r#"{"memory": {"limt": 1}}"#, &["`limt`"]),
            (r#"{"devices": []}"#, &["`devices`"]),
            (
                r#"{"pids": {"limit": 7}, "cpu": {"shares": 1}}"#,
                &["cpu shares 1"],
            ),
            ("[1", &["line 1"]),
        ] {
            let update = sandbox.holdfast(["update", "-r", "-", id]);
            let output = sandbox.feed(update, json.as_bytes());
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(125), "{json}: {}", show(&output));
            assert!(
                error.starts_with("holdfast: ") && error.lines().count() == 1,
                "{error}"
            );
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
            assert_changed(&before, &sandbox.limits(id), &[], json);
        }
        // It works all the same.
        sandbox.run_ok(["update", "--pids-limit", "12", id]);
        assert_changed(
            &before,
            &sandbox.limits(id),
            &[("pids.max", "12")],
            "at last",
        );
    }
}

#[test]
fn only_a_container_that_is_there_is_updated() {
    let sandbox = Sandbox::new("update-state");
    let id = sleeper(&sandbox, "stopped", &json!({}));
    sandbox.run_ok(["kill", &id, "KILL"]);
    sandbox.run_ok(["wait", &id]);
    sandbox.wait_until("its shim's end", || {
        holdfast_tests::process::under(&sandbox.process_dir(&id, "init")).is_empty()
    });
    let before = Snapshot::of(&sandbox.root());
    sandbox.refused(["update", "--pids-limit", "5", &id], &[&id, "has exited"]);
    sandbox.refused(
        ["update", "--pids-limit", "5", "nobody"],
        &["nobody", "does not exist"],
    );
    sandbox.refused(["update", "--pids-limit", "5", "a/b"], &["a/b"]);
    before.assert_unchanged("an update that cannot be");
    // One that waits for its start has limits already.
    let created = sandbox.id("created");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    sandbox.run_ok(["create", "-b", bundle.arg(), &created]);
    sandbox.run_ok(["update", "--pids-limit", "6", &created]);
    assert_eq!(sandbox.limits(&created)["pids.max"], "6");
}

#[test]
fn a_limit_that_no_kernel_has_any_more_is_told() {
    let sandbox = Sandbox::new("update-kmem");
    let id = sleeper(&sandbox, "kmem", &json!({}));
    let before = sandbox.limits(&id);
    let flags = ["update", "--kernel-memory", "16M", "--pids-limit", "8", &id];
    let output = sandbox.output(flags);
    assert!(output.status.success(), "{}", show(&output));
    let said = text(&output.stderr);
    assert!(
        said.contains("kernel memory is not limited") && said.lines().count() == 1,
        "{said}"
    );
    assert_changed(
        &before,
        &sandbox.limits(&id),
        &[("pids.max", "8")],
        "kernel memory",
    );
}

#[test]
fn the_library_tells_errors_apart() {
    let sandbox = Sandbox::new("update-lib");
    let id = sleeper(&sandbox, "lib", &json!({}));
    let container = sandbox
        .driver()
        .load(&ContainerId::new(id.as_str()).unwrap())
        .unwrap();
    let of_pids = |limit| Resources {
        pids_limit: Some(limit),
        ..Resources::default()
    };
    assert_eq!(container.update(&of_pids(7)).unwrap(), []);
    assert_eq!(sandbox.limits(&id)["pids.max"], "7");
    let error = container.update(&of_pids(-9)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::BadLimit {
                what: "pids limit",
                ..
            }
        ),
        "{error}"
    );
    let kernel = Resources {
        kernel_memory: Some(1 << 20),
        ..Resources::default()
    };
    assert_eq!(
        container.update(&kernel).unwrap(),
        [Unenforced::KernelMemory]
    );
    let before = sandbox.limits(&id);
    assert_eq!(container.update(&Resources::default()).unwrap(), []);
    assert_changed(&before, &sandbox.limits(&id), &[], "nothing");
    container.kill(9).unwrap();
    container
        .init()
        .unwrap()
        .wait(Some(holdfast_tests::DEADLINE))
        .unwrap();
    let error = container.update(&of_pids(7)).unwrap_err();
    assert!(matches!(error, Error::ContainerExited { .. }), "{error}");
}

/// Each runtime writes every limit that it remembers: one that had read them before another changed one would undo that.
#[test]
fn of_two_updates_at_once_one_waits_for_the_other() {
    let sandbox = Sandbox::new("update-twice");
    let fake = FakeRuntime::script(
        &sandbox,
        r#"
        [ "$VERB" = update ] || delegate "$@"
        mkdir "$FAKE/inside" || { log_error "two at once"; exit 1; }
        wait_for "$FAKE/go"
        real "$@" || exit
        rmdir "$FAKE/inside"
        "#,
    );
    let id = sandbox.id("twice");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let runtime = fake.arg();
    sandbox.run_ok(["--runtime", &runtime, "run", "-d", "-b", bundle.arg(), &id]);
    let one = sandbox.spawn(sandbox.holdfast(["update", "--cpu-share", "300", &id]));
    sandbox.wait_until("the first is inside", || fake.dir().join("inside").exists());
    let other = sandbox.spawn(sandbox.holdfast(["update", "--blkio-weight", "200", &id]));
    let pid = format!(" {} ", other.process().pid());
    sandbox.wait_until("the second waits", || {
        // proc_locks(5): who waits for a lock stands below its holder, after an arrow.
        let locks = fs::read_to_string("/proc/locks").unwrap();
        let waits = |line: &str| line.contains("-> FLOCK") && line.contains(&pid);
        locks.lines().any(waits)
    });
    fake.let_go("go");
    for update in [one, other] {
        let output = update.wait();
        assert!(output.status.success(), "{}", show(&output));
    }
    let now = sandbox.limits(&id);
    match cgroup::is_unified() {
        true => assert_eq!(
            (&*now["cpu.weight"], &*now["io.weight"]),
            ("12", "default 1920")
        ),
        false => assert_eq!(
            (&*now["cpu.shares"], &*now["blkio.bfq.weight"]),
            ("300", "200")
        ),
    }
}
