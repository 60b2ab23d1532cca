//! `holdfast supervise` and those who look after it: a service manager that wants to hear from it, and whoever reads its events, or
//! does not.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use holdfast_tests::command::text;
use holdfast_tests::wait::DEADLINE;
use holdfast_tests::{Bundle, FakeRuntime, Sandbox};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Runs a container in the background that says nothing.
#[track_caller]
fn run(sandbox: &Sandbox, bundle: &Bundle, policy: &str, name: &str) -> String {
    let id = sandbox.id(name);
    let args = ["run", "-d", "--stdio", "null", "--restart", policy];
    sandbox.run_ok(args.iter().chain(&["-b", bundle.arg(), &id]));
    id
}

/// A service manager: it takes every message at once, as the queue of a socket is short.
struct Manager(Receiver<String>);

impl Manager {
    fn listen(socket: UnixDatagram) -> Self {
        let (sender, messages) = channel();
        thread::spawn(move || {
            let mut message = [0; 256];
            while let Ok(length) = socket.recv(&mut message) {
                if sender.send(text(&message[..length])).is_err() {
                    return;
                }
            }
        });
        Self(messages)
    }

    #[track_caller]
    fn next(&self) -> String {
        self.0.recv_timeout(DEADLINE).expect("a message")
    }

    /// Waits for a message; before it, nothing but what may come at any time.
    #[track_caller]
    fn wait_for(&self, wanted: &str) {
        loop {
            let message = self.next();
            if message == wanted {
                return;
            }
            let known = message == "WATCHDOG=1" || message.starts_with("STATUS=");
            assert!(known, "{message}");
        }
    }

    /// Forgets what has come.
    fn drain(&self) {
        while self.0.try_recv().is_ok() {}
    }
}

/// A supervisor's command, and the socket that it is to tell.
fn notified(sandbox: &Sandbox, watchdog: Duration) -> (Command, UnixDatagram) {
    let path = sandbox.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut command = sandbox.holdfast(["supervise"]);
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    (command, socket)
}

#[test]
fn the_service_manager_is_told() {
    let sandbox = Sandbox::new("sup-notify");
    let (command, socket) = notified(&sandbox, Duration::from_millis(100));
    let manager = Manager::listen(socket);
    let supervisor = sandbox.supervise_with(command);
    assert_eq!(manager.next(), "READY=1");
    let status = manager.next();
    assert!(status.starts_with("STATUS=0 containers"), "{status}");
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    // What it starts is not told: a runtime would wait for the container to be ready, too.
    let id = run(&sandbox, &sandbox.sh("exit 1"), "on-failure:1", "notify");
    supervisor.wait_event(&id, "gave-up");
    supervisor.process().signal(Signal::SIGTERM);
    manager.wait_for("STOPPING=1");
    sandbox.run_ok(["delete", "-f", &id]);
    drop(supervisor);
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn a_service_manager_that_is_busy_is_told_later() {
    let sandbox = Sandbox::new("sup-busy");
    let (command, socket) = notified(&sandbox, Duration::from_secs(100));
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    let path = sandbox.path().join("notify");
    while filler.send_to(b"filler", &path).is_ok() {}
    let supervisor = sandbox.supervise_with(command).ready();
    let manager = Manager::listen(socket);
    while manager.next() != "READY=1" {}
    supervisor.leave();
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn what_takes_long_keeps_neither_the_watchdog_nor_the_way_out() {
    let sandbox = Sandbox::new("sup-long");
    let (mut command, socket) = notified(&sandbox, Duration::from_secs(1000));
    let manager = Manager::listen(socket);
    // Each adoption waits until the test lets it go on.
    let dir = sandbox.path().join("slow");
    fs::create_dir(&dir).unwrap();
    let slow = dir.join("shim");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *adopt*) echo >>{0}/begun; n=$(wc -l <{0}/begun)\n\
         until [ -e {0}/go$n ]; do sleep 0.01; done ;; esac\nexec {1} \"$@\"\n",
        dir.display(),
        holdfast_tests::binaries::shim().display()
    );
    holdfast_tests::fake_runtime::install(&slow, &script);
    command.env("HOLDFAST_SHIM", &slow);
    let supervisor = sandbox.supervise_with(command).ready();
    let sleep = sandbox.bundle(["sleep", "1000"]);
    let ids = [(); 3].map(|()| run(&sandbox, &sleep, "no", "slow"));
    for id in &ids {
        supervisor.wait_event(id, "appeared");
    }
    // All of them are orphans before the first is attended to.
    supervisor.process().signal(Signal::SIGSTOP);
    for id in &ids {
        sandbox.kill_shim(&sandbox.process_dir(id, "init"));
    }
    supervisor.process().signal(Signal::SIGCONT);
    let begun = |count: usize| {
        sandbox.wait_until("an adoption", || {
            fs::read_to_string(dir.join("begun")).is_ok_and(|text| text.lines().count() == count)
        });
    };
    begun(1);
    manager.drain();
    File::create(dir.join("go1")).unwrap();
    // Before the second, not after it.
    manager.wait_for("WATCHDOG=1");
    begun(2);
    supervisor.process().signal(Signal::SIGTERM);
    File::create(dir.join("go2")).unwrap();
    manager.wait_for("STOPPING=1");
    let output = supervisor.leave();
    assert!(output.status.success());
    assert_eq!(text(&output.stdout).matches("\"adopted\"").count(), 2);
    for id in &ids {
        sandbox.run_ok(["delete", "-f", id]);
    }
    sandbox.assert_clean_but_for_supervision();
}

/// A supervisor whose output is the test's business; it is killed when it is dropped.
struct Quiet(Child);

impl Quiet {
    fn start(sandbox: &Sandbox, stdout: Stdio) -> Self {
        let mut command = sandbox.holdfast(["supervise"]);
        command.stdin(Stdio::null()).stdout(stdout);
        Self(command.spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
    }

    #[track_caller]
    fn leave(mut self, sandbox: &Sandbox) {
        self.signal(Signal::SIGTERM);
        sandbox.wait_until("the supervisor's end", || {
            self.0.try_wait().unwrap().is_some()
        });
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A container that is to run twice, and has.
#[track_caller]
fn is_supervised(sandbox: &Sandbox) {
    let dir = sandbox.path().join("runs");
    fs::create_dir_all(&dir).unwrap();
    let bundle = sandbox.sh("echo ran >>/host/runs; exit 1").bind(&dir);
    let id = run(sandbox, &bundle, "on-failure:1", "watched");
    sandbox.wait_until("the second run", || {
        fs::read_to_string(dir.join("runs")).is_ok_and(|text| text.lines().count() == 2)
    });
    sandbox.run_ok(["wait", &id]);
    sandbox.run_ok(["delete", "-f", &id]);
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_reader_that_stops_stops_neither_supervision_nor_the_way_out() {
    let sandbox = Sandbox::new("sup-stuck");
    let (read, write) = nix::unistd::pipe().unwrap();
    // Nothing fits in but one page, which is taken.
    nix::fcntl::fcntl(&write, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    nix::unistd::write(&write, &[b'\n'; 4096]).unwrap();
    let supervisor = Quiet::start(&sandbox, write.into());
    is_supervised(&sandbox);
    // Once it reads again, nothing is missing.
    let mut reader = File::from(read);
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    while !seen.contains("removed") {
        let count = reader.read(&mut buffer).unwrap();
        assert!(count > 0, "the supervisor is gone");
        seen += &text(&buffer[..count]);
    }
    let events: Vec<Value> = seen
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<&str> = events
        .iter()
        .filter_map(|event| event["event"].as_str())
        // It may have been deleted before.
        .filter(|name| *name != "gave-up")
        .collect();
    let expected = ["ready", "appeared", "exit", "restart", "exit", "removed"];
    assert_eq!(names, expected);
    supervisor.leave(&sandbox);

    let (_read, write) = nix::unistd::pipe().unwrap();
    nix::fcntl::fcntl(&write, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    nix::unistd::write(&write, &[b'\n'; 4096]).unwrap();
    let supervisor = Quiet::start(&sandbox, write.into());
    is_supervised(&sandbox);
    supervisor.leave(&sandbox);
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn a_full_disk_or_a_reader_that_is_gone_ends_no_supervision() {
    let sandbox = Sandbox::new("sup-full");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (_, gone) = nix::unistd::pipe().unwrap();
    for stdout in [Stdio::from(full), Stdio::from(gone)] {
        let supervisor = Quiet::start(&sandbox, stdout);
        is_supervised(&sandbox);
        supervisor.leave(&sandbox);
    }
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn what_a_shim_that_was_killed_after_its_record_left_to_do_is_done_whatever_the_policy() {
    let sandbox = Sandbox::new("sup-finish");
    // The shim is killed in its last steps, when the status is on record.
    let fake = FakeRuntime::script(
        &sandbox,
        r#"[ $VERB != delete ] || ! mkdir "$FAKE/$ID" 2>/dev/null || { kill -9 $PPID; exit 1; }
        delegate "$@""#,
    );
    let supervisor = sandbox.supervise().ready();
    let runtime = fake.arg();
    let launch = |more: &[&str], name: &str| {
        let id = sandbox.id(name);
        let bundle = sandbox.sh("exit 3");
        let args = ["--runtime", &runtime, "run", "-d", "--stdio=null"];
        sandbox.run_ok([&args[..], more, &["-b", bundle.arg(), &id]].concat());
        assert_eq!(supervisor.wait_event(&id, "exit")["code"], 3);
        id
    };
    let id = launch(&["--restart=no"], "kept");
    let state = sandbox.runtime_root().join(&id);
    sandbox.wait_until("the runtime's state to go", || !state.exists());
    let removed = launch(&["--rm"], "removed");
    supervisor.wait_event(&removed, "removed");
    sandbox.run_ok(["delete", "-f", &id]);
    supervisor.leave();
    sandbox.assert_clean_but_for_supervision();
}
