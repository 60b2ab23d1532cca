//! Sockets that a service manager opened for the launcher (sd_listen_fds(3)) are the container's, with the variables right.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};

use holdfast_tests::command::{show, text};
use holdfast_tests::{DEADLINE, Proc, Sandbox};

/// Says what it finds on 3, and answers on 4.
const SERVICE: &str = "echo $LISTEN_FDS $LISTEN_PID $(readlink /proc/self/fd/3); \
    read line <&4; echo \"got $line\" >&4; \
    [ -e /proc/$$/fd/5 ] && echo more; exit 7";

/// `holdfast ARGS` as a service manager would start it: two sockets on 3 and 4, and the variables.
fn activated(sandbox: &Sandbox, script: &str, args: &[&str], sockets: [OwnedFd; 2]) -> Output {
    let out = sandbox.path().join("out");
    let mut command = sandbox.in_shell(
        &format!("exec 3<&0 4<&1 0</dev/null 1>out 2>&1; {script}; exec \"$@\""),
        args,
    );
    let [first, second] = sockets;
    command.stdin(first).stdout(second).stderr(Stdio::null());
    let output = finish(sandbox, command);
    Output {
        stdout: fs::read(out).unwrap(),
        ..output
    }
}

fn finish(sandbox: &Sandbox, mut command: Command) -> Output {
    let mut child = command.spawn().unwrap();
    let mut status = None;
    // It holds the other ends.
    drop(command);
    if !holdfast_tests::wait::until(DEADLINE, || {
        status = child.try_wait().unwrap();
        status.is_some()
    }) {
        let _ = child.kill();
        sandbox.give_up("a launch with sockets");
    }
    Output {
        status: status.unwrap(),
        stdout: Vec::new(),
        stderr: Vec::new(),
    }
}

struct Sockets {
    listener: String,
    client: UnixStream,
    passed: [OwnedFd; 2],
}

fn sockets() -> Sockets {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let link = format!("/proc/self/fd/{}", listener.as_raw_fd());
    let link = fs::read_link(link).unwrap();
    let (client, server) = UnixStream::pair().unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    Sockets {
        listener: link.display().to_string(),
        client,
        passed: [listener.into(), server.into()],
    }
}

fn talk(mut client: UnixStream) -> String {
    client.write_all(b"hello\n").unwrap();
    let mut line = String::new();
    BufReader::new(client).read_line(&mut line).unwrap();
    line
}

const OURS: &str = "export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:talk";

#[test]
fn a_service_managers_sockets_are_the_containers_and_the_variables_are_right() {
    let sandbox = Sandbox::new("listen");
    let bundle = sandbox.sh(SERVICE);
    for words in [&["run", "-d"][..], &["create"]] {
        let id = sandbox.id("listen");
        let Sockets {
            listener,
            client,
            passed,
        } = sockets();
        let log = sandbox.path().join(&id);
        fs::write(&log, "").unwrap();
        let stdio = format!("file:{}", log.display());
        let args = [words, &["--stdio", &stdio, "-b", bundle.arg(), &id]].concat();
        let output = activated(&sandbox, OURS, &args, passed);
        assert!(output.status.success(), "{}", show(&output));
        if words == ["create"] {
            sandbox.run_ok(["start", &id]);
        }
        assert_eq!(talk(client), "got hello\n");
        assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
        let said = fs::read_to_string(&log).unwrap();
        assert_eq!(said, format!("2 1 {listener}\n"));
        sandbox.run_ok(["delete", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn the_runtime_is_told_as_if_it_had_been_started_by_the_service_manager() {
    let sandbox = Sandbox::new("listen-env");
    let script = r#"[ $VERB = create ] && echo $$ > "$FAKE/pid"; delegate "$@""#;
    let fake = holdfast_tests::FakeRuntime::script(&sandbox, script);
    let id = sandbox.id("env");
    let Sockets { client, passed, .. } = sockets();
    let bundle = sandbox.sh(SERVICE);
    let runtime = fake.arg();
    let args = ["--runtime", &runtime, "run", "-d", "-b", bundle.arg(), &id];
    let output = activated(&sandbox, OURS, &args, passed);
    assert!(output.status.success(), "{}", show(&output));
    // While the container waits for who talks to it.
    let shim = sandbox.idle_shim_of(&sandbox.process_dir(&id, "init"));
    let held = shim.fds();
    assert!(
        !held
            .values()
            .any(|fd| fd.to_string_lossy().starts_with("socket:")),
        "{held:?}"
    );
    assert_eq!(talk(client), "got hello\n");
    let env = fake.env("create").unwrap();
    let has = |variable: &str| assert!(env.iter().any(|it| it == variable), "{env:?}");
    let pid = fs::read_to_string(fake.dir().join("pid")).unwrap();
    has(&format!("LISTEN_PID={}", pid.trim()));
    has("LISTEN_FDS=2");
    has("LISTEN_FDNAMES=web:talk");
    // Nobody else is.
    assert!(
        !fake
            .env("start")
            .unwrap()
            .iter()
            .any(|it| it.starts_with("LISTEN_"))
    );
    sandbox.run_ok(["wait", &id]);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn descriptors_to_be_preserved_come_after_the_sockets() {
    let sandbox = Sandbox::new("listen-both");
    let id = sandbox.id("both");
    let words = sandbox.path().join("words");
    fs::write(&words, "preserved\n").unwrap();
    let bundle = sandbox.sh("echo $LISTEN_FDS; read line <&5; echo $line");
    let script = format!("{OURS}; exec 5<words");
    let args = ["run", "--preserve-fds", "1", "-b", bundle.arg(), &id];
    let output = activated(&sandbox, &script, &args, sockets().passed);
    assert!(output.status.success(), "{}", show(&output));
    assert_eq!(text(&output.stdout), "2\npreserved\n");
    sandbox.assert_clean();
}

#[test]
fn variables_that_are_meant_for_somebody_else_mean_nothing() {
    let sandbox = Sandbox::new("listen-other");
    let bundle =
        sandbox.sh("echo [$LISTEN_FDS$LISTEN_PID]; [ -e /proc/self/fd/4 ] && echo four; exit 0");
    for script in [
        "export LISTEN_PID=1 LISTEN_FDS=2",
        "export LISTEN_FDS=2",
        "export LISTEN_PID=$$",
        "export LISTEN_PID=$$ LISTEN_FDS=0",
        "export LISTEN_PID=soon LISTEN_FDS=2",
    ] {
        let id = sandbox.id("other");
        let args = ["run", "-b", bundle.arg(), &id];
        let output = activated(&sandbox, script, &args, sockets().passed);
        assert!(output.status.success(), "{script}: {}", show(&output));
        assert_eq!(text(&output.stdout), "[]\n", "{script}");
    }
    sandbox.assert_clean();
}

#[test]
fn sockets_that_are_not_there_or_cannot_be_had_again_are_refused() {
    let sandbox = Sandbox::new("listen-bad");
    let bundle = sandbox.bundle(["true"]);
    let id = sandbox.id("bad");
    let plain: &[&str] = &["run", "-d", "-b", bundle.arg(), &id];
    let restarted = [&["run", "-d", "--restart", "always"], &plain[2..]].concat();
    for (script, args, words) in [
        (
            "export LISTEN_PID=$$ LISTEN_FDS=many",
            plain,
            &["LISTEN_FDS", "\"many\"", "no number"][..],
        ),
        (
            "export LISTEN_PID=$$ LISTEN_FDS=3",
            plain,
            &["descriptor 5"],
        ),
        (
            "export LISTEN_PID=$$ LISTEN_FDS=4294967295",
            plain,
            &["descriptor 5"],
        ),
        (OURS, &restarted, &["restart policy", "sockets"]),
    ] {
        let output = activated(&sandbox, script, args, sockets().passed);
        assert_eq!(
            output.status.code(),
            Some(125),
            "{script}: {}",
            show(&output)
        );
        let said = text(&output.stdout);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        assert!(!sandbox.container_dir(&id).exists());
    }
    sandbox.assert_clean();
}

#[test]
fn a_listener_is_heard_from_by_whoever_connects() {
    let sandbox = Sandbox::new("listen-tcp");
    // busybox's tcpsvd and nc take no listening socket; a container that shows it to the test is as good.
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("tcp");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = UnixStream::pair().unwrap();
    let args = ["run", "-d", "-b", bundle.arg(), &id];
    let output = activated(&sandbox, OURS, &args, [listener.into(), server.into()]);
    assert!(output.status.success(), "{}", show(&output));
    // Nobody but the container holds it by now, and it goes on listening.
    let waiting = std::net::TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    let init = Proc::from_file(&sandbox.process_dir(&id, "init").join("pid")).unwrap();
    assert!(init.fds()[&3].to_string_lossy().starts_with("socket:"));
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.wait_until("the listener to go with its container", || {
        std::net::TcpStream::connect(address).is_err()
    });
    drop((waiting, client));
    sandbox.assert_clean();
}
