//! Many at once, and the same at once: of two who want one name one wins, and whoever comes between create, start, kill
//! and delete finds a container whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::process::Output;
use std::sync::Mutex;
use std::thread;

use holdfast_tests::command::{show, text};
use holdfast_tests::{FakeRuntime, Running, Sandbox};

/// How often each of those who race goes through its commands.
const ROUNDS: usize = 15;

/// Starts commands one right after the other, and waits for all of them.
fn at_once(sandbox: &Sandbox, commands: &[&[&str]]) -> Vec<Output> {
    let running: Vec<Running<'_>> = commands
        .iter()
        .map(|args| sandbox.spawn(sandbox.holdfast(*args)))
        .collect();
    running.into_iter().map(Running::wait).collect()
}

/// How many succeeded; the others failed with our exit code and one line that has one of these words in it.
#[track_caller]
fn winners(outputs: &[Output], refusals: &[&str]) -> usize {
    let (won, lost): (Vec<_>, Vec<_>) = outputs.iter().partition(|o| o.status.success());
    for output in lost {
        assert_eq!(output.status.code(), Some(125), "{}", show(output));
        let complaint = text(&output.stderr);
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        let known = refusals.iter().any(|words| complaint.contains(words));
        assert!(known, "{complaint}");
    }
    won.len()
}

/// What a root without containers has in it.
fn root_is_empty(sandbox: &Sandbox) -> bool {
    fs::read_dir(sandbox.root()).unwrap().count() == 0
}

#[test]
fn of_two_launches_of_one_id_one_wins_and_the_other_is_told() {
    let sandbox = Sandbox::new("one-id");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let verbs = [["run", "-d"], ["run", "-d"]];
    for _ in 0..20 {
        let id = sandbox.id("one");
        let words = verbs.map(|verb| [&verb[..], &["-b", bundle.arg(), &id]].concat());
        let commands: Vec<&[&str]> = words.iter().map(Vec::as_slice).collect();

        let outputs = at_once(&sandbox, &commands);

        let refusal = format!("container {id} already exists");
        assert_eq!(winners(&outputs, &[&refusal]), 1);
        // The winner's is whole: the loser has taken nothing of it away.
        assert_eq!(sandbox.run_ok(["list", "-q"]), format!("{id}\n"));
        sandbox.run_ok(["kill", &id, "KILL"]);
        assert_eq!(sandbox.run_ok(["wait", &id]), "137\n");
        sandbox.run_ok(["delete", &id]);
        assert!(root_is_empty(&sandbox));
    }
    sandbox.assert_clean();
}

#[test]
fn of_two_execs_of_one_name_one_wins_and_the_other_is_told() {
    let sandbox = Sandbox::new("one-exec");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("one");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    for round in 0..10 {
        let name = format!("job{round}");
        let exec = ["exec", "-d", "--exec-id", &name, &id, "sh", "-c", "exit 7"];
        let outputs = at_once(&sandbox, &[&exec, &exec]);
        let refusal = format!("container {id} already has a process {name}");
        assert_eq!(winners(&outputs, &[&refusal]), 1);
        assert_eq!(sandbox.run_ok(["wait", &id, &name]), "7\n");
    }
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn twenty_containers_at_once_have_twenty_codes() {
    let sandbox = Sandbox::new("twenty");
    let ids: Vec<String> = (0..20).map(|_| sandbox.id("twenty")).collect();
    let running: Vec<Running<'_>> = (0..20)
        .map(|n| {
            let bundle = sandbox.sh(&format!("echo {n}; exit {}", 100 + n));
            // Every other one in the background.
            let flag = if n % 2 == 0 { "-d" } else { "--keep" };
            sandbox.spawn(sandbox.holdfast(["run", flag, "-b", bundle.arg(), &ids[n]]))
        })
        .collect();
    for (n, run) in running.into_iter().enumerate() {
        let output = run.wait();
        let code = i32::try_from(100 + n).unwrap();
        if n % 2 == 0 {
            assert!(output.status.success(), "{}", show(&output));
        } else {
            assert_eq!(output.status.code(), Some(code), "{}", show(&output));
            assert_eq!(text(&output.stdout), format!("{n}\n"));
        }
        assert_eq!(sandbox.run_ok(["wait", &ids[n]]), format!("{code}\n"));
    }
    let listed = sandbox.run_ok(["list", "-q"]);
    assert_eq!(listed.lines().count(), 20, "{listed}");
    let delete = ["delete"].into_iter();
    sandbox.run_ok(delete.chain(ids.iter().map(String::as_str)));
    sandbox.assert_clean();
}

#[test]
fn of_two_starts_one_wins_and_the_other_is_told() {
    let sandbox = Sandbox::new("starts");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    for _ in 0..10 {
        let id = sandbox.id("starts");
        sandbox.run_ok(["create", "-b", bundle.arg(), &id]);
        let start: &[&str] = &["start", &id];
        let outputs = at_once(&sandbox, &[start, start]);
        assert_eq!(winners(&outputs, &["cannot start"]), 1);
        let state = sandbox.run_ok(["state", &id]);
        assert!(state.contains("\"running\""), "{state}");
        sandbox.run_ok(["delete", "-f", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn a_start_waits_for_one_that_is_under_way() {
    // Two of a runtime's may meet at its own FIFO, and one of them then waits there for ever.
    let body = r#"
    if [ $VERB = start ]; then : >"$FAKE/here"; wait_for "$FAKE/go"; fi
    delegate "$@""#;
    let sandbox = Sandbox::new("underway");
    let fake = FakeRuntime::script(&sandbox, body);
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("underway");
    sandbox.run_ok(["--runtime", &fake.arg(), "create", "-b", bundle.arg(), &id]);
    let first = sandbox.spawn(sandbox.holdfast(["start", &id]));
    sandbox.wait_until("the first start", || fake.dir().join("here").exists());
    let second = sandbox.spawn(sandbox.holdfast(["start", &id]));
    let lock = sandbox.container_dir(&id).join("lock");
    sandbox.wait_until("the second to come to the lock", || {
        second.process().fds().values().any(|path| *path == lock)
    });

    fake.let_go("go");

    let output = first.wait();
    assert!(output.status.success(), "{}", show(&output));
    let output = second.wait();
    assert_eq!(output.status.code(), Some(125), "{}", show(&output));
    assert!(
        text(&output.stderr).contains("cannot start"),
        "{}",
        show(&output)
    );
    let starts = fake
        .calls()
        .iter()
        .filter(|call| call.starts_with("start"))
        .count();
    assert_eq!(starts, 1);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_start_that_ends_late_leaves_the_next_container_of_that_name_alone() {
    let body = r#"
    [ $VERB = start ] || delegate "$@"
    # What it says does not matter: a short process may be deleted before it is through.
    real "$@"; : >"$FAKE/here"; wait_for "$FAKE/go""#;
    let sandbox = Sandbox::new("late-start");
    let fake = FakeRuntime::script(&sandbox, body);
    let (short, long) = (sandbox.bundle(["true"]), sandbox.bundle(["sleep", "1000"]));
    let id = sandbox.id("late");
    let words = ["run", "-d", "--rm", "-b", short.arg(), &id];
    let runtime = fake.arg();
    let first = sandbox.spawn(sandbox.holdfast([&["--runtime", &runtime][..], &words].concat()));
    sandbox.wait_until("the first to run and to be removed", || {
        fake.dir().join("here").exists() && !sandbox.container_dir(&id).exists()
    });
    sandbox.run_ok(["create", "-b", long.arg(), &id]);

    fake.let_go("go");

    let output = first.wait();
    assert!(output.status.success(), "{}", show(&output));
    let state = sandbox.run_ok(["state", &id]);
    assert!(state.contains(r#""status": "created""#), "{state}");
    let events = fs::read_to_string(sandbox.container_dir(&id).join("events.log")).unwrap();
    assert!(!events.contains("start-container"), "{events}");
    sandbox.run_ok(["start", &id]);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_start_that_fails_late_leaves_the_next_container_of_that_name_its_time() {
    let body = r#"
    [ $VERB = start ] || delegate "$@"
    real "$@"; echo >"$FAKE/here"; wait_for "$FAKE/go"; exit 1"#;
    let sandbox = Sandbox::new("late-failure");
    let fake = FakeRuntime::script(&sandbox, body);
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("late");
    let words = ["run", "-d", "--rm", "--timeout", "1h"];
    let words = [&words[..], &["-b", bundle.arg(), &id]].concat();
    let runtime = fake.arg();
    let first = sandbox.spawn(sandbox.holdfast([&["--runtime", &runtime][..], &words].concat()));
    sandbox.wait_file(&fake.dir().join("here"));
    // What is killed so may have been killed by a runtime that gave it up: it does not count as one that has run.
    sandbox.run_ok(["kill", &id, "KILL"]);
    sandbox.wait_until("the first to be removed", || {
        !sandbox.container_dir(&id).exists()
    });
    sandbox.run_ok(words);
    let deadline = sandbox.process_dir(&id, "init").join("deadline");
    assert!(deadline.exists());

    fake.let_go("go");

    let output = first.wait();
    assert!(!output.status.success(), "{}", show(&output));
    assert!(deadline.exists());
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn two_deletes_leave_nothing_and_neither_is_disturbed() {
    let sandbox = Sandbox::new("deletes");
    let bundle = sandbox.sh("exit 0");
    for force in [&["delete"][..], &["delete", "-f"]] {
        for _ in 0..5 {
            let id = sandbox.id("deletes");
            sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
            sandbox.run_ok(["wait", &id]);
            let delete = [force, &[&id]].concat();
            let outputs = at_once(&sandbox, &[&delete, &delete]);
            let won = winners(&outputs, &["does not exist"]);
            // Forced, it is enough that it is gone.
            assert!(won == 1 || (won == 2 && force.len() == 2), "{won} of 2");
            assert!(root_is_empty(&sandbox));
        }
    }
    sandbox.assert_clean();
}

#[test]
fn a_container_is_whole_or_not_there_whatever_is_done_to_it_at_once() {
    let sandbox = Sandbox::new("races");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("races");
    let create: &[&str] = &["create", "-b", bundle.arg(), &id];
    // Each in a loop of its own, so that everything comes between everything, sooner or later.
    let workers: [&[&[&str]]; 4] = [
        &[create, &["start", &id]],
        &[&["exec", &id, "true"], &["kill", &id, "KILL"]],
        &[&["delete", "-f", &id], &["list", "-f", "json"]],
        &[
            &["run", "-d", "--rm", "-b", bundle.arg(), &id],
            &["delete", &id],
        ],
    ];
    let seen = Mutex::new(BTreeMap::<String, usize>::new());
    thread::scope(|scope| {
        for commands in workers {
            scope.spawn(|| {
                for command in commands.iter().cycle().take(ROUNDS * commands.len()) {
                    let output = sandbox.output(*command);
                    let code = output.status.code().expect("nobody kills it");
                    let complaint = text(&output.stderr).replace(&id, "ID");
                    assert!(complaint.lines().count() <= 1, "{complaint}");
                    // An exec that runs may be killed with its container; all else is ours.
                    let known = [0, 125].contains(&code) || (command[0] == "exec" && code == 137);
                    assert!(known, "{command:?}: {}", show(&output));
                    let what = format!("{} {code} {complaint}", command[0]);
                    *seen.lock().unwrap().entry(what).or_default() += 1;
                }
            });
        }
    });
    println!("{:#?}", seen.into_inner().unwrap());
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}
