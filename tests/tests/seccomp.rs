//! System calls that wait for an agent's answer outlive the agent: the shim keeps the listeners, whoever comes and goes.

use std::fs;
use std::time::Duration;

use holdfast::{Answer, ContainerId, Error};
use holdfast_tests::command::{show, text};
use holdfast_tests::seccomp::{agent, connect, filtered, load, our_socket, receive, run, view};
use holdfast_tests::{DEADLINE, Gate, Proc, Sandbox};
use serde_json::json;

const AGENT: &str = env!("CARGO_BIN_EXE_seccomp-agent");

#[test]
fn a_call_outlives_the_agent_that_was_killed_in_the_middle_of_it() {
    let sandbox = Sandbox::new("sc-killed");
    let gate = sandbox.gate();
    let id = run(&sandbox, &gate, "mkdir /host/made && exit 7");
    let made = gate.dir().join("made");
    let init = Proc::from_file(&sandbox.process_dir(&id, "init").join("pid")).unwrap();
    // It has been told of the call, and is about to do it.
    let inject = "inject=mkdirat:signal=KILL";
    let strace = [
        "strace",
        "-o",
        "agent-trace",
        "-e",
        "trace=mkdirat",
        "-e",
        inject,
        AGENT,
    ];
    for _ in 0..2 {
        let killed = agent(&sandbox, &id, &strace).wait();
        assert_eq!(killed.status.code(), None, "{}", show(&killed));
        assert!(
            text(&killed.stdout).contains("mkdir /host/made"),
            "{}",
            show(&killed)
        );
        assert!(!made.exists() && init.is_alive());
    }

    let last = agent(&sandbox, &id, &[AGENT]);

    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    assert!(made.is_dir());
    // The store is gone, and so is what it was for.
    let output = last.wait();
    assert!(output.status.success(), "{}", show(&output));
    assert!(
        text(&output.stdout).contains("1 calls begin anew"),
        "{}",
        show(&output)
    );
    assert!(matches!(
        load(&sandbox, &id).seccomp(),
        Err(Error::ContainerExited { .. })
    ));
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_call_waits_without_an_agent_through_upgrades_and_an_agent_stays_connected() {
    let sandbox = Sandbox::new("sc-upgrade");
    let gate = sandbox.gate();
    let script = format!(
        "mkdir /host/first; {}; mkdir /host/second && exit 7",
        Gate::WAIT
    );
    let id = run(&sandbox, &gate, &script);
    let dir = sandbox.process_dir(&id, "init");
    let init = Proc::from_file(&dir.join("pid")).unwrap();
    sandbox.run_ok(["upgrade", &id]);
    let store = connect(&sandbox, &id);
    let listener = receive(&store);
    assert_eq!(listener.restarted(), 0);
    let state = listener.state();
    assert_eq!(i64::from(state.pid), i64::from(init.pid().as_raw()));
    assert_eq!(
        (state.metadata.as_str(), state.state.id.as_str()),
        ("of the test", id.as_str())
    );
    sandbox.run_ok(["upgrade", &id]);
    assert_eq!(
        view(&sandbox, &id)["seccomp"],
        json!({"pids": [state.pid], "agent": true})
    );
    let call = listener.next(Some(DEADLINE)).unwrap().unwrap();
    assert!(listener.is_waiting(call.id).unwrap() && listener.has_unanswered().unwrap());
    assert!(listener.answer(call.id, Answer::Continue).unwrap());
    assert!(!listener.answer(call.id, Answer::Continue).unwrap());
    assert!(!listener.is_waiting(call.id).unwrap() && !listener.has_unanswered().unwrap());
    gate.open();
    let call = listener.next(Some(DEADLINE)).unwrap().unwrap();
    // An exec's listener comes over the same connection, after another upgrade.
    sandbox.run_ok(["upgrade", &id]);
    let job = [
        "exec",
        "-d",
        "--exec-id",
        "job",
        &id,
        "sh",
        "-c",
        "mkdir /host/third; exit 3",
    ];
    sandbox.run_ok(job);
    let other = receive(&store);
    assert_ne!(other.state().pid, state.pid);
    assert_eq!(other.state().state.pid, state.pid);
    let others = other.next(Some(DEADLINE)).unwrap().unwrap();
    assert!(
        other
            .answer(others.id, Answer::Fail(nix::libc::EPERM))
            .unwrap()
    );
    assert_eq!(sandbox.run_ok(["wait", &id, "job"]), "3\n");
    assert!(!gate.dir().join("third").exists());
    // It has ended with its process, for whoever has it; the container's own goes on.
    sandbox.wait_hangup(&other);
    sandbox.wait_until("the exec's listener to be let go", || {
        view(&sandbox, &id)["seccomp"]["pids"] == json!([state.pid])
    });
    assert!(listener.answer(call.id, Answer::Continue).unwrap());
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    sandbox.wait_hangup(&listener);
    assert!(listener.next(Some(DEADLINE)).unwrap().is_none());
    assert!(store.receive(Some(DEADLINE)).unwrap().is_none());
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_second_agent_waits_and_takes_over() {
    let sandbox = Sandbox::new("sc-second");
    let gate = sandbox.gate();
    let script = format!("{}; mkdir /host/made && exit 7", Gate::WAIT);
    let id = run(&sandbox, &gate, &script);
    let first = agent(&sandbox, &id, &[AGENT]);
    first.wait_stdout("listens to process");
    let second = agent(&sandbox, &id, &[AGENT]);
    second.wait_stdout("connected");
    sandbox.run_ok(["upgrade", &id]);
    assert!(!second.stdout().contains("listens"), "{}", second.stdout());
    first.kill();
    second.wait_stdout("listens to process");
    gate.open();
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    assert!(gate.dir().join("made").is_dir());
    assert!(second.wait().status.success());
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn an_agent_that_was_connected_goes_on_when_the_shim_is_killed() {
    let sandbox = Sandbox::new("sc-left");
    let gate = sandbox.gate();
    let script = format!("{}; mkdir /host/made && exit 7", Gate::WAIT);
    let id = run(&sandbox, &gate, &script);
    let helper = agent(&sandbox, &id, &[AGENT]);
    helper.wait_stdout("listens to process");
    sandbox.kill_shim(&sandbox.process_dir(&id, "init"));
    assert!(sandbox.recovered(&id).starts_with("adopted"));
    gate.open();
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    assert!(gate.dir().join("made").is_dir());
    assert!(helper.wait().status.success());
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_container_that_is_restarted_has_a_store_anew() {
    let sandbox = Sandbox::new("sc-again");
    let gate = sandbox.gate();
    let id = run(&sandbox, &gate, "mkdir /host/made; exit 7");
    let container = load(&sandbox, &id);
    for _ in 0..2 {
        let helper = agent(&sandbox, &id, &[AGENT]);
        let init = container.init().unwrap();
        assert_eq!(init.wait(Some(DEADLINE)).unwrap().status.number(), 7);
        assert!(helper.wait().status.success());
        fs::remove_dir(gate.dir().join("made")).unwrap();
        container.restart(holdfast::Restarts::default()).unwrap();
        container.start().unwrap();
    }
    container.delete(true).unwrap();
    sandbox.assert_clean();
}

#[test]
fn a_runtime_that_waits_for_its_own_filters_agent_is_served_while_it_creates() {
    let sandbox = Sandbox::new("sc-early");
    let id = sandbox.id("early");
    // Made by the runtime's init after it has put the filter in place, when it may gain privileges.
    let bundle = sandbox
        .sh("exit 7")
        .edit(|config| config["process"]["noNewPrivileges"] = json!(false));
    let bundle = filtered(bundle, &["chdir"], &our_socket(&sandbox, &id));
    let create = sandbox.spawn(sandbox.holdfast(["run", "-d", "-b", bundle.arg(), &id]));
    let store = sandbox.wait_for("the store", || {
        let container = sandbox
            .driver()
            .load(&ContainerId::new(&id).unwrap())
            .ok()?;
        container.seccomp().ok()
    });
    let listener = receive(&store);
    let call = listener.next(Some(DEADLINE)).unwrap().unwrap();
    assert!(!sandbox.process_dir(&id, "init").join("starttime").exists());
    assert!(listener.answer(call.id, Answer::Continue).unwrap());
    let output = create.wait();
    assert!(output.status.success(), "{}", show(&output));
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn calls_do_not_wake_the_shim() {
    let sandbox = Sandbox::new("sc-quiet");
    let gate = sandbox.gate();
    let calls = "n=0; while [ $n -lt 100 ]; do mkdir /host/d; n=$((n+1)); done";
    let id = run(
        &sandbox,
        &gate,
        &format!("{calls}; echo done > /host/done; {}", Gate::WAIT),
    );
    let store = connect(&sandbox, &id);
    let listener = receive(&store);
    let shim = sandbox.shim_of(&sandbox.process_dir(&id, "init"));
    let first = listener.next(Some(DEADLINE)).unwrap().unwrap();
    // What the connection led to is over.
    sandbox.wait_until("a quiet shim", || {
        let before = shim.wake_ups();
        std::thread::sleep(Duration::from_millis(100));
        shim.wake_ups() == before
    });
    let before = shim.wake_ups();
    listener
        .answer(first.id, Answer::Fail(nix::libc::EPERM))
        .unwrap();
    for _ in 1..100 {
        let call = listener.next(Some(DEADLINE)).unwrap().unwrap();
        listener
            .answer(call.id, Answer::Fail(nix::libc::EPERM))
            .unwrap();
    }
    sandbox.wait_file(&gate.dir().join("done"));
    assert_eq!(shim.wake_ups(), before);
    assert!(
        shim.private_dirty_kib() <= 100,
        "{}",
        shim.private_dirty_kib()
    );
    gate.open();
    assert_eq!(sandbox.run_ok(["wait", &id]), "0\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}
