//! What a store of seccomp listeners does not take, does not give, and cannot keep; each is said in one line.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use holdfast::Error;
use holdfast_common::sys::scm;
use holdfast_tests::command::show;
use holdfast_tests::seccomp::{
    MKDIR, agent, connect, filtered, load, our_socket, receive, run, shim_log, waits_for_agent,
};
use holdfast_tests::{DEADLINE, Gate, Proc, Sandbox};
use serde_json::{Value, json};

const AGENT: &str = env!("CARGO_BIN_EXE_seccomp-agent");

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
        ("{}".to_owned(), "missing field `ociVersion`"),
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
    let helper = agent(&sandbox, &id, &[AGENT]);
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
    let helper = agent(&sandbox, &id, &[AGENT]);
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
    let helper = agent(&sandbox, &id, &[AGENT]);
    sandbox.run_ok(["exec", &id, "mkdir", "/host/again"]);
    assert!(gate.dir().join("again").is_dir());
    gate.open();
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    assert!(helper.wait().status.success());
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}
