//! Sitting in front of a container: on a terminal of one's own or without, typing, resizing, leaving and coming back.

use holdfast_tests::command::{show, text};
use holdfast_tests::{Bundle, Gate, Proc, Sandbox, Terminal};
use nix::sys::signal::Signal;

/// Ctrl-P Ctrl-Q.
const DETACH: &str = "\x10\x11";

/// A container that says what is typed, until it reads `end`.
const ECHO: &str = "stty -echo; echo ready; while read line; do echo \"got $line\"; [ \"$line\" = end ] && exit 7; done";

fn echo(sandbox: &Sandbox) -> Bundle {
    sandbox.sh(ECHO).terminal()
}

/// Runs `holdfast ARGS` on a new terminal of 100 × 30.
fn on_terminal<'a>(sandbox: &'a Sandbox, args: &[&str]) -> Terminal<'a> {
    sandbox.spawn_on_terminal(&sandbox.holdfast(args), 100, 30)
}

/// A detached container with a terminal, and its id.
fn detached(sandbox: &Sandbox) -> String {
    let id = sandbox.id("attach");
    sandbox.run_ok(["run", "-d", "-b", echo(sandbox).arg(), &id]);
    id
}

fn runs(sandbox: &Sandbox, id: &str) -> bool {
    sandbox
        .run_ok(["state", id])
        .contains("\"status\": \"running\"")
}

/// The command that the shell on a terminal runs.
fn below(terminal: &Terminal<'_>) -> Proc {
    terminal.process().children()[0]
}

#[test]
fn a_terminal_is_raw_for_as_long_as_the_session_lasts() {
    let sandbox = Sandbox::new("at-raw");
    // How a session may end, and the exit code that says so.
    type End = fn(&Sandbox, &Terminal<'_>, &str);
    let ends: [(&str, End, i32); 6] = [
        (
            "the container ends",
            |_, terminal, _| terminal.type_in("end\n"),
            7,
        ),
        ("we detach", |_, terminal, _| terminal.type_in(DETACH), 0),
        (
            "we are told to end",
            |_, terminal, _| below(terminal).signal(Signal::SIGTERM),
            143,
        ),
        (
            "we are interrupted from outside",
            |_, terminal, _| below(terminal).signal(Signal::SIGINT),
            130,
        ),
        (
            "somebody kills it",
            |sandbox, _, id| drop(sandbox.run_ok(["kill", id, "KILL"])),
            137,
        ),
        (
            "somebody deletes it",
            |sandbox, _, id| drop(sandbox.run_ok(["delete", "-f", id])),
            137,
        ),
    ];
    for (what, end, code) in ends {
        let id = detached(&sandbox);
        // The shell sees the terminal before and after, when nobody else has it open any more.
        let script = "stty -g; \"$@\"; code=$?; stty -g; exit $code";
        let command = sandbox.in_shell(script, ["attach", &id]);
        let mut terminal = sandbox.spawn_on_terminal(&command, 100, 30);
        let before = terminal.expect("\r\n");
        terminal.type_in("hello\n");
        terminal.expect("got hello\r\n");
        assert_ne!(terminal.modes(), before.trim(), "{what}: it is not raw");
        end(&sandbox, &terminal, &id);
        let (status, screen) = terminal.wait();
        assert_eq!(status.code(), Some(code), "{what}: {screen}");
        assert_eq!(
            screen.lines().last(),
            Some(before.trim()),
            "{what}: {screen}"
        );
        sandbox.run_ok(["delete", "-f", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn a_terminal_is_left_as_it_was_when_there_is_nothing_to_run() {
    let sandbox = Sandbox::new("at-nothing");
    let bundle = sandbox.bundle(["nope"]).terminal();
    let id = sandbox.id("nothing");
    let script = "before=$(stty -g); \"$@\"; code=$?; [ \"$before\" = \"$(stty -g)\" ] && echo same; exit $code";
    for (args, code) in [
        (["run", "-b", bundle.arg(), id.as_str()], 127),
        (["attach", "--no-stdin", "--", &id], 125),
    ] {
        let command = sandbox.in_shell(script, args);
        let (status, screen) = sandbox.spawn_on_terminal(&command, 80, 24).wait();
        assert_eq!(status.code(), Some(code), "{screen}");
        assert!(
            screen.contains("holdfast: ") && screen.ends_with("same\r\n"),
            "{screen}"
        );
    }
    sandbox.assert_clean();
}

#[test]
fn the_containers_window_is_as_large_as_ours() {
    let sandbox = Sandbox::new("at-size");
    let script = "trap 'stty size' WINCH; stty size; echo ready; while :; do sleep 0.02; done";
    let bundle = sandbox.sh(script).terminal();
    let (id, other) = (sandbox.id("size"), sandbox.id("size"));
    let mut terminal = on_terminal(&sandbox, &["run", "-b", bundle.arg(), &id]);
    // Before its program runs, so that it need not wait to be told.
    assert_eq!(terminal.expect("ready\r\n"), "30 100\r\n");
    for (columns, rows) in [(81, 25), (200, 50), (81, 25)] {
        terminal.resize(columns, rows);
        terminal.expect(&format!("{rows} {columns}\r\n"));
    }
    // Whoever comes with another window sets another size.
    terminal.type_in(DETACH);
    assert_eq!(terminal.wait().0.code(), Some(0));
    let attach = sandbox.holdfast(["attach", &id]);
    let mut terminal = sandbox.spawn_on_terminal(&attach, 60, 20);
    terminal.expect("20 60\r\n");
    terminal.type_in(DETACH);
    assert_eq!(terminal.wait().0.code(), Some(0));

    // An exec has a window of its own.
    let exec = ["exec", "-t", &id, "sh", "-c", script];
    let mut terminal = on_terminal(&sandbox, &exec);
    terminal.expect("30 100\r\n");
    terminal.resize(81, 25);
    terminal.expect("25 81\r\n");
    terminal.process().signal(Signal::SIGKILL);

    // With nobody's window it has the one that it was given.
    sandbox.run_ok(["run", "-d", "-b", echo(&sandbox).arg(), &other]);
    sandbox.run_ok(["resize", &other, "70", "17"]);
    assert_eq!(
        sandbox.run_ok(["exec", &other, "stty", "-F", "/dev/pts/0", "size"]),
        "17 70\n"
    );
}

#[test]
fn keys_go_to_the_container_and_not_to_us() {
    let sandbox = Sandbox::new("at-keys");
    let bundle = sandbox.sh("trap 'echo interrupted' INT; echo ready; until read line; do :; done; stty -icanon min 1 -isig; echo got $line; \
        dd bs=1 count=5 2>/dev/null | od -An -tx1; exit 3");
    let bundle = bundle.terminal();
    let id = sandbox.id("keys");
    let mut terminal = on_terminal(&sandbox, &["run", "-b", bundle.arg(), &id]);
    terminal.expect("ready");
    terminal.type_in("\x03");
    terminal.expect("interrupted");
    // The container's terminal echoes and edits, ours does not.
    terminal.type_in("helo\x7flo\n");
    terminal.expect("got hello\r\n");
    // Bytes as they are; a beginning of the detach keys is one of them as soon as it is clear that it is no more.
    terminal.type_in("\x1a\x1c\x10x\x03");
    terminal.expect(" 1a 1c 10 78 03\r\n");
    assert_eq!(terminal.wait().0.code(), Some(3));
    sandbox.assert_clean();
}

#[test]
fn one_who_detaches_can_come_back() {
    let sandbox = Sandbox::new("at-detach");
    let id = sandbox.id("detach");
    let mut terminal = on_terminal(&sandbox, &["run", "-b", echo(&sandbox).arg(), &id]);
    terminal.expect("ready");
    terminal.type_in("one\n");
    terminal.expect("got one\r\n");
    terminal.type_in(&format!("two\n{DETACH}"));
    assert_eq!(terminal.wait().0.code(), Some(0));
    assert!(runs(&sandbox, &id));

    let mut terminal = on_terminal(&sandbox, &["attach", "--detach-keys", "ctrl-a,d", &id]);
    terminal.type_in(&format!("{DETACH}three\n"));
    terminal.expect("three\r\n");
    terminal.type_in("\x01d");
    assert_eq!(terminal.wait().0.code(), Some(0));
    assert!(runs(&sandbox, &id));

    // No keys at all: there is no way out but the container's end.
    let mut terminal = on_terminal(&sandbox, &["attach", "--detach-keys", "", &id]);
    terminal.type_in("\nfour\n");
    terminal.expect("got four\r\n");
    terminal.type_in("end\n");
    assert_eq!(terminal.wait().0.code(), Some(7));
    // One who comes after the end is told the same.
    assert_eq!(sandbox.output(["attach", &id]).status.code(), Some(7));
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_terminal_that_is_lost_ends_the_session_and_not_the_container() {
    let sandbox = Sandbox::new("at-lost");
    let id = detached(&sandbox);
    let mut terminal = on_terminal(&sandbox, &["attach", &id]);
    terminal.type_in("one\n");
    terminal.expect("got one\r\n");
    assert_eq!(terminal.hang_up().code(), Some(129));
    assert!(runs(&sandbox, &id));
    let mut terminal = on_terminal(&sandbox, &["attach", &id]);
    terminal.type_in("two\n");
    terminal.expect("got two\r\n");
    terminal.type_in("end\n");
    assert_eq!(terminal.wait().0.code(), Some(7));
}

#[test]
fn a_second_one_is_told_who_is_there() {
    let sandbox = Sandbox::new("at-second");
    let id = detached(&sandbox);
    let mut terminal = on_terminal(&sandbox, &["attach", &id]);
    terminal.type_in("one\n");
    terminal.expect("got one\r\n");
    let first = terminal.process().pid().to_string();
    for args in [&["attach", &id][..], &["attach", "--no-stdin", &id]] {
        let line = sandbox.refused(args, &["stdout", &format!("process {first}")]);
        assert!(!line.contains("two"), "{line}");
    }
    // Nothing went astray.
    terminal.type_in("two\n");
    terminal.expect("got two\r\n");
    terminal.type_in("end\n");
    assert_eq!(terminal.wait().0.code(), Some(7));
}

/// Says which signal came, and ends with the code that belongs to it.
const TRAPS: &str = "trap 'echo TERM; exit 5' TERM; trap 'echo INT; exit 6' INT; trap 'echo HUP; exit 8' HUP; \
    trap 'echo USR1' USR1; echo ready; while :; do sleep 0.02; done";

#[test]
fn without_a_terminal_signals_are_passed_on() {
    let sandbox = Sandbox::new("at-proxy");
    for (signal, word, code) in [
        (Signal::SIGTERM, "TERM\n", 5),
        (Signal::SIGINT, "INT\n", 6),
        (Signal::SIGHUP, "HUP\n", 8),
    ] {
        let id = sandbox.id("proxy");
        let running = sandbox.spawn(sandbox.holdfast(["run", "-b", sandbox.sh(TRAPS).arg(), &id]));
        running.wait_stdout("ready\n");
        running.signal(Signal::SIGUSR1);
        running.wait_stdout("USR1\n");
        running.signal(signal);
        let output = running.wait();
        assert_eq!(output.status.code(), Some(code), "{}", show(&output));
        assert!(text(&output.stdout).ends_with(word), "{}", show(&output));
    }
    // And to an exec alone.
    let id = sandbox.id("proxy");
    sandbox.run_ok(["run", "-d", "-b", sandbox.sh(TRAPS).arg(), &id]);
    let running = sandbox.spawn(sandbox.holdfast(["exec", &id, "sh", "-c", TRAPS]));
    running.wait_stdout("ready\n");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().status.code(), Some(5));
    let running = sandbox.spawn(sandbox.holdfast(["attach", &id]));
    running.wait_stdout("ready\n");
    running.signal(Signal::SIGUSR1);
    running.wait_stdout("USR1\n");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().status.code(), Some(5));
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn signals_that_are_not_passed_on_end_the_session_alone() {
    let sandbox = Sandbox::new("at-noproxy");
    let id = sandbox.id("noproxy");
    sandbox.run_ok(["run", "-d", "-b", sandbox.sh(TRAPS).arg(), &id]);
    for (signal, code) in [
        (Signal::SIGTERM, 143),
        (Signal::SIGINT, 130),
        (Signal::SIGHUP, 129),
    ] {
        let running = sandbox.spawn(sandbox.holdfast(["attach", "--sig-proxy=false", &id]));
        if signal == Signal::SIGTERM {
            // The first to come: an init is deaf to what it has set no trap for yet.
            running.wait_stdout("ready\n");
        }
        sandbox.run_ok(["kill", &id, "USR1"]);
        running.wait_stdout("USR1\n");
        running.signal(signal);
        assert_eq!(running.wait().status.code(), Some(code));
        assert!(runs(&sandbox, &id));
    }
}

#[test]
fn the_end_of_our_input_is_the_end_of_the_containers() {
    let sandbox = Sandbox::new("at-eof");
    let bundle = sandbox.sh("cat; echo eof; exit 4");
    let id = sandbox.id("eof");
    let output = sandbox.feed(
        sandbox.holdfast(["run", "-b", bundle.arg(), &id]),
        b"hello\n",
    );
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(4), "hello\neof\n")
    );

    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    // Nobody's input is no end: services attach like that to look on.
    for args in [&["attach", &id][..], &["attach", "--no-stdin", &id]] {
        let looking = sandbox.in_shell("exec \"$@\" </dev/null", args);
        let looking = sandbox.spawn(looking);
        let init = sandbox.process_dir(&id, "init");
        let stdin = sandbox.open_writer(&init.join("stdin"));
        sandbox.write_all(&stdin, b"seen\n");
        looking.wait_stdout("seen\n");
        drop(stdin);
        looking.signal(Signal::SIGKILL);
        assert!(runs(&sandbox, &id));
    }
    let output = sandbox.feed(sandbox.holdfast(["attach", &id]), b"bye\n");
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(4), "bye\neof\n")
    );
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn output_that_nobody_takes_ends_the_session_and_not_the_container() {
    let sandbox = Sandbox::new("at-epipe");
    let gate = sandbox.gate();
    let bundle = sandbox
        .sh(&format!(
            "echo one; {}; echo two; exec sleep 1000",
            Gate::WAIT
        ))
        .bind(gate.dir());
    let id = sandbox.id("epipe");
    let script =
        "{ \"$@\"; echo $? >code; } | head -n 1; until [ -s code ]; do sleep 0.02; done; cat code";
    let command = sandbox.in_shell(script, ["run", "-b", bundle.arg(), &id]);
    let running = sandbox.spawn(command);
    running.wait_stdout("one\n");
    gate.open();
    let output = running.wait();
    assert_eq!(text(&output.stdout), "one\n125\n", "{}", show(&output));
    let words = text(&output.stderr);
    assert!(
        words.contains("stdout") && words.contains(&format!("holdfast attach {id}")),
        "{words}"
    );
    assert!(runs(&sandbox, &id));
    assert!(
        Proc::from_file(&sandbox.process_dir(&id, "init").join("pid"))
            .unwrap()
            .is_alive()
    );
}

#[test]
fn a_container_without_a_terminal_is_used_from_one() {
    let sandbox = Sandbox::new("at-cooked");
    let id = sandbox.id("cooked");
    let bundle = sandbox.sh("trap 'echo interrupted' INT; echo ready; until read line; do :; done; echo got $line; cat; exit 4");
    let mut terminal = on_terminal(&sandbox, &["run", "-b", bundle.arg(), &id]);
    terminal.expect("ready");
    // Our terminal makes the signal, and the line, and the end of input.
    terminal.type_in("\x03");
    terminal.expect("interrupted");
    terminal.type_in("helo\x7flo\n");
    terminal.expect("got hello\r\n");
    terminal.type_in("more\n\x04");
    let (status, screen) = terminal.wait();
    assert_eq!(status.code(), Some(4), "{screen}");
    assert!(screen.contains("more\r\nmore\r\n"), "{screen}");
    sandbox.assert_clean();
}

#[test]
fn a_terminal_that_is_lost_under_a_run_is_told_to_the_container() {
    let sandbox = Sandbox::new("at-lostrun");
    let id = sandbox.id("lostrun");
    let bundle = sandbox
        .sh("trap 'exit 9' HUP; echo ready; while :; do sleep 0.02; done")
        .terminal();
    let mut terminal = on_terminal(&sandbox, &["run", "--keep", "-b", bundle.arg(), &id]);
    terminal.expect("ready");
    terminal.hang_up();
    assert_eq!(sandbox.run_ok(["wait", &id]), "9\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_run_that_lost_its_terminal_does_not_stay_for_a_container_that_does() {
    let sandbox = Sandbox::new("at-stays");
    let id = sandbox.id("stays");
    let bundle = sandbox
        .sh("trap 'echo still here' HUP; echo ready; while :; do sleep 0.02; done")
        .terminal();
    let mut terminal = on_terminal(&sandbox, &["run", "-b", bundle.arg(), &id]);
    terminal.expect("ready");
    terminal.hang_up();
    assert!(runs(&sandbox, &id));
    let mut terminal = on_terminal(&sandbox, &["attach", &id]);
    sandbox.run_ok(["kill", &id, "HUP"]);
    terminal.expect("still here");
}

#[test]
fn a_session_whose_output_is_spilled_goes_on_when_its_shim_is_killed_and_comes_to_what_was_kept() {
    let sandbox = Sandbox::new("at-spill");
    let gate = sandbox.gate();
    let wait = Gate::WAIT;
    let through = "touch /host/through";
    let script = format!("echo one; {wait}; seq 1 300000; {through}; {wait}; echo bye; exit 5");
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let id = sandbox.id("spill");
    sandbox.run_ok(["run", "-d", "--stdio", "spill", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    let attach = || sandbox.spawn(sandbox.holdfast(["attach", "--no-stdin", &id]));
    let session = attach();
    session.wait_stdout("one\n");
    sandbox.kill_shim(&dir);
    gate.open();
    assert!(sandbox.recovered(&id).starts_with("adopted"));
    session.wait_stdout("\n300000\n");
    gate.open();
    let output = session.wait();
    assert_eq!(output.status.code(), Some(5), "{}", show(&output));
    let all: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    assert!(text(&output.stdout) == format!("one\n{all}bye\n"));
    sandbox.run_ok(["delete", &id]);

    // Nobody is there at all, and more than a FIFO holds is left: for who attaches, and for who asks again.
    let through = gate.dir().join("through");
    std::fs::remove_file(&through).unwrap();
    sandbox.run_ok(["run", "-d", "--stdio", "spill", "-b", bundle.arg(), &id]);
    gate.open();
    sandbox.wait_until("all to be written", || through.exists());
    gate.open();
    assert_eq!(sandbox.run_ok(["wait", &id]), "5\n");
    // A shim that is still there would pass it on, and keep nothing.
    sandbox.wait_done(&dir);
    for args in [&["attach", &id][..], &["logs", &id]] {
        let output = sandbox.output(args);
        assert!(
            text(&output.stdout) == format!("one\n{all}bye\n"),
            "{args:?}"
        );
    }
    assert_eq!(
        sandbox.run_ok(["logs", "--tail", "2", &id]),
        "300000\nbye\n"
    );
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}
