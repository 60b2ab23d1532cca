//! Another process in a container: its own exit code, its own streams, its own shim. What it leaves behind it in the
//! container is nobody's business, and what becomes of its launcher is not its own.

use std::fs;
use std::process::Command;

use holdfast_tests::command::{show, text};
use holdfast_tests::{Gate, Proc, Running, Sandbox, runtime, spec};
use serde_json::{Value, json};

/// A container in the background to execute in, and its id.
fn container(sandbox: &Sandbox) -> String {
    let bundle = sandbox.bundle(["sleep", "1000"]);
    started(sandbox, &bundle)
}

fn started(sandbox: &Sandbox, bundle: &holdfast_tests::Bundle) -> String {
    let id = sandbox.id("exec");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    id
}

fn remove(sandbox: &Sandbox, id: &str) {
    sandbox.run_ok(["delete", "-f", id]);
    sandbox.assert_clean();
}

/// The names in a container's directory, in order.
fn processes(sandbox: &Sandbox, id: &str) -> Vec<String> {
    let entries = fs::read_dir(sandbox.container_dir(id)).unwrap();
    let dirs = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir());
    let mut names: Vec<_> = dirs
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn fifty_at_once_have_fifty_codes() {
    let sandbox = Sandbox::new("fifty");
    let id = container(&sandbox);
    let execs: Vec<Running<'_>> = (0..50)
        .map(|n| {
            let script = format!("echo {n}; exit {}", 100 + n);
            sandbox.spawn(sandbox.holdfast(["exec", &id, "sh", "-c", &script]))
        })
        .collect();
    for (n, exec) in execs.into_iter().enumerate() {
        let output = exec.wait();
        let code = i32::try_from(100 + n).unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", show(&output));
        assert_eq!(text(&output.stdout), format!("{n}\n"));
    }
    assert_eq!(processes(&sandbox, &id), ["init"]);
    remove(&sandbox, &id);
}

#[test]
fn fifty_in_the_background_have_fifty_codes() {
    let sandbox = Sandbox::new("fifty-d");
    let id = container(&sandbox);
    let names: Vec<String> = (0..50).map(|n| format!("job{n}")).collect();
    let execs: Vec<Running<'_>> = names
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let script = format!("exit {}", 100 + n);
            let words = ["exec", "-d", "--exec-id", name, &id, "sh", "-c", &script];
            sandbox.spawn(sandbox.holdfast(words))
        })
        .collect();
    for exec in execs {
        let output = exec.wait();
        assert!(output.status.success(), "{}", show(&output));
    }
    // One `wait` for all of them, in the order in which they are named.
    let wait = ["wait", &id].into_iter();
    let codes = sandbox.run_ok(wait.chain(names.iter().map(String::as_str)));
    let expected: String = (0..50).map(|n| format!("{}\n", 100 + n)).collect();
    assert_eq!(codes, expected);
    remove(&sandbox, &id);
}

#[test]
fn a_container_that_has_ended_is_not_executed_in() {
    let sandbox = Sandbox::new("stopped");
    let bundle = sandbox.sh("exit 0");
    let id = started(&sandbox, &bundle);
    sandbox.run_ok(["wait", &id]);
    for args in [&["exec"][..], &["exec", "-d"]] {
        let output = sandbox.output([args, &[&id, "true"]].concat());
        assert_eq!(output.status.code(), Some(125), "{}", show(&output));
        let complaint = text(&output.stderr);
        assert_eq!(
            complaint,
            format!("holdfast: container {id} has exited\n"),
            "{complaint}"
        );
        assert_eq!(processes(&sandbox, &id), ["init"]);
    }
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_container_that_ends_takes_its_execs_along() {
    let sandbox = Sandbox::new("along");
    let id = container(&sandbox);
    let exec = sandbox.holdfast(["exec", &id, "sh", "-c", "echo ready; sleep 1000"]);
    let exec = sandbox.spawn(exec);
    exec.wait_stdout("ready\n");
    let job = ["exec", "-d", "--exec-id", "job", &id, "sleep", "1000"];
    sandbox.run_ok(job);

    sandbox.run_ok(["kill", &id, "KILL"]);

    let output = exec.wait();
    assert_eq!(output.status.code(), Some(137), "{}", show(&output));
    assert_eq!(sandbox.run_ok(["wait", &id, "job", "init"]), "137\n137\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_command_that_cannot_be_executed_is_126_or_127_and_leaves_nothing() {
    let sandbox = Sandbox::new("nocommand");
    let id = container(&sandbox);
    for (command, code, words) in [
        (
            "no-such-program",
            127,
            runtime::not_found("no-such-program"),
        ),
        (
            "/no/such/program",
            127,
            runtime::not_found("/no/such/program"),
        ),
        ("/etc/passwd", 126, runtime::not_executable("/etc/passwd")),
    ] {
        for args in [&["exec"][..], &["exec", "-d"]] {
            let output = sandbox.output([args, &["--exec-id", "job", &id, command]].concat());
            assert_eq!(output.status.code(), Some(code), "{}", show(&output));
            let complaint = text(&output.stderr);
            assert!(complaint.contains(&words), "{complaint}");
            assert_eq!(complaint.lines().count(), 1, "{complaint}");
            assert_eq!(processes(&sandbox, &id), ["init"]);
        }
    }
    remove(&sandbox, &id);
}

#[test]
fn user_directory_and_environment_are_what_the_flags_say() {
    let sandbox = Sandbox::new("flags");
    let bundle = sandbox.bundle(["sleep", "1000"]).env("OLD=old");
    let id = started(&sandbox, &bundle);
    let script = "echo $(id -u) $(id -g) $(pwd) $OLD $NEW";
    let user = ["--user", "1000:100", "--cwd", "/tmp"];
    let env = ["--env", "NEW=new value", "-e", "OLD=other"];
    for (flags, expected) in [
        (&[][..], "0 0 / old\n"),
        (&user, "1000 100 /tmp old\n"),
        (&["--user", "7"], "7 0 / old\n"),
        (&env, "0 0 / other new value\n"),
    ] {
        let words = [&["exec"], flags, &[&id, "sh", "-c", script]].concat();
        assert_eq!(sandbox.run_ok(words), expected, "{flags:?}");
    }
    remove(&sandbox, &id);
}

#[test]
fn a_terminal_of_its_own_is_where_its_streams_are() {
    let sandbox = Sandbox::new("tty");
    let id = container(&sandbox);
    let script =
        "test -t 0 && test -t 1 && test -t 2 && stty size && read line && echo $line; exit 7";
    let exec = sandbox.holdfast(["exec", "-t", &id, "sh", "-c", script]);
    let mut terminal = sandbox.spawn_on_terminal(&exec, 100, 30);
    terminal.expect("30 100\r\n");
    terminal.type_in("hello\r");
    // Once by echo, once by the script.
    terminal.expect("hello\r\nhello\r\n");
    let (status, _) = terminal.wait();
    assert_eq!(status.code(), Some(7));
    remove(&sandbox, &id);
}

#[test]
fn a_process_file_says_it_all() {
    let sandbox = Sandbox::new("file");
    let id = container(&sandbox);
    let mut process = spec::process(&["sh", "-c", "echo $(id -u) $(pwd) $WORD; exit 9"]);
    process["user"] = json!({ "uid": 5, "gid": 6 });
    process["cwd"] = json!("/tmp");
    process["env"] = json!(["PATH=/bin", "WORD=from the file"]);
    let file = sandbox.path().join("process.json");
    fs::write(&file, process.to_string()).unwrap();
    let file = file.to_str().unwrap();

    let output = sandbox.output(["exec", "--process", file, &id]);

    assert_eq!(output.status.code(), Some(9), "{}", show(&output));
    assert_eq!(text(&output.stdout), "5 /tmp from the file\n");
    let both = sandbox.output(["exec", "--process", file, &id, "true"]);
    assert_eq!(both.status.code(), Some(125), "{}", show(&both));
    remove(&sandbox, &id);
}

#[test]
fn it_is_waited_for_killed_and_recorded_under_its_own_name() {
    let sandbox = Sandbox::new("name");
    let gate = sandbox.gate();
    let bundle = sandbox.bundle(["sleep", "1000"]).bind(gate.dir());
    let id = started(&sandbox, &bundle);
    let script = format!("{}; exit 9", Gate::WAIT);
    sandbox.run_ok(["exec", "-d", "--exec-id", "job", &id, "sh", "-c", &script]);
    sandbox.run_ok(["exec", "-d", "--exec-id", "other", &id, "sleep", "1000"]);
    let waiter = sandbox.spawn(sandbox.holdfast(["wait", &id, "job"]));

    gate.open();

    assert_eq!(text(&waiter.wait().stdout), "9\n");
    let record = fs::read_to_string(sandbox.process_dir(&id, "job").join("exit.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["code"], 9, "{record}");
    assert_eq!(record["source"], "reaped", "{record}");
    sandbox.run_ok(["kill", "--process", "other", &id, "KILL"]);
    assert_eq!(sandbox.run_ok(["wait", &id, "other", "job"]), "137\n9\n");
    let unknown = sandbox.output(["wait", &id, "nobody"]);
    assert_eq!(unknown.status.code(), Some(125), "{}", show(&unknown));
    assert!(text(&unknown.stderr).contains("has no process nobody"));
    remove(&sandbox, &id);
}

#[test]
fn one_that_stays_gets_a_fresh_shim_in_place_and_loses_nothing() {
    let sandbox = Sandbox::new("stays");
    let gate = sandbox.gate();
    let bundle = sandbox.bundle(["sleep", "1000"]).bind(gate.dir());
    let id = started(&sandbox, &bundle);
    let script = format!("echo before; {}; echo after; exit 9", Gate::WAIT);
    sandbox.run_ok(["exec", "-d", "--exec-id", "job", &id, "sh", "-c", &script]);
    let dir = sandbox.process_dir(&id, "job");
    let shim = sandbox.shim_of(&dir);
    let stdout = fs::File::open(dir.join("stdout")).unwrap();

    // By itself, after a while.
    assert_eq!(sandbox.idle_shim_of(&dir), shim);

    let process = Proc::from_file(&dir.join("pid")).unwrap();
    assert_eq!(process.parent(), Some(shim.pid()));
    gate.open();
    assert_eq!(sandbox.read_to_end(&stdout), b"before\nafter\n");
    assert_eq!(sandbox.run_ok(["wait", &id, "job"]), "9\n");
    assert_eq!(sandbox.exit_json(&id, "job")["source"], "reaped");
    let said = fs::read_to_string(dir.join("shim-log.json")).unwrap();
    assert_eq!(said, "");
    remove(&sandbox, &id);
}

#[test]
fn a_name_that_is_taken_is_refused_and_its_owner_goes_on() {
    let sandbox = Sandbox::new("taken");
    let gate = sandbox.gate();
    let bundle = sandbox.bundle(["sleep", "1000"]).bind(gate.dir());
    let id = started(&sandbox, &bundle);
    let script = format!("{}; exit 9", Gate::WAIT);
    sandbox.run_ok(["exec", "-d", "--exec-id", "job", &id, "sh", "-c", &script]);
    for name in ["job", "init"] {
        for flags in [&["exec"][..], &["exec", "-d"]] {
            let output = sandbox.output([flags, &["--exec-id", name, &id, "true"]].concat());
            assert_eq!(output.status.code(), Some(125), "{}", show(&output));
            let expected = format!("holdfast: container {id} already has a process {name}\n");
            assert_eq!(text(&output.stderr), expected);
        }
    }
    gate.open();
    assert_eq!(sandbox.run_ok(["wait", &id, "job"]), "9\n");
    assert_eq!(processes(&sandbox, &id), ["init", "job"]);
    remove(&sandbox, &id);
}

#[test]
fn a_launcher_that_dies_changes_nothing() {
    let sandbox = Sandbox::new("launcher");
    let gate = sandbox.gate();
    let bundle = sandbox.bundle(["sleep", "1000"]).bind(gate.dir());
    let id = started(&sandbox, &bundle);
    let script = format!("read a; echo ready; {}; echo got $a; exit 9", Gate::WAIT);
    let words = ["exec", "--exec-id", "job", &id, "sh", "-c", &script];
    let mut exec = sandbox.spawn(sandbox.holdfast(words));
    exec.write("input\n");
    exec.wait_stdout("ready\n");
    let exec_pid = Proc::from_file(&sandbox.process_dir(&id, "job").join("pid")).unwrap();

    exec.kill();

    assert!(exec_pid.is_alive());
    let attach = sandbox.spawn(sandbox.holdfast(["attach", "--no-stdin", &id, "job"]));
    gate.open();
    let output = attach.wait();
    assert_eq!(output.status.code(), Some(9), "{}", show(&output));
    assert_eq!(text(&output.stdout), "got input\n");
    assert_eq!(sandbox.run_ok(["wait", &id, "job"]), "9\n");
    remove(&sandbox, &id);
}

#[test]
fn children_that_it_leaves_in_the_background_do_not_hold_it_up() {
    let sandbox = Sandbox::new("background");
    let id = container(&sandbox);
    // They have its stdout open, and never let go of it.
    let script = "echo before; sleep 1000 & sleep 1000 & exit 3";

    let output = sandbox.output(["exec", &id, "sh", "-c", script]);

    assert_eq!(output.status.code(), Some(3), "{}", show(&output));
    assert_eq!(text(&output.stdout), "before\n");
    let job = ["exec", "-d", "--exec-id", "job", &id, "sh", "-c", script];
    sandbox.run_ok(job);
    assert_eq!(sandbox.run_ok(["wait", &id, "job"]), "3\n");
    // Init, and two of each.
    let pids: Vec<i32> = serde_json::from_str(&sandbox.run_ok(["ps", "-f", "json", &id])).unwrap();
    assert_eq!(pids.len(), 5);
    remove(&sandbox, &id);
}

#[test]
fn stdout_and_stderr_stay_apart() {
    let sandbox = Sandbox::new("apart");
    let id = container(&sandbox);
    let script = "for n in 1 2 3; do echo out $n; echo err $n >&2; done";
    let output = sandbox.output(["exec", &id, "sh", "-c", script]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), "out 1\nout 2\nout 3\n");
    assert_eq!(text(&output.stderr), "err 1\nerr 2\nerr 3\n");
    remove(&sandbox, &id);
}

#[test]
fn a_mebibyte_of_input_comes_back_byte_for_byte() {
    let sandbox = Sandbox::new("input");
    let id = container(&sandbox);
    let mut head = Command::new("head");
    head.args(["-c", "1048576", "/dev/urandom"]);
    let input = head.output().expect("run head").stdout;
    assert_eq!(input.len(), 1 << 20);
    let exec = sandbox.holdfast(["exec", &id, "sh", "-c", "cat; echo end >&2; exit 4"]);

    let output = sandbox.feed(exec, &input);

    assert_eq!(output.status.code(), Some(4));
    assert_eq!(text(&output.stderr), "end\n");
    assert!(output.stdout == input, "{} bytes", output.stdout.len());
    remove(&sandbox, &id);
}
