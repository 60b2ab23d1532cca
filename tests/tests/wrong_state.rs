//! What is asked of a container that is in no state for it: one clear line that names it, exit code 125, and everything as
//! it was.

use std::collections::BTreeSet;
use std::fs;

use holdfast_tests::{DEADLINE, Sandbox, Snapshot, process, wait};

#[test]
fn a_container_in_another_state_says_so() {
    let sandbox = Sandbox::new("state");
    let sleep = sandbox.bundle(["sleep", "1000"]);
    let b = sleep.arg();
    let (created, running, stopped) = (
        sandbox.id("created"),
        sandbox.id("running"),
        sandbox.id("stopped"),
    );
    sandbox.run_ok(["create", "-b", b, &created]);
    sandbox.run_ok(["run", "-d", "-b", b, &running]);
    sandbox.run_ok(["run", "-d", "-b", b, &stopped]);
    sandbox.run_ok(["exec", "-d", "--exec-id", "job", &running, "sleep", "1000"]);
    sandbox.run_ok(["exec", "-d", "--exec-id", "done", &running, "true"]);
    assert_eq!(sandbox.run_ok(["wait", &running, "done"]), "0\n");
    sandbox.run_ok(["kill", &stopped, "KILL"]);
    assert_eq!(sandbox.run_ok(["wait", &stopped]), "137\n");
    // Its shim removes what it has in the runtime, and is then done with it.
    let shim = sandbox.process_dir(&stopped, "init").join("shim.lock");
    assert!(wait::until(DEADLINE, || process::under(
        shim.parent().unwrap()
    )
    .is_empty()));

    let before = Snapshot::of(&sandbox.root());
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["create", "-b", b, &created],
            &[&created, "already exists"],
        ),
        (
            &["run", "-d", "-b", b, &running],
            &[&running, "already exists"],
        ),
        (&["run", "-b", b, &stopped], &[&stopped, "already exists"]),
        (&["start", &running], &[&running, "is running"]),
        (&["start", &stopped], &[&stopped, "is stopped"]),
        (&["delete", &running], &[&running, "is not stopped"]),
        (&["pause", &stopped], &[&stopped, "it is stopped"]),
        (&["resume", &stopped], &[&stopped, "it is stopped"]),
        (&["resume", &running], &[&running, "it is running"]),
        (&["resume", &created], &[&created, "it is created"]),
        (
            &["kill", "-a", "--process", "job", &running],
            &["--process", "cannot be used"],
        ),
        (&["exec", &stopped, "true"], &[&stopped]),
        (&["exec", "-d", &stopped, "true"], &[&stopped]),
        (&["kill", &stopped], &[&stopped, "has exited"]),
        (
            &["kill", "--process", "done", &running, "KILL"],
            &["done", &running, "has exited"],
        ),
        (&["close-stdin", &stopped], &[&stopped, "has exited"]),
        (
            &["close-stdin", "--process", "done", &running],
            &["done", "has exited"],
        ),
        (
            &["resize", &running, "80", "24"],
            &[&running, "has no terminal"],
        ),
        (
            &["resize", &stopped, "80", "24"],
            &[&stopped, "has no terminal"],
        ),
        (
            &["resize", "--process", "job", &running, "80", "24"],
            &["job", "has no terminal"],
        ),
        (
            &["exec", "--exec-id", "job", &running, "true"],
            &[&running, "job", "already"],
        ),
        (
            &["exec", "--exec-id", "done", &running, "true"],
            &[&running, "done", "already"],
        ),
        (
            &["exec", "--exec-id", "init", &running, "true"],
            &[&running, "init", "already"],
        ),
        (
            &["attach", &running, "nope"],
            &[&running, "no process nope"],
        ),
        (&["wait", &running, "nope"], &[&running, "no process nope"]),
        (
            &["kill", "--process", "nope", &running],
            &[&running, "no process nope"],
        ),
        (
            &["resize", "--process", "nope", &running, "80", "24"],
            &[&running, "no process nope"],
        ),
        (
            &["close-stdin", "--process", "nope", &running],
            &[&running, "no process nope"],
        ),
        (&["exec", &running], &[&running, "no command"]),
        (
            &["exec", "--process", "p.json", &running, "true"],
            &[&running, "not both"],
        ),
        (
            &["exec", "--process", "/nowhere/p.json", &running],
            &["/nowhere/p.json", "no such file"],
        ),
        (
            &["exec", "--process", "/", &running],
            &["process file /", "is a directory"],
        ),
        (
            &["exec", "--preserve-fds", "3", &running, "true"],
            &["descriptor 3 is not open"],
        ),
        (
            &["exec", "--stdin", "file:/nowhere/in", &running, "true"],
            &["/nowhere/in"],
        ),
        (&["ps", &running, "-o", "args"], &["PID"]),
        (&["ps", &running, "--frobnicate"], &["ps: "]),
    ];
    for (args, words) in cases {
        sandbox.refused(*args, words);
        // An exec that was undone is gone when its shim is.
        wait::until(DEADLINE, || before.is_unchanged());
        before.assert_unchanged(&format!("{args:?}"));
    }
    // This one has run for a moment, which the event log says; nothing else is left of it.
    let names = || -> BTreeSet<_> {
        let entries = fs::read_dir(sandbox.container_dir(&running)).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    let before = (
        names(),
        Snapshot::of(&sandbox.process_dir(&running, "init")),
    );
    let exec = ["exec", "--pid-file", "/nowhere/pid", &running, "sleep", "9"];
    sandbox.refused(exec, &["/nowhere/pid"]);
    sandbox.wait_until("the exec to be gone", || names() == before.0);
    before.1.assert_unchanged("an exec that was undone");
    for (id, status) in [
        (&created, "created"),
        (&running, "running"),
        (&stopped, "stopped"),
    ] {
        assert!(
            sandbox
                .run_ok(["state", id])
                .contains(&format!("\"status\": \"{status}\""))
        );
    }
}

#[test]
fn a_process_file_that_cannot_be_used_says_where() {
    let sandbox = Sandbox::new("procfile");
    let id = sandbox.id("procfile");
    sandbox.run_ok([
        "run",
        "-d",
        "-b",
        sandbox.bundle(["sleep", "1000"]).arg(),
        &id,
    ]);
    let before = Snapshot::of(&sandbox.root());
    let file = sandbox.path().join("process.json");
    let name = file.to_str().unwrap();
    for (text, words) in [
        ("", "is empty"),
        ("{\n]", "line 2 column 1"),
        ("[]", "line 1 column"),
        ("{}", "oci runtime: "),
        ("{\"args\": \"sh\"}", ""),
        ("{\"args\": [], \"cwd\": \"/\"}", "oci runtime: "),
    ] {
        fs::write(&file, text).unwrap();
        let line = sandbox.refused(["exec", "--process", name, &id], &[words]);
        assert!(
            line.contains(name) || line.contains("oci runtime: "),
            "{line}"
        );
        wait::until(DEADLINE, || before.is_unchanged());
        before.assert_unchanged(text);
    }
}
