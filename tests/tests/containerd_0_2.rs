//! A containerd 0.2 daemon starts `holdfast-shim` in place of its own shim, and finds nothing different: not in what
//! it reads, not in what it polls, not in what it is told when something fails.

use std::fs;
use std::path::Path;

use holdfast_tests::daemon02::{Daemon02, StartError, Stdio02};
use holdfast_tests::{DEADLINE, FakeRuntime, Sandbox, fifo, spec, wait};
use nix::poll::PollFlags;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// The lines of a log, each a JSON object.
fn log_lines(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap_or_else(|e| panic!("{}: {e}", log.display()));
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}")))
        .collect()
}

fn exit_record(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("exit.json")).unwrap()).unwrap()
}

#[test]
fn a_container_is_created_started_and_its_status_found() {
    let sandbox = Sandbox::new("c02");
    let daemon = Daemon02::new(&sandbox);
    let stdio = Stdio02::fifos(&sandbox, "c02");
    let id = sandbox.id("c02");
    let bundle = sandbox.sh("echo hello; read word; echo got $word >&2; exit 7");
    let mut init = daemon.create(&id, &bundle, &stdio).unwrap();
    // Created, not running: whatever runs in it is still the runtime.
    assert!(init.process().is_alive());
    assert_eq!(init.exit_status(), None);
    let shim = init.settled_shim();
    assert_eq!(shim.argv()[1..4], [&id, bundle.arg(), "runc"]);
    let starttime = fs::read_to_string(init.dir().join("starttime")).unwrap();
    assert_eq!(Some(starttime), init.process().stat(22));

    let stdout = fifo::reader(&stdio.stdout);
    let stderr = fifo::reader(&stdio.stderr);
    sandbox.assert_quiet(&stdout);
    init.start().unwrap();
    assert_eq!(sandbox.read_until(&stdout, "\n"), "hello\n");
    assert!(!wait::is_hung_up(init.exit()));
    sandbox.write_all(&sandbox.open_writer(&stdio.stdin), b"abc\n");
    assert_eq!(init.wait(), 7);
    assert_eq!(sandbox.read_to_end(&stdout), b"");
    assert_eq!(sandbox.read_to_end(&stderr), b"got abc\n");

    let dir = init.dir();
    assert_eq!(fs::read(dir.join("exitStatus")).unwrap(), b"7");
    let pid = fs::read_to_string(dir.join("pid")).unwrap();
    assert_eq!(pid, init.process().pid().to_string());
    let exit = exit_record(dir);
    assert_eq!(exit["code"], 7);
    assert_eq!(exit["source"], "reaped");
    assert_eq!(log_lines(&dir.join("shim-log.json")), [] as [Value; 0]);
    sandbox.assert_clean();
}

#[test]
fn the_status_is_on_record_when_exit_hangs_up_and_nothing_is_ever_in_it() {
    let sandbox = Sandbox::new("c02-exit");
    let daemon = Daemon02::new(&sandbox);
    let bundle = sandbox.sh("read word; kill -9 $$").host_pid();
    let stdio = Stdio02::fifos(&sandbox, "exit");
    let mut init = daemon.create(&sandbox.id("exit"), &bundle, &stdio).unwrap();
    init.start().unwrap();
    let all = PollFlags::POLLIN | PollFlags::POLLPRI | PollFlags::POLLRDNORM;
    assert!(wait::events(init.exit(), all, std::time::Duration::ZERO).is_empty());
    sandbox.write_all(&sandbox.open_writer(&stdio.stdin), b"\n");
    // Whatever happens there first, it has to be the hang-up: containerd's epoll waits for nothing else, and takes
    // everything else for an event of another kind.
    assert_eq!(wait::events(init.exit(), all, DEADLINE), PollFlags::POLLHUP);
    assert_eq!(init.exit_status(), Some(137));
    assert_eq!(sandbox.read_to_end(init.exit()), b"");
    assert_eq!(init.wait(), 137);
    assert_eq!(fs::read(init.dir().join("exitStatus")).unwrap(), b"137");
    let exit = exit_record(init.dir());
    assert_eq!((&exit["signal"], &exit["code"]), (&json!(9), &Value::Null));
    sandbox.assert_clean();
}

#[test]
fn a_daemon_that_was_killed_finds_running_and_ended_containers_again() {
    let sandbox = Sandbox::new("c02-restart");
    let bundle = sandbox.sh("read code; exit $code");
    let ids = ["goes-on", "ends-meanwhile"].map(|name| sandbox.id(name));
    let stdio = ids.each_ref().map(|id| Stdio02::fifos(&sandbox, id));
    let daemon = Daemon02::new(&sandbox);
    for (id, stdio) in ids.iter().zip(&stdio) {
        let mut init = daemon.create(id, &bundle, stdio).unwrap();
        init.start().unwrap();
        init.abandon();
    }
    let end = |stdio: &Stdio02, code: &[u8]| {
        sandbox.write_all(&sandbox.open_writer(&stdio.stdin), code);
    };
    end(&stdio[1], b"41\n");
    let ended = daemon.container_dir(&ids[1]).join("init");
    assert_eq!(sandbox.wait_file(&ended.join("exitStatus")), "41");

    let daemon = Daemon02::new(&sandbox);
    let mut goes_on = daemon.load(&ids[0], "init");
    assert_eq!(goes_on.exit_status(), None);
    assert!(!wait::is_hung_up(goes_on.exit()));
    assert_eq!(daemon.load(&ids[1], "init").exit_status(), Some(41));
    end(&stdio[0], b"42\n");
    assert_eq!(goes_on.wait(), 42);
    sandbox.assert_clean();
}

#[test]
fn a_second_reader_of_exit_takes_nothing_from_the_first() {
    let sandbox = Sandbox::new("c02-two");
    let daemon = Daemon02::new(&sandbox);
    let id = sandbox.id("two");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let mut first = daemon.create(&id, &bundle, &Stdio02::null()).unwrap();
    first.start().unwrap();
    let mut second = daemon.load(&id, "init");
    first.process().signal(Signal::SIGKILL);
    assert_eq!(first.wait(), 137);
    assert_eq!(second.wait(), 137);
    sandbox.assert_clean();
}

#[test]
fn an_exec_has_a_directory_a_status_and_a_shim_of_its_own() {
    let sandbox = Sandbox::new("c02-exec");
    let daemon = Daemon02::new(&sandbox);
    let id = sandbox.id("exec");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let mut init = daemon.create(&id, &bundle, &Stdio02::null()).unwrap();
    init.start().unwrap();
    let execs: Vec<_> = (0..3)
        .map(|n| {
            let name = format!("exec-{n}");
            let stdio = Stdio02::fifos(&sandbox, &name);
            let script = format!("echo {name}; read word; exit 4{n}");
            let process = spec::process(&["sh", "-c", &script]);
            let exec = daemon.exec(&id, &name, &bundle, &process, &stdio).unwrap();
            (name, stdio, exec)
        })
        .collect();
    for (n, (name, stdio, mut exec)) in execs.into_iter().enumerate() {
        let stdout = fifo::reader(&stdio.stdout);
        assert_eq!(sandbox.read_until(&stdout, "\n"), format!("{name}\n"));
        let shim = exec.settled_shim();
        assert_eq!(shim.cwd().as_deref(), Some(exec.dir()));
        assert_eq!(exec.process().parent(), Some(shim.pid()));
        sandbox.write_all(&sandbox.open_writer(&stdio.stdin), b"\n");
        assert_eq!(exec.wait() as usize, 40 + n);
    }
    assert!(init.process().is_alive());
    init.process().signal(Signal::SIGKILL);
    assert_eq!(init.wait(), 137);
    sandbox.assert_clean();
}

#[test]
fn a_runtime_that_refuses_is_heard_in_its_own_words_and_is_no_failure_of_the_shims() {
    let sandbox = Sandbox::new("c02-refuse");
    let daemon = Daemon02::new(&sandbox);
    let bundle = sandbox.bundle(["nope"]);
    for stdio in [Stdio02::null(), Stdio02::fifos(&sandbox, "refuse")] {
        let id = sandbox.id("refuse");
        let Err(StartError::Runtime(message)) = daemon.create(&id, &bundle, &stdio) else {
            panic!("a container that cannot be created was created");
        };
        assert!(
            message.contains("exec: \"nope\": executable file not found in $PATH"),
            "{message}"
        );
        assert_eq!(daemon.failed_shim().code(), Some(0));
        let dir = daemon.container_dir(&id).join("init");
        let lines = log_lines(&dir.join("shim-log.json"));
        assert!(lines.iter().all(|l| l["level"] != "error"), "{lines:?}");
        assert!(!dir.join("exitStatus").exists());
        // The directory and its FIFOs are the daemon's to remove.
        assert!(dir.join("exit").exists() && dir.join("control").exists());
    }
    sandbox.assert_clean();
}

#[test]
fn an_exec_that_the_runtime_refuses_leaves_its_container_alone() {
    let sandbox = Sandbox::new("c02-exec-refuse");
    let daemon = Daemon02::new(&sandbox);
    let id = sandbox.id("refuse");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let mut init = daemon.create(&id, &bundle, &Stdio02::null()).unwrap();
    init.start().unwrap();
    let process = spec::process(&["nope"]);
    let refused = daemon.exec(&id, "e", &bundle, &process, &Stdio02::null());
    let Err(StartError::Runtime(message)) = refused else {
        panic!("{refused:?}");
    };
    assert!(message.contains("\"nope\""), "{message}");
    assert_eq!(daemon.failed_shim().code(), Some(0));
    assert!(init.process().is_alive() && init.exit_status().is_none());
    init.process().signal(Signal::SIGKILL);
    init.wait();
    sandbox.assert_clean();
}

/// What a message must survive on its way through a log of JSON lines.
const AWKWARD: &str = "no \"such\"\\thing\n\t{\"level\":\"error\"} größer 😀";

#[test]
fn a_runtime_error_with_quotes_newlines_and_utf_8_arrives_unchanged() {
    let sandbox = Sandbox::new("c02-awkward");
    let escaped = json!(AWKWARD).to_string();
    let script = format!(
        "printf '%s\\n' '{{\"level\":\"error\",\"msg\":{escaped},\"time\":\"x\"}}' >>\"$LOG\"; exit 1"
    );
    let fake = FakeRuntime::script(&sandbox, &script);
    let daemon = Daemon02::new(&sandbox).with_runtime(fake.path());
    let id = sandbox.id("awkward");
    let bundle = sandbox.bundle(["true"]);
    let refused = daemon.create(&id, &bundle, &Stdio02::null()).unwrap_err();
    assert_eq!(refused, StartError::Runtime(AWKWARD.to_owned()));
    assert_eq!(daemon.failed_shim().code(), Some(0));
}

#[test]
fn a_runtime_that_fails_without_a_word_in_its_log_was_not_started() {
    let sandbox = Sandbox::new("c02-mute");
    let fake = FakeRuntime::script(&sandbox, "echo 'not a log line' >&2; exit 3");
    let daemon = Daemon02::new(&sandbox).with_runtime(fake.path());
    let stdio = Stdio02::fifos(&sandbox, "mute");
    let bundle = sandbox.bundle(["true"]);
    let refused = daemon
        .create(&sandbox.id("mute"), &bundle, &stdio)
        .unwrap_err();
    assert_eq!(refused, StartError::NotStarted);
    assert_eq!(daemon.failed_shim().code(), Some(0));
}

/// One line of level error in shim-log.json, whatever is in the message, and exit code 1.
#[test]
fn what_the_shim_itself_cannot_do_is_one_line_in_its_log_and_exit_code_1() {
    let sandbox = Sandbox::new("c02-shim");
    let bundle = sandbox.bundle(["true"]);
    let awkward = sandbox.path().join(AWKWARD);
    let null = Stdio02::null;
    let cases = [
        ("runtime", awkward.clone(), null()),
        (
            "stdin",
            "runc".into(),
            Stdio02 {
                stdin: awkward.clone(),
                ..null()
            },
        ),
        (
            "stdout",
            "runc".into(),
            Stdio02 {
                stdout: awkward.clone(),
                ..null()
            },
        ),
        (
            "stderr",
            "runc".into(),
            Stdio02 {
                stderr: awkward.clone(),
                ..null()
            },
        ),
    ];
    for (what, runtime, stdio) in cases {
        let daemon = Daemon02::new(&sandbox).with_runtime(runtime);
        let id = sandbox.id("shim");
        let refused = daemon.create(&id, &bundle, &stdio).unwrap_err();
        let StartError::Shim(message) = refused else {
            panic!("{what}: {refused:?}");
        };
        assert!(message.contains(what), "{what}: {message}");
        assert!(
            message.contains(awkward.to_str().unwrap()),
            "{what}: {message}"
        );
        assert!(
            message.ends_with(": no such file or directory"),
            "{what}: {message}"
        );
        assert_eq!(daemon.failed_shim().code(), Some(1), "{what}");
        let log = daemon.container_dir(&id).join("init/shim-log.json");
        let lines = log_lines(&log);
        assert_eq!(lines.len(), 1, "{what}: {lines:?}");
        assert_eq!(lines[0]["level"], "error", "{what}");
        assert_eq!(lines[0]["msg"], message, "{what}");
    }
    sandbox.assert_clean();
}

#[test]
fn a_shim_without_its_fifos_or_a_sound_process_json_says_so() {
    let sandbox = Sandbox::new("c02-incomplete");
    let bundle = sandbox.bundle(["true"]);
    for (file, what) in [
        ("exit", "rm exit"),
        ("control", "rm control"),
        ("process.json", "rm process.json"),
        ("process.json", "echo '{\"terminal\":' >process.json"),
    ] {
        let script = format!("{what}; exec \"$@\"");
        let daemon = Daemon02::new(&sandbox).through(["sh", "-c", &script, "sh"]);
        let id = sandbox.id("incomplete");
        let refused = daemon.create(&id, &bundle, &Stdio02::null()).unwrap_err();
        let StartError::Shim(message) = refused else {
            panic!("{what}: {refused:?}");
        };
        assert!(message.contains(file), "{what}: {message}");
        assert_eq!(daemon.failed_shim().code(), Some(1), "{what}");
    }
    sandbox.assert_clean();
}
