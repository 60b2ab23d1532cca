//! What an idle shim costs: one thread, not one wake-up, and hardly any memory, in every state that its descriptors can
//! be in; at most what `tests/src/budget.rs` says.

use std::fs::File;
use std::thread;
use std::time::Duration;

use holdfast_tests::budget::{self, Budget};
use holdfast_tests::daemon02::{Client02, Daemon02, Process02, Stdio02};
use holdfast_tests::{Bundle, Proc, Sandbox, binaries, conmon, spec, wait};
use nix::poll::PollFlags;

/// How long the shims are watched.
const WATCH: Duration = Duration::from_secs(5);
/// How long a shim has to have been quiet for what led to its state to be over.
const QUIET: Duration = Duration::from_millis(200);
/// A shim, and everything that keeps it in its state.
struct State<'a> {
    name: &'static str,
    /// What it may have to itself.
    memory: Budget,
    shim: Proc,
    _process: Vec<Process02<'a>>,
    _open: Vec<File>,
}

impl<'a> State<'a> {
    fn of(
        name: &'static str,
        process: Process02<'a>,
        open: impl IntoIterator<Item = File>,
    ) -> Self {
        Self {
            name,
            memory: budget::PRIVATE_DIRTY,
            shim: process.settled_shim(),
            _process: vec![process],
            _open: open.into_iter().collect(),
        }
    }
}

impl State<'_> {
    /// One in which the shim has bytes to move.
    fn moving(self) -> Self {
        let memory = budget::PRIVATE_DIRTY_MOVING;
        Self { memory, ..self }
    }
}

/// A client who has gone, after data went both ways.
fn left(client: Client02<'_>) -> Process02<'_> {
    client.write("hello\n");
    assert_eq!(client.line(), "hello");
    client.init
}

/// Where nobody is at the FIFOs any more, or never was, or they have come to their end.
fn fifos<'a>(sandbox: &'a Sandbox, daemon: &Daemon02<'a>) -> Vec<State<'a>> {
    let sleep = sandbox.bundle(["sleep", "1000"]);
    let cat = sandbox.bundle(["cat"]);
    let created = daemon.create(&sandbox.id("created"), &sleep, &Stdio02::null());
    let attached = daemon.run("attached", &sleep);
    let closed = daemon.run("closed", &sleep);
    closed.init.close_stdin();
    let full = daemon.run("full", &sandbox.bundle(["yes"]));
    let reexeced = daemon.run("reexeced", &sleep);
    reexeced.init.control("3 0 0\nnonsense\n3 0 0\n");
    let exec_in = daemon.run("exec", &sleep);
    let process = spec::process(&["sleep", "1000"]);
    let stdio = Stdio02::fifos(sandbox, "exec");
    let exec = daemon.exec(&exec_in.id, "exec", &sleep, &process, &stdio);
    let mut states = vec![
        State::of("created, with /dev/null", created.unwrap(), []),
        State::of("client attached", attached.init, [attached.stdout]),
        State::of("client gone", left(daemon.run("left", &cat)), []),
        State::of("stdin closed", closed.init, []),
        State::of("output full, nobody reads", full.init, []),
        State::of("executed again", reexeced.init, []),
        State::of("exec", exec.unwrap(), []),
    ];
    states[6]._process.push(exec_in.init);
    states
}

/// The same for a terminal, whose bytes the shim moves itself.
fn terminals<'a>(sandbox: &'a Sandbox, daemon: &Daemon02<'a>) -> Vec<State<'a>> {
    let sleep = sandbox.bundle(["sleep", "1000"]).terminal();
    let cat = || sandbox.sh("stty -echo; echo; cat; sleep 1000").terminal();
    let ready = |name: &str, bundle: &Bundle| {
        let client = daemon.run(name, bundle);
        assert_eq!(client.line(), "");
        client
    };
    let idle = daemon.run("idle", &sleep);
    let closed = ready("closed", &cat());
    closed.init.close_stdin();
    let hangs_up = "echo; exec sleep 1000 </dev/null >/dev/null 2>&1";
    let hung_up = ready("hung-up", &sandbox.sh(hangs_up).terminal());
    let unheard = ready("unheard", &sandbox.sh(hangs_up).terminal());
    unheard.write("nobody has the terminal open to read this\n");
    unheard.init.close_stdin();
    let full = daemon.run("full", &sandbox.bundle(["yes"]).terminal());
    // The program reads nothing: the terminal fills, then the FIFO.
    let input = daemon.run(
        "input",
        &sandbox.sh("stty raw -echo; echo; sleep 1000").terminal(),
    );
    sandbox.wait_readable(&input.stdout);
    let stdin = sandbox.open_writer(&input.stdio.stdin);
    let room = Duration::from_millis(100);
    while wait::events(&stdin, PollFlags::POLLOUT, room).contains(PollFlags::POLLOUT) {
        sandbox.write_all(&stdin, &[b'x'; 4096]);
    }
    let id = sandbox.id("file");
    let output = sandbox.path().join("output");
    File::create(&output).unwrap();
    let stdio = Stdio02 {
        stdout: output,
        ..Stdio02::null()
    };
    let mut to_file = daemon.create(&id, &sleep, &stdio).unwrap();
    to_file.start().unwrap();
    let states = [
        State::of("terminal, client attached", idle.init, [idle.stdout]),
        State::of("terminal, client gone", left(ready("left", &cat())), []),
        State::of("terminal, stdin closed", closed.init, [closed.stdout]),
        State::of("terminal, hung up", hung_up.init, [hung_up.stdout]),
        State::of("terminal, hung up with input", unheard.init, []),
        State::of("terminal, output full, nobody reads", full.init, []),
        State::of("terminal, input full", input.init, [input.stdout, stdin]),
        State::of("terminal, to a file", to_file, []),
    ];
    states.into_iter().map(State::moving).collect()
}

#[test]
fn an_idle_shim_is_one_thread_that_never_wakes_and_has_next_to_no_memory() {
    let sandbox = Sandbox::new("idle");
    let daemon = Daemon02::new(&sandbox);
    // A page of the executable that has only just been written is dirty, and, mapped by one process alone, would be
    // counted as that process's.
    File::open(binaries::shim()).unwrap().sync_all().unwrap();
    let states = thread::scope(|scope| {
        let terminals = scope.spawn(|| terminals(&sandbox, &daemon));
        let mut states = fifos(&sandbox, &daemon);
        states.extend(terminals.join().unwrap());
        states
    });

    sandbox.wait_until("all shims to be quiet", || {
        let before: Vec<_> = states.iter().map(|state| state.shim.wake_ups()).collect();
        thread::sleep(QUIET);
        let after: Vec<_> = states.iter().map(|state| state.shim.wake_ups()).collect();
        before == after
    });
    let before: Vec<_> = states.iter().map(|state| state.shim.wake_ups()).collect();
    thread::sleep(WATCH);
    let mut too_much = Vec::new();
    for (state, before) in states.iter().zip(before) {
        println!("{}:", state.name);
        let shim = state.shim;
        let costs = [
            (budget::THREADS, shim.threads()),
            (budget::WAKE_UPS, shim.wake_ups() - before),
            (state.memory, shim.private_dirty_kib()),
            (budget::PAGE_TABLES, shim.page_tables_kib()),
            (budget::DESCRIPTORS, shim.fds().len() as u64),
        ];
        for (budget, cost) in costs {
            if budget.is_exceeded_by(cost) {
                too_much.push(format!("{}: {}", state.name, budget.what));
            }
        }
    }
    print_conmon(&sandbox);
    assert!(too_much.is_empty(), "too much: {too_much:?}");
}

/// The figure of the shim that podman and CRI-O use, beside ours.
fn print_conmon(sandbox: &Sandbox) {
    let Some(installed) = binaries::installed("conmon") else {
        assert_ne!(
            std::env::var("STRICT").as_deref(),
            Ok("1"),
            "conmon is missing"
        );
        println!("conmon is not installed: no figure beside ours");
        return;
    };
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let conmon = conmon::hold(&installed, sandbox, &bundle, &sandbox.id("conmon"), None);
    println!(
        "{:36} {} thread, {} KiB private dirty, {} KiB resident",
        "conmon",
        conmon.threads(),
        conmon.private_dirty_kib(),
        conmon.rss_kib()
    );
}
