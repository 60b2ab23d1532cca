//! A caller who brings a console socket gets the terminal itself, as from runc; the shim only waits for the end.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;

use holdfast_common::sys::scm;
use holdfast_tests::command::show;
use holdfast_tests::{Proc, Sandbox};

/// Where a terminal is waited for.
struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    fn new(sandbox: &Sandbox, name: &str) -> Self {
        let path = sandbox.path().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        Self { path, listener }
    }

    fn arg(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// The terminal that the command's runtime sends, and the command's success.
    #[track_caller]
    fn terminal_of(&self, sandbox: &Sandbox, command: Command) -> File {
        let running = sandbox.spawn(command);
        sandbox.wait_readable(&self.listener);
        let (connection, _) = self.listener.accept().unwrap();
        sandbox.wait_readable(&connection);
        let master = scm::receive_fd(connection.as_fd()).unwrap();
        let output = running.wait();
        assert!(output.status.success(), "{}", show(&output));
        File::from(master.expect("a terminal comes with the message"))
    }
}

const TALK: &str = "stty -echo -onlcr; tty; read line; echo got $line; read line; exit 7";

#[test]
fn the_caller_talks_to_the_terminal_without_anybody_between() {
    let sandbox = Sandbox::new("console");
    let bundle = sandbox.sh(TALK).terminal();
    for verb in [&["create"][..], &["run", "-d"]] {
        let id = sandbox.id("console");
        let socket = Socket::new(&sandbox, &format!("{}.sock", verb[0]));
        let flags = ["--console-socket", socket.arg(), "-b", bundle.arg(), &id];
        let master = socket.terminal_of(&sandbox, sandbox.holdfast([verb, &flags].concat()));
        if verb == ["create"] {
            sandbox.run_ok(["start", &id]);
        }
        assert_eq!(sandbox.read_until(&master, "\n"), "/dev/pts/0\n");
        sandbox.write_all(&master, b"hello\n");
        assert_eq!(sandbox.read_until(&master, "\n"), "got hello\n");
        let shim = Proc::shim_of(&sandbox.process_dir(&id, "init")).unwrap();
        assert!(
            !shim.fds().values().any(|fd| fd.ends_with("ptmx")),
            "{:?}",
            shim.fds()
        );
        sandbox.write_all(&master, b"\n");
        assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
        sandbox.run_ok(["delete", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn an_exec_can_have_one_too() {
    let sandbox = Sandbox::new("console-exec");
    let id = sandbox.id("exec");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let socket = Socket::new(&sandbox, "exec.sock");
    let args = [
        "exec",
        "-d",
        "-t",
        "--exec-id",
        "job",
        "--console-socket",
        socket.arg(),
        &id,
        "sh",
        "-c",
        TALK,
    ];
    let master = socket.terminal_of(&sandbox, sandbox.holdfast(args));
    assert_eq!(sandbox.read_until(&master, "\n"), "/dev/pts/0\n");
    sandbox.write_all(&master, b"hello\n\n");
    assert_eq!(sandbox.read_until(&master, "\n"), "got hello\n");
    assert_eq!(sandbox.run_ok(["wait", &id, "job"]), "7\n");
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn the_terminals_end_is_the_containers_as_with_any_other() {
    let sandbox = Sandbox::new("console-end");
    let id = sandbox.id("end");
    let bundle = sandbox
        .sh("trap 'exit 9' HUP; echo ready; while :; do sleep 0.02; done")
        .terminal();
    let socket = Socket::new(&sandbox, "end.sock");
    let args = [
        "run",
        "-d",
        "--console-socket",
        socket.arg(),
        "-b",
        bundle.arg(),
        &id,
    ];
    let master = socket.terminal_of(&sandbox, sandbox.holdfast(args));
    sandbox.read_until(&master, "ready");
    drop(master);
    assert_eq!(sandbox.run_ok(["wait", &id]), "9\n");
}

#[test]
fn a_socket_for_nothing_is_a_mistake() {
    let sandbox = Sandbox::new("console-none");
    let socket = Socket::new(&sandbox, "none.sock");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    for verb in [&["create"][..], &["run", "-d"]] {
        let id = sandbox.id("none");
        let flags = ["--console-socket", socket.arg(), "-b", bundle.arg(), &id];
        sandbox.refused([verb, &flags].concat(), &["none.sock", "terminal"]);
    }
    let id = sandbox.id("runs");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let args = ["exec", "-d", "--console-socket", socket.arg(), &id, "true"];
    sandbox.refused(args, &["none.sock", "terminal"]);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}
