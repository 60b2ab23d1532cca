//! A shim is killed under its process, and another takes its place: the process goes on undisturbed, talks and listens as
//! before, and its exit status is exact all the same, or unknown with a reason, but never invented.

use std::fs;
use std::process::Command;

use holdfast_tests::command::{behind, show, text};
use holdfast_tests::matrix::Ended;
use holdfast_tests::process::{SHIM, under};
use holdfast_tests::{Gate, Proc, Sandbox, fifo, kernel};
use nix::libc;
use nix::sys::signal::Signal;
use serde_json::Value;

const LATE_PARENT: &str = env!("CARGO_BIN_EXE_late-parent");

/// What is printed by `sequence`.
fn numbers(last: usize) -> String {
    (1..=last).map(|n| format!("{n}\n")).collect()
}

/// A script that prints so many lines.
fn sequence(last: usize) -> String {
    format!("i=0; while [ $i -lt {last} ]; do i=$((i + 1)); echo $i; done")
}

#[track_caller]
fn adopted(sandbox: &Sandbox, id: &str) {
    let said = sandbox.recovered(id);
    assert!(said.starts_with("adopted, pid "), "{said}");
}

#[test]
fn an_orphan_is_told_of_and_adopted_and_its_code_is_exact() {
    let sandbox = Sandbox::new("adopt");
    let gate = sandbox.gate();
    let script = format!("echo before; {}; echo after; exit 7", Gate::WAIT);
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let id = sandbox.id("adopt");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    let waiter = sandbox.spawn(sandbox.holdfast(["wait", &id]));
    let exit = dir.join("exit");
    sandbox.wait_until("a waiter to open exit", || {
        waiter.process().fds().values().any(|path| *path == exit)
    });

    sandbox.kill_shim(&dir);

    // Who waited and who waits now are told the same.
    for output in [waiter.wait(), sandbox.output(["wait", &id])] {
        assert_eq!(output.status.code(), Some(125), "{}", show(&output));
        let expected =
            format!("the shim of process init of container {id} is gone, its process still runs");
        assert!(
            text(&output.stderr).contains(&expected),
            "{}",
            show(&output)
        );
        assert_eq!(text(&output.stdout), "");
    }
    let verdicts = sandbox.driver().survey().unwrap();
    let [verdict] = verdicts.as_slice() else {
        panic!("{verdicts:?}")
    };
    assert!(
        matches!(verdict.finding, holdfast::Finding::Orphaned),
        "{verdict:?}"
    );
    let refused = sandbox.output(["close-stdin", &id]);
    assert_eq!(refused.status.code(), Some(125), "{}", show(&refused));

    let pid = fs::read_to_string(dir.join("pid")).unwrap();
    let said = sandbox.recovered(&id);
    assert!(
        said.starts_with(&format!("adopted, pid {} (", pid.trim())),
        "{said}"
    );
    let shim = sandbox.shim_of(&dir);
    let record: Value = serde_json::from_str(&sandbox.wait_file(&dir.join("shim.json"))).unwrap();
    assert_eq!(record["pid"], shim.pid().as_raw());
    // There is nothing more to do.
    assert_eq!(sandbox.run_ok(["recover"]), "");

    let waiter = sandbox.spawn(sandbox.holdfast(["wait", &id]));
    gate.open();
    sandbox.assert_adopted_end(&id, "init", &Ended::Code(7));
    let number = sandbox.run_ok(["wait", &id]);
    assert_eq!(text(&waiter.wait().stdout), number);
    assert_eq!(sandbox.wait_file(&dir.join("exitStatus")), number.trim());
    sandbox.wait_until("the shim's end", || !shim.is_alive());
    let output = sandbox.output(["attach", &id]);
    assert_eq!(text(&output.stdout), "before\nafter\n", "{}", show(&output));
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_signal_ends_an_adopted_process_and_is_told_apart_from_a_code() {
    let sandbox = Sandbox::new("adopt-signal");
    for (signal, number) in [("KILL", 9), ("TERM", 15)] {
        let id = sandbox.id("signal");
        let bundle = sandbox.bundle(["sleep", "1000"]).host_pid();
        sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
        sandbox.kill_shim(&sandbox.process_dir(&id, "init"));
        adopted(&sandbox, &id);
        sandbox.run_ok(["kill", &id, signal]);
        sandbox.assert_adopted_end(&id, "init", &Ended::Signal(number));
        sandbox.run_ok(["delete", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn an_adopters_last_look_and_the_parents_reaping_may_come_in_any_order() {
    let sandbox = Sandbox::new("adopt-late");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("late");
    let launch = sandbox.holdfast(["run", "-d", "-b", bundle.arg(), &id]);
    // Below it is whoever the container's process is left to when its shim is killed.
    let mut parent = sandbox.spawn(behind(Command::new(LATE_PARENT), &launch));
    parent.wait_stdout("ran\n");
    let dir = sandbox.process_dir(&id, "init");
    sandbox.kill_shim(&dir);
    adopted(&sandbox, &id);
    let init = Proc::from_file(&dir.join("pid")).unwrap();
    assert_eq!(init.parent(), Some(parent.process().pid()));

    // Its first look is over.
    let shim = sandbox.idle_shim_of(&dir);
    sandbox.lingering_after("pidfd_send_signal", shim, || {
        init.signal(Signal::SIGKILL);
        // It has asked whether there is still something to signal, and there was: the process, which was not yet reaped. Kernels
        // before 6.9 do not tell of that.
        sandbox.wait_until("the shim to look", || {
            shim.system_call() == Some(libc::SYS_pidfd_send_signal)
        });
        parent.write("\n");
        parent.wait_stdout("reaped\n");
    });

    sandbox.assert_adopted_end(&id, "init", &Ended::Signal(9));
    parent.close_stdin();
    parent.wait();
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn no_byte_of_output_is_lost_while_nobody_holds_the_container() {
    let sandbox = Sandbox::new("adopt-bytes");
    // More than a FIFO takes: it is written, and blocked, before, while and after there is no shim.
    let lines = 60_000;
    let bundle = sandbox.sh(&format!("{} | cat; exit 7", sequence(lines)));
    for attached in [false, true] {
        let id = sandbox.id("bytes");
        sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
        let dir = sandbox.process_dir(&id, "init");
        let mut reader = fifo::reader(&dir.join("stdout"));
        let mut seen = sandbox.read_until(&reader, "\n1000\n");
        if !attached {
            drop(reader);
            sandbox.kill_shim(&dir);
            reader = fifo::reader(&dir.join("stdout"));
            seen += &sandbox.read_until(&reader, "\n20000\n");
        } else {
            sandbox.kill_shim(&dir);
        }
        adopted(&sandbox, &id);
        seen += &text(&sandbox.read_to_end(&reader));
        assert!(seen == numbers(lines), "{} bytes", seen.len());
        sandbox.assert_adopted_end(&id, "init", &Ended::Code(7));
        sandbox.run_ok(["delete", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn an_adopted_container_is_written_to_and_its_stdin_closed() {
    let sandbox = Sandbox::new("adopt-stdin");
    let gate = sandbox.gate();
    let bundle = sandbox
        .sh(&format!("{}; cat; exit 7", Gate::WAIT))
        .bind(gate.dir());
    let id = sandbox.id("stdin");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    let stdin = sandbox.open_writer(&dir.join("stdin"));
    sandbox.write_all(&stdin, b"before\n");
    sandbox.kill_shim(&dir);
    sandbox.write_all(&stdin, b"meanwhile\n");
    adopted(&sandbox, &id);
    sandbox.write_all(&stdin, b"after\n");
    // The one who wrote leaves; the shim holds the end open until it is told.
    drop(stdin);
    gate.open();
    let stdout = fifo::reader(&dir.join("stdout"));
    assert_eq!(
        sandbox.read_until(&stdout, "after\n"),
        "before\nmeanwhile\nafter\n"
    );
    sandbox.assert_quiet(&stdout);
    sandbox.run_ok(["close-stdin", &id]);
    sandbox.assert_adopted_end(&id, "init", &Ended::Code(7));
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn stdin_that_was_closed_stays_closed() {
    let sandbox = Sandbox::new("adopt-closed");
    let gate = sandbox.gate();
    let bundle = sandbox
        .sh(&format!("{}; cat; exit 7", Gate::WAIT))
        .bind(gate.dir());
    let id = sandbox.id("closed");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    sandbox.run_ok(["close-stdin", &id]);
    sandbox.wait_file(&dir.join("stdin.closed"));
    sandbox.kill_shim(&dir);
    adopted(&sandbox, &id);
    gate.open();
    sandbox.assert_adopted_end(&id, "init", &Ended::Code(7));
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn an_exec_is_adopted_as_its_container_is() {
    let sandbox = Sandbox::new("adopt-exec");
    let gate = sandbox.gate();
    let bundle = sandbox.bundle(["sleep", "1000"]).bind(gate.dir());
    let id = sandbox.id("host");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let script = format!("echo before; {}; echo after; exit 9", Gate::WAIT);
    sandbox.run_ok(["exec", "-d", "--exec-id", "job", &id, "sh", "-c", &script]);
    let (init, job) = (
        sandbox.process_dir(&id, "init"),
        sandbox.process_dir(&id, "job"),
    );
    sandbox.kill_shim(&init);
    sandbox.kill_shim(&job);
    let said = sandbox.run_ok(["recover"]);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(
        lines[0].starts_with(&format!("{id}/init: adopted, pid ")),
        "{said}"
    );
    assert!(
        lines[1].starts_with(&format!("{id}/job: adopted, pid ")),
        "{said}"
    );
    let stdout = fifo::reader(&job.join("stdout"));
    gate.open();
    sandbox.assert_adopted_end(&id, "job", &Ended::Code(9));
    assert_eq!(text(&sandbox.read_to_end(&stdout)), "before\nafter\n");
    sandbox.run_ok(["kill", &id, "KILL"]);
    sandbox.assert_adopted_end(&id, "init", &Ended::Signal(9));
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_process_that_ended_before_anybody_came_is_unknown_with_a_reason() {
    let sandbox = Sandbox::new("adopt-late");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("late");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    let process = Proc::from_file(&dir.join("pid")).unwrap();
    sandbox.kill_shim(&dir);
    sandbox.run_ok(["kill", &id, "KILL"]);
    sandbox.wait_until("somebody to reap it", || process.stat(3).is_none());
    let output = sandbox.output(["wait", &id]);
    assert_eq!(output.status.code(), Some(125), "{}", show(&output));
    assert!(
        text(&output.stderr).contains("how its process ended is not known"),
        "{}",
        show(&output)
    );
    assert_eq!(sandbox.recovered(&id), "finished, exit status 255");
    assert_eq!(sandbox.run_ok(["wait", &id]), "255\n");
    let record = sandbox.exit_json(&id, "init");
    assert_eq!(record["source"], "unknown", "{record}");
    assert!(
        record["reason"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty()),
        "{record}"
    );
    assert_eq!(
        (record.get("code"), record.get("signal")),
        (None, None),
        "{record}"
    );
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn of_two_adopters_one_wins_and_the_other_is_told() {
    let sandbox = Sandbox::new("adopt-race");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("race");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    let mut told = 0;
    for _ in 0..20 {
        sandbox.kill_shim(&dir);
        let both = [0, 1].map(|_| sandbox.spawn(sandbox.holdfast(["recover", &id])));
        let outputs = both.map(holdfast_tests::Running::wait);
        let winners = outputs
            .iter()
            .filter(|output| text(&output.stdout).contains(": adopted, pid "));
        assert_eq!(
            winners.count(),
            1,
            "{}\n{}",
            show(&outputs[0]),
            show(&outputs[1])
        );
        for output in &outputs {
            let complaint = text(&output.stderr);
            if output.status.success() {
                // Won, or came when it was over.
                assert_eq!(complaint, "");
            } else {
                let words = format!("process init of container {id} was adopted by somebody else");
                assert!(complaint.contains(&words), "{complaint}");
                assert_eq!(output.status.code(), Some(125));
                told += 1;
            }
        }
        // The one that lost tells so, and then ends.
        sandbox.wait_until("one shim to be left", || {
            let shims = under(&dir).into_iter().filter(|p| p.comm() == SHIM);
            shims.count() == 1
        });
    }
    println!("{told} of 20 losers were told so by the lock");
    sandbox.run_ok(["kill", &id, "KILL"]);
    sandbox.assert_adopted_end(&id, "init", &Ended::Signal(9));
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_terminal_is_lost_with_its_shim_and_that_is_said() {
    let sandbox = Sandbox::new("adopt-tty");
    let bundle = sandbox.bundle(["sleep", "1000"]).terminal();
    let id = sandbox.id("tty");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    sandbox.kill_shim(&sandbox.process_dir(&id, "init"));
    let said = sandbox.recovered(&id);
    assert!(
        said.ends_with("; its terminal was lost with its shim"),
        "{said}"
    );
    let refused = sandbox.output(["resize", &id, "80", "24"]);
    assert_eq!(refused.status.code(), Some(125), "{}", show(&refused));
    assert!(
        text(&refused.stderr).contains("was lost when its shim was killed"),
        "{}",
        show(&refused)
    );
    sandbox.run_ok(["kill", &id, "KILL"]);
    sandbox.assert_adopted_end(&id, "init", &Ended::Signal(9));
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn an_adopted_container_that_shall_remove_itself_does() {
    let sandbox = Sandbox::new("adopt-rm");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("rm");
    sandbox.run_ok(["run", "-d", "--rm", "-b", bundle.arg(), &id]);
    sandbox.kill_shim(&sandbox.process_dir(&id, "init"));
    adopted(&sandbox, &id);
    sandbox.run_ok(["kill", &id, "KILL"]);
    sandbox.assert_clean();
}

#[test]
fn who_holds_the_process_itself_learns_how_it_ended_though_nobody_adopted_it() {
    let sandbox = Sandbox::new("adopt-pidfd");
    let driver = sandbox.driver();
    let gate = sandbox.gate();
    let bundle = sandbox
        .sh(&format!("{}; exit 7", Gate::WAIT))
        .bind(gate.dir());
    let container = sandbox.started(&driver, &bundle, "pidfd");
    let init = container.init().unwrap();
    let held = init.pidfd().unwrap();
    sandbox.kill_shim(init.dir());
    gate.open();
    let record = held.wait(Some(holdfast_tests::DEADLINE)).unwrap();
    if kernel::keeps_exit_statuses() {
        assert_eq!(record.status, holdfast::ExitStatus::Code(7));
        assert_eq!(record.source, holdfast::Source::Pidfd);
    } else {
        assert_eq!(record.source, holdfast::Source::Unknown);
        assert_eq!(record.status.number(), 255);
    }
    assert_eq!(record.pid, held.identity().pid);
    // What one has been told another cannot know, and nothing is invented for them.
    assert!(init.exit_record().unwrap().is_none());
    assert!(init.pidfd().is_err());
    container.delete(true).unwrap();
    sandbox.assert_clean();
}

#[test]
fn numbers_that_were_removed_are_no_launch_that_was_cut_off() {
    let sandbox = Sandbox::new("adopt-removed");
    let id = sandbox.id("removed");
    sandbox.run_ok([
        "run",
        "-d",
        "-b",
        sandbox.bundle(["sleep", "1000"]).arg(),
        &id,
    ]);
    let dir = sandbox.process_dir(&id, "init");
    let process = Proc::from_file(&dir.join("pid")).unwrap();
    for file in ["starttime", "pid"] {
        let kept = fs::read(dir.join(file)).unwrap();
        fs::remove_file(dir.join(file)).unwrap();
        sandbox.kill_shim(&dir);
        let refused = sandbox.output(["recover", &id]);
        assert_eq!(refused.status.code(), Some(125), "{}", show(&refused));
        assert!(text(&refused.stderr).contains(file), "{}", show(&refused));
        assert!(process.is_alive(), "without {file}");
        fs::write(dir.join(file), kept).unwrap();
        let said = sandbox.recovered(&id);
        assert!(said.starts_with("adopted, pid "), "{said}");
    }
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}
