//! A shim that somebody has stopped (SIGSTOP, a debugger): the driver neither hangs nor lies, and what was asked for meanwhile
//! is done when the shim goes on.

use std::time::{Duration, Instant};

use holdfast::{Error, ExitStatus};
use holdfast_tests::command::show;
use holdfast_tests::{DEADLINE, Gate, Proc, Sandbox, fifo};
use nix::sys::signal::Signal;

const SOON: Duration = Duration::from_millis(200);

fn stop(sandbox: &Sandbox, shim: Proc) {
    shim.signal(Signal::SIGSTOP);
    sandbox.wait_until("a stopped shim", || shim.stat(3).as_deref() == Some("T"));
}

#[test]
fn nothing_waits_for_a_stopped_shim_longer_than_it_was_told_to() {
    let sandbox = Sandbox::new("stopped");
    let driver = sandbox.driver();
    let script = "stty raw -echo; trap 'stty size' WINCH; sleep 1000 & echo ready; while :; do wait $!; done";
    let bundle = sandbox.sh(script).terminal();
    let id = sandbox.id("stopped");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    let (shim, stdout) = (sandbox.shim_of(&dir), fifo::reader(&dir.join("stdout")));
    assert_eq!(sandbox.read_until(&stdout, "\n").trim(), "ready");
    stop(&sandbox, shim);

    let state = sandbox.run_ok(["state", &id]);
    assert!(state.contains(r#""status": "running""#), "{state}");
    assert_eq!(sandbox.run_ok(["list", "-q"]), format!("{id}\n"));
    // It holds its lock: it lives, and nobody takes its place.
    assert_eq!(sandbox.run_ok(["recover"]), "");
    sandbox.run_ok(["resize", &id, "81", "25"]);
    sandbox.run_ok(["close-stdin", &id]);
    let container = driver
        .load(&holdfast::ContainerId::new(&id).unwrap())
        .unwrap();
    let init = container.init().unwrap();
    let error = init.wait(Some(SOON)).unwrap_err();
    assert!(matches!(error, Error::WaitTimeout { .. }), "{error}");
    let error = init.upgrade(None, SOON).unwrap_err();
    assert!(matches!(error, Error::ShimBusy { .. }), "{error}");
    assert!(
        error.to_string().contains("is not done after 200ms"),
        "{error}"
    );
    let error = container.delete(false).unwrap_err();
    assert!(matches!(error, Error::NotStopped { .. }), "{error}");

    shim.signal(Signal::SIGCONT);
    assert_eq!(sandbox.read_until(&stdout, "\n").trim(), "25 81");
    sandbox.wait_until("the answer to the request that stood", || {
        init.shim()
            .is_ok_and(|shim| shim.is_some_and(|shim| shim.asked == 1))
    });
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn an_end_that_a_stopped_shim_has_not_seen_is_not_made_up() {
    let sandbox = Sandbox::new("stopped-end");
    let driver = sandbox.driver();
    let gate = sandbox.gate();
    let bundle = sandbox
        .sh(&format!("{}; exit 7", Gate::WAIT))
        .bind(gate.dir());
    let container = sandbox.started(&driver, &bundle, "end");
    let init = container.init().unwrap();
    let shim = sandbox.shim_of(init.dir());
    let process = Proc::from_file(&init.dir().join("pid")).unwrap();
    stop(&sandbox, shim);
    gate.open();
    sandbox.wait_until("the end", || !process.is_alive());
    assert_eq!(container.status().unwrap(), holdfast::Status::Stopped);
    assert!(init.exit_record().unwrap().is_none());
    let error = init.wait(Some(SOON)).unwrap_err();
    assert!(matches!(error, Error::WaitTimeout { .. }), "{error}");
    shim.signal(Signal::SIGCONT);
    let record = init.wait(Some(DEADLINE)).unwrap();
    assert_eq!(
        (record.status, record.source),
        (ExitStatus::Code(7), holdfast::Source::Reaped)
    );
    container.delete(false).unwrap();
    sandbox.assert_clean();
}

#[test]
fn a_control_fifo_that_nobody_reads_fills_up_and_says_so() {
    let sandbox = Sandbox::new("stopped-full");
    let driver = sandbox.driver();
    let container = sandbox.started(&driver, &sandbox.bundle(["sleep", "1000"]), "full");
    let init = container.init().unwrap();
    let shim = sandbox.shim_of(init.dir());
    stop(&sandbox, shim);
    // 64 KiB of six bytes each.
    let error = (0..20_000).find_map(|_| init.close_stdin().err());
    let error = error.expect("a FIFO fills up");
    assert!(matches!(error, Error::ControlFull { .. }), "{error}");
    shim.signal(Signal::SIGCONT);
    sandbox.wait_until("room again", || init.close_stdin().is_ok());
    container.delete(true).unwrap();
    sandbox.assert_clean();
}

#[test]
fn a_forced_delete_gets_a_stopped_shim_out_of_its_way() {
    let sandbox = Sandbox::new("stopped-delete");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("delete");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let shim = sandbox.shim_of(&sandbox.process_dir(&id, "init"));
    stop(&sandbox, shim);
    let begun = Instant::now();
    let output = sandbox.output(["delete", "-f", &id]);
    assert!(output.status.success(), "{}", show(&output));
    println!("deleted after {:?}", begun.elapsed());
    sandbox.assert_clean();
}

/// What takes longer than a second is shown on a terminal, as long as it takes and nowhere else.
#[test]
fn whoever_upgrades_many_sees_how_far_it_is() {
    let sandbox = Sandbox::new("progress");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let ids = ["a", "b", "c"].map(|name| sandbox.id(name));
    for id in &ids {
        sandbox.run_ok(["run", "-d", "-b", bundle.arg(), id]);
    }
    let shim = sandbox.shim_of(&sandbox.process_dir(&ids[1], "init"));
    stop(&sandbox, shim);

    let upgrade = sandbox.holdfast(["upgrade", &ids[0], &ids[1], &ids[2]]);
    let mut terminal = sandbox.spawn_on_terminal(&upgrade, 200, 40);
    let before = terminal.expect("upgrade 1 of 3");
    assert!(before.contains(&format!("{}/init: ", ids[0])), "{before:?}");
    shim.signal(Signal::SIGCONT);
    let (status, screen) = terminal.wait();
    assert!(status.success(), "{screen}");
    // What is written to stdout has lines of its own, and nothing else is left.
    const CLEARED: &str = "\r\u{1b}[2K";
    for id in &ids[1..] {
        let line = format!("{CLEARED}{id}/init: ");
        assert!(screen.contains(&line), "{screen:?}");
    }
    assert!(screen.ends_with(CLEARED), "{screen:?}");

    stop(&sandbox, shim);
    let upgrade = sandbox.spawn(sandbox.holdfast(["upgrade", &ids[1]]));
    // Until it would have been shown on a terminal.
    let since = Instant::now();
    let is_late = || since.elapsed() > Duration::from_millis(1500);
    sandbox.wait_until("the upgrade to take long", is_late);
    shim.signal(Signal::SIGCONT);
    let output = upgrade.wait();
    assert!(output.status.success(), "{}", show(&output));
    assert!(output.stderr.is_empty(), "{}", show(&output));
    for id in &ids {
        sandbox.run_ok(["delete", "-f", id]);
    }
    sandbox.assert_clean();
}
