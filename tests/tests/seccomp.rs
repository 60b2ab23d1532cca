//! System calls that wait for an agent's answer outlive the agent: the shim keeps the listeners, whoever comes and goes.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use holdfast::{Answer, Container, ContainerId, Error, SeccompListener, SeccompStore};
use holdfast_common::sys::scm;
use holdfast_tests::command::{show, text};
use holdfast_tests::{Bundle, DEADLINE, Gate, Proc, Running, Sandbox};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Has these calls wait for an agent; the runtime sends the listener to `path`.
fn filtered(bundle: Bundle, calls: &[&str], path: &Path) -> Bundle {
    bundle.edit(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": path,
            "listenerMetadata": "of the test",
            "syscalls": [{ "names": calls, "action": "SCMP_ACT_NOTIFY" }],
        });
    })
}

const MKDIR: &[&str] = &["mkdir", "mkdirat"];

/// Where a container's shim waits for its runtime.
fn our_socket(sandbox: &Sandbox, id: &str) -> PathBuf {
    sandbox.process_dir(id, "init").join("seccomp.runtime")
}

/// A container of a script whose `mkdir` waits for an agent; /host is the gate's directory.
fn run(sandbox: &Sandbox, gate: &Gate<'_>, script: &str) -> String {
    let id = sandbox.id("calls");
    let bundle = sandbox.sh(script).bind(gate.dir());
    let bundle = filtered(bundle, MKDIR, &our_socket(sandbox, &id));
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    id
}

fn load(sandbox: &Sandbox, id: &str) -> Container {
    let id = ContainerId::new(id).unwrap();
    sandbox.driver().load(&id).unwrap()
}

fn connect(sandbox: &Sandbox, id: &str) -> SeccompStore {
    load(sandbox, id).seccomp().unwrap()
}

fn receive(store: &SeccompStore) -> SeccompListener {
    let listener = store.receive(Some(DEADLINE)).unwrap();
    listener.expect("a listener before the store is gone")
}

/// The example, as a process of its own; `wrapper` before it.
fn agent<'a>(sandbox: &'a Sandbox, id: &str, wrapper: &[&str]) -> Running<'a> {
    let words = wrapper.iter().copied();
    let mut words = words.chain([env!("CARGO_BIN_EXE_seccomp-agent")]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).arg(sandbox.root()).arg(id);
    command.current_dir(sandbox.path());
    sandbox.spawn(command)
}

fn shim_log(sandbox: &Sandbox, id: &str) -> String {
    fs::read_to_string(sandbox.process_dir(id, "init").join("shim-log.json")).unwrap_or_default()
}

fn waits_for_agent(process: Proc) -> bool {
    let wchan = fs::read_to_string(format!("/proc/{}/wchan", process.pid()));
    wchan.is_ok_and(|function| function.contains("seccomp"))
}

/// What a shim holds, by its own account.
fn view(sandbox: &Sandbox, id: &str) -> Value {
    let before = shim_log(sandbox, id).lines().count();
    let shim = sandbox.shim_of(&sandbox.process_dir(id, "init"));
    shim.signal(Signal::SIGUSR1);
    sandbox.wait_for("a view", || {
        let log = shim_log(sandbox, id);
        let lines = log.lines().skip(before);
        lines
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find_map(|mut line| line.get_mut("view").map(Value::take))
    })
}

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

    let last = agent(&sandbox, &id, &[]);

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
    let first = agent(&sandbox, &id, &[]);
    first.wait_stdout("listens to process");
    let second = agent(&sandbox, &id, &[]);
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
fn an_agent_of_another_user_is_refused_in_one_line_of_the_log() {
    let sandbox = Sandbox::new("sc-user");
    let gate = sandbox.gate();
    let id = run(&sandbox, &gate, &format!("{}; exit 7", Gate::WAIT));
    let dir = sandbox.process_dir(&id, "init");
    // Somebody opened all doors to it.
    for path in [
        sandbox.path(),
        &sandbox.root(),
        &sandbox.container_dir(&id),
        &dir,
    ] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(dir.join("seccomp"), fs::Permissions::from_mode(0o666)).unwrap();
    let program = format!(
        "import os,socket\nos.setuid(1000)\ns=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\n\
         s.connect('{}')\nd,fds,_,_=socket.recv_fds(s,65536,9)\nassert not d and not fds,(d,fds)",
        dir.join("seccomp").display()
    );
    let mut stranger = Command::new("python3");
    stranger.args(["-c", &program]);
    let output = sandbox.output_of(stranger);
    assert!(output.status.success(), "{}", show(&output));
    let log = shim_log(&sandbox, &id);
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("seccomp"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(
        lines[0].contains("refused agent: process") && lines[0].contains("of user 1000"),
        "{log}"
    );
    // It kept nobody from anything.
    receive(&connect(&sandbox, &id));
    gate.open();
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn what_is_no_listener_of_the_container_is_refused_and_an_agent_that_talks_is_let_go() {
    let sandbox = Sandbox::new("sc-garbage");
    let gate = sandbox.gate();
    let script = format!("{}; mkdir /host/made && exit 7", Gate::WAIT);
    let id = run(&sandbox, &gate, &script);
    let store = connect(&sandbox, &id);
    let listener = receive(&store);
    let socket = our_socket(&sandbox, &id);
    let null = fs::File::open("/dev/null").unwrap();
    let mut good = serde_json::to_value(listener.state()).unwrap();
    let of = |change: &dyn Fn(&mut Value)| {
        let mut state = good.clone();
        change(&mut state);
        state.to_string()
    };
    let cases = [
        ("hello\n".to_owned(), "no container process state"),
        ("{\"pid\":".to_owned(), "no container process state"),
        (String::new(), "nothing at all"),
        ("{}".to_owned(), "missing field `pid`"),
        (
            of(&|s| s["state"]["id"] = json!("other")),
            "of container \\\"other\\\"",
        ),
        (
            of(&|s| s["state"]["pid"] = json!(1)),
            "a container whose process is 1",
        ),
        (of(&|s| s["pid"] = json!(0)), "of process 0"),
        (
            of(&|s| s["pid"] = json!(2_000_000_000)),
            "of process 2000000000",
        ),
        (
            of(&|s| s["fds"] = json!(["seccompFd", "x"])),
            "names 2 descriptors, brings 1",
        ),
        (
            of(&|s| s["fds"] = json!(["x"])),
            "has 0 descriptors named seccompFd",
        ),
        (good.to_string(), "no seccomp listener"),
        (
            format!("{{\"x\":\"{}", "y".repeat(100_000)),
            "more than 65536 bytes",
        ),
    ];
    for (message, why) in &cases {
        let before = shim_log(&sandbox, &id).lines().count();
        let stream = UnixStream::connect(&socket).unwrap();
        if message.is_empty() {
            drop(stream);
        } else {
            let bytes = message.as_bytes();
            let (first, rest) = bytes.split_at(bytes.len().min(1000));
            scm::send(stream.as_fd(), first, null.as_fd()).unwrap();
            // It may have been refused already.
            let _ = (&stream).write_all(rest);
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        let said = sandbox.wait_for("a refusal", || {
            let log = shim_log(&sandbox, &id);
            log.lines().nth(before).map(str::to_owned)
        });
        assert!(
            said.contains("seccomp: refused") && said.contains(why),
            "{why}: {said}"
        );
    }
    // A listener of its own, twice over, is one more: whoever is root may say so.
    good["metadata"] = json!("once more");
    let stream = UnixStream::connect(&socket).unwrap();
    scm::send(
        stream.as_fd(),
        good.to_string().as_bytes(),
        listener.as_fd(),
    )
    .unwrap();
    let again = receive(&store);
    assert_eq!(again.state().metadata, "once more");
    // An agent has nothing to say.
    nix::sys::socket::send(
        store.as_fd().as_raw_fd(),
        b"hi",
        nix::sys::socket::MsgFlags::empty(),
    )
    .unwrap();
    assert!(store.receive(Some(DEADLINE)).unwrap().is_none());
    sandbox.wait_until("that to be said", || {
        shim_log(&sandbox, &id).contains("refused an agent: it wrote something")
    });
    let helper = agent(&sandbox, &id, &[]);
    gate.open();
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    assert!(helper.wait().status.success());
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_store_listens_wherever_the_bundle_says_when_it_is_asked_to() {
    let sandbox = Sandbox::new("sc-else");
    let gate = sandbox.gate();
    let path = sandbox.path().join("agent.sock");
    let bundle = sandbox.sh("mkdir /host/made && exit 7").bind(gate.dir());
    let bundle = filtered(bundle, MKDIR, &path);
    let config = fs::read(bundle.dir().join("config.json")).unwrap();
    let id = sandbox.id("else");
    let create = ["create", "--seccomp-agent-store", "-b", bundle.arg(), &id];
    // Somebody else's agent is there: it stays.
    let theirs = UnixListener::bind(&path).unwrap();
    sandbox.refused(create, &["agent.sock", "address already in use"]);
    assert!(path.exists() && !sandbox.container_dir(&id).exists());
    // Nobody listens there any more.
    drop(theirs);
    sandbox.run_ok(create);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let other = sandbox.id("other");
    let second = [
        "create",
        "--seccomp-agent-store",
        "-b",
        bundle.arg(),
        &other,
    ];
    sandbox.refused(second, &["agent.sock", "address already in use"]);
    let helper = agent(&sandbox, &id, &[]);
    sandbox.run_ok(["start", &id]);
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    assert!(helper.wait().status.success());
    assert!(gate.dir().join("made").is_dir());
    sandbox.wait_until("the socket to go", || !path.exists());
    assert_eq!(fs::read(bundle.dir().join("config.json")).unwrap(), config);
    sandbox.run_ok(["delete", &id]);
    // Without the word, it is between the bundle and its agent, who is not there.
    sandbox.refused(["create", "-b", bundle.arg(), &id], &["agent.sock"]);
    let plain = sandbox.bundle(["true"]);
    let none = ["create", "--seccomp-agent-store", "-b", plain.arg(), &id];
    sandbox.refused(none, &["listenerPath"]);
    sandbox.run_ok(["create", "-b", plain.arg(), &id]);
    assert!(matches!(
        load(&sandbox, &id).seccomp(),
        Err(Error::NoSeccompStore { .. })
    ));
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_killed_shim_takes_the_listeners_along_and_its_adopter_says_so_and_keeps_those_to_come() {
    let sandbox = Sandbox::new("sc-lost");
    let gate = sandbox.gate();
    let script = format!(
        "mkdir /host/made; echo $? > /host/code; {}; exit 7",
        Gate::WAIT
    );
    let id = run(&sandbox, &gate, &script);
    let dir = sandbox.process_dir(&id, "init");
    let init = Proc::from_file(&dir.join("pid")).unwrap();
    sandbox.wait_until("a call to wait", || {
        waits_for_agent(init) || init.children().into_iter().any(waits_for_agent)
    });
    sandbox.kill_shim(&dir);
    // Nobody has the listener: the kernel answers ENOSYS, and mkdir(1) fails.
    assert_eq!(sandbox.wait_file(&gate.dir().join("code")), "1\n");
    assert!(matches!(
        load(&sandbox, &id).seccomp(),
        Err(Error::ShimGone { .. })
    ));
    assert!(sandbox.recovered(&id).starts_with("adopted"));
    assert!(load(&sandbox, &id).seccomp_was_lost());
    assert!(shim_log(&sandbox, &id).contains("the seccomp listeners were lost with the shim"));
    let inspected = sandbox.run_ok(["inspect", &id]);
    assert!(inspected.contains("ENOSYS"), "{inspected}");
    let helper = agent(&sandbox, &id, &[]);
    sandbox.run_ok(["exec", &id, "mkdir", "/host/again"]);
    assert!(gate.dir().join("again").is_dir());
    gate.open();
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    assert!(helper.wait().status.success());
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn an_agent_that_was_connected_goes_on_when_the_shim_is_killed() {
    let sandbox = Sandbox::new("sc-left");
    let gate = sandbox.gate();
    let script = format!("{}; mkdir /host/made && exit 7", Gate::WAIT);
    let id = run(&sandbox, &gate, &script);
    let helper = agent(&sandbox, &id, &[]);
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
        let helper = agent(&sandbox, &id, &[]);
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
