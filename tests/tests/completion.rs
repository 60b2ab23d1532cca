//! Shells complete our words, and the names of the containers that are there: typed into the shells themselves.

use std::fs;
use std::process::Command;

use holdfast_tests::Sandbox;
use holdfast_tests::command::{show, text};

/// What a shell is offered after these words, one a line.
fn offered(sandbox: &Sandbox, words: &[&str]) -> Vec<String> {
    let mut command = sandbox.holdfast(["--", "holdfast"]);
    command.args(words).env("HOLDFAST_COMPLETE", "fish");
    let output = sandbox.output_of(command);
    assert!(output.status.success(), "{}", show(&output));
    assert_eq!(text(&output.stderr), "");
    let lines = text(&output.stdout);
    let names = lines.lines().map(|line| line.split('\t').next().unwrap());
    names.map(str::to_owned).collect()
}

/// A shell in which `holdfast` is ours.
fn shell<'a>(sandbox: &Sandbox, words: impl IntoIterator<Item = &'a str>) -> Command {
    let mut words = words.into_iter();
    let mut shell = sandbox.beside_holdfast(words.next().unwrap());
    shell.env("TERM", "dumb").args(words);
    shell
}

/// A container that is there as far as names go.
fn named(sandbox: &Sandbox, id: &str) {
    for process in ["init", "job"] {
        fs::create_dir_all(sandbox.process_dir(id, process)).unwrap();
    }
}

#[test]
fn what_may_stand_at_the_cursor_is_offered() {
    let sandbox = Sandbox::new("offered");
    named(&sandbox, "web");
    named(&sandbox, "db");
    // What is no container's name, or no directory, is none.
    fs::create_dir(sandbox.root().join("~staged")).unwrap();
    fs::create_dir(sandbox.root().join("a b;c")).unwrap();
    fs::write(sandbox.root().join("file"), "").unwrap();
    let root = sandbox.root();
    let root = root.to_str().unwrap();
    for (words, expected) in [
        (&["atta"][..], &["attach"][..]),
        (&["attach", ""], &["db", "web"]),
        (&["attach", "w"], &["web"]),
        (&["attach", "web", ""], &["init", "job"]),
        (&["delete", "web", ""], &["db", "web"]),
        (&["kill", "web", "--process", "j"], &["job"]),
        (&["kill", "web", "KI"], &["KILL"]),
        (&["kill", "--al"], &["--all"]),
        (&["list", "--format", ""], &["table", "json"]),
        (&["completions", ""], &["bash", "zsh", "fish"]),
        (&["exec", "-t", "d"], &["db"]),
        // Another program's words.
        (&["exec", "web", ""], &[]),
        (&["exec", "web", "sh", "-"], &[]),
        (&["ps", "web", ""], &[]),
    ] {
        assert_eq!(offered(&sandbox, words), expected, "{words:?}");
    }
    assert_eq!(
        offered(&sandbox, &["--root", root, "state", ""]),
        ["db", "web"]
    );
    let flags = offered(&sandbox, &["close-stdin", "--"]);
    assert_eq!(flags, ["--process", "--help"]);
    assert_eq!(
        offered(&sandbox, &["attach", "--runtime-"]),
        ["--runtime-root"]
    );
    fs::remove_dir_all(sandbox.root()).unwrap();
    // Where there is nothing to name, flags are what is left.
    for words in [
        &["attach", ""][..],
        &["run", ""],
        &["--root", "/nowhere", "attach", ""],
        &["attach", "--root", "/nowhere", ""],
    ] {
        let flags = offered(&sandbox, words);
        assert!(
            flags.len() > 2 && flags.iter().all(|flag| flag.starts_with('-')),
            "{flags:?}"
        );
    }
    assert!(!sandbox.root().exists());
}

#[test]
fn nobody_is_completed_who_only_has_a_variable_of_a_usual_name() {
    let sandbox = Sandbox::new("completed");
    let mut list = sandbox.holdfast(["list", "-q"]);
    list.env("COMPLETE", "bash").env("HOLDFAST_COMPLETE", "");
    let output = sandbox.output_of(list);
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{}",
        show(&output)
    );
    sandbox.refused(["completions", "tcsh"], &["'tcsh'", "bash, zsh, fish"]);
}

#[test]
fn bash_completes_a_container() {
    let sandbox = Sandbox::new("bash");
    named(&sandbox, "web");
    let shell = shell(&sandbox, ["bash", "--norc", "--noprofile", "-i"]);
    let mut terminal = sandbox.spawn_on_terminal(&shell, 100, 30);
    terminal.type_in("source <(holdfast completions bash); PS1='rea''dy> '\n");
    terminal.expect("ready> ");
    terminal.type_in("holdfast insp\tw\t; echo ended\n");
    terminal.expect("holdfast inspect web ");
    terminal.expect("web/job");
    terminal.expect("ended");
    terminal.type_in("exit\n");
    terminal.wait();
}

#[test]
fn zsh_completes_a_container_from_a_file_of_its_own_too() {
    let sandbox = Sandbox::new("zsh");
    named(&sandbox, "web");
    let file = sandbox.path().join("_holdfast");
    fs::write(&file, sandbox.run_ok(["completions", "zsh"])).unwrap();
    for load in ["source <(holdfast completions zsh)", "true"] {
        let shell = shell(&sandbox, ["zsh", "-f", "-i"]);
        let mut terminal = sandbox.spawn_on_terminal(&shell, 100, 30);
        // As a package has it, or as somebody's .zshrc does.
        let fpath = if load == "true" {
            "fpath=($HOME $fpath); "
        } else {
            ""
        };
        terminal.type_in(&format!(
            "{fpath}autoload -U compinit; compinit -D -u; {load}; PS1='rea''dy> '\n"
        ));
        terminal.expect("ready> ");
        terminal.type_in("holdfast insp\tw\t; echo ended\n");
        terminal.expect("web/job");
        terminal.expect("ended");
        terminal.type_in("exit\n");
        terminal.wait();
    }
}

#[test]
fn fish_completes_a_container_and_says_what_verbs_do() {
    let sandbox = Sandbox::new("fish");
    named(&sandbox, "web");
    let script = "holdfast completions fish | source; \
                  complete -C 'holdfast inspect '; complete -C 'holdfast insp'";
    let output = sandbox.output_of(shell(&sandbox, ["fish", "--no-config", "-c", script]));
    assert_eq!(
        text(&output.stdout),
        "web\ninspect\tCompare the files with the kernel, and tell what mends\n",
        "{}",
        show(&output)
    );
}
