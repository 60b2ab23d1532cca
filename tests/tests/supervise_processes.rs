//! `holdfast supervise` and single processes: names, and inodes, that are used again; what cannot be read for a while.

use std::fs;
use std::process::Command;

use holdfast_tests::{Bundle, Proc, Sandbox};
use serde_json::Value;

/// Runs a container in the background that says nothing.
#[track_caller]
fn run(sandbox: &Sandbox, bundle: &Bundle, policy: &str, name: &str) -> String {
    let id = sandbox.id(name);
    let args = ["run", "-d", "--stdio", "null", "--restart", policy];
    sandbox.run_ok(args.iter().chain(&["-b", bundle.arg(), &id]));
    id
}

/// Executes a script in a container, in the background.
#[track_caller]
fn exec(sandbox: &Sandbox, id: &str, name: &str, script: &str) {
    let args = ["exec", "-d", "--stdio", "null", "--exec-id", name, id];
    sandbox.run_ok(args.iter().chain(&["sh", "-c", script]));
}

#[test]
fn an_exec_that_bears_the_name_and_the_inode_of_one_before_it_is_another() {
    let sandbox = Sandbox::new("sup-reuse");
    let supervisor = sandbox.supervise().ready();
    let id = run(&sandbox, &sandbox.bundle(["sleep", "1000"]), "no", "reuse");
    supervisor.wait_event(&id, "appeared");
    let dir = sandbox.process_dir(&id, "e1");
    for round in 1..=6u8 {
        exec(&sandbox, &id, "e1", &format!("exit {round}"));
        let told = supervisor.wait_events(&id, "exit", round.into());
        assert_eq!(told.last().unwrap()["code"], round);
        let shim = Proc::shim_of(&dir);
        sandbox.wait_until("the shim's end", || !shim.is_some_and(Proc::is_alive));
        fs::remove_dir_all(&dir).unwrap();
    }
    exec(&sandbox, &id, "e1", "sleep 1000");
    sandbox.kill_shim(&dir);
    assert_eq!(supervisor.wait_event(&id, "adopted")["process"], "e1");
    sandbox.run_ok(["delete", "-f", &id]);
    supervisor.wait_events(&id, "exit", 8);
    supervisor.wait_event(&id, "removed");
    // Each end was told once.
    assert_eq!(supervisor.events_of(&id, "exit").len(), 8);
    supervisor.leave();
    sandbox.assert_clean_but_for_supervision();
}

/// Leaves a process so many descriptors: those beyond that it has open stay open.
fn limit_descriptors(sandbox: &Sandbox, process: Proc, most: u32) {
    let mut prlimit = Command::new("prlimit");
    prlimit.arg(format!("--pid={}", process.pid()));
    prlimit.arg(format!("--nofile={most}:"));
    assert!(sandbox.output_of(prlimit).status.success());
}

#[test]
fn what_could_not_be_looked_at_for_want_of_descriptors_is_not_forgotten() {
    let sandbox = Sandbox::new("sup-emfile");
    let supervisor = sandbox.supervise().ready();
    let sleep = sandbox.bundle(["sleep", "1000"]);
    let orphan = run(&sandbox, &sleep, "no", "orphan");
    let busy = run(&sandbox, &sleep, "no", "busy");
    let ended = run(&sandbox, &sleep, "always", "ended");
    for id in [&orphan, &busy, &ended] {
        supervisor.wait_event(id, "appeared");
    }
    // An exec is told of when its container's init is watched.
    exec(&sandbox, &busy, "first", "exit 1");
    supervisor.wait_event(&busy, "exit");

    // It has more than that for itself.
    limit_descriptors(&sandbox, supervisor.process(), 6);
    sandbox.kill_shim(&sandbox.process_dir(&orphan, "init"));
    exec(&sandbox, &busy, "second", "exit 2");
    sandbox.run_ok(["kill", &ended, "KILL"]);
    let late = run(&sandbox, &sleep, "no", "late");
    for id in [&orphan, &busy, &ended] {
        let why = supervisor.wait_event(id, "failed");
        let why = why["error"].as_str().unwrap();
        assert!(why.to_lowercase().contains("too many open files"), "{why}");
    }
    supervisor.wait_event(&late, "unreadable");

    limit_descriptors(&sandbox, supervisor.process(), 1024);
    supervisor.wait_event(&orphan, "adopted");
    assert_eq!(supervisor.wait_events(&busy, "exit", 2)[1]["code"], 2);
    assert_eq!(supervisor.wait_event(&ended, "exit")["signal"], 9);
    supervisor.wait_event(&ended, "restart");
    supervisor.wait_event(&late, "appeared");
    sandbox.run_ok(["kill", &late, "KILL"]);
    assert_eq!(supervisor.wait_event(&late, "exit")["signal"], 9);
    for id in [&orphan, &busy, &ended, &late] {
        sandbox.run_ok(["delete", "-f", id]);
        supervisor.wait_event(id, "removed");
    }
    // And nothing was told twice.
    let exits: [Vec<Value>; 2] = [&orphan, &late].map(|id| supervisor.events_of(id, "exit"));
    assert!(exits.iter().all(|exits| exits.len() == 1), "{exits:#?}");
    supervisor.leave();
    sandbox.assert_clean_but_for_supervision();
}
