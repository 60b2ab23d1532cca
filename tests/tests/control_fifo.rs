//! The control FIFO: a bad line costs only itself, nothing that is written there can stop, block or grow the shim, and
//! what is asked for happens, also when it was asked for before there was a container.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use holdfast_tests::command::text;
use holdfast_tests::daemon02::{Client02, Daemon02, Process02, Stdio02};
use holdfast_tests::{AtEnd, Proc, Sandbox, binaries, fifo, wait};
use nix::poll::PollFlags;
use nix::sys::signal::Signal;
use serde_json::Value;

/// On a terminal: says its size whenever that changes, repeats its input, ends with it.
const WATCHER: &str = "stty -echo; exec 3<&0; cat <&3 & cat=$!; trap 'stty size' WINCH; echo ready; \
    while kill -0 $cat 2>/dev/null; do wait $cat; done; echo ended; exit 3";

fn watcher<'a>(sandbox: &'a Sandbox, daemon: &Daemon02<'a>) -> Client02<'a> {
    let client = daemon.run("watcher", &sandbox.sh(WATCHER).terminal());
    assert_eq!(client.line(), "ready");
    client
}

/// Waits until the shim has taken everything out of `control`.
fn consumed(sandbox: &Sandbox, process: &Process02<'_>) {
    sandbox.wait_until("control to be read empty", || {
        let seen = wait::events(process.control_fifo(), PollFlags::POLLIN, Duration::ZERO);
        !seen.contains(PollFlags::POLLIN)
    });
}

fn shim_log(process: &Process02<'_>) -> String {
    fs::read_to_string(process.dir().join("shim-log.json")).unwrap()
}

/// Asks for a re-exec and waits until it has happened: the shim that comes after writes a shim.json of its own.
fn reexec(sandbox: &Sandbox, process: &Process02<'_>) -> Value {
    reexec_before(sandbox, process, b"")
}

/// As [`reexec`], with `more` right behind, in the same write.
fn reexec_before(sandbox: &Sandbox, process: &Process02<'_>, more: &[u8]) -> Value {
    let record = process.dir().join("shim.json");
    fs::remove_file(&record).unwrap();
    process.control([b"3 0 0\n", more].concat());
    serde_json::from_str(&sandbox.wait_file(&record)).unwrap()
}

#[test]
fn a_bad_line_changes_nothing_but_the_log_and_the_next_line_counts() {
    let sandbox = Sandbox::new("ctl-bad");
    let daemon = Daemon02::new(&sandbox);
    let mut client = watcher(&sandbox, &daemon);
    let shim = client.init.settled_shim();
    let long_digits = vec![b'1'; 100 << 10];
    let long_message = b"1 33 44 ".repeat(12 << 10);
    let every_byte: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
    let cases: [&[u8]; 34] = [
        b"",
        b"\n\n\n",
        b"   \t ",
        b"\0",
        b"\0\0\0\0",
        b"1 \x0033 44",
        b"1 33 44\0",
        b"\xff\xfe\x80\x81",
        &every_byte,
        &long_digits,
        &long_message,
        b"1",
        b"1 33",
        b"1 33 44 55",
        b"0",
        b"0 0 0 0",
        b"3",
        b"1 33 44 1 33 44",
        b"a b c",
        b"resize 33 44",
        b"1 33 x",
        b"1 0x21 44",
        b"1 33.0 44",
        b"1,33,44",
        b"\"1 33 44\"",
        "１ 33 44".as_bytes(),
        "1\u{a0}33\u{a0}44".as_bytes(),
        b"1 -33 44",
        b"-1 33 44",
        b"1 65536 44",
        b"1 33 18446744073709551616",
        b"9223372036854775808 0 0",
        b"-9223372036854775809 0 0",
        b"77 33 44",
    ];
    for (n, case) in cases.iter().enumerate() {
        let shown = case[..case.len().min(40)].escape_ascii();
        client.init.control([*case, b"\n"].concat());
        client.init.control(format!("1 {} 50\n", 100 + n));
        assert_eq!(client.line(), format!("50 {}", 100 + n), "{shown}");
    }
    assert_eq!(client.init.shim(), shim);
    client.write("still open\n");
    assert_eq!(client.line(), "still open");
    let log = shim_log(&client.init);
    assert!(log.contains("is not three integers"), "{log}");
    assert!(log.lines().count() < 32, "{log}");
    assert!(!log.contains("\"error\""), "{log}");
    client.init.close_stdin();
    assert_eq!(client.line(), "ended");
    assert_eq!(client.init.wait(), 3);
    sandbox.assert_clean();
}

#[test]
fn what_is_odd_and_still_a_message_counts() {
    let sandbox = Sandbox::new("ctl-odd");
    let daemon = Daemon02::new(&sandbox);
    let client = watcher(&sandbox, &daemon);
    // containerd 0.2 takes a carriage return for part of the line's end.
    for (line, size) in [
        ("1 71 41\r\n", "41 71"),
        ("  1\t72   42  \n", "42 72"),
        ("01 0073 043\n", "43 73"),
        ("1 29999 2\n", "2 29999"),
    ] {
        client.init.control(line);
        assert_eq!(client.line(), size, "{line:?}");
    }
}

#[test]
fn a_line_may_come_in_pieces() {
    let sandbox = Sandbox::new("ctl-half");
    let daemon = Daemon02::new(&sandbox);
    let client = watcher(&sandbox, &daemon);
    let init = &client.init;
    for piece in ["1 7", "7 3", "3"] {
        init.control(piece);
        consumed(&sandbox, init);
    }
    init.control("\n");
    assert_eq!(client.line(), "33 77");

    // Two writers who cut each other's lines in half: neither counts, and both are forgotten.
    init.control("1 9");
    consumed(&sandbox, init);
    init.control("1 80 24\n");
    consumed(&sandbox, init);
    init.control("0 30\n");
    init.control("1 81 25\n");
    assert_eq!(client.line(), "25 81");

    // Half a line survives the exchange of the shim; of a line that is too long, the end is still skipped.
    let log = shim_log(init);
    assert_eq!(log.matches("is not three integers").count(), 2, "{log}");
    reexec_before(&sandbox, init, b"1 8");
    init.control("4 34\n");
    assert_eq!(client.line(), "34 84");
    reexec_before(&sandbox, init, &b"1 ".repeat(100));
    init.control("1 85 35\n1 86 36\n");
    assert_eq!(client.line(), "36 86");
    // Two changes of size can show as one: that the first line did not count is in the log.
    assert!(shim_log(init).contains("more than"), "{}", shim_log(init));
}

#[test]
fn thousands_of_bad_lines_neither_grow_the_log_nor_hide_a_good_one() {
    let sandbox = Sandbox::new("ctl-many");
    let daemon = Daemon02::new(&sandbox);
    let client = watcher(&sandbox, &daemon);
    let shim = client.init.settled_shim();
    let before = shim.rss_kib();
    client.init.control("no message at all\n".repeat(20_000));
    client.init.control("1 90 30\n");
    assert_eq!(client.line(), "30 90");
    let log = shim_log(&client.init);
    assert!(log.lines().count() < 32, "{log}");
    assert!(log.contains("without a word"), "{log}");
    let grown = shim.rss_kib().saturating_sub(before);
    assert!(grown <= 64, "{grown} KiB more");
}

#[test]
fn bad_lines_before_every_exchange_of_the_shim_do_not_grow_its_log_for_ever() {
    let sandbox = Sandbox::new("ctl-log");
    let daemon = Daemon02::new(&sandbox);
    let client = daemon.run("log", &sandbox.bundle(["sleep", "1000"]));
    let bad = format!("{}\n", "x".repeat(60)).repeat(20);
    let log = client.init.dir().join("shim-log.json");
    let mut sizes = Vec::new();
    for _ in 0..60 {
        client.init.control(&bad);
        reexec(&sandbox, &client.init);
        sizes.push(fs::metadata(&log).unwrap().len());
    }
    assert!(sizes[59] <= 128 << 10, "{sizes:?}");
    assert_eq!(sizes[59], sizes[49], "{sizes:?}");
}

/// Writes `piece` to `control` until told to stop, waiting for room only while there is none.
fn flood(sandbox: &Sandbox, control: &Path, piece: &[u8], stop: &AtomicBool) {
    let control = fifo::both(control);
    while !stop.load(Ordering::Relaxed) {
        let room = wait::events(&control, PollFlags::POLLOUT, Duration::from_millis(10));
        if room.contains(PollFlags::POLLOUT) {
            sandbox.write_all(&control, piece);
        }
    }
}

#[test]
fn a_writer_that_never_stops_does_not_keep_the_end_from_being_recorded() {
    let sandbox = Sandbox::new("ctl-flood");
    let daemon = Daemon02::new(&sandbox);
    let bundle = sandbox
        .sh("stty -echo; echo ready; read word; exit 7")
        .terminal();
    for line in ["\n", "1 80 24\n", "3 0 0\n", "no message\n", "x"] {
        let mut client = daemon.run("flood", &bundle);
        assert_eq!(client.line(), "ready");
        // As much at once as is written in one piece (PIPE_BUF), so that there is always room for all of it or none.
        let piece = line.repeat(4096 / line.len());
        let control = client.init.dir().join("control");
        let stop = AtomicBool::new(false);
        let began = thread::scope(|scope| {
            scope.spawn(|| flood(&sandbox, &control, piece.as_bytes(), &stop));
            let _end = AtEnd(|| stop.store(true, Ordering::Relaxed));
            client.write("go\n");
            let began = std::time::Instant::now();
            let hung_up = wait::events(client.init.exit(), PollFlags::empty(), wait::DEADLINE);
            assert_eq!(hung_up, PollFlags::POLLHUP, "{line:?}");
            began
        });
        assert_eq!(client.init.wait(), 7, "{line:?}");
        println!("{line:?}: ended after {:?}", began.elapsed());
        let log = shim_log(&client.init);
        assert!(log.len() < 256 << 10, "{line:?}: {} bytes", log.len());
    }
    sandbox.assert_clean();
}

#[test]
fn what_was_asked_before_there_was_a_container_takes_effect() {
    let sandbox = Sandbox::new("ctl-before");
    let daemon = Daemon02::new(&sandbox).saying("1 99 55\nnonsense\n1 100 56\n0 0 0\n");
    // The first size may be there for a moment.
    let script = "until [ \"$(stty size)\" = '56 100' ]; do sleep 0.01; done; cat; exit 5";
    let mut client = daemon.run("terminal", &sandbox.sh(script).terminal());
    assert_eq!(client.init.wait(), 5);

    let mut client = daemon.run("fifo", &sandbox.sh("cat; exit 6"));
    assert_eq!(client.init.wait(), 6);
    sandbox.assert_clean();
}

#[test]
fn stdin_closed_before_there_was_a_container_still_brings_what_was_written_before() {
    let sandbox = Sandbox::new("ctl-before-in");
    let daemon = Daemon02::new(&sandbox).saying("0 0 0\n");
    for terminal in [false, true] {
        let bundle = sandbox.sh("cat; exit 6");
        let bundle = if terminal { bundle.terminal() } else { bundle };
        let id = sandbox.id("in");
        let stdio = Stdio02::fifos(&sandbox, &id);
        let stdout = fifo::reader(&stdio.stdout);
        let client = fifo::both(&stdio.stdin);
        sandbox.write_all(&client, b"said before\n");
        let mut init = daemon.create(&id, &bundle, &stdio).unwrap();
        // Our own end keeps stdin open as any client's does.
        drop(client);
        init.start().unwrap();
        assert_eq!(init.wait(), 6);
        let output = sandbox.read_to_end(&stdout);
        assert!(
            output.starts_with(b"said before"),
            "{}",
            output.escape_ascii()
        );
    }
    sandbox.assert_clean();
}

#[test]
fn a_shim_is_exchanged_in_place_and_nobody_notices() {
    let sandbox = Sandbox::new("ctl-reexec");
    let daemon = Daemon02::new(&sandbox);
    let mut client = daemon.run(
        "reexec",
        &sandbox.sh("while read line; do echo got $line; done; exit 8"),
    );
    client.write("one\n");
    assert_eq!(client.line(), "got one");
    let (container, shim) = (client.init.process(), client.init.settled_shim());
    let (start_time, fds) = (shim.stat(22), shim.fds().len());

    let record = reexec(&sandbox, &client.init);
    assert_eq!(record["pid"], shim.pid().as_raw());
    assert_eq!(record["startTime"].to_string(), start_time.unwrap());
    assert_eq!(client.init.settled_shim(), shim);
    assert_eq!(shim.fds().len(), fds, "{:?}", shim.fds());
    assert!(container.is_alive());
    assert_eq!(container.parent(), Some(shim.pid()));
    assert!(!wait::is_hung_up(client.init.exit()));

    // All that it held, it holds: nobody is at the FIFOs here but the shim.
    client.write("two\n");
    assert_eq!(client.line(), "got two");
    client.init.close_stdin();
    assert_eq!(client.init.wait(), 8);
    sandbox.assert_clean();
}

/// Waits until there is no room in a FIFO.
fn full(sandbox: &Sandbox, path: &Path) {
    let writer = sandbox.open_writer(path);
    sandbox.wait_until("a FIFO to be full", || {
        wait::events(&writer, PollFlags::POLLOUT, Duration::ZERO).is_empty()
    });
}

#[test]
fn a_hundred_exchanges_cost_a_streaming_terminal_not_a_byte() {
    let sandbox = Sandbox::new("ctl-hundred");
    let daemon = Daemon02::new(&sandbox);
    let bundle = sandbox.sh("stty -opost; seq 1 1000000000");
    let mut client = daemon.run("hundred", &bundle.terminal());
    let shim = client.init.shim();
    let (mut output, mut piece) = (Vec::new(), vec![0; 16 << 10]);
    for n in 0..100 {
        // Of four shims, three are exchanged with output in hand that the FIFO does not take, and one while it flows.
        if n % 4 != 0 {
            full(&sandbox, &client.stdio.stdout);
        } else {
            let enough = output.len() + (256 << 10);
            while output.len() < enough {
                let length = sandbox.read_some(&client.stdout, &mut piece);
                assert!(length > 0, "ended after {} bytes", output.len());
                output.extend_from_slice(&piece[..length]);
            }
        }
        let record = reexec(&sandbox, &client.init);
        assert_eq!(record["pid"], shim.pid().as_raw());
    }
    client.init.process().signal(Signal::SIGKILL);
    assert_eq!(client.init.wait(), 137);
    output.extend(sandbox.read_to_end(&client.stdout));
    let mut expected = Vec::with_capacity(output.len() + 64);
    let mut n = 0;
    while expected.len() < output.len() {
        n += 1;
        writeln!(expected, "{n}").unwrap();
    }
    // It was killed in the middle of a line, or of many.
    assert!(expected.starts_with(&output), "it differs");
    assert!(output.len() > 5 << 20, "only {} bytes", output.len());
    assert_eq!(shim_log(&client.init), "");
    sandbox.assert_clean();
}

#[test]
fn exchanges_cost_a_terminal_that_is_full_no_input() {
    let sandbox = Sandbox::new("ctl-input");
    let daemon = Daemon02::new(&sandbox);
    let input: String = (0..60_000).map(|n| format!("{n}\n")).collect();
    // Byte by byte, so that there is always more than the terminal takes.
    let script = format!(
        "stty raw -echo; echo ready; dd bs=1 count={} 2>/dev/null | md5sum; exit 9",
        input.len()
    );
    let mut client = daemon.run("input", &sandbox.sh(&script).terminal());
    assert_eq!(client.line(), "ready");
    let stdin = sandbox.open_writer(&client.stdio.stdin);
    let exchanges = thread::scope(|scope| {
        let writing = scope.spawn(|| sandbox.write_all(&stdin, input.as_bytes()));
        let mut exchanges = 0;
        while !writing.is_finished() {
            reexec(&sandbox, &client.init);
            exchanges += 1;
        }
        exchanges
    });
    let sum = sandbox.feed(Command::new("md5sum"), input.as_bytes());
    assert_eq!(client.line(), text(&sum.stdout).trim());
    assert_eq!(client.init.wait(), 9);
    println!("{exchanges} exchanges");
    assert!(exchanges > 5, "only {exchanges} exchanges");
    sandbox.assert_clean();
}

#[test]
fn an_exchange_in_the_middle_of_a_line_is_not_the_beginning_of_one() {
    let sandbox = Sandbox::new("ctl-mid");
    let daemon = Daemon02::new(&sandbox);
    let mut client = daemon.run("mid", &sandbox.sh("cat; exit 9").terminal());
    client.write("half a li");
    // The terminal's echo: the shim has passed it on.
    assert_eq!(sandbox.read_until(&client.stdout, "li"), "half a li");
    reexec(&sandbox, &client.init);
    // There, the first end of file only hands the line over; a second one is the end.
    client.init.close_stdin();
    assert_eq!(client.init.wait(), 9);
    assert_eq!(sandbox.read_to_end(&client.stdout), b"half a li");
    sandbox.assert_clean();
}

/// Puts a file of our own into the shim's place, in one step. Through install(1), because what a parallel test's child
/// may hold open for writing cannot be executed.
fn put(from: &Path, mode: &str, to: &Path) {
    let draft = to.with_extension("new");
    let installed = Command::new("install")
        .args(["-m", mode])
        .args([from, &draft])
        .status();
    assert!(installed.unwrap().success());
    fs::rename(draft, to).unwrap();
}

/// What the shim's process executes; `None` when that has been removed or replaced.
fn executes(shim: Proc) -> Option<PathBuf> {
    shim.exe()
        .filter(|exe| !exe.to_string_lossy().ends_with(" (deleted)"))
}

#[test]
fn a_shim_whose_executable_is_unfit_goes_on_and_says_so() {
    let sandbox = Sandbox::new("ctl-unfit");
    let copy = sandbox.path().join("bin").join("holdfast-shim");
    fs::create_dir(copy.parent().unwrap()).unwrap();
    put(&binaries::shim(), "755", &copy);
    let other = |name: &str, contents: &str| {
        let path = sandbox.path().join(name);
        fs::write(&path, contents).unwrap();
        path
    };
    let garbage = other("garbage", "\x7fELF, but not really");
    let stranger = other("stranger", "#!/bin/sh\nexit 0\n");
    let older = other("older", "#!/bin/sh\necho 0\n");
    let hung = other("hung", "#!/bin/sh\nexec sleep 1000\n");
    let daemon = Daemon02::new(&sandbox).with_shim(&copy);
    let bundle = sandbox.sh("while read line; do echo got $line; done; exit 8");
    let mut client = daemon.run("unfit", &bundle);
    let shim = client.init.settled_shim();
    let unfit: [(&str, &dyn Fn()); 7] = [
        ("no such file", &|| fs::remove_file(&copy).unwrap()),
        ("permission denied", &|| {
            put(&binaries::shim(), "644", &copy)
        }),
        ("exec format error", &|| put(&garbage, "755", &copy)),
        ("no holdfast-shim", &|| put(&stranger, "755", &copy)),
        ("understands handover 0", &|| put(&older, "755", &copy)),
        ("no answer", &|| put(&hung, "755", &copy)),
        ("permission denied", &|| {
            fs::remove_file(&copy).unwrap();
            fs::create_dir(&copy).unwrap();
        }),
    ];
    for (n, (why, make_unfit)) in unfit.iter().enumerate() {
        make_unfit();
        client.init.control("3 0 0\n");
        sandbox.wait_until("a word about it in the log", || {
            shim_log(&client.init).matches("not replaced").count() == n + 1
        });
        let log = shim_log(&client.init);
        let last = log.lines().last().unwrap().to_lowercase();
        assert!(last.contains(why), "{why}: {last}");
        assert!(shim.is_alive() && executes(shim).is_none());
        client.write("still here\n");
        assert_eq!(client.line(), "got still here");
    }

    fs::remove_dir(&copy).unwrap();
    put(&binaries::shim(), "755", &copy);
    reexec(&sandbox, &client.init);
    assert_eq!(executes(shim), Some(copy));
    client.init.process().signal(Signal::SIGKILL);
    assert_eq!(client.init.wait(), 137);
    sandbox.assert_clean();
}
