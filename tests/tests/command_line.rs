//! The command as people meet it who are used to others: what they mistype, pipe away, interrupt, or look at on a tiny terminal.

use std::fs;

use holdfast_tests::command::{show, text};
use holdfast_tests::{FakeRuntime, Sandbox};
use nix::sys::signal::Signal;

#[test]
fn a_launch_that_is_interrupted_leaves_nothing() {
    let sandbox = Sandbox::new("interrupt");
    let fake = FakeRuntime::script(
        &sandbox,
        r#"[ $VERB != create ] || wait_for "$FAKE/go"; delegate "$@""#,
    );
    let runtime = fake.arg();
    let bundle = sandbox.bundle(["sleep", "1000"]);
    for (words, signal, code) in [
        (&["run", "-d"][..], Signal::SIGINT, 130),
        (&["create"], Signal::SIGTERM, 143),
    ] {
        let id = sandbox.id("interrupt");
        let words = [
            &["--runtime", &runtime][..],
            words,
            &["-b", bundle.arg(), &id],
        ]
        .concat();
        let running = sandbox.spawn(sandbox.holdfast(words));
        sandbox.wait_until("the runtime to be at it", || {
            fake.calls().contains(&format!("create {id}"))
        });
        running.signal(signal);
        // Its shim has no terminal, and knows nothing of that.
        fake.let_go("go");
        let output = running.wait();
        assert_eq!(output.status.code(), Some(code), "{}", show(&output));
        assert_eq!(show(&output).matches('\n').count(), 2, "{}", show(&output));
        sandbox.assert_clean();
        fs::remove_file(fake.dir().join("go")).unwrap();
    }
}

#[test]
fn whoever_does_not_want_to_wait_for_a_runtime_says_so_twice() {
    let sandbox = Sandbox::new("twice");
    let fake = FakeRuntime::script(
        &sandbox,
        r#"[ $VERB != create ] || wait_for "$FAKE/go"; delegate "$@""#,
    );
    let id = sandbox.id("twice");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let words = [
        "--runtime",
        &fake.arg(),
        "run",
        "-d",
        "-b",
        bundle.arg(),
        &id,
    ];
    let running = sandbox.spawn(sandbox.holdfast(words));
    sandbox.wait_until("the runtime to be at it", || !fake.calls().is_empty());
    let process = running.process();
    // Two that come at once may be one.
    sandbox.wait_until("its end", || {
        running.signal(Signal::SIGINT);
        !process.is_alive()
    });
    let output = running.wait();
    assert!(output.status.code().is_none(), "{}", show(&output));
    fake.let_go("go");
    sandbox.wait_until("the shim to finish what it was asked for", || {
        sandbox.run_ok(["list"]).contains("created")
    });
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn output_that_nobody_takes_is_no_failure_and_a_full_disk_is() {
    let sandbox = Sandbox::new("taken");
    let id = sandbox.id("taken");
    let bundle = sandbox.sh("echo ready; exec sleep 1000");
    sandbox.run_ok(["run", "-d", "--stdio", "log", "-b", bundle.arg(), &id]);
    sandbox.wait_until("its output", || sandbox.run_ok(["logs", &id]) == "ready\n");
    for words in [
        &["list"][..],
        &["list", "-f", "json"],
        &["list", "-q"],
        &["state", &id],
        &["processes", &id],
        &["ps", &id],
        &["top", &id],
        &["stats"],
        &["events"],
        &["inspect", &id],
        &["logs", &id],
        &["features"],
        &["version"],
        &["completions", "bash"],
        &["--help"],
        &["run", "--help"],
        &["--version"],
    ] {
        for (script, code) in [
            (
                r#"{ "$@"; echo $? >code; } | head -c 1 >/dev/null; exit $(cat code)"#,
                0,
            ),
            // The first line is read, and then nobody reads on.
            (
                r#"{ "$@"; echo $? >code; } | head -1 >/dev/null; exit $(cat code)"#,
                0,
            ),
            (r#""$@" >/dev/full"#, 125),
        ] {
            let output = sandbox.output_of(sandbox.in_shell(script, words));
            assert_eq!(
                output.status.code(),
                Some(code),
                "{words:?} {}",
                show(&output)
            );
            let stderr = text(&output.stderr);
            let expected = match code {
                0 => "",
                _ => "holdfast: write stdout: no space left on device\n",
            };
            assert_eq!(stderr, expected, "{words:?} {script}");
        }
    }
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_tiny_terminal_or_another_language_changes_nothing_that_matters() {
    let sandbox = Sandbox::new("tiny");
    let help = sandbox.run_ok(["--help"]);
    let mut posix = sandbox.holdfast(["--help"]);
    posix.env("LC_ALL", "C").env("LANG", "C");
    assert_eq!(text(&sandbox.output_of(posix).stdout), help);
    for (columns, rows) in [(0, 0), (1, 1), (5, 2)] {
        for words in [&["--help"][..], &["run", "--help"], &["list"], &["stats"]] {
            let mut command = sandbox.holdfast(words);
            command.env("TERM", "dumb");
            let terminal = sandbox.spawn_on_terminal(&command, columns, rows);
            let (status, screen) = terminal.wait();
            assert!(status.success(), "{columns}x{rows} {words:?}: {screen}");
            assert!(!screen.is_empty(), "{words:?}");
        }
    }
}

#[test]
fn what_others_call_otherwise_is_told() {
    let sandbox = Sandbox::new("others");
    for (words, expected) in [
        (&["rm", "web"][..], "here it is 'delete'"),
        (&["stop", "web"], "here it is 'kill'"),
        (&["lst"], "'list'"),
        (&["kill", "-9", "web"], "holdfast kill web KILL"),
        (
            &["kill", "--signal", "KILL", "web"],
            "holdfast kill web KILL",
        ),
        (&["run", "--name", "web"], "the name is the argument"),
        (&["list", "--all"], "all are listed"),
        (&["run", "--bundel", ".", "web"], "'--bundle'"),
        (
            &["run", "--restart", "maybe", "web"],
            "see holdfast run --help",
        ),
    ] {
        sandbox.refused(words, &[expected]);
    }
    let said = sandbox.refused(["run", "a b"], &["\"a b\" is not an id"]);
    assert_eq!(said.matches("a b").count(), 1, "{said}");
}

#[test]
fn what_cannot_be_understood_is_said_once() {
    let sandbox = Sandbox::new("once");
    fs::create_dir(sandbox.root().join("broken")).unwrap();
    for words in [&["list"][..], &["list", "-f", "json"]] {
        let output = sandbox.output(words);
        assert!(text(&output.stdout).contains("broken"), "{}", show(&output));
        assert_eq!(text(&output.stderr), "", "{}", show(&output));
    }
    // Ids are for other verbs, which need a container.
    let output = sandbox.output(["list", "-q"]);
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).starts_with("holdfast: container broken: "));
    fs::remove_dir(sandbox.root().join("broken")).unwrap();
    sandbox.assert_clean();
}
