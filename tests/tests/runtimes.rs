//! What OCI runtimes differ in is the product's to bear: newer ones are played by a script over the one at hand. And the
//! common suite, which is run with each of them, names what is there.

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_tests::command::{show, text};
use holdfast_tests::{FakeRuntime, Proc, Sandbox};
use nix::unistd::Pid;

fn top() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("the crate is in the workspace")
        .to_owned()
}

/// The processes that `ps` lists.
#[track_caller]
fn members(sandbox: &Sandbox, id: &str) -> Vec<Proc> {
    let listed = sandbox.run_ok(["ps", "-f", "json", id]);
    let pids: Vec<i32> = serde_json::from_str(&listed).unwrap();
    pids.into_iter()
        .map(|pid| Proc::new(Pid::from_raw(pid)))
        .collect()
}

#[test]
fn a_runtime_that_takes_all_and_signals_init_alone_is_not_asked_to() {
    let sandbox = Sandbox::new("rt-all");
    // runc from 1.2 on, where the container has a pid namespace of its own, and for every signal but SIGKILL where not.
    let fake = FakeRuntime::script(
        &sandbox,
        r#"[ $VERB != kill ] || { log_error "nobody but init"; exit 1; }; delegate "$@""#,
    );
    for bundle in [
        sandbox.sh("trap : TERM; sleep 1000 & wait; wait"),
        sandbox
            .sh("trap : TERM; sleep 1000 & wait; wait")
            .host_pid(),
    ] {
        let id = sandbox.id("all");
        sandbox.run_ok([
            "--runtime",
            &fake.arg(),
            "run",
            "-d",
            "-b",
            bundle.arg(),
            &id,
        ]);
        sandbox.wait_until("both", || members(&sandbox, &id).len() == 2);
        let child = *members(&sandbox, &id).last().unwrap();
        sandbox.run_ok(["kill", "-a", &id, "TERM"]);
        sandbox.wait_until("who does not ignore it to be gone", || !child.is_alive());
        sandbox.run_ok(["delete", "-f", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn a_runtime_that_dies_of_the_question_keeps_nobody_from_being_listed_and_killed() {
    let sandbox = Sandbox::new("rt-ps");
    // crun 1.8, when nobody is left.
    let fake = FakeRuntime::script(
        &sandbox,
        r#"[ $VERB != ps ] || kill -SEGV $$; delegate "$@""#,
    );
    let id = sandbox.id("left");
    let bundle = sandbox.sh("sleep 1000 & read line").host_pid();
    sandbox.run_ok([
        "--runtime",
        &fake.arg(),
        "run",
        "-d",
        "-b",
        bundle.arg(),
        &id,
    ]);
    let dir = sandbox.process_dir(&id, "init");
    let init = Proc::from_file(&dir.join("pid")).unwrap();
    sandbox.wait_until("a child", || init.children().len() == 1);
    let left = init.children()[0];
    // What nobody holds is nobody's to kill, when its parent ends.
    sandbox.kill_shim(&dir);
    init.signal(nix::sys::signal::Signal::SIGKILL);
    sandbox.wait_until("init to be gone", || !init.is_alive());
    assert_eq!(members(&sandbox, &id).len(), 1);
    sandbox.run_ok(["kill", "-a", &id, "KILL"]);
    sandbox.wait_until("what was left to be gone", || !left.is_alive());
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_launcher_without_standard_streams_has_its_terminal_all_the_same() {
    let sandbox = Sandbox::new("rt-closed");
    let id = sandbox.id("closed");
    let bundle = sandbox.sh("tty; read line; echo got $line").terminal();
    // A runtime that is started without them connects to the console socket with descriptor 0 or 1, and puts the terminal there:
    // crun then says `sendmsg: Socket operation on non-socket`.
    let script = r#"exec "$@" <&- >&- 2>&-"#;
    let run = sandbox.in_shell(script, ["run", "-d", "-b", bundle.arg(), &id]);
    let output = sandbox.output_of(run);
    assert!(output.status.success(), "{}", show(&output));
    let attach = sandbox.feed(sandbox.holdfast(["attach", &id]), b"it\n");
    assert!(attach.status.success(), "{}", show(&attach));
    let said = text(&attach.stdout);
    assert!(
        said.contains("/dev/pts/0\r\n") && said.ends_with("got it\r\n"),
        "{said:?}"
    );
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

/// Every `FILE::TEST` in a text.
fn named(text: &str) -> Vec<(String, String)> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:*".contains(c);
    text.split(|c: char| !is_name(c))
        .filter_map(|word| word.split_once("::"))
        .map(|(file, test)| (file.to_owned(), test.to_owned()))
        .collect()
}

#[test]
fn the_common_suite_and_what_runtimes_get_wrong_name_what_is_there() {
    let read =
        |file: &str| fs::read_to_string(top().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    let source = |file: &str| read(&format!("tests/tests/{file}.rs"));
    let suite = read("tests/common-suite");
    let lines = suite
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let (marked, files): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("- "));
    assert!(files.len() > 30, "{files:?}");
    for file in &files {
        source(file);
    }
    for line in &marked {
        let (_, why) = line[2..]
            .split_once("  ")
            .unwrap_or_else(|| panic!("no reason: {line}"));
        assert!(!why.is_empty());
    }
    let page = read("docs/compatibility.md");
    let wrong = page
        .split("## What runtimes get wrong")
        .nth(1)
        .expect("the page has a table");
    for (file, test) in named(&marked.join("\n")).into_iter().chain(named(wrong)) {
        assert!(
            files.contains(&file.as_str()),
            "{file} is not in the common suite"
        );
        if test == "*" {
            continue;
        }
        assert!(
            source(&file).contains(&format!("fn {test}()")),
            "{file} has no test {test}"
        );
        // It is left out by its name alone.
        let bearers = files
            .iter()
            .filter(|file| source(file).contains(&format!("fn {test}()")));
        assert_eq!(bearers.count(), 1, "{test}");
    }
}
