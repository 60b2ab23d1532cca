//! `--timeout`: a process whose time is over is ended, whichever shim holds it by then, and that is on record as what it is.

use std::time::Duration;

use holdfast_tests::command::show;
use holdfast_tests::{FakeRuntime, Gate, Proc, Sandbox, events, wait};
use serde_json::{Value, json};

/// Goes on until it is asked to end; a container's own process is not ended by a signal that it does not handle.
const POLITE: &str = "trap 'exit 3' TERM; while :; do sleep 0.02; done";
const STUBBORN: &str = "trap '' TERM; while :; do sleep 0.02; done";

/// Milliseconds since the boot, as /proc/uptime has them.
fn since_boot() -> u64 {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let millis = (seconds * 1000.0) as u64;
    millis
}

fn deadline(sandbox: &Sandbox, id: &str) -> Option<Value> {
    let file = sandbox.process_dir(id, "init").join("deadline");
    let text = std::fs::read_to_string(file).ok()?;
    serde_json::from_str(&text).ok()
}

fn ends(sandbox: &Sandbox, id: &str) -> Vec<Value> {
    let mut events = events::told(sandbox, &[id]);
    events.retain(|event| event["state"].as_str().unwrap().starts_with("exit"));
    events
}

#[test]
fn a_container_whose_time_is_over_is_asked_to_end_and_that_is_on_record() {
    let sandbox = Sandbox::new("time");
    let bundle = sandbox.sh(POLITE);
    let id = sandbox.id("polite");
    let args = ["run", "--keep", "--timeout", "1", "-b", bundle.arg(), &id];
    let output = sandbox.output(args);
    assert_eq!(output.status.code(), Some(3), "{}", show(&output));
    let record = sandbox.exit_json(&id, "init");
    assert_eq!(
        (&record["code"], &record["timedOut"]),
        (&json!(3), &json!(true)),
        "{record}"
    );
    let end = &ends(&sandbox, &id)[0];
    assert_eq!(end["timedOut"], true, "{end}");
    let log = std::fs::read_to_string(sandbox.process_dir(&id, "init").join("shim-log.json"));
    let log = log.unwrap();
    assert!(log.contains("its 1 s are over: sent it signal 15"), "{log}");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn one_that_does_not_obey_is_killed_after_its_grace() {
    let sandbox = Sandbox::new("time-kill");
    for (script, flags, code) in [
        (
            STUBBORN,
            &["--timeout", "1", "--stop-timeout", "1"][..],
            137,
        ),
        (POLITE, &["--timeout", "1s", "--stop-timeout", "0"], 137),
        (
            "trap 'exit 4' USR1; while :; do sleep 0.02; done",
            &["--timeout", "900ms", "--stop-signal", "USR1"],
            4,
        ),
    ] {
        let bundle = sandbox.sh(script);
        let id = sandbox.id("obey");
        let args = [&["run", "--keep", "-b", bundle.arg()], flags, &[&id]].concat();
        let output = sandbox.output(args);
        assert_eq!(output.status.code(), Some(code), "{}", show(&output));
        assert_eq!(sandbox.exit_json(&id, "init")["timedOut"], true);
        sandbox.run_ok(["delete", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn time_begins_with_the_start_and_who_ends_in_time_is_not_called_late() {
    let sandbox = Sandbox::new("time-start");
    let gate = sandbox.gate();
    let script = format!("{}; exit 5", Gate::WAIT);
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let id = sandbox.id("start");
    sandbox.run_ok(["create", "--timeout", "3600", "-b", bundle.arg(), &id]);
    assert_eq!(deadline(&sandbox, &id), None);
    let before = since_boot();
    sandbox.run_ok(["start", &id]);
    let at = deadline(&sandbox, &id).unwrap()["at"].as_u64().unwrap();
    // /proc/uptime has hundredths.
    let hour = 3_600_000;
    assert!(at + 10 >= before + hour && at <= since_boot() + 10 + hour);
    let shim = sandbox.shim_of(&sandbox.process_dir(&id, "init"));
    // It has looked at the file, and then there is nothing to do for an hour.
    sandbox.wait_until("the shim to be quiet", || {
        let before = shim.wake_ups();
        !wait::until(Duration::from_millis(300), || shim.wake_ups() != before)
    });
    gate.open();
    assert_eq!(sandbox.run_ok(["wait", &id]), "5\n");
    let record = sandbox.exit_json(&id, "init");
    assert_eq!(record["timedOut"], Value::Null, "{record}");
    assert_eq!(ends(&sandbox, &id)[0]["timedOut"], Value::Null);
    sandbox.run_ok(["delete", &id]);

    // One that could not be started has no time that passes.
    let script = r#"case $VERB in create) spawn sh -c "while :; do sleep 1; done" ;; start) log_error "not now"; exit 1 ;; esac"#;
    let fake = FakeRuntime::script(&sandbox, script);
    let id = sandbox.id("refused");
    let runtime = fake.arg();
    let create = ["--runtime", &runtime, "create", "--timeout", "1"];
    sandbox.run_ok([&create[..], &["-b", bundle.arg(), &id]].concat());
    sandbox.refused(["start", &id], &["not now"]);
    assert_eq!(deadline(&sandbox, &id), None);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn an_execs_time_is_its_own_and_ends_all_of_its_group() {
    let sandbox = Sandbox::new("time-exec");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("exec");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let init = Proc::from_file(&sandbox.process_dir(&id, "init").join("pid")).unwrap();
    let script = "sleep 999 & wait";
    let exec = ["exec", "-d", "--timeout", "1", "--exec-id", "job"];
    sandbox.run_ok([&exec[..], &[&id, "sh", "-c", script]].concat());
    assert_eq!(sandbox.run_ok(["wait", &id, "job"]), "143\n");
    assert_eq!(sandbox.exit_json(&id, "job")["timedOut"], true);
    sandbox.wait_until("what it had left in the background to be gone", || {
        !sandbox.run_ok(["ps", &id]).contains("sleep 999")
    });
    assert!(init.is_alive());
    assert_eq!(ends(&sandbox, &id)[0]["timedOut"], true);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn time_goes_on_through_a_replacement_and_the_shims_death() {
    let sandbox = Sandbox::new("time-adopt");
    let bundle = sandbox.sh(POLITE);
    let run = |id: &str, timeout: &str| {
        sandbox.run_ok(["run", "-d", "--timeout", timeout, "-b", bundle.arg(), id]);
        deadline(&sandbox, id).unwrap()["at"].as_u64().unwrap()
    };
    let replaced = sandbox.id("replaced");
    run(&replaced, "2");
    sandbox.run_ok(["upgrade", &replaced]);

    let adopted = sandbox.id("adopted");
    run(&adopted, "2");
    sandbox.kill_shim(&sandbox.process_dir(&adopted, "init"));
    assert!(sandbox.recovered(&adopted).starts_with("adopted"));

    let late = sandbox.id("late");
    let at = run(&late, "1");
    sandbox.kill_shim(&sandbox.process_dir(&late, "init"));
    let init = Proc::from_file(&sandbox.process_dir(&late, "init").join("pid")).unwrap();
    sandbox.wait_until("its time to be over", || since_boot() > at);
    assert!(init.is_alive());
    assert!(sandbox.recovered(&late).starts_with("adopted"));

    for (id, source) in [(&late, "pidfd"), (&adopted, "pidfd"), (&replaced, "reaped")] {
        assert_eq!(sandbox.run_ok(["wait", id]), "3\n");
        let record = sandbox.exit_json(id, "init");
        assert_eq!(
            (&record["timedOut"], &record["source"]),
            (&json!(true), &json!(source)),
            "{record}"
        );
        sandbox.run_ok(["delete", id]);
    }
    sandbox.assert_clean();
}

#[test]
fn a_shim_that_is_killed_between_the_signal_and_the_end_is_followed_by_one_that_knows() {
    let sandbox = Sandbox::new("time-again");
    // Obeys the second time.
    let gate = sandbox.gate();
    let script = "trap 'echo x >> /host/asked; [ $(wc -l < /host/asked) = 1 ] || exit 6' TERM; \
                  while :; do sleep 0.02; done";
    let bundle = sandbox.sh(script).bind(gate.dir());
    let id = sandbox.id("again");
    let flags = ["--timeout", "1", "--stop-timeout", "1000"];
    sandbox.run_ok([&["run", "-d", "-b", bundle.arg()], &flags[..], &[&id]].concat());
    sandbox.wait_file(&gate.dir().join("asked"));
    sandbox.kill_shim(&sandbox.process_dir(&id, "init"));
    assert!(sandbox.recovered(&id).starts_with("adopted"));
    assert_eq!(sandbox.run_ok(["wait", &id]), "6\n");
    assert_eq!(sandbox.exit_json(&id, "init")["timedOut"], true);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_restarted_container_has_its_time_anew() {
    let sandbox = Sandbox::new("time-restart");
    let bundle = sandbox.sh(POLITE);
    let id = sandbox.id("restart");
    let supervisor = sandbox.supervise().ready();
    let policy = ["--restart", "on-failure:1", "--timeout", "1"];
    sandbox.run_ok([&["run", "-d", "-b", bundle.arg()], &policy[..], &[&id]].concat());
    let exits = supervisor.wait_events(&id, "exit", 2);
    assert!(
        exits.iter().all(|exit| exit["timedOut"] == true),
        "{exits:?}"
    );
    supervisor.kill();
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn what_is_no_time_is_refused_and_nothing_is_made() {
    let sandbox = Sandbox::new("time-bad");
    let bundle = sandbox.bundle(["true"]);
    let id = sandbox.id("bad");
    for (flags, words) in [
        (&["--timeout", "soon"][..], &["--timeout", "soon"][..]),
        (&["--timeout", "4294967296"], &["--timeout", "4294967295"]),
        (&["--timeout=-1"], &["--timeout", "-1"]),
        (&["--timeout", "5", "--stop-signal", "NOPE"], &["NOPE"]),
        (&["--timeout", "5", "--stop-signal", "0"], &["signal 0"]),
        (
            &["--timeout", "5", "--stop-timeout", "x"],
            &["--stop-timeout"],
        ),
        (&["--stop-signal", "TERM"], &["--timeout"]),
        (&["--stop-timeout", "3"], &["--timeout"]),
    ] {
        for verb in ["run", "create"] {
            let args = [&[verb, "-b", bundle.arg()], flags, &[&id]].concat();
            sandbox.refused(args, words);
        }
    }
    // None, as for podman.
    sandbox.run_ok(["run", "--timeout", "0", "-b", bundle.arg(), &id]);
    sandbox.assert_clean();
}
