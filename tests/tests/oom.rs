//! The kernel kills for want of memory: whom, how often and when is on record, whoever was looking, and a kill that was no
//! such kill is not called one.

use std::fs;
use std::path::Path;

use holdfast_tests::command::show;
use holdfast_tests::daemon02::{Daemon02, Stdio02};
use holdfast_tests::matrix::Ended;
use holdfast_tests::{Bundle, Gate, Proc, Sandbox, cgroup, kernel};
use serde_json::{Value, json};

/// What a container of these tests may have, bytes; a shell needs a hundredth of it.
const LIMIT: u64 = 16 << 20;
/// Wants more than that.
const GREED: &str = "dd if=/dev/zero of=/dev/null bs=100M count=1";

fn limited(bundle: Bundle) -> Bundle {
    let mut memory = json!({ "limit": LIMIT });
    let v1 = Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes");
    if cgroup::is_unified() || v1.exists() {
        memory["swap"] = json!(LIMIT);
    }
    bundle.edit(|config| config["linux"]["resources"]["memory"] = memory)
}

/// Whether it is on record that memory was why. Of an end that nobody knows, nobody says so.
fn told(is_known: bool, oom_killed: bool) -> Value {
    match is_known {
        true => json!(oom_killed),
        false => Value::Null,
    }
}

/// The container's event log, line by line, without the one that names it.
fn events(sandbox: &Sandbox, id: &str) -> Vec<Value> {
    let text = fs::read_to_string(sandbox.container_dir(id).join("events.log")).unwrap();
    let lines = text.lines().skip(1);
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// All of them, of a container that has ended; that is on record before it is told.
fn all_events(sandbox: &Sandbox, id: &str) -> Vec<Value> {
    sandbox.wait_for("its end to be told", || {
        let events = events(sandbox, id);
        let last = words(&events).last().copied();
        (last == Some("exit")).then_some(events)
    })
}

fn words(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["state"].as_str().unwrap())
        .collect()
}

fn wait_for_kills(sandbox: &Sandbox, id: &str, kills: u64) {
    sandbox.wait_until("the kernel's kills to be told", || {
        let events = events(sandbox, id);
        let told = events.iter().rev().find(|event| event["state"] == "oom");
        told.is_some_and(|event| event["oomKills"] == kills)
    });
}

#[test]
fn a_container_that_is_killed_for_want_of_memory_says_so() {
    let sandbox = Sandbox::new("oom-init");
    let bundle = limited(sandbox.bundle(GREED.split(' ')));
    let id = sandbox.id("greedy");
    let output = sandbox.output(["run", "--keep", "-b", bundle.arg(), &id]);
    assert_eq!(output.status.code(), Some(137), "{}", show(&output));
    let record = sandbox.exit_json(&id, "init");
    assert_eq!(
        (&record["signal"], &record["oomKilled"]),
        (&json!(9), &json!(true)),
        "{record}"
    );
    let events = all_events(&sandbox, &id);
    assert_eq!(words(&events), ["start-container", "oom", "exit"]);
    assert_eq!(events[1]["oomKills"], 1);
    assert_eq!(
        (&events[2]["exitCode"], &events[2]["oomKilled"]),
        (&json!(137), &json!(true))
    );
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_child_that_is_killed_is_told_and_leaves_the_containers_own_end_its_own() {
    let sandbox = Sandbox::new("oom-child");
    for (end, status, killed) in [
        ("exit 3", Some(3), false),
        // Killed, and not for want of memory.
        ("while :; do sleep 1000; done", None, false),
    ] {
        let gate = sandbox.gate();
        let script = format!("{GREED}; {}; {GREED}; {end}", Gate::WAIT);
        let bundle = limited(sandbox.sh(&script)).bind(gate.dir());
        let id = sandbox.id("parent");
        sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
        wait_for_kills(&sandbox, &id, 1);
        assert!(!sandbox.process_dir(&id, "init").join("exit.json").exists());
        gate.open();
        if status.is_none() {
            wait_for_kills(&sandbox, &id, 2);
            sandbox.run_ok(["kill", &id, "KILL"]);
        }
        let code = status.unwrap_or(137);
        assert_eq!(sandbox.run_ok(["wait", &id]), format!("{code}\n"));
        let record = sandbox.exit_json(&id, "init");
        assert_eq!(record["oomKilled"], killed, "{record}");
        let events = all_events(&sandbox, &id);
        let kills: Vec<&Value> = events
            .iter()
            .filter(|event| event["state"] == "oom")
            .map(|event| &event["oomKills"])
            .collect();
        assert_eq!(kills, [1, 2]);
        sandbox.run_ok(["delete", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn a_container_with_enough_memory_says_that_it_was_not_killed_for_want_of_it() {
    let sandbox = Sandbox::new("oom-not");
    let bundle = limited(sandbox.sh("read line"));
    let id = sandbox.id("modest");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    sandbox.run_ok(["kill", &id, "KILL"]);
    assert_eq!(sandbox.run_ok(["wait", &id]), "137\n");
    assert_eq!(sandbox.exit_json(&id, "init")["oomKilled"], false);
    let events = all_events(&sandbox, &id);
    assert_eq!(words(&events), ["start-container", "exit"]);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn an_execs_end_does_not_speak_of_memory_and_its_containers_log_does() {
    let sandbox = Sandbox::new("oom-exec");
    let bundle = limited(sandbox.bundle(["sleep", "1000"]));
    let id = sandbox.id("host");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let exec = ["exec", "-d", "--exec-id", "greedy", &id];
    sandbox.run_ok(exec.into_iter().chain(GREED.split(' ')));
    assert_eq!(sandbox.run_ok(["wait", &id, "greedy"]), "137\n");
    let record = sandbox.exit_json(&id, "greedy");
    assert_eq!(record["oomKilled"], Value::Null, "{record}");
    wait_for_kills(&sandbox, &id, 1);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_shim_that_was_replaced_or_adopted_the_container_watches_on() {
    let sandbox = Sandbox::new("oom-after");
    let gates = [sandbox.gate(), sandbox.gate()];
    let script = format!("{GREED}; {}; exec {GREED}", Gate::WAIT);
    let ids = ["upgraded", "adopted"].map(|name| sandbox.id(name));
    for (id, gate) in ids.iter().zip(&gates) {
        let bundle = limited(sandbox.sh(&script)).bind(gate.dir());
        sandbox.run_ok(["run", "-d", "-b", bundle.arg(), id]);
        wait_for_kills(&sandbox, id, 1);
    }
    sandbox.run_ok(["upgrade", &ids[0]]);
    sandbox.kill_shim(&sandbox.process_dir(&ids[1], "init"));
    assert!(sandbox.recovered(&ids[1]).starts_with("adopted"));
    gates.iter().for_each(Gate::open);
    assert_eq!(sandbox.ended(&ids[0], "init"), Ended::Signal(9));
    sandbox.assert_adopted_end(&ids[1], "init", &Ended::Signal(9));
    for (id, known) in ids.iter().zip([true, kernel::keeps_exit_statuses()]) {
        let record = sandbox.exit_json(id, "init");
        assert_eq!(record["oomKilled"], told(known, true), "{record}");
        let events = all_events(&sandbox, id);
        let wanted = ["start-container", "oom", "oom", "exit"];
        assert_eq!(words(&events), wanted, "{id}");
        assert_eq!(events[2]["oomKills"], 2);
        sandbox.run_ok(["delete", id]);
    }
    sandbox.assert_clean();
}

#[test]
fn a_kill_that_no_shim_saw_is_told_by_the_one_that_comes_next() {
    let sandbox = Sandbox::new("oom-unseen");
    let gates = [sandbox.gate(), sandbox.gate()];
    let script = format!("{}; {GREED}; echo > /host/done; sleep 1000", Gate::WAIT);
    let survivor = limited(sandbox.sh(&script)).bind(gates[0].dir());
    let script = format!("{}; exec {GREED}", Gate::WAIT);
    let victim = limited(sandbox.sh(&script)).bind(gates[1].dir());
    let ids = ["survivor", "victim"].map(|name| sandbox.id(name));
    for (id, bundle) in ids.iter().zip([&survivor, &victim]) {
        sandbox.run_ok(["run", "-d", "-b", bundle.arg(), id]);
        sandbox.kill_shim(&sandbox.process_dir(id, "init"));
    }
    let init = Proc::from_file(&sandbox.process_dir(&ids[1], "init").join("pid")).unwrap();
    gates.iter().for_each(Gate::open);
    sandbox.wait_file(&gates[0].dir().join("done"));
    sandbox.wait_until("the victim's end", || !init.is_alive());
    sandbox.run_ok(["recover"]);

    wait_for_kills(&sandbox, &ids[0], 1);
    // Where nobody knows how it ended (pid 1 was quick to reap it), nobody says that this was why.
    let record = sandbox.exit_json(&ids[1], "init");
    let wanted = match record["source"].as_str() {
        Some("unknown") => Value::Null,
        _ => json!(true),
    };
    assert_eq!(record["oomKilled"], wanted, "{record}");
    let events = all_events(&sandbox, &ids[1]);
    assert_eq!(words(&events), ["start-container", "oom", "exit"]);
    sandbox.run_ok(["kill", &ids[0], "KILL"]);
    sandbox.assert_adopted_end(&ids[0], "init", &Ended::Signal(9));
    let record = sandbox.exit_json(&ids[0], "init");
    let wanted = told(kernel::keeps_exit_statuses(), false);
    assert_eq!(record["oomKilled"], wanted, "{record}");
    sandbox.run_ok(["delete", &ids[0], &ids[1]]);
    sandbox.assert_clean();
}

#[test]
fn a_cgroup_that_is_not_the_containers_own_says_nothing() {
    let sandbox = Sandbox::new("oom-shared");
    // The runtime puts it there, and somebody else is there already.
    let first = sandbox.id("first");
    let bundle = limited(sandbox.bundle(["sleep", "1000"]));
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &first]);
    let path = sandbox.cgroup_path(&first, "memory");
    let shared = sandbox
        .sh("exit 0")
        .edit(|config| config["linux"]["cgroupsPath"] = json!(path));
    let second = sandbox.id("second");
    let output = sandbox.output(["run", "--keep", "-b", shared.arg(), &second]);
    assert_eq!(output.status.code(), Some(0), "{}", show(&output));
    assert_eq!(sandbox.exit_json(&second, "init")["oomKilled"], Value::Null);
    sandbox.run_ok(["delete", &second]);
    sandbox.run_ok(["delete", "-f", &first]);
    sandbox.assert_clean();
}

#[test]
fn a_containerd_0_2_daemon_finds_it_in_exit_json_and_no_event_log() {
    let sandbox = Sandbox::new("oom-02");
    let daemon = Daemon02::new(&sandbox);
    let bundle = limited(sandbox.bundle(GREED.split(' ')));
    let id = sandbox.id("greedy");
    let mut init = daemon.create(&id, &bundle, &Stdio02::null()).unwrap();
    init.start().unwrap();
    assert_eq!(init.wait(), 137);
    let record = fs::read_to_string(init.dir().join("exit.json")).unwrap();
    assert!(record.contains(r#""oomKilled":true"#), "{record}");
    assert!(!daemon.container_dir(&id).join("events.log").exists());
    sandbox.assert_clean();
}
