//! A container on a terminal: its client's FIFOs behave as a person's keyboard and screen would.

use std::fs;
use std::thread;
use std::time::Duration;

use holdfast::{ContainerId, CreateOptions};
use holdfast_tests::command::text;
use holdfast_tests::daemon02::{Client02, Daemon02, Stdio02};
use holdfast_tests::gate::Gate;
use holdfast_tests::{Proc, Sandbox, fifo, spec, wait};
use nix::sys::signal::Signal;

/// What `seq 1 LAST` prints.
fn numbers(last: u32) -> String {
    (1..=last).map(|n| format!("{n}\n")).collect()
}

#[test]
fn a_terminal_has_its_size_before_its_program_runs_and_without_a_shim_that_listens() {
    let sandbox = Sandbox::new("tty-first");
    let id = ContainerId::new(sandbox.id("first")).unwrap();
    let options = CreateOptions {
        console_size: Some((100, 30)),
        ..CreateOptions::default()
    };
    let bundle = sandbox.sh("stty size; exec cat").terminal();
    let container = sandbox
        .driver()
        .create(&id, bundle.dir(), &options)
        .unwrap();
    let dir = sandbox.process_dir(id.as_str(), "init");
    let shim = sandbox.shim_of(&dir);
    shim.signal(Signal::SIGSTOP);
    container.start().unwrap();
    // The program reads its input when it has asked.
    let init = Proc::from_file(&dir.join("pid")).unwrap();
    sandbox.wait_until("cat", || init.comm() == "cat");
    shim.signal(Signal::SIGCONT);
    let stdout = fifo::reader(&dir.join("stdout"));
    assert_eq!(sandbox.read_until(&stdout, "\n"), "30 100\r\n");
    container.delete(true).unwrap();
    sandbox.assert_clean();
}

#[test]
fn the_size_follows_resize() {
    let sandbox = Sandbox::new("tty-size");
    let daemon = Daemon02::new(&sandbox);
    let script = "trap 'stty size' WINCH; sleep 1000 & tty; while :; do wait $!; done";
    let client = daemon.run("size", &sandbox.sh(script).terminal());
    assert!(client.line().starts_with("/dev/pts/"));
    for (columns, rows) in [(80, 24), (81, 24), (132, 50), (2, 2), (9999, 9998)] {
        client.init.resize(columns, rows);
        assert_eq!(client.line(), format!("{rows} {columns}"));
    }
    // Of many at once, at least the last is seen.
    for columns in 100..200 {
        client.init.resize(columns, 24);
    }
    while client.line() != "24 199" {}
}

#[test]
fn an_execs_terminal_is_its_own() {
    let sandbox = Sandbox::new("tty-exec");
    let daemon = Daemon02::new(&sandbox);
    let bundle = sandbox.sh("stty -echo; echo ready; read line; stty size");
    let bundle = bundle.terminal();
    let client = daemon.run("init", &bundle);
    assert_eq!(client.line(), "ready");
    client.init.resize(90, 30);

    let stdio = Stdio02::fifos(&sandbox, "exec");
    let stdout = fifo::reader(&stdio.stdout);
    // The trap ends it, not the wait that it interrupts: the signal may come before that.
    let script = "trap 'stty size; exit 4' WINCH; sleep 1000 & echo ready; wait $!";
    let mut process = spec::process(&["sh", "-c", script]);
    process["terminal"] = serde_json::json!(true);
    let mut exec = daemon
        .exec(&client.id, "exec", &bundle, &process, &stdio)
        .unwrap();
    assert_eq!(sandbox.read_until(&stdout, "\n"), "ready\r\n");
    exec.resize(70, 20);
    assert_eq!(sandbox.read_until(&stdout, "\n"), "20 70\r\n");
    assert_eq!(exec.wait(), 4);

    client.write("\n");
    assert_eq!(client.line(), "30 90");
}

#[test]
fn ctrl_c_arrives_as_an_interrupt() {
    let sandbox = Sandbox::new("tty-int");
    let daemon = Daemon02::new(&sandbox);
    // The shell catches it, and the program in the foreground dies of it.
    let script = "stty -echo; trap 'echo caught' INT; echo ready; cat; echo cat $?; exit 42";
    let mut client = daemon.run("int", &sandbox.sh(script).terminal());
    assert_eq!(client.line(), "ready");
    // That cat runs is known by what it repeats.
    client.write("hello\n");
    assert_eq!(client.line(), "hello");
    client.write("\x03");
    let mut said = [client.line(), client.line()];
    said.sort();
    assert_eq!(said, ["cat 130", "caught"]);
    assert_eq!(client.init.wait(), 42);
    sandbox.assert_clean();
}

#[test]
fn a_program_that_closes_its_terminal_may_open_it_again() {
    let sandbox = Sandbox::new("tty-reopen");
    let gate = sandbox.gate();
    let daemon = Daemon02::new(&sandbox);
    // Three times: nobody has it open, then somebody has again.
    let script = format!(
        "stty -echo; tty=$(tty); for n in 1 2 3; do echo open $n; exec </dev/null >/dev/null 2>&1; \
         echo >/host/closed.$n; {}; exec <$tty >$tty 2>&1; done; stty -echo; echo back; \
         read line; echo got $line; exit 5",
        Gate::WAIT
    );
    let bundle = sandbox.sh(&script).terminal().bind(gate.dir());
    let mut client = daemon.run("reopen", &bundle);
    for n in 1..=3 {
        assert_eq!(client.line(), format!("open {n}"));
        sandbox.wait_file(&gate.dir().join(format!("closed.{n}")));
        sandbox.assert_quiet(&client.stdout);
        assert!(!wait::is_hung_up(client.init.exit()));
        // Whatever is asked of the shim meanwhile, it stays.
        client.init.resize(80 + n, 24);
        client.init.control("3 0 0\n");
        gate.open();
    }
    assert_eq!(client.line(), "back");
    client.write("hello\n");
    assert_eq!(client.line(), "got hello");
    assert_eq!(client.init.wait(), 5);
    sandbox.assert_clean();
}

#[test]
fn close_stdin_is_end_of_file_for_a_program_that_reads_lines() {
    let sandbox = Sandbox::new("tty-eof");
    let daemon = Daemon02::new(&sandbox);
    let bundle = sandbox.sh("stty -echo; echo ready; cat; echo ended; exit 6");
    let bundle = bundle.terminal();
    // In the middle of a line, the first end of file only ends the line.
    for (input, output) in [
        ("", "ended"),
        ("one\n", "one|ended"),
        ("one\ntwo", "one|twoended"),
    ] {
        let mut client = daemon.run("eof", &bundle);
        assert_eq!(client.line(), "ready");
        client.write(input);
        client.init.close_stdin();
        let lines: Vec<_> = output.split('|').map(|_| client.line()).collect();
        assert_eq!(lines.join("|"), output, "{input:?}");
        assert_eq!(client.init.wait(), 6);
    }
    sandbox.assert_clean();
}

#[test]
fn input_ends_after_the_last_writer_and_not_before() {
    let sandbox = Sandbox::new("tty-writer");
    let daemon = Daemon02::new(&sandbox);
    let bundle = sandbox.sh("stty -echo; echo ready; cat; echo ended; exit 6");
    let mut client = daemon.run("writer", &bundle.terminal());
    assert_eq!(client.line(), "ready");
    let stdin = sandbox.open_writer(&client.stdio.stdin);
    client.init.close_stdin();
    sandbox.write_all(&stdin, b"said after it was closed\n");
    assert_eq!(client.line(), "said after it was closed");
    drop(stdin);
    assert_eq!(client.line(), "ended");
    assert_eq!(client.init.wait(), 6);
    sandbox.assert_clean();
}

#[test]
fn what_nobody_has_read_of_a_terminal_is_kept() {
    let sandbox = Sandbox::new("tty-unread");
    let daemon = Daemon02::new(&sandbox);
    let run = |script: &str| {
        let id = sandbox.id("unread");
        let stdio = Stdio02::fifos(&sandbox, &id);
        let bundle = sandbox.sh(script).terminal();
        let mut init = daemon.create(&id, &bundle, &stdio).unwrap();
        init.start().unwrap();
        assert_eq!(init.wait(), 3);
        let late = sandbox.read_to_end(&fifo::reader(&stdio.stdout));
        assert_eq!(late, b"");
        fs::read_to_string(init.dir().join("stdout.unread")).unwrap()
    };
    let few = run("stty -opost; seq 1 10; exit 3");
    assert_eq!(few, numbers(10));
    // More than the FIFO holds by itself: a part of it waits in the terminal when the program ends.
    let many = run("stty -opost; seq 1 13000; exit 3");
    assert!(many.len() > 64 << 10);
    assert!(many == numbers(13_000), "{} bytes", many.len());
    sandbox.assert_clean();
}

#[test]
fn a_reader_who_is_slow_to_the_very_end_has_everything() {
    let sandbox = Sandbox::new("tty-late");
    let daemon = Daemon02::new(&sandbox);
    let bundle = sandbox.sh("stty -opost; seq 1 13000; exit 3").terminal();
    let mut client = daemon.run("late", &bundle);
    // It reads nothing before the container and its shim have ended, and then from the FIFO it has held all the time.
    assert_eq!(client.init.wait(), 3);
    assert!(wait::is_hung_up(&client.stdout));
    let output = text(&sandbox.read_to_end(&client.stdout));
    assert!(output == numbers(13_000), "{} bytes", output.len());
    sandbox.assert_clean();
}

#[test]
fn megabytes_arrive_byte_exact_at_a_slow_reader() {
    let sandbox = Sandbox::new("tty-much");
    let daemon = Daemon02::new(&sandbox);
    let bundle = sandbox.sh("stty -opost; seq 1 1000000; exit 7").terminal();
    let mut client = daemon.run("much", &bundle);
    let mut output = Vec::new();
    let mut piece = vec![0; 100_000];
    loop {
        // So slow that the FIFO is full most of the time, the shim has to hold back, and the terminal fills too.
        thread::sleep(Duration::from_micros(500));
        match sandbox.read_some(&client.stdout, &mut piece) {
            0 => break,
            length => output.extend_from_slice(&piece[..length]),
        }
    }
    assert!(output.len() > 6 << 20, "{} bytes", output.len());
    assert!(text(&output) == numbers(1_000_000), "it differs");
    assert_eq!(client.init.wait(), 7);
    sandbox.assert_clean();
}

#[test]
fn megabytes_of_input_arrive_byte_exact() {
    let sandbox = Sandbox::new("tty-input");
    let daemon = Daemon02::new(&sandbox);
    let input = numbers(300_000);
    // Raw, so that every byte is data, and much more than a terminal holds.
    let script = format!(
        "stty raw -echo; echo ready; head -c {} | dd bs=1000 2>/dev/null | md5sum; exit 8",
        input.len()
    );
    let mut client = daemon.run("input", &sandbox.sh(&script).terminal());
    assert_eq!(client.line(), "ready");
    client.write(&input);
    let sum = sandbox.feed(std::process::Command::new("md5sum"), input.as_bytes());
    assert_eq!(client.line(), text(&sum.stdout).trim());
    assert_eq!(client.init.wait(), 8);
    sandbox.assert_clean();
}

#[test]
fn readers_of_a_terminal_come_and_go() {
    let sandbox = Sandbox::new("tty-readers");
    let daemon = Daemon02::new(&sandbox);
    let Client02 {
        mut init,
        stdio,
        stdout,
        ..
    } = daemon.run(
        "readers",
        &sandbox.sh("stty -opost; seq 1 300000; exit 7").terminal(),
    );
    drop(stdout);
    let mut seen = Vec::new();
    for n in 1..=50 {
        let reader = fifo::reader(&stdio.stdout);
        let mut piece = vec![0; 397 * n];
        let length = sandbox.read_some(&reader, &mut piece);
        assert!(length > 0, "reader {n} saw the end");
        seen.extend_from_slice(&piece[..length]);
    }
    seen.extend(sandbox.read_to_end(&fifo::reader(&stdio.stdout)));
    assert!(text(&seen) == numbers(300_000), "{} bytes", seen.len());
    assert_eq!(init.wait(), 7);
    sandbox.assert_clean();
}

#[test]
fn a_terminal_may_be_connected_to_files() {
    let sandbox = Sandbox::new("tty-files");
    let daemon = Daemon02::new(&sandbox);
    let (input, output) = (sandbox.path().join("in"), sandbox.path().join("out"));
    fs::write(&input, "said\n").unwrap();
    fs::write(&output, "before\n").unwrap();
    let null = Stdio02::null();
    let cases = [
        // The file's end is the input's.
        (
            Stdio02 {
                stdin: input,
                stdout: output.clone(),
                ..null.clone()
            },
            "stty -echo -opost; cat; exit 3",
        ),
        // Nothing ever comes from /dev/null, which is no end.
        (
            Stdio02 {
                stdout: output.clone(),
                ..null
            },
            "stty -opost; seq 1 100000; exit 3",
        ),
    ];
    for (stdio, script) in cases {
        let bundle = sandbox.sh(script).terminal();
        let id = sandbox.id("files");
        let mut init = daemon.create(&id, &bundle, &stdio).unwrap();
        init.start().unwrap();
        assert_eq!(init.wait(), 3);
    }
    let seen = fs::read_to_string(&output).unwrap();
    let rest = seen.strip_prefix("before\n").unwrap();
    // Whether the input comes before echoing is turned off is chance.
    let rest = rest.strip_prefix("said\r\n").unwrap_or(rest);
    let rest = rest.strip_prefix("said\n").unwrap();
    assert!(rest == numbers(100_000), "{} bytes", rest.len());
    sandbox.assert_clean();
}

#[test]
fn a_killed_program_leaves_its_last_words() {
    let sandbox = Sandbox::new("tty-kill");
    let daemon = Daemon02::new(&sandbox);
    let script = "stty -opost; seq 1 5000; sleep 1000";
    let mut client = daemon.run("kill", &sandbox.sh(script).terminal());
    let first = sandbox.read_until(&client.stdout, "\n4000\n");
    client.init.process().signal(Signal::SIGKILL);
    assert_eq!(client.init.wait(), 137);
    let all = first + &text(&sandbox.read_to_end(&client.stdout));
    assert!(numbers(5000).starts_with(&all), "{} bytes", all.len());
    sandbox.assert_clean();
}
