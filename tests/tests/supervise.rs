//! `holdfast supervise`: what is there is restored, what lost its shim is adopted, what ends is restarted as its policy
//! says, and the supervisor itself may be killed at any moment.

use std::fs;
use std::time::{Duration, SystemTime};

use holdfast_tests::command::{show, text};
use holdfast_tests::matrix::Ended;
use holdfast_tests::supervisor::{counting, runs};
use holdfast_tests::{Bundle, FakeRuntime, Gate, Proc, Sandbox, Supervisor};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Runs a container in the background that says nothing.
#[track_caller]
fn run(sandbox: &Sandbox, bundle: &Bundle, policy: &str, name: &str) -> String {
    let id = sandbox.id(name);
    let args = ["run", "-d", "--stdio", "null", "--restart", policy];
    sandbox.run_ok(args.iter().chain(&["-b", bundle.arg(), &id]));
    id
}

fn process_json(sandbox: &Sandbox, id: &str) -> Value {
    let file = sandbox.process_dir(id, "init").join("process.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn delete(sandbox: &Sandbox, id: &str) {
    sandbox.run_ok(["delete", "-f", id]);
}

#[test]
fn what_is_there_is_restored_and_an_orphan_is_adopted() {
    let sandbox = Sandbox::new("sup-restore");
    let sleep = sandbox.bundle(["sleep", "1000"]);
    let running = run(&sandbox, &sleep, "no", "running");
    let exited = run(&sandbox, &sandbox.sh("exit 7"), "no", "exited");
    sandbox.run_ok(["wait", &exited]);
    let orphan = run(&sandbox, &sleep, "no", "orphan");
    sandbox.kill_shim(&sandbox.process_dir(&orphan, "init"));

    let supervisor = sandbox.supervise().ready();

    assert_eq!(
        supervisor.wait_event(&running, "restored")["state"],
        "running"
    );
    let told = supervisor.wait_event(&exited, "restored");
    assert_eq!(
        (&told["state"], &told["code"]),
        (&"exited".into(), &7.into())
    );
    assert_eq!(
        supervisor.wait_event(&orphan, "adopted")["state"],
        "running"
    );
    for id in [&running, &orphan] {
        sandbox.run_ok(["kill", id, "KILL"]);
        assert_eq!(supervisor.wait_event(id, "exit")["process"], "init");
    }
    assert_eq!(supervisor.wait_event(&running, "exit")["signal"], 9);
    // One that comes later is watched as well, and its execs are.
    let later = run(&sandbox, &sleep, "no", "later");
    supervisor.wait_event(&later, "appeared");
    let exec = [
        "exec",
        "-d",
        "--exec-id",
        "job",
        &later,
        "sh",
        "-c",
        "exit 3",
    ];
    sandbox.run_ok(exec);
    let told = supervisor.wait_event(&later, "exit");
    assert_eq!(
        (&told["process"], &told["code"]),
        (&"job".into(), &3.into())
    );
    for id in [&running, &exited, &orphan, &later] {
        delete(&sandbox, id);
        supervisor.wait_event(id, "removed");
    }
    assert_eq!(supervisor.events_of(&exited, "exit"), [] as [Value; 0]);
    assert_eq!(supervisor.leave().status.code(), Some(0));
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn a_shim_that_is_killed_is_followed_by_another_and_the_status_is_exact() {
    let sandbox = Sandbox::new("sup-adopt");
    let gate = sandbox.gate();
    let bundle = sandbox
        .sh(&format!("{}; exit 7", Gate::WAIT))
        .bind(gate.dir());
    let supervisor = sandbox.supervise().ready();
    let id = run(&sandbox, &bundle, "no", "orphan");
    supervisor.wait_event(&id, "appeared");
    for round in 1..=3 {
        sandbox.kill_shim(&sandbox.process_dir(&id, "init"));
        supervisor.wait_events(&id, "adopted", round);
    }
    gate.open();
    let told = supervisor.wait_event(&id, "exit");
    sandbox.assert_adopted_end(&id, "init", &Ended::Code(7));
    assert_eq!(told["source"], sandbox.exit_json(&id, "init")["source"]);
    delete(&sandbox, &id);
    supervisor.leave();
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn each_policy_restarts_what_it_says() {
    let sandbox = Sandbox::new("sup-policy");
    let supervisor = sandbox.supervise().ready();
    let ends = |code: u8| sandbox.sh(&format!("exit {code}"));
    let no = run(&sandbox, &ends(1), "no", "no");
    let well = run(&sandbox, &ends(0), "on-failure", "well");
    let badly = run(&sandbox, &ends(1), "on-failure:2", "badly");
    let always = run(&sandbox, &ends(0), "always", "always");
    let sleep = sandbox.bundle(["sleep", "1000"]);
    let stopped = run(&sandbox, &sleep, "unless-stopped", "stopped");

    assert_eq!(supervisor.wait_event(&badly, "gave-up")["restarts"], 2);
    assert_eq!(supervisor.wait_events(&badly, "exit", 3).len(), 3);
    supervisor.wait_events(&always, "restart", 2);
    // Not stopped: it was its own end, or somebody else's doing.
    let pid = sandbox.process_dir(&stopped, "init").join("pid");
    Proc::from_file(&pid).unwrap().signal(Signal::SIGKILL);
    supervisor.wait_event(&stopped, "restart");
    sandbox.run_ok(["kill", &stopped, "KILL"]);
    supervisor.wait_events(&stopped, "exit", 2);
    // By the time that another was restarted again, it would have been.
    let before = supervisor.events_of(&always, "restart").len();
    supervisor.wait_events(&always, "restart", before + 1);
    for (id, restarts) in [(&no, 0), (&well, 0), (&badly, 2), (&stopped, 1)] {
        let told = supervisor.events_of(id, "restart");
        assert_eq!(told.len(), restarts, "{told:#?}");
    }
    for id in [&no, &well, &badly, &always, &stopped] {
        delete(&sandbox, id);
    }
    supervisor.leave();
    sandbox.assert_clean_but_for_supervision();
}

fn time(event: &Value) -> SystemTime {
    let key = if event["event"] == "exit" {
        "exitedAt"
    } else {
        "time"
    };
    holdfast_tests::supervisor::time(event[key].as_str().unwrap())
}

#[test]
fn the_delay_doubles_while_it_does_not_run_well() {
    let sandbox = Sandbox::new("sup-delay");
    let supervisor = sandbox.supervise().ready();
    let (bundle, file) = counting(&sandbox, "delay", "exit 1");
    let id = run(&sandbox, &bundle, "on-failure:4", "delay");
    supervisor.wait_event(&id, "gave-up");
    let exits = supervisor.wait_events(&id, "exit", 5);
    let restarts = supervisor.wait_events(&id, "restart", 4);
    for (n, restart) in restarts.iter().enumerate() {
        let delay = 100 << n;
        assert_eq!(restart["delayMs"], delay);
        assert_eq!(restart["count"], n + 1);
        let waited = time(restart).duration_since(time(&exits[n])).unwrap();
        assert!(
            waited >= Duration::from_millis(delay),
            "{waited:?} of {delay}"
        );
    }
    assert_eq!(runs(&file), 5);
    delete(&sandbox, &id);
    supervisor.leave();
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn what_ended_while_no_supervisor_was_there_is_restarted_once() {
    let sandbox = Sandbox::new("sup-absent");
    let gate = sandbox.gate();
    let script = format!("echo ran >>/host/runs; {}; exit 7", Gate::WAIT);
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let file = gate.dir().join("runs");
    let supervisor = sandbox.supervise().ready();
    let id = run(&sandbox, &bundle, "always", "absent");
    supervisor.wait_event(&id, "appeared");
    supervisor.kill();
    gate.open();
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");

    let supervisor = sandbox.supervise().ready();
    let told = supervisor.wait_event(&id, "restored");
    assert_eq!(
        (&told["state"], &told["code"]),
        (&"exited".into(), &7.into())
    );
    assert_eq!(supervisor.wait_event(&id, "restart")["count"], 1);
    sandbox.wait_until("the second run", || runs(&file) == 2);
    supervisor.kill();

    let supervisor = sandbox.supervise().ready();
    assert_eq!(supervisor.wait_event(&id, "restored")["state"], "running");
    gate.open();
    assert_eq!(supervisor.wait_event(&id, "exit")["code"], 7);
    assert_eq!(supervisor.wait_event(&id, "restart")["count"], 2);
    sandbox.wait_until("the third run", || runs(&file) == 3);
    delete(&sandbox, &id);
    supervisor.leave();
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn a_supervisor_that_is_killed_again_and_again_neither_loses_nor_doubles_a_restart() {
    let sandbox = Sandbox::new("sup-killed");
    let (bundle, file) = counting(&sandbox, "killed", "exit 1");
    let id = run(&sandbox, &bundle, "on-failure:4", "killed");
    // Killed after each of its first events, the sooner the later it is, until there is nothing to do.
    let mut lives = 0;
    loop {
        let supervisor = sandbox.supervise();
        let patience = lives % 4;
        lives += 1;
        assert!(lives < 200, "nothing comes of it");
        let events = || -> Vec<Value> {
            let mut events = supervisor.events();
            events.retain(|event| event["id"] == id.as_str());
            events
        };
        sandbox.wait_until("an event, or the end", || {
            let runs = runs(&file);
            events().len() > patience || runs == 5 && gave_up(&supervisor, &id)
        });
        let done = gave_up(&supervisor, &id);
        supervisor.kill();
        if done {
            break;
        }
    }
    assert_eq!(runs(&file), 5);
    let restarts = &process_json(&sandbox, &id)["holdfast"]["restarts"];
    assert_eq!(restarts["count"], 4, "{restarts}");
    delete(&sandbox, &id);
    sandbox.assert_clean_but_for_supervision();
}

fn gave_up(supervisor: &Supervisor<'_>, id: &str) -> bool {
    !supervisor.events_of(id, "gave-up").is_empty()
}

#[test]
fn a_supervisor_that_is_asked_to_leave_leaves_everything_as_it_is() {
    let sandbox = Sandbox::new("sup-leave");
    let supervisor = sandbox.supervise().ready();
    let id = run(
        &sandbox,
        &sandbox.bundle(["sleep", "1000"]),
        "always",
        "stays",
    );
    supervisor.wait_event(&id, "appeared");
    let shim = Proc::shim_of(&sandbox.process_dir(&id, "init")).unwrap();
    let output = supervisor.leave();
    assert_eq!(output.status.code(), Some(0), "{}", show(&output));
    assert!(text(&output.stdout).ends_with("\"event\":\"stopping\"}\n"));
    assert_eq!(text(&output.stderr), "");
    assert!(shim.is_alive());
    let state = sandbox.run_ok(["state", &id]);
    assert!(state.contains("\"running\""), "{state}");
    delete(&sandbox, &id);
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn of_two_supervisors_of_one_root_the_second_is_told() {
    let sandbox = Sandbox::new("sup-two");
    let first = sandbox.supervise().ready();
    let second = sandbox.output(["supervise"]);
    assert_eq!(second.status.code(), Some(125), "{}", show(&second));
    let complaint = text(&second.stderr);
    let pid = format!(
        "is supervised already, by process {}",
        first.process().pid()
    );
    assert!(complaint.trim_end().ends_with(&pid), "{complaint}");
    assert_eq!(text(&second.stdout), "");
    first.kill();
    // A dead one is in nobody's way.
    sandbox.supervise().ready().leave();
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn what_a_killed_launcher_left_created_is_started_if_there_is_a_policy() {
    let sandbox = Sandbox::new("sup-created");
    // The first to start each container is killed at it.
    let fake = FakeRuntime::script(
        &sandbox,
        r#"[ $VERB != start ] || ! mkdir "$FAKE/$ID" 2>/dev/null || { kill -9 $PPID; exit 1; }
        delegate "$@""#,
    );
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let supervisor = sandbox.supervise().ready();
    let launch = |verb: &[&str], policy: &str| {
        let id = sandbox.id("created");
        let runtime = fake.arg();
        let args = [
            "--runtime",
            &runtime,
            "--stdio=null",
            "--restart",
            policy,
            "-b",
            bundle.arg(),
        ];
        sandbox.output([verb, &args, &[&id]].concat());
        supervisor.wait_event(&id, "appeared");
        id
    };
    let under_policy = launch(&["run", "-d"], "always");
    let without = launch(&["run", "-d"], "no");
    let on_purpose = launch(&["create"], "always");
    let told = supervisor.wait_event(&under_policy, "started");
    let pid = sandbox.process_dir(&under_policy, "init").join("pid");
    assert_eq!(told["pid"].to_string(), fs::read_to_string(pid).unwrap());
    let status = |id: &str| {
        let state: Value = serde_json::from_str(&sandbox.run_ok(["state", id])).unwrap();
        state["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(status(&under_policy), "running");
    // Another supervisor comes to the same conclusions.
    supervisor.leave();
    let supervisor = sandbox.supervise().ready();
    for id in [&without, &on_purpose] {
        assert_eq!(supervisor.wait_event(id, "restored")["state"], "created");
        assert_eq!(supervisor.events_of(id, "started"), [] as [Value; 0]);
        assert_eq!(status(id), "created");
    }
    for id in [&under_policy, &without, &on_purpose] {
        delete(&sandbox, id);
    }
    supervisor.leave();
    sandbox.assert_clean_but_for_supervision();
}
