//! A shim that is killed on its way out has put the status on record, or it has not and nobody invents one. Either way
//! whoever comes next can remove the container, and nothing is left of it.

use std::collections::BTreeMap;

use holdfast_tests::command::{show, text};
use holdfast_tests::{Gate, Proc, Sandbox};
use serde_json::Value;

/// At so many moments, at most, the shim is killed. More than there are today: every one.
const CASES: usize = 60;

#[test]
fn a_shim_is_killed_anywhere_between_its_containers_end_and_its_own() {
    let sandbox = Sandbox::new("shim");
    let gate = sandbox.gate();
    let script = format!("echo unread; {}; exit 7", Gate::WAIT);
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let run = || {
        let id = sandbox.id("shim");
        sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
        let shim = Proc::shim_of(&sandbox.process_dir(&id, "init"));
        (id, shim.expect("a shim holds what runs"))
    };
    let (id, shim) = run();
    let moments = sandbox.moments_of(shim, || gate.open());
    assert_eq!(wait(&sandbox, &id), "7");
    sandbox.run_ok(["delete", &id]);

    let cases = moments.len().min(CASES);
    let mut found = BTreeMap::<String, usize>::new();
    for case in 0..cases {
        let moment = &moments[case * moments.len() / cases];
        let (id, shim) = run();
        println!("right before {moment}: {id}");
        let waiter = sandbox.spawn(sandbox.holdfast(["wait", &id]));
        let exit = sandbox.process_dir(&id, "init").join("exit");
        sandbox.wait_until("a waiter to open exit", || {
            waiter.process().fds().values().any(|path| *path == exit)
        });
        sandbox.kill_at(moment, shim, || gate.open());
        // It was there before, and is not left waiting.
        let told = text(&waiter.wait().stdout);
        assert!(["7\n", ""].contains(&told.as_str()), "{told}");
        *found.entry(wait(&sandbox, &id)).or_default() += 1;
        sandbox.run_ok(["delete", &id]);
        sandbox.assert_clean();
    }
    println!("killed at {cases} of {} moments: {found:?}", moments.len());
    assert_eq!(
        found.keys().map(String::as_str).collect::<Vec<_>>(),
        ["7", "unknown"]
    );
}

/// How the container ended, as far as is known. Nothing but what its shim has reaped is ever said.
#[track_caller]
fn wait(sandbox: &Sandbox, id: &str) -> String {
    let dir = sandbox.process_dir(id, "init");
    let process = Proc::from_file(&dir.join("pid")).expect("it has a pid");
    sandbox.wait_until("the container's end", || !process.is_alive());
    let recorded = dir.join("exit.json").exists();
    let output = sandbox.output(["wait", "-f", "json", id]);
    if recorded {
        let record: Value = serde_json::from_slice(&output.stdout).expect("a record");
        assert_eq!(record["source"], "reaped", "{record}");
        return record["code"].to_string();
    }
    assert_eq!(output.status.code(), Some(125), "{}", show(&output));
    let complaint = text(&output.stderr);
    assert!(complaint.contains("is not known"), "{complaint}");
    "unknown".to_owned()
}
