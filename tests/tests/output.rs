//! What a container says arrives as it was said, byte for byte, through the command: attached, in a pipeline, late, or
//! in a file. What it is told arrives so, too, and ends where it ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_tests::command::{behind, show, text};
use holdfast_tests::{Gate, Sandbox, fifo};
use nix::sys::signal::Signal;

/// Random bytes in a file of the directory `dir`.
fn random_file(dir: &Path, bytes: usize) -> PathBuf {
    let path = dir.join("data");
    let mut head = Command::new("head");
    head.args(["-c", &bytes.to_string(), "/dev/urandom"]);
    let status = head.stdout(fs::File::create(&path).unwrap()).status();
    assert!(status.is_ok_and(|status| status.success()));
    path
}

/// A command in a shell's pipeline, where `"$@"` stands for it.
fn in_shell(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]);
    behind(shell, command)
}

fn numbers(from: u32, to: u32) -> String {
    (from..=to).map(|n| format!("{n}\n")).collect()
}

#[test]
fn what_nobody_read_is_there_for_whoever_attaches_after_the_end() {
    let sandbox = Sandbox::new("unread");
    let id = sandbox.id("unread");
    // As much as fits without a reader.
    let script = "head -c 65536 /dev/zero | tr '\\0' x; echo complaint >&2; exit 7";
    let bundle = sandbox.sh(script);
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");

    let output = sandbox.output(["attach", &id]);

    assert_eq!(output.status.code(), Some(7));
    assert_eq!(text(&output.stderr), "complaint\n");
    assert!(output.stdout == [b'x'; 65536], "{}", output.stdout.len());
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn whoever_attaches_next_goes_on_where_the_last_one_was_killed() {
    let sandbox = Sandbox::new("rest");
    let id = sandbox.id("rest");
    let gate = sandbox.gate();
    let wait = Gate::WAIT;
    let script = format!("seq 1 1000; {wait}; seq 1001 2000; {wait}; seq 2001 3000; exit 7");
    let bundle = sandbox.sh(&script).bind(gate.dir());
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let attach = || sandbox.spawn(sandbox.holdfast(["attach", "--no-stdin", &id]));
    let first = attach();
    first.wait_stdout("\n1000\n");
    first.kill();
    gate.open();
    let second = attach();
    second.wait_stdout("\n2000\n");
    assert_eq!(second.stdout(), numbers(1001, 2000));
    second.kill();
    gate.open();
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    let output = attach().wait();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(text(&output.stdout), numbers(2001, 3000));
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_pipeline_gets_100_mebibytes_byte_for_byte() {
    let sandbox = Sandbox::new("pipeline");
    let host = sandbox.path().join("host");
    fs::create_dir(&host).unwrap();
    let data = random_file(&host, 100 << 20);
    let bundle = sandbox.bundle(["cat", "/host/data"]).bind(&host);
    let id = sandbox.id("pipeline");
    let run = sandbox.holdfast(["run", "-b", bundle.arg(), &id]);
    let script = format!("\"$@\" | cmp - {} && echo same", data.display());

    let output = sandbox.output_of(in_shell(&script, &run));

    assert_eq!(text(&output.stdout), "same\n", "{}", show(&output));
    assert_eq!(text(&output.stderr), "");
    sandbox.assert_clean();
}

#[test]
fn a_pipeline_feeds_10_mebibytes_and_ends_them_at_the_right_byte() {
    let sandbox = Sandbox::new("feed");
    let data = random_file(sandbox.path(), (10 << 20) + 1);
    let bundle = sandbox.sh("cat; echo ended >&2; exit 7");
    let id = sandbox.id("feed");
    let run = sandbox.holdfast(["run", "-b", bundle.arg(), &id]);
    for input in ["cat $DATA | \"$@\"", "\"$@\" < $DATA"] {
        let script = format!("{{ {input}; echo $? > code; }} | cmp - $DATA && echo same");
        let mut shell = in_shell(&script, &run);
        shell.env("DATA", &data);

        let output = sandbox.output_of(shell);

        assert_eq!(text(&output.stdout), "same\n", "{}", show(&output));
        assert_eq!(text(&output.stderr), "ended\n");
        let code = fs::read_to_string(sandbox.path().join("code")).unwrap();
        assert_eq!(code, "7\n");
        sandbox.assert_clean();
    }
}

#[test]
fn input_that_the_container_does_not_want_holds_nobody_up() {
    let sandbox = Sandbox::new("unwanted");
    let bundle = sandbox.sh("head -c 5; exit 7");
    let id = sandbox.id("unwanted");
    let run = sandbox.holdfast(["run", "-b", bundle.arg(), &id]);

    let output = sandbox.output_of(in_shell("yes | \"$@\"", &run));

    assert_eq!(output.status.code(), Some(7), "{}", show(&output));
    assert_eq!(text(&output.stdout), "y\ny\ny");
    sandbox.assert_clean();
}

#[test]
fn a_reader_that_has_enough_ends_the_command_and_not_the_container() {
    let sandbox = Sandbox::new("epipe");
    let bundle = sandbox.bundle(["yes", "line"]);
    let id = sandbox.id("epipe");
    let run = sandbox.holdfast(["run", "-b", bundle.arg(), &id]);

    let output = sandbox.output_of(in_shell("{ \"$@\"; echo $? >&2; } | head -1", &run));

    assert_eq!(text(&output.stdout), "line\n");
    let complaint = text(&output.stderr);
    assert!(complaint.ends_with("\n125\n"), "{complaint}");
    assert_eq!(complaint.lines().count(), 2, "{complaint}");
    assert_eq!(sandbox.run_ok(["list", "-q"]), format!("{id}\n"));
    let attach = sandbox.spawn(sandbox.holdfast(["attach", "--no-stdin", &id]));
    attach.wait_stdout("line\nline\n");
    sandbox.run_ok(["kill", &id, "KILL"]);
    assert_eq!(attach.wait().status.code(), Some(137));
    assert_eq!(sandbox.run_ok(["wait", &id]), "137\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn null_is_silence_in_both_directions() {
    let sandbox = Sandbox::new("null");
    let bundle = sandbox.sh("cat; echo out; echo err >&2; exit 7");
    let mut preset = sandbox.holdfast(["run", "-b", bundle.arg(), &sandbox.id("null")]);
    preset.env("HOLDFAST_STDIO", "null");
    let id = sandbox.id("null");
    let flag = sandbox.holdfast(["run", "--stdio", "null", "-b", bundle.arg(), &id]);
    for run in [flag, preset] {
        let output = sandbox.feed(run, b"unheard");
        assert_eq!(output.status.code(), Some(7), "{}", show(&output));
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            ("".into(), "".into())
        );
    }
    sandbox.assert_clean();
}

#[test]
fn inherited_streams_are_the_launchers_own_and_outlive_it() {
    let sandbox = Sandbox::new("inherit");
    let gate = sandbox.gate();
    let script = format!(
        "read a; echo out $a; echo err >&2; {}; echo later; exit 7",
        Gate::WAIT
    );
    let bundle = sandbox.sh(&script).bind(gate.dir());
    for killed in [false, true] {
        let id = sandbox.id("inherit");
        let run = [
            "run",
            "--keep",
            "--stdio",
            "inherit",
            "-b",
            bundle.arg(),
            &id,
        ];
        let mut run = sandbox.spawn(sandbox.holdfast(run));
        run.write("input\n");
        run.wait_stdout("out input\n");
        if killed {
            run.signal(Signal::SIGKILL);
        }
        gate.open();
        let output = run.wait();
        assert_eq!(text(&output.stdout), "out input\nlater\n");
        assert_eq!(text(&output.stderr), "err\n");
        assert_eq!(output.status.code(), Some(7).filter(|_| !killed));
        assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
        sandbox.run_ok(["delete", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn a_file_is_appended_to_and_stdin_is_then_empty() {
    let sandbox = Sandbox::new("file");
    let bundle = sandbox.sh("cat; echo out; echo err >&2; exit 7");
    let log = sandbox.path().join("log");
    fs::write(&log, "old\n").unwrap();
    // The second time relative to the launcher's directory, which is the sandbox.
    for policy in [&format!("file:{}", log.display()), "file:log"] {
        let id = sandbox.id("file");
        sandbox.run_ok(["run", "-d", "--stdio", policy, "-b", bundle.arg(), &id]);
        assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
        sandbox.run_ok(["delete", &id]);
    }
    let logged = fs::read_to_string(&log).unwrap();
    assert_eq!(logged, "old\nout\nerr\nout\nerr\n");
    sandbox.assert_clean();
}

#[test]
fn every_stream_has_a_policy_of_its_own() {
    let sandbox = Sandbox::new("each");
    let bundle = sandbox.sh("cat; echo out; echo err >&2; exit 7");
    fs::write(sandbox.path().join("in"), "from a file\n").unwrap();
    let read = |name: &str| fs::read_to_string(sandbox.path().join(name)).unwrap();
    let run = |flags: &[&str]| {
        let id = sandbox.id("each");
        let words = [&["run"], flags, &["-b", bundle.arg(), &id]].concat();
        let output = sandbox.feed(sandbox.holdfast(words), b"from us\n");
        assert_eq!(output.status.code(), Some(7), "{}", show(&output));
        (text(&output.stdout), text(&output.stderr))
    };
    let expect = |out: &str, err: &str| (out.to_owned(), err.to_owned());

    let seen = run(&["--stdout", "file:out", "--stdin", "file:in"]);
    assert_eq!(seen, expect("", "err\n"));
    assert_eq!(read("out"), "from a file\nout\n");
    let seen = run(&["--stdio", "file:both", "--stdout", "fifo"]);
    assert_eq!(seen, expect("out\n", ""));
    assert_eq!(read("both"), "err\n");
    let seen = run(&["--stdin", "null", "--stdout", "inherit"]);
    assert_eq!(seen, expect("out\n", "err\n"));
    let seen = run(&["--stdio", "null", "--stdin", "inherit", "--stdout", "fifo"]);
    assert_eq!(seen, expect("from us\nout\n", ""));
    sandbox.assert_clean();
}

#[test]
fn stdin_is_closed_after_what_was_written() {
    let sandbox = Sandbox::new("close");
    let bundle = sandbox.sh("cat; echo ended; exit 7");
    // Before the container has started, and while it runs.
    for early in [true, false] {
        let id = sandbox.id("close");
        sandbox.run_ok(["create", "-b", bundle.arg(), &id]);
        if !early {
            sandbox.run_ok(["start", &id]);
        }
        let stdin = fifo::writer(&sandbox.process_dir(&id, "init").join("stdin")).unwrap();
        sandbox.write_all(&stdin, b"to the last byte");
        sandbox.run_ok(["close-stdin", &id]);
        drop(stdin);
        if early {
            sandbox.run_ok(["start", &id]);
        }
        assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
        let output = sandbox.output(["attach", &id]);
        assert_eq!(text(&output.stdout), "to the last byteended\n");
        let late = sandbox.output(["close-stdin", &id]);
        assert_eq!(late.status.code(), Some(125), "{}", show(&late));
        sandbox.run_ok(["delete", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn a_terminal_has_the_size_that_it_was_given_last() {
    let sandbox = Sandbox::new("resize");
    let bundle = sandbox
        .sh("while stty size; read line; do :; done")
        .terminal();
    let id = sandbox.id("resize");
    sandbox.run_ok(["create", "-b", bundle.arg(), &id]);
    sandbox.run_ok(["resize", &id, "80", "24"]);
    sandbox.run_ok(["resize", &id, "100", "30"]);
    sandbox.run_ok(["start", &id]);
    let mut attach = sandbox.spawn(sandbox.holdfast(["attach", &id]));
    attach.wait_stdout("30 100\r\n");
    sandbox.run_ok(["resize", &id, "81", "25"]);
    attach.write("\n");
    attach.wait_stdout("25 81\r\n");
    sandbox.run_ok(["kill", &id, "KILL"]);
    assert_eq!(attach.wait().status.code(), Some(137));
    sandbox.run_ok(["delete", &id]);

    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("resize");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let output = sandbox.output(["resize", &id, "80", "24"]);
    assert_eq!(output.status.code(), Some(125), "{}", show(&output));
    assert!(text(&output.stderr).contains("has no terminal"));
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}
