//! Sitting in front of a container whose output is logged: any number look on, one writes, and nobody is felt by it.

use std::fs;

use holdfast_tests::command::{show, text};
use holdfast_tests::{Bundle, Gate, Sandbox, Terminal, fifo};
use nix::sys::signal::Signal;

/// Ctrl-P Ctrl-Q.
const DETACH: &str = "\x10\x11";

/// A container that says what it is told, until it is told to end.
const ECHO: &str =
    "echo ready; while read line; do echo \"got $line\"; [ \"$line\" = end ] && exit 7; done";

/// Runs a container in the background, whose output is logged.
fn logged(sandbox: &Sandbox, bundle: &Bundle) -> String {
    let id = sandbox.id("logged");
    sandbox.run_ok(["run", "-d", "--stdio", "log", "-b", bundle.arg(), &id]);
    id
}

fn on_terminal<'a>(sandbox: &'a Sandbox, args: &[&str]) -> Terminal<'a> {
    sandbox.spawn_on_terminal(&sandbox.holdfast(args), 100, 30)
}

#[test]
fn any_number_look_on_while_one_writes_and_a_second_writer_is_told_who() {
    let sandbox = Sandbox::new("al-many");
    let id = logged(&sandbox, &sandbox.sh(ECHO));
    let mut first = sandbox.spawn(sandbox.holdfast(["attach", "--tail", "all", &id]));
    first.write("one\n");
    first.wait_stdout("ready\ngot one\n");
    let others: Vec<_> = (0..3)
        .map(|_| sandbox.spawn(sandbox.holdfast(["attach", "--no-stdin", "-n", "1", &id])))
        .collect();
    for other in &others {
        other.wait_stdout("got one\n");
    }
    // Another that would write is told who does, and what is left to it.
    let pid = format!("process {}", first.process().pid());
    let mut second = sandbox.spawn(sandbox.holdfast(["attach", &id]));
    second.close_stdin();
    let refused = second.wait();
    assert_eq!(refused.status.code(), Some(125), "{}", show(&refused));
    let said = text(&refused.stderr);
    assert!(said.contains(&pid) && said.contains("--no-stdin"), "{said}");
    // Once the first is gone, however that came, the next may.
    first.kill();
    let mut next = sandbox.spawn(sandbox.holdfast(["attach", &id]));
    next.write("two\nend\n");
    let output = next.wait();
    assert_eq!(output.status.code(), Some(7), "{}", show(&output));
    assert_eq!(text(&output.stdout), "got two\ngot end\n");
    for other in others {
        let output = other.wait();
        assert_eq!(output.status.code(), Some(7), "{}", show(&output));
        assert_eq!(text(&output.stdout), "got one\ngot two\ngot end\n");
    }
    // Who comes after the end has what is asked for, and how it ended.
    let late = sandbox.output(["attach", "--tail", "2", &id]);
    assert_eq!(
        (late.status.code(), text(&late.stdout)),
        (Some(7), "got two\ngot end\n".to_owned())
    );
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_client_that_stops_reading_is_felt_by_nobody() {
    let sandbox = Sandbox::new("al-stuck");
    let bundle = sandbox.sh("read go; seq 1 200000; echo done >&2; read go; exit 3");
    let id = logged(&sandbox, &bundle);
    let pipe = sandbox.path().join("pipe");
    fifo::make(&pipe);
    let never_read = fifo::both(&pipe);
    let look = ["attach", "--no-stdin", "--tail", "all", &id];
    let stuck = sandbox.in_shell("exec \"$@\" > pipe", look);
    let stuck = sandbox.spawn(stuck);
    let mut writer = sandbox.spawn(sandbox.holdfast(["attach", &id]));
    writer.write("go\n");
    writer.wait_stdout("\n200000\n");
    writer.write("go\n");
    assert_eq!(writer.wait().status.code(), Some(3));
    assert_eq!(sandbox.run_ok(["wait", &id]), "3\n");
    // It has what a pipe holds, and gets the rest when it reads again.
    assert!(stuck.process().is_alive());
    let mut all = Vec::new();
    let mut piece = vec![0; 64 << 10];
    while !all.ends_with(b"\n200000\n") {
        let count = sandbox.read_some(&never_read, &mut piece);
        all.extend_from_slice(&piece[..count]);
    }
    assert!(
        all.starts_with(b"1\n2\n3\n") && all.len() == 1_288_895,
        "{}",
        all.len()
    );
    assert_eq!(stuck.wait().status.code(), Some(3));
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_foreground_whose_output_is_logged_is_as_any_other() {
    let sandbox = Sandbox::new("al-run");
    let script = "echo out; echo err >&2; cat; head -c 3000000 /dev/zero | tr '\\0' x; exit 9";
    let bundle = sandbox.sh(script);
    let check = |output: &std::process::Output| {
        assert_eq!(output.status.code(), Some(9), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "err\n");
        let rest = output.stdout.strip_prefix(b"out\nhello\n").unwrap_or(&[]);
        assert!(rest.len() == 3_000_000 && rest.iter().all(|&byte| byte == b'x'));
    };
    for flag in ["--keep", "--rm"] {
        let id = sandbox.id("run");
        let args = ["run", flag, "--stdio", "log", "-b", bundle.arg(), &id];
        check(&sandbox.feed(sandbox.holdfast(args), b"hello\n"));
        if flag == "--keep" {
            let output = sandbox.output(["logs", &id]);
            assert_eq!(output.stdout.len(), 3_000_010);
            sandbox.run_ok(["delete", &id]);
        }
    }
    let id = logged(&sandbox, &sandbox.sh("exec sleep 1000"));
    for flags in [
        &["exec", "--stdio", "log"][..],
        &["exec", "--rm", "--stdio", "log"],
    ] {
        let exec = [flags, &[id.as_str(), "sh", "-c", script]].concat();
        check(&sandbox.feed(sandbox.holdfast(exec), b"hello\n"));
    }
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn what_removes_itself_at_once_has_been_heard() {
    let sandbox = Sandbox::new("al-rm");
    let bundle = sandbox.sh("echo hello; echo oh >&2");
    for _ in 0..10 {
        let id = sandbox.id("rm");
        let output = sandbox.output(["run", "--rm", "--stdio", "log", "-b", bundle.arg(), &id]);
        assert_eq!(output.status.code(), Some(0), "{}", show(&output));
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            ("hello\n".into(), "oh\n".into())
        );
    }
    sandbox.assert_clean();
}

#[test]
fn a_terminal_that_is_logged_has_many_viewers_a_history_and_detach_keys() {
    let sandbox = Sandbox::new("al-tty");
    let id = logged(
        &sandbox,
        &sandbox.sh(&format!("stty -echo; {ECHO}")).terminal(),
    );
    let mut terminal = on_terminal(&sandbox, &["attach", &id]);
    terminal.type_in("one\n");
    terminal.expect("got one\r\n");
    let mut viewer = on_terminal(&sandbox, &["attach", "--no-stdin", "--tail", "all", &id]);
    // Its terminal is not raw: it types nothing.
    viewer.expect("ready\r");
    viewer.expect("got one\r");
    terminal.type_in("two\n");
    terminal.expect("got two\r\n");
    viewer.expect("got two\r");
    // Who comes to type is told who does.
    let pid = terminal.process().pid();
    let (status, screen) = on_terminal(&sandbox, &["attach", &id]).wait();
    assert_eq!(status.code(), Some(125), "{screen}");
    assert!(screen.contains(&format!("process {pid}")), "{screen}");
    terminal.type_in(DETACH);
    assert_eq!(terminal.wait().0.code(), Some(0));
    let mut terminal = on_terminal(&sandbox, &["attach", "--tail", "1", &id]);
    assert_eq!(terminal.expect("got two\r\n"), "");
    terminal.type_in("end\n");
    terminal.expect("got end\r\n");
    assert_eq!(terminal.wait().0.code(), Some(7));
    viewer.expect("got end\r");
    assert_eq!(viewer.wait().0.code(), Some(7));
    // Everything, as it was on the screen.
    assert_eq!(
        sandbox.run_ok(["logs", &id]),
        "ready\r\ngot one\r\ngot two\r\ngot end\r\n"
    );
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_program_draws_its_screen_again_for_whoever_attaches() {
    let sandbox = Sandbox::new("al-draw");
    let script = "draw() { echo \"screen of $(stty size)\"; }; trap draw WINCH; echo ready; while :; do sleep 0.02; done";
    for policy in ["log", "fifo"] {
        let id = sandbox.id("draw");
        let bundle = sandbox.sh(script).terminal();
        sandbox.run_ok(["run", "-d", "--stdio", policy, "-b", bundle.arg(), &id]);
        // The same size each time: without a nudge the program would not hear of us.
        for _ in 0..3 {
            let mut terminal = on_terminal(&sandbox, &["attach", &id]);
            terminal.expect("screen of 30 100\r\n");
            terminal.type_in(DETACH);
            assert_eq!(terminal.wait().0.code(), Some(0));
        }
        // Who has no window says nothing of its size.
        let log = sandbox.process_dir(&id, "init").join("log");
        let before = fs::read(&log).unwrap_or_default();
        let look = ["attach", "--no-stdin", "--tail", "all", &id];
        let looker = sandbox.spawn(sandbox.holdfast(look));
        sandbox.run_ok(["resize", &id, "90", "20"]);
        looker.wait_stdout("screen of 20 90\r\n");
        looker.signal(Signal::SIGTERM);
        looker.wait();
        if policy == "log" {
            let after = fs::read(&log).unwrap();
            let drawn = text(&after[before.len()..]);
            assert_eq!(drawn.matches("screen").count(), 1, "{drawn}");
        }
        sandbox.run_ok(["delete", "-f", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn a_session_goes_on_over_an_upgrade_and_an_adoption() {
    let sandbox = Sandbox::new("al-on");
    let gate = sandbox.gate();
    let wait = Gate::WAIT;
    let script = format!("echo one; {wait}; echo two; {wait}; echo three; {wait}; exit 5");
    let id = logged(&sandbox, &sandbox.sh(&script).bind(gate.dir()));
    let session = sandbox.spawn(sandbox.holdfast(["attach", "--no-stdin", "--tail", "all", &id]));
    session.wait_stdout("one\n");
    sandbox.run_ok(["upgrade", &id]);
    gate.open();
    session.wait_stdout("two\n");
    sandbox.kill_shim(&sandbox.process_dir(&id, "init"));
    gate.open();
    assert!(sandbox.recovered(&id).starts_with("adopted"));
    session.wait_stdout("three\n");
    gate.open();
    let output = session.wait();
    assert_eq!(output.status.code(), Some(5), "{}", show(&output));
    assert_eq!(text(&output.stdout), "one\ntwo\nthree\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn output_that_nobody_takes_ends_the_session_and_says_where_the_rest_is() {
    let sandbox = Sandbox::new("al-epipe");
    let bundle = sandbox.sh("seq 1 100000; exec sleep 1000");
    let id = sandbox.id("epipe");
    let script =
        "{ \"$@\"; echo $? >code; } | head -n 1; until [ -s code ]; do sleep 0.02; done; cat code";
    let run = ["run", "--stdio", "log", "-b", bundle.arg(), &id];
    let output = sandbox.output_of(sandbox.in_shell(script, run));
    assert_eq!(text(&output.stdout), "1\n125\n", "{}", show(&output));
    let words = text(&output.stderr);
    assert!(words.contains(&format!("holdfast logs {id}")), "{words}");
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}
