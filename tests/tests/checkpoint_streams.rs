//! What a container reads and writes goes along in its checkpoint, whatever its streams are: FIFOs with something in flight, a file, the
//! launcher's own, a terminal.

use std::fs;
use std::process::Stdio;

use holdfast_tests::command::text;
use holdfast_tests::criu::COUNTER;
use holdfast_tests::{Criu, Gate, Proc, Sandbox, fifo};

/// What nobody had read is in the checkpoint, in both directions, and that stdin was closed.
#[test]
fn what_was_in_flight_is_not_lost() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cp-flight");
    let id = sandbox.id("flight");
    let bundle = sandbox.sh("echo early; echo wrong >&2; cat; exit 6");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let process = Proc::from_file(&sandbox.process_dir(&id, "init").join("pid")).unwrap();
    sandbox.wait_until("it to read", || process.children().len() == 1);
    sandbox.run_ok(["pause", &id]);
    let dir = sandbox.process_dir(&id, "init");
    sandbox.write_all(&sandbox.open_writer(&dir.join("stdin")), b"late\n");
    sandbox.run_ok(["close-stdin", &id]);
    criu.run_ok(&sandbox, ["checkpoint", "--name", "first", &id]);
    sandbox.run_ok(["delete", &id]);

    criu.run_ok(
        &sandbox,
        ["restore", "-d", "--name", "first", "-b", bundle.arg(), &id],
    );

    // It ends at once; what it said is there for whoever comes then.
    let output = sandbox.output(["attach", &id]);
    assert_eq!(text(&output.stdout), "early\nlate\n");
    assert_eq!(text(&output.stderr), "wrong\n");
    assert_eq!(output.status.code(), Some(6));
    assert_eq!(sandbox.run_ok(["wait", &id]), "6\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

/// A file that output is appended to, and no input.
#[test]
fn output_goes_on_in_the_file_that_it_went_to() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cp-file");
    let gate = sandbox.gate();
    let script = format!(
        "echo one; {}; echo two; {}; echo three",
        Gate::WAIT,
        Gate::WAIT
    );
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let id = sandbox.id("file");
    let log = sandbox.path().join("log");
    let policy = format!("file:{}", log.display());
    sandbox.run_ok(["run", "-d", "--stdio", &policy, "-b", bundle.arg(), &id]);
    gate.open();
    sandbox.wait_until("its output", || {
        fs::read(&log).is_ok_and(|log| log == b"one\ntwo\n")
    });
    criu.run_ok(&sandbox, ["checkpoint", "--name", "first", &id]);
    criu.run_ok(&sandbox, ["restore", "-d", "--name", "first", &id]);
    gate.open();
    assert_eq!(sandbox.run_ok(["wait", &id]), "0\n");
    assert_eq!(fs::read_to_string(&log).unwrap(), "one\ntwo\nthree\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

/// Streams of the launcher's: a pipe is the runtime's to know, a file ours.
#[test]
fn inherited_streams_are_those_of_whoever_restores() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cp-inherit");
    let gate = sandbox.gate();
    let script = format!("{}; echo out; echo err >&2; exit 3", Gate::WAIT);
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let id = sandbox.id("inherit");
    let file = |name: &str| fs::File::create(sandbox.path().join(name)).unwrap();
    let mut run = sandbox.holdfast(["run", "-d", "--stdio", "inherit", "-b", bundle.arg(), &id]);
    run.stdin(Stdio::null()).stderr(file("before"));
    let (mut reader, writer) = std::io::pipe().unwrap();
    assert!(run.stdout(writer).status().unwrap().success());
    drop(run);
    criu.run_ok(&sandbox, ["checkpoint", "--name", "first", &id]);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut reader, &mut rest).unwrap();
    assert_eq!(rest, "");

    let mut restore = criu.holdfast(&sandbox, ["restore", "-d", "--name", "first", &id]);
    restore.stdin(Stdio::null()).stderr(file("after"));
    let (mut reader, writer) = std::io::pipe().unwrap();
    assert!(restore.stdout(writer).status().unwrap().success());
    drop(restore);
    gate.open();
    std::io::Read::read_to_string(&mut reader, &mut rest).unwrap();
    assert_eq!(rest, "out\n");
    assert_eq!(sandbox.run_ok(["wait", &id]), "3\n");
    let after = fs::read_to_string(sandbox.path().join("after")).unwrap();
    assert_eq!(after, "err\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_terminal_comes_back_with_its_container() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cp-tty");
    let bundle = sandbox
        .sh(&format!("stty -echo; echo on; {COUNTER}"))
        .terminal();
    let id = sandbox.id("tty");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    let stdout = fifo::reader(&dir.join("stdout"));
    sandbox.read_until(&stdout, "on\r\n");
    let stdin = sandbox.open_writer(&dir.join("stdin"));
    sandbox.write_all(&stdin, b"a\n");
    sandbox.read_until(&stdout, "1 a\r\n");
    criu.run_ok(&sandbox, ["checkpoint", "--name", "first", &id]);

    criu.run_ok(&sandbox, ["restore", "-d", "--name", "first", &id]);

    let stdout = fifo::reader(&dir.join("stdout"));
    let stdin = sandbox.open_writer(&dir.join("stdin"));
    sandbox.write_all(&stdin, b"b\n");
    assert_eq!(sandbox.read_until(&stdout, "b\r\n"), "2 b\r\n");
    sandbox.run_ok(["resize", &id, "90", "20"]);
    let size = sandbox.run_ok(["exec", &id, "sh", "-c", "stty size < /dev/pts/0"]);
    assert_eq!(size, "20 90\n");
    // Its interrupt is its foreground's.
    sandbox.write_all(&stdin, b"\x03");
    assert_eq!(sandbox.run_ok(["wait", &id]), "130\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}
