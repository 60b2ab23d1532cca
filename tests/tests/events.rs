//! What happened to a container stands in its event log, once, in order and in docker's words, whoever was killed in between.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;

use holdfast::{ContainerId, CreateOptions, Restarts};
use holdfast_tests::command::show;
use holdfast_tests::daemon::quiet;
use holdfast_tests::events::{told, words};
use holdfast_tests::{DEADLINE, FakeRuntime, Gate, Sandbox, disk};
use serde_json::{Value, json};

/// What is told of a container, once there are so many: an end is on record a moment before it is told.
fn told_when(sandbox: &Sandbox, id: &str, count: usize) -> Vec<Value> {
    let mut events = Vec::new();
    sandbox.wait_until("the events", || {
        events = told(sandbox, &[id]);
        events.len() >= count
    });
    events
}

fn id(text: &str) -> ContainerId {
    ContainerId::new(text).unwrap()
}

#[test]
fn a_life_is_told_in_dockers_words_and_in_order() {
    let sandbox = Sandbox::new("events");
    let gate = sandbox.gate();
    let bundle = sandbox
        .sh(&format!("{}; exit 7", Gate::WAIT))
        .bind(gate.dir());
    let id = sandbox.id("web");
    sandbox.run_ok(["create", "-b", bundle.arg(), &id]);
    assert_eq!(told(&sandbox, &[&id]), [] as [Value; 0]);
    sandbox.run_ok(["start", &id]);
    let job = sandbox.output(["exec", "--exec-id", "job", &id, "sh", "-c", "exit 3"]);
    assert_eq!(job.status.code(), Some(3), "{}", show(&job));
    gate.open();
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    let events = told_when(&sandbox, &id, 4);
    let expected = [
        "init start-container",
        "job start-process",
        "job exit-process",
        "init exit",
    ];
    assert_eq!(words(&events), expected);
    let pid: i32 = fs::read_to_string(sandbox.process_dir(&id, "init").join("pid"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let record = sandbox.exit_json(&id, "init");
    let start_time: u64 = fs::read_to_string(sandbox.process_dir(&id, "init").join("starttime"))
        .unwrap()
        .parse()
        .unwrap();
    let end = &events[3];
    let wanted = json!({
        "id": id, "time": record["exitedAt"], "state": "exit", "processID": "init", "pid": pid,
        "startTime": start_time, "exitCode": 7, "oomKilled": false, "cursor": end["cursor"],
    });
    assert_eq!(end, &wanted);
    assert_eq!(events[0]["pid"], pid);
    assert_eq!(events[2]["exitCode"], 3);
    assert_ne!(events[1]["pid"], pid);
    let times: Vec<&str> = events.iter().map(|e| e["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");

    let table = sandbox.run_ok(["events", &id]);
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 5, "{table}");
    assert!(rows[0].starts_with("TIME ") && rows[2].contains(&format!("{id}/job")));
    assert!(rows[4].ends_with("exit status 7"), "{table}");
    sandbox.run_ok(["delete", &id]);
    assert_eq!(told(&sandbox, &[]), [] as [Value; 0]);
    sandbox.assert_clean();
}

#[test]
fn pauses_are_told() {
    let sandbox = Sandbox::new("events-pause");
    let id = sandbox.id("web");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    sandbox.run_ok(["run", "-d", "--stdio", "null", "-b", bundle.arg(), &id]);
    sandbox.run_ok(["pause", &id]);
    // What was refused has not happened.
    sandbox.refused(["pause", &id], &[&id]);
    sandbox.run_ok(["resume", &id]);
    let expected = ["init start-container", "init pause", "init resume"];
    assert_eq!(words(&told(&sandbox, &[&id])), expected);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_container_that_is_over_at_once_was_started_before_it_ended() {
    let sandbox = Sandbox::new("events-short");
    let bundle = sandbox.bundle(["true"]);
    for _ in 0..8 {
        let id = sandbox.id("short");
        sandbox.run_ok(["run", "--keep", "-b", bundle.arg(), &id]);
        let events = told_when(&sandbox, &id, 2);
        assert_eq!(words(&events), ["init start-container", "init exit"]);
        sandbox.run_ok(["delete", &id]);
    }
    // And one that never was, was not.
    let id = sandbox.id("created");
    sandbox.run_ok(["create", "-b", bundle.arg(), &id]);
    sandbox.run_ok(["kill", &id, "KILL"]);
    sandbox.run_ok(["wait", &id]);
    assert_eq!(words(&told_when(&sandbox, &id, 1)), ["init exit"]);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_starter_that_is_killed_leaves_a_start_that_is_told() {
    let sandbox = Sandbox::new("events-starter");
    let fake = FakeRuntime::script(
        &sandbox,
        // Its starter is gone when it is through.
        "if [ $VERB = start ]; then \"$REAL\" \"$@\"; kill -9 $PPID; exit; fi; delegate \"$@\"",
    );
    let gate = sandbox.gate();
    let script = format!("{}; exit 7", Gate::WAIT);
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let ids = ["returned", "ended"].map(|name| sandbox.id(name));
    for id in &ids {
        let create = ["--runtime", &fake.arg(), "create", "-b", bundle.arg(), id];
        sandbox.run_ok(create);
        let output = sandbox.output(["start", id]);
        assert_eq!(output.status.code(), None, "{}", show(&output));
        assert_eq!(told(&sandbox, &[id]), [] as [Value; 0]);
        // By whoever comes back, or else by its shim.
        if id == &ids[0] {
            sandbox.driver().restore().unwrap();
            sandbox.driver().restore().unwrap();
        }
        gate.open();
        sandbox.run_ok(["wait", id]);
    }
    let expected = [
        "init start-container",
        "init live",
        "init live",
        "init exit",
    ];
    assert_eq!(words(&told_when(&sandbox, &ids[0], 4)), expected);
    let expected = ["init start-container", "init exit"];
    assert_eq!(words(&told_when(&sandbox, &ids[1], 2)), expected);
    sandbox.run_ok(["delete", &ids[0], &ids[1]]);
    sandbox.assert_clean();
}

#[test]
fn restarts_and_restores_are_told_as_what_they_are() {
    let sandbox = Sandbox::new("events-restart");
    let driver = sandbox.driver();
    let bundle = sandbox.sh("exit 5");
    let container = sandbox.started(&driver, &bundle, "again");
    container.init().unwrap().wait(Some(DEADLINE)).unwrap();
    let restarts = Restarts {
        count: 1,
        in_a_row: 1,
    };
    container.restart(restarts).unwrap();
    let events = told_when(&sandbox, container.id().as_str(), 3);
    let expected = ["init start-container", "init exit", "init restart"];
    assert_eq!(words(&events), expected);
    container.delete(true).unwrap();

    let checkpoint = sandbox.path().join("first");
    fs::create_dir(&checkpoint).unwrap();
    let config = r#"{"created":"2026-01-02T03:04:05Z","name":"first"}"#;
    fs::write(checkpoint.join("config.json"), config).unwrap();
    fs::write(checkpoint.join("inventory.img"), "").unwrap();
    let fake = FakeRuntime::script(&sandbox, "[ $VERB = restore ] && spawn sleep 1000");
    let driver = sandbox
        .driver_builder()
        .runtime(fake.arg())
        .build()
        .unwrap();
    let options = CreateOptions {
        checkpoint: Some(checkpoint),
        ..quiet()
    };
    let name = sandbox.id("back");
    let back = driver.create(&id(&name), bundle.dir(), &options).unwrap();
    back.kill(9).unwrap();
    back.init().unwrap().wait(Some(DEADLINE)).unwrap();
    let events = told_when(&sandbox, &name, 2);
    assert_eq!(words(&events), ["init restore", "init exit"]);
    back.delete(true).unwrap();
    sandbox.assert_clean();
}

#[test]
fn a_supervisors_restarts_stand_between_an_end_and_a_start() {
    let sandbox = Sandbox::new("events-policy");
    let supervisor = sandbox.supervise().ready();
    let bundle = sandbox.sh("exit 5");
    let id = sandbox.id("again");
    let restart = ["run", "-d", "--restart", "on-failure:2", "--stdio", "null"];
    sandbox.run_ok(restart.into_iter().chain(["-b", bundle.arg(), &id]));
    let once = ["init start-container", "init exit"];
    let more = ["init restart", "init start-container", "init exit"];
    let expected = [&once[..], &more, &more].concat();
    sandbox.wait_until("two restarts", || told(&sandbox, &[&id]).len() >= 8);
    let events = told(&sandbox, &[&id]);
    assert_eq!(words(&events), expected);
    let pids: Vec<&Value> = events.iter().map(|event| &event["pid"]).collect();
    assert!(pids[0] == pids[1] && pids[2] == pids[4] && pids[0] != pids[2]);
    supervisor.leave();
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn a_shim_that_is_killed_anywhere_on_its_way_out_neither_loses_nor_doubles_an_end() {
    let sandbox = Sandbox::new("events-killed");
    let gate = sandbox.gate();
    let bundle = sandbox
        .sh(&format!("{}; exit 7", Gate::WAIT))
        .bind(gate.dir());
    let run = || {
        let id = sandbox.id("end");
        let quiet = ["run", "-d", "--stdio", "null", "-b", bundle.arg(), &id];
        sandbox.run_ok(quiet);
        let shim = sandbox.shim_of(&sandbox.process_dir(&id, "init"));
        // Its beginning is not part of its end.
        sandbox.wait_until("a shim that waits", || {
            shim.status("State")
                .is_some_and(|state| state.starts_with('S'))
        });
        (id, shim)
    };
    let (id, shim) = run();
    let moments = sandbox.moments_of(shim, || gate.open());
    sandbox.run_ok(["delete", &id]);
    let mut codes = BTreeMap::<String, usize>::new();
    for moment in &moments {
        let (id, shim) = run();
        println!("right before {moment}: {id}");
        sandbox.kill_at(moment, shim, || gate.open());
        // Twice, and once more for those who come back: who finds nothing to do does nothing.
        sandbox.wait_until("its end on record", || {
            sandbox.run_ok(["recover"]);
            sandbox.process_dir(&id, "init").join("exitStatus").exists()
        });
        sandbox.run_ok(["recover"]);
        let events = told(&sandbox, &[&id]);
        assert_eq!(
            words(&events),
            ["init start-container", "init exit"],
            "{moment}"
        );
        let record = sandbox.exit_json(&id, "init");
        assert_eq!(events[1]["time"], record["exitedAt"]);
        *codes.entry(events[1]["exitCode"].to_string()).or_default() += 1;
        sandbox.run_ok(["delete", &id]);
    }
    println!("{codes:?}");
    assert!(codes["7"] > 5, "{codes:?}");
    sandbox.assert_clean();
}

#[test]
fn a_full_disk_costs_the_container_nothing_and_an_end_is_told_when_there_is_room() {
    let sandbox = Sandbox::new("events-full");
    disk::mount(&sandbox.root(), "size=512k,mode=0700");
    let gate = sandbox.gate();
    let bundle = sandbox
        .sh(&format!("{}; exit 7", Gate::WAIT))
        .bind(gate.dir());
    let id = sandbox.id("full");
    sandbox.run_ok(["run", "-d", "--stdio", "null", "-b", bundle.arg(), &id]);
    let log = sandbox.container_dir(&id).join("events.log");
    // To the end of a page: a line needs another.
    let length = fs::metadata(&log).unwrap().len();
    let mut file = OpenOptions::new().append(true).open(&log).unwrap();
    let page = usize::try_from(4096 - length % 4096).unwrap();
    file.write_all(&vec![b'\n'; page]).unwrap();
    let filler = sandbox.root().join("~filler");
    disk::fill(&filler);
    // Room for the record's two files and no more.
    let length = fs::metadata(&filler).unwrap().len();
    let file = OpenOptions::new().write(true).open(&filler).unwrap();
    file.set_len(length - 8192).unwrap();
    // Held open, it would go on taking the room.
    drop(file);
    let shim = sandbox.shim_of(&sandbox.process_dir(&id, "init"));
    gate.open();
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    sandbox.wait_until("the shim's end", || !shim.is_alive());
    assert_eq!(words(&told(&sandbox, &[&id])), ["init start-container"]);

    fs::remove_file(&filler).unwrap();
    let said = sandbox.run_ok(["recover"]);
    assert_eq!(said, format!("{id}/init: finished, exit status 7\n"));
    let events = told(&sandbox, &[&id]);
    assert_eq!(words(&events), ["init start-container", "init exit"]);
    sandbox.run_ok(["recover"]);
    assert_eq!(told(&sandbox, &[&id]), events);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}
