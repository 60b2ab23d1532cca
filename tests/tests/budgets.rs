//! What a launch, an exec, an end and a reattach cost in system calls, and how large the two programs are: at most what `tests/src/budget.rs`
//! says. What an idle shim costs is in `footprint.rs`.

use std::fs;

use holdfast::Monitor;
use holdfast_tests::budget::{self, Budget};
use holdfast_tests::syscalls::Calls;
use holdfast_tests::{Sandbox, binaries};

/// Checks a number of calls, and shows which they were.
#[track_caller]
fn check(budget: &Budget, calls: &[&Calls]) {
    for calls in calls {
        println!("{}: {}", budget.what, calls.table());
    }
    budget.check(calls.iter().map(|calls| calls.count()).sum());
}

#[test]
fn a_launch_and_an_end_take_few_system_calls() {
    let sandbox = Sandbox::new("calls");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("web");

    // It looks for the program to be executed, once more each time that it is too early: on a busy machine that is often.
    let runs = [sandbox.id("1"), sandbox.id("2"), id.clone()];
    let runs =
        runs.map(|id| sandbox.calls(&sandbox.holdfast(["run", "-d", "-b", bundle.arg(), &id])));
    let fewest = runs.iter().min_by_key(|run| run.count()).unwrap();
    check(&budget::RUN_CALLS, &[fewest]);
    let shim = sandbox.idle_shim_of(&sandbox.process_dir(&id, "init"));
    let end = sandbox.calls_to_the_end(shim, || {
        sandbox.run_ok(["kill", &id, "KILL"]);
    });
    check(&budget::EXIT_CALLS, &[&end]);
    let told = end.before(&["wait4"]);
    assert!(
        told.table().contains("rename 2"),
        "reaped before it is on record"
    );
    check(&budget::TOLD_CALLS, &[&told]);

    let shim = sandbox.counted_shim("launch");
    let id = sandbox.id("counted");
    let mut create = sandbox.holdfast(["create", "-b", bundle.arg(), &id]);
    create.env("HOLDFAST_SHIM", shim);
    assert!(sandbox.output_of(create).status.success());
    let _idle = sandbox.idle_shim_of(&sandbox.process_dir(&id, "init"));
    let [first, second] = sandbox.shim_calls("launch");
    check(
        &budget::LAUNCH_CALLS,
        &[&first, &second.before(&["epoll_wait", "epoll_pwait"])],
    );
}

#[test]
fn an_exec_takes_few_system_calls() {
    let sandbox = Sandbox::new("calls");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("web");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);

    let exec = sandbox.calls(&sandbox.holdfast(["exec", "-d", &id, "true"]));
    check(&budget::EXEC_CALLS, &[&exec]);

    let mut exec = sandbox.holdfast(["exec", "-d", "--rm", "--exec-id", "counted", &id, "true"]);
    exec.env("HOLDFAST_SHIM", sandbox.counted_shim("exec"));
    assert!(sandbox.output_of(exec).status.success());
    sandbox.wait_until("the exec's shim to end", || {
        !sandbox.process_dir(&id, "counted").exists()
    });
    let [first, second] = sandbox.shim_calls("exec");
    check(&budget::EXEC_SHIM_CALLS, &[&first, &second]);
    assert!(
        !second.table().contains("execve"),
        "a short one is not worth a fresh shim"
    );
    sandbox.run_ok(["kill", &id, "KILL"]);
}

#[test]
fn a_daemon_that_comes_back_takes_few_system_calls() {
    let sandbox = Sandbox::new("calls");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let driver = sandbox.driver();
    let reattach = || {
        sandbox.calls_of_thread(|| {
            let mut monitor = Monitor::new().unwrap();
            let verdicts = driver.reattach(&mut monitor).unwrap();
            assert_eq!(monitor.len(), verdicts.len());
        })
    };
    let mut ids = (1..=3).map(|n| sandbox.id(&n.to_string()));
    let mut run = || sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &ids.next().unwrap()]);
    run();
    let one = reattach();
    run();
    run();
    let three = reattach();
    println!("{}: {}", budget::REATTACH_CALLS.what, three.table());
    assert!(three.table().contains("flock"), "it is not seen");
    budget::REATTACH_CALLS.check((three.count() - one.count()).div_ceil(2));
}

/// A fork copies the page tables of whoever launches: a quarter of a second, in a daemon with a gibibyte.
#[test]
fn a_launcher_is_not_copied() {
    let sandbox = Sandbox::new("clones");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("web");
    for command in [
        &["run", "-d", "-b", bundle.arg(), &id][..],
        &["exec", "-d", &id, "true"],
        &["update", "--pids-limit", "100", &id],
        &["delete", "-f", &id],
    ] {
        let clones = sandbox.clones(&sandbox.holdfast(command));
        let copies = clones.iter().filter(|clone| !clone.contains("CLONE_VM"));
        assert_eq!(copies.collect::<Vec<_>>(), [""; 0], "{command:?}");
        assert!(!clones.is_empty(), "{command:?}: nothing was seen");
    }
}

#[test]
fn the_two_programs_are_small() {
    let kib = |path| fs::metadata(path).expect("scripts/build made it").len() >> 10;
    budget::SHIM_SIZE.check(kib(binaries::shim()));
    budget::DRIVER_SIZE.check(kib(binaries::holdfast()));
}
