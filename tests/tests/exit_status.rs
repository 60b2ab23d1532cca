//! The exit status is exact: in the foreground, in the background, on record, long after, and for whoever waits.
//! A command that never ran has a status of its own, and leaves nothing.

use std::path::Path;

use holdfast_tests::command::{show, text};
use holdfast_tests::{Bundle, FakeRuntime, Gate, Proc, Running, Sandbox, runtime};
use nix::sys::signal::Signal;
use serde_json::Value;

/// exit.json of a container's own process.
fn exit_json(sandbox: &Sandbox, id: &str) -> Value {
    let text = sandbox.wait_file(&sandbox.process_dir(id, "init").join("exit.json"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text}"))
}

fn exit_status(sandbox: &Sandbox, id: &str) -> String {
    sandbox.wait_file(&sandbox.process_dir(id, "init").join("exitStatus"))
}

/// Starts `holdfast ARGS`, and returns when it waits: when it has `exit` open.
fn waiting<'a>(sandbox: &'a Sandbox, args: &[&str], dir: &Path) -> Running<'a> {
    let waiter = sandbox.spawn(sandbox.holdfast(args));
    let exit = dir.join("exit");
    sandbox.wait_until("a waiter to open exit", || {
        waiter.process().fds().values().any(|path| *path == exit)
    });
    waiter
}

/// A container that ends with `code` when the gate is opened.
fn gated(sandbox: &Sandbox, code: u8) -> (Bundle, Gate<'_>) {
    let gate = sandbox.gate();
    let script = format!("{}; exit {code}", Gate::WAIT);
    (sandbox.sh(&script).bind(gate.dir()), gate)
}

#[test]
fn a_code_is_mirrored_in_the_foreground_and_is_on_record() {
    let sandbox = Sandbox::new("codes");
    for code in [0, 7, 255] {
        let id = sandbox.id("code");
        let bundle = sandbox.sh(&format!("exit {code}"));

        let output = sandbox.output(["run", "--keep", "-b", bundle.arg(), &id]);

        assert_eq!(output.status.code(), Some(code), "{}", show(&output));
        let record = exit_json(&sandbox, &id);
        assert_eq!(record["code"], code, "{record}");
        assert_eq!(record["source"], "reaped", "{record}");
        assert_eq!(record.get("signal"), None, "{record}");
        assert_eq!(record.get("reason"), None, "{record}");
        assert_eq!(exit_status(&sandbox, &id), code.to_string());
        assert_eq!(sandbox.run_ok(["wait", &id]), format!("{code}\n"));
        sandbox.run_ok(["delete", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn a_signal_is_mirrored_as_128_and_its_number_and_told_apart_from_a_code() {
    let sandbox = Sandbox::new("signals");
    for (signal, number) in [("KILL", 9), ("TERM", 15)] {
        let id = sandbox.id("signal");
        // In a pid namespace of its own, an init that has no handler for TERM would be spared.
        let bundle = sandbox.bundle(["sleep", "1000"]).host_pid();
        let run = sandbox.holdfast(["run", "--keep", "-b", bundle.arg(), &id]);
        let run = sandbox.spawn(run);
        sandbox.wait_until("a running container", || is_running(&sandbox, &id));

        sandbox.run_ok(["kill", &id, signal]);

        let output = run.wait();
        assert_eq!(
            output.status.code(),
            Some(128 + number),
            "{}",
            show(&output)
        );
        let record = exit_json(&sandbox, &id);
        assert_eq!(record["signal"], number, "{record}");
        assert_eq!(record["coreDumped"], false, "{record}");
        assert_eq!(record["source"], "reaped", "{record}");
        assert_eq!(record.get("code"), None, "{record}");
        assert_eq!(exit_status(&sandbox, &id), (128 + number).to_string());
        assert_eq!(sandbox.run_ok(["wait", &id]), format!("{}\n", 128 + number));
        sandbox.run_ok(["delete", &id]);
    }
    let id = sandbox.id("code");
    let bundle = sandbox.sh("exit 137");
    let output = sandbox.output(["run", "--keep", "-b", bundle.arg(), &id]);
    assert_eq!(output.status.code(), Some(137));
    let record = exit_json(&sandbox, &id);
    assert_eq!((&record["code"], record.get("signal")), (&137.into(), None));
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

fn is_running(sandbox: &Sandbox, id: &str) -> bool {
    let output = sandbox.output(["state", id]);
    let state: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    state.is_some_and(|state| state["status"] == "running")
}

#[test]
fn a_detached_container_has_the_same_status_for_everybody_long_after() {
    let sandbox = Sandbox::new("after");
    for code in [0, 7, 255] {
        let id = sandbox.id("after");
        let (bundle, gate) = gated(&sandbox, code);
        let output = sandbox.output(["run", "-d", "-b", bundle.arg(), &id]);
        assert!(output.status.success(), "{}", show(&output));
        let dir = sandbox.process_dir(&id, "init");
        let shim = Proc::shim_of(&dir).expect("a shim holds what runs");
        let waiter = waiting(&sandbox, &["wait", &id], &dir);

        gate.open();

        assert_eq!(text(&waiter.wait().stdout), format!("{code}\n"));
        sandbox.wait_until("the shim's end", || !shim.is_alive());
        for _ in 0..2 {
            assert_eq!(sandbox.run_ok(["wait", &id]), format!("{code}\n"));
        }
        let told: Value =
            serde_json::from_str(&sandbox.run_ok(["wait", "-f", "json", &id])).unwrap();
        assert_eq!(told, exit_json(&sandbox, &id));
        sandbox.run_ok(["delete", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn everybody_who_waits_at_once_gets_the_status() {
    let sandbox = Sandbox::new("waiters");
    let id = sandbox.id("waiters");
    let (bundle, gate) = gated(&sandbox, 7);
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    let waiters: Vec<_> = (0..4)
        .map(|_| waiting(&sandbox, &["wait", &id], &dir))
        .collect();
    // One that goes away takes nothing from the others.
    waiting(&sandbox, &["wait", &id], &dir).kill();

    gate.open();

    for waiter in waiters {
        let output = waiter.wait();
        assert!(output.status.success(), "{}", show(&output));
        assert_eq!(text(&output.stdout), "7\n");
    }
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_missing_binary_is_127_with_the_runtimes_words_and_leaves_nothing() {
    let sandbox = Sandbox::new("missing");
    let bundle = sandbox.bundle(["no-such-program"]);
    for verb in [
        &["run"][..],
        &["run", "-d"],
        &["run", "--keep"],
        &["create"],
    ] {
        let id = sandbox.id("missing");

        let output = sandbox.output([verb, &["-b", bundle.arg(), &id]].concat());

        assert_eq!(output.status.code(), Some(127), "{}", show(&output));
        let complaint = text(&output.stderr);
        assert!(
            complaint.contains(&runtime::not_found("no-such-program")),
            "{complaint}"
        );
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        assert_eq!(text(&output.stdout), "");
        // At once, not only in the end: whoever reads the failure may try again.
        assert!(!sandbox.container_dir(&id).exists());
        sandbox.assert_clean();
    }
}

#[test]
fn a_file_that_is_not_executable_is_126_and_leaves_nothing() {
    let sandbox = Sandbox::new("noexec");
    for program in ["/etc/passwd", "/etc"] {
        let id = sandbox.id("noexec");
        let bundle = sandbox.bundle([program]);

        let output = sandbox.output(["run", "-b", bundle.arg(), &id]);

        assert_eq!(output.status.code(), Some(126), "{}", show(&output));
        let complaint = text(&output.stderr);
        let words = runtime::not_executable(program);
        assert!(complaint.contains(&words), "{complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        sandbox.assert_clean();
    }
}

#[test]
fn a_container_that_removes_itself_still_tells_those_who_wait_how_it_ended() {
    let sandbox = Sandbox::new("rm");
    for code in [0, 7, 255] {
        let id = sandbox.id("rm");
        let (bundle, gate) = gated(&sandbox, code);
        sandbox.run_ok(["run", "-d", "--rm", "-b", bundle.arg(), &id]);
        let dir = sandbox.process_dir(&id, "init");
        let waiters = [
            waiting(&sandbox, &["wait", &id], &dir),
            waiting(&sandbox, &["wait", &id], &dir),
        ];

        gate.open();

        for waiter in waiters {
            let output = waiter.wait();
            assert_eq!(
                text(&output.stdout),
                format!("{code}\n"),
                "{}",
                show(&output)
            );
        }
        sandbox.assert_clean();
    }
}

#[test]
fn the_foreground_removes_its_container_unless_told_to_keep_it() {
    let sandbox = Sandbox::new("keep");
    let bundle = sandbox.sh("exit 3");
    for (flag, stays) in [(None, false), (Some("--rm"), false), (Some("--keep"), true)] {
        let id = sandbox.id("keep");
        let args = ["run"].into_iter().chain(flag);

        let output = sandbox.output(args.chain(["-b", bundle.arg(), &id]));

        assert_eq!(output.status.code(), Some(3), "{}", show(&output));
        let listed = sandbox.run_ok(["list", "-q"]);
        if stays {
            assert_eq!(listed, format!("{id}\n"));
            sandbox.run_ok(["delete", &id]);
        } else {
            assert_eq!(listed, "");
        }
        sandbox.assert_clean();
    }
}

#[test]
fn a_container_that_ends_before_its_start_is_through_has_its_status() {
    // What a real runtime does now and then on a busy machine: its `start` tidies up when the container has run, has
    // ended and has been deleted.
    let body = r#"
    if [ $VERB = start ]; then
        real "$@"
        wait_for "${LOG%/*}/exitStatus"
        log_error "remove exec.fifo: no such file or directory"
        exit 1
    fi
    delegate "$@""#;
    let sandbox = Sandbox::new("short");
    let fake = FakeRuntime::script(&sandbox, body);
    let bundle = sandbox.sh("echo ran; exit 7");
    let id = sandbox.id("short");
    let args = ["--runtime", &fake.arg(), "run", "-b", bundle.arg(), &id];

    let output = sandbox.output(args);

    assert_eq!(output.status.code(), Some(7), "{}", show(&output));
    assert_eq!(text(&output.stdout), "ran\n");
    sandbox.run_ok([
        "--runtime",
        &fake.arg(),
        "run",
        "-d",
        "-b",
        bundle.arg(),
        &id,
    ]);
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn an_end_between_two_looks_is_told_as_what_it_is() {
    let sandbox = Sandbox::new("between");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("between");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    let record = dir.join("exit.json");
    // It has seen that there is no record, and has not yet looked for what a containerd 0.2 shim leaves in its place.
    let wait = sandbox.holdfast(["wait", "-f", "json", &id]);
    let (waiter, stopped) = sandbox.stopped_after_opening(&record, &wait);
    sandbox.run_ok(["kill", &id, "KILL"]);
    assert_eq!(exit_status(&sandbox, &id), "137");
    stopped.signal(Signal::SIGCONT);

    let told: Value = serde_json::from_slice(&waiter.wait().stdout).unwrap();

    assert_eq!(told, exit_json(&sandbox, &id));
    assert_eq!(told["signal"], 9);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}
