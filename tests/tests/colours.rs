//! Colours, where somebody looks who wants them, and nowhere else.

use std::fs;

use holdfast_tests::Sandbox;
use holdfast_tests::command::{show, text};

const ESCAPE: char = '\u{1b}';

/// What a command shows on a terminal, where the environment is as it is with most people but for `changes`.
fn on_terminal(sandbox: &Sandbox, words: &[&str], changes: &[(&str, &str)]) -> String {
    let mut command = sandbox.holdfast(words);
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm-256color");
    command.envs(changes.iter().copied());
    let (status, screen) = sandbox.spawn_on_terminal(&command, 200, 40).wait();
    assert!(status.success(), "{words:?}: {screen}");
    screen
}

/// A line without what colours it.
fn plain(line: &str) -> String {
    let mut pieces = line.split(ESCAPE);
    let first = pieces.next().unwrap().to_owned();
    pieces.fold(first, |text, piece| {
        let (_, rest) = piece.split_once('m').unwrap();
        text + rest
    })
}

#[test]
fn what_needs_care_is_coloured_on_a_terminal_and_nothing_is_elsewhere() {
    let sandbox = Sandbox::new("colours");
    let healthy = sandbox.id("healthy");
    let orphaned = sandbox.id("orphaned");
    for id in [&healthy, &orphaned] {
        let bundle = sandbox.bundle(["sleep", "1000"]);
        sandbox.run_ok(["run", "-d", "-b", bundle.arg(), id]);
    }
    sandbox.kill_shim(&sandbox.process_dir(&orphaned, "init"));
    fs::create_dir(sandbox.root().join("broken")).unwrap();

    let listed = sandbox.run_ok(["list"]);
    let screen = on_terminal(&sandbox, &["list"], &[]);
    let lines = screen.lines().map(str::trim_end);
    let lines: Vec<&str> = lines
        .filter(|line| !line.starts_with("holdfast: "))
        .collect();
    let line_of = |id: &str| *lines.iter().find(|line| line.contains(id)).unwrap();
    // Yellow to be looked at, red to be looked at now.
    assert!(line_of(&orphaned).starts_with("\u{1b}[33m"), "{screen:?}");
    assert!(line_of("broken").starts_with("\u{1b}[31m"), "{screen:?}");
    assert!(!line_of(&healthy).contains(ESCAPE) && !lines[0].contains(ESCAPE));
    // Columns are where they are without colours.
    for line in &lines {
        assert!(
            listed.contains(&format!("{}\n", plain(line))),
            "{line:?} {listed:?}"
        );
    }

    for (id, colour) in [(&*healthy, 32), (&orphaned, 33), ("broken", 31)] {
        let screen = on_terminal(&sandbox, &["inspect", id], &[]);
        let verdict = format!("  verdict   \u{1b}[{colour}m");
        assert!(screen.contains(&verdict), "{screen:?}");
    }
    assert!(on_terminal(&sandbox, &["--help"], &[]).contains("\u{1b}[1m"));

    for words in [&["list"][..], &["inspect", &orphaned], &["--help"]] {
        for changes in [
            &[("NO_COLOR", "1")][..],
            &[("CLICOLOR", "0")],
            &[("TERM", "dumb")],
            &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")],
        ] {
            let screen = on_terminal(&sandbox, words, changes);
            assert!(!screen.contains(ESCAPE), "{changes:?}: {screen:?}");
        }
        let mut piped = sandbox.holdfast(words);
        piped.env("TERM", "xterm").env("CLICOLOR_FORCE", "1");
        let output = sandbox.output_of(piped);
        assert!(!text(&output.stdout).contains(ESCAPE), "{}", show(&output));
    }
    fs::remove_dir(sandbox.root().join("broken")).unwrap();
    for id in [&healthy, &orphaned] {
        sandbox.run_ok(["delete", "-f", id]);
    }
    sandbox.assert_clean();
}
