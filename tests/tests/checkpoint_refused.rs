//! What cannot be taken to the disk, or brought back, is refused in one clear line: the container goes on, a checkpoint that is there
//! stays as it is, and nothing is left.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use holdfast_tests::criu::Counter;
use holdfast_tests::{Bundle, Criu, Gate, Proc, Sandbox, Snapshot, fifo};
use nix::sys::signal::Signal;

fn init(sandbox: &Sandbox, id: &str) -> Proc {
    Proc::from_file(&sandbox.process_dir(id, "init").join("pid")).unwrap()
}

fn arg(path: &Path) -> &str {
    path.to_str().expect("sandboxes have plain names")
}

/// A container that has counted to 1.
#[track_caller]
fn counted_to_1(sandbox: &Sandbox, bundle: &Bundle) -> String {
    let id = sandbox.id("count");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    Counter::of(sandbox, &id).assert_counts(1);
    id
}

#[test]
fn only_a_container_that_runs_is_taken() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cpr-state");
    let bundle = sandbox.bundle(["true"]);
    let (created, stopped) = (sandbox.id("created"), sandbox.id("stopped"));
    sandbox.run_ok(["create", "-b", bundle.arg(), &created]);
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &stopped]);
    sandbox.run_ok(["wait", &stopped]);
    let before = Snapshot::of(bundle.dir());
    let checkpoint = ["checkpoint", "--name", "first"];
    for (id, words) in [
        ("nobody", &["container nobody does not exist"][..]),
        (&created, &["cannot checkpoint", "it is created"]),
        (&stopped, &["cannot checkpoint", "it is stopped"]),
    ] {
        criu.refused(&sandbox, checkpoint.iter().chain(&[id]), words);
    }
    before.assert_unchanged("checkpoints of what does not run");
    sandbox.run_ok(["delete", &created, &stopped]);
    sandbox.assert_clean();
}

#[test]
fn flags_that_make_no_sense_are_named() {
    let sandbox = Sandbox::new("cpr-flags");
    let bundle = sandbox.bundle(["true"]);
    for (args, words) in [
        (
            &["checkpoint", "--name", "a/b", "x"][..],
            &["a/b", "is not an id"][..],
        ),
        (
            &["checkpoint", "--name", "~x", "x"],
            &["~x", "is not an id"],
        ),
        (
            &["checkpoint", "--lazy-pages", "x"],
            &["--lazy-pages", "not supported"],
        ),
        (
            &["checkpoint", "--status-fd", "3", "x"],
            &["--status-fd", "not supported"],
        ),
        (
            &["restore", "--lazy-pages", "x"],
            &["--lazy-pages", "not supported"],
        ),
        (
            &["checkpoint", "--manage-cgroups-mode", "hard", "x"],
            &["hard", "soft"],
        ),
        (&["checkpoint", "--timeout", "soon", "x"], &["--timeout"]),
        (
            &["checkpoint", "--name", "x", "--image-path", "y", "x"],
            &["--image-path"],
        ),
        (&["checkpoints"], &["name a container, or a bundle"]),
        (
            &["delete-checkpoint", "x"],
            &["name a container, or a bundle"],
        ),
        (
            &["delete-checkpoint", "x", "../y"],
            &["../y", "is not an id"],
        ),
        (
            &["checkpoints", "nobody"],
            &["container nobody does not exist"],
        ),
        (
            &["delete-checkpoint", "nobody", "x"],
            &["container nobody does not exist"],
        ),
    ] {
        sandbox.refused(args, words);
    }
    let run = ["run", "-d", "-b", bundle.arg(), "--checkpoint"];
    let id = sandbox.id("none");
    sandbox.refused(run.iter().chain(&["a b", &id]), &["a b", "is not an id"]);
    sandbox.refused(run.iter().chain(&["first", &id]), &["first does not exist"]);
    let restart = ["--restart", "always"];
    sandbox.refused(
        run.iter().chain(&["first"]).chain(&restart).chain(&[&*id]),
        &["restart policy always", "it comes from a checkpoint"],
    );
    sandbox.assert_clean();
}

/// In the image's place there is something; what is not a checkpoint stays, and what has a name is not replaced.
#[test]
fn a_checkpoint_takes_nobodys_place() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cpr-exists");
    let bundle = sandbox.counter();
    let id = counted_to_1(&sandbox, &bundle);
    criu.run_ok(
        &sandbox,
        ["checkpoint", "--leave-running", "--name", "first", &id],
    );
    let (full, file) = (sandbox.path().join("full"), sandbox.path().join("file"));
    fs::create_dir(&full).unwrap();
    fs::write(full.join("precious"), "").unwrap();
    fs::write(&file, "").unwrap();
    let before = (Snapshot::of(bundle.dir()), Snapshot::of(&full));
    criu.refused(
        &sandbox,
        ["checkpoint", "--name", "first", &id],
        &["first already exists"],
    );
    for path in [&full, &file] {
        let args = ["checkpoint", "--image-path", arg(path), &id];
        criu.refused(&sandbox, args, &[arg(path), "already exists"]);
    }
    let nowhere = sandbox.path().join("no/where");
    criu.refused(
        &sandbox,
        ["checkpoint", "--image-path", arg(&nowhere), &id],
        &[arg(nowhere.parent().unwrap()), "no such file"],
    );
    before.0.assert_unchanged("a checkpoint that exists");
    before
        .1
        .assert_unchanged("a directory that is no checkpoint");
    Counter::of(&sandbox, &id).assert_counts(2);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn what_is_no_checkpoint_is_not_restored() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cpr-none");
    let bundle = sandbox.counter();
    let id = counted_to_1(&sandbox, &bundle);
    criu.run_ok(&sandbox, ["checkpoint", "--name", "good", &id]);
    let checkpoints = bundle.dir().join("checkpoints");
    let copy = |name: &str| {
        let to = checkpoints.join(name);
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .args([&checkpoints.join("good"), &to])
            .status();
        assert!(copied.is_ok_and(|status| status.success()));
        to
    };
    fs::write(copy("torn").join("config.json"), r#"{"created":"2026"#).unwrap();
    fs::write(copy("emptied").join("config.json"), "").unwrap();
    fs::remove_file(copy("half").join("inventory.img")).unwrap();
    fs::write(copy("damaged").join("pstree.img"), "nonsense").unwrap();
    fs::create_dir(checkpoints.join("empty")).unwrap();
    symlink("good", checkpoints.join("link")).unwrap();
    let before = (Snapshot::of(&checkpoints), Snapshot::of(&sandbox.root()));

    for (name, words) in [
        ("gone", &["gone does not exist"][..]),
        ("empty", &["empty", "not a directory with images"]),
        ("link", &["link", "not a directory with images"]),
        ("torn", &["torn/config.json", "line 1"]),
        ("emptied", &["emptied/config.json", "is empty"]),
        ("half", &["half", "its images are missing"]),
        ("damaged", &["criu failed", "pstree"]),
    ] {
        // In its own place, and as another.
        criu.refused(&sandbox, ["restore", "-d", "--name", name, &id], words);
        let other = sandbox.id("other");
        let run = [
            "run",
            "-d",
            "-b",
            bundle.arg(),
            "--checkpoint",
            name,
            &other,
        ];
        criu.refused(&sandbox, run, words);
    }
    before.0.assert_unchanged("restoring what is no checkpoint");
    before.1.assert_unchanged("restores that failed");
    assert_eq!(sandbox.run_ok(["wait", &id]), "137\n");

    // The bad ones hide no good one.
    let output = sandbox.output(["checkpoints", &id]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("\ngood "), "{table}");
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert_eq!(complaints.lines().count(), 2, "{complaints}");
    assert!(complaints.contains("checkpoint torn: ") && complaints.contains("emptied: "));
    for (name, words) in [
        ("empty", &["not a directory with images"][..]),
        ("link", &["not a directory with images"]),
        ("gone", &["gone does not exist"]),
    ] {
        sandbox.refused(["delete-checkpoint", &id, name], words);
    }
    for name in ["torn", "emptied", "half", "damaged"] {
        sandbox.run_ok(["delete-checkpoint", &id, name]);
    }

    criu.run_ok(&sandbox, ["restore", "-d", "--name", "good", &id]);
    criu.refused(
        &sandbox,
        ["restore", "-d", "--name", "good", &id],
        &[&id, "is not stopped"],
    );
    Counter::of(&sandbox, &id).assert_counts(2);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

/// What it cannot be given any more, or has to have.
#[test]
fn a_checkpoint_fits_what_it_is_to_become_or_is_refused() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cpr-fit");
    let bundle = sandbox.counter();
    let id = counted_to_1(&sandbox, &bundle);
    criu.run_ok(&sandbox, ["checkpoint", "--name", "first", &id]);
    let other = sandbox.id("other");
    let log = format!("file:{}", sandbox.path().join("log").display());
    let run = ["run", "-d", "-b", bundle.arg(), "--checkpoint", "first"];
    for (words, said) in [
        (
            &["--stdio", "null"][..],
            &["its stdin was a fifo", "cannot become"][..],
        ),
        (
            &["--stdout", &log],
            &["its stdout was a fifo of mode 0600", "a file of mode 0644"],
        ),
        (&["--no-new-keyring"], &["keyring"]),
    ] {
        let args: Vec<&str> = run.iter().chain(words).chain(&[&*other]).copied().collect();
        criu.refused(&sandbox, args, said);
    }
    let mut fds = criu.holdfast(&sandbox, run.iter().chain(&["--preserve-fds", "1", &other]));
    fds.stdin(std::process::Stdio::null());
    let shell = sandbox.in_shell("exec \"$@\" 3</dev/null", fds.get_args());
    sandbox.refused_command(shell, &["it has descriptors of its own"]);
    // One that is there already has its streams and labels.
    for words in [&["--stdio", "null"][..], &["--label", "a=b"], &["-b", "/"]] {
        let restore = ["restore", "-d", "--name", "first"];
        let args: Vec<&str> = restore
            .iter()
            .chain(words)
            .chain(&[&*id])
            .copied()
            .collect();
        criu.refused(&sandbox, args, &[&id, "already exists"]);
    }
    let bundle = bundle.terminal();
    let run = ["run", "-d", "-b", bundle.arg(), "--checkpoint", "first"];
    criu.refused(
        &sandbox,
        run.iter().chain(&[&*other]),
        &["it had no terminal, the bundle has one"],
    );
    assert!(fs::read_dir(bundle.dir()).unwrap().count() == 2);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

/// CRIU's own reasons, of which the runtime knows nothing, are told; the container goes on.
#[test]
fn what_criu_refuses_is_told_in_its_words() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cpr-criu");
    let gate = sandbox.gate();
    let script = format!(
        "echo on; {}; exec 3<&-; echo off; exec sleep 1000",
        Gate::WAIT
    );
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let id = sandbox.id("criu");
    // Descriptor 3 is a file of the host's.
    let run = ["run", "-d", "--preserve-fds", "1", "-b", bundle.arg(), &id];
    let config = bundle.dir().join("config.json");
    let run = sandbox.in_shell(&format!("exec \"$@\" 3<{}", arg(&config)), run);
    assert!(sandbox.output_of(run).status.success());
    let stdout = fifo::reader(&sandbox.process_dir(&id, "init").join("stdout"));
    sandbox.read_until(&stdout, "on\n");
    let before = Snapshot::of(bundle.dir());
    let first = ["checkpoint", "--name", "first", &id];

    let said = criu.refused(&sandbox, first, &["criu failed", "fd=3", arg(&config)]);
    assert!(!said.contains("dump.log"), "{said}");
    criu.refused(
        &sandbox,
        first.iter().chain(&["--empty-ns", "pid"]),
        &["oci runtime", "\"pid\"", "not supported"],
    );
    let missing = sandbox.path().join("no-criu");
    sandbox.refused(
        ["--criu", arg(&missing)].iter().chain(&first),
        &["oci runtime", arg(&missing)],
    );
    gate.open();
    sandbox.read_until(&stdout, "off\n");
    before.assert_unchanged("refused checkpoints");

    let more = [
        "--file-locks",
        "--manage-cgroups-mode",
        "full",
        "--auto-dedup",
    ];
    criu.run_ok(&sandbox, first.iter().chain(&more));
    criu.run_ok(&sandbox, ["restore", "-d", "--name", "first", &id]);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

/// A process that is both stopped and frozen cannot be traced, and CRIU would wait for it for ever.
#[test]
fn a_stopped_process_is_named() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cpr-stopped");
    let bundle = sandbox.sh("cat; exit 5");
    let id = sandbox.id("stopped");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    sandbox.wait_until("its child", || init(&sandbox, &id).children().len() == 1);
    let child = init(&sandbox, &id).children()[0];
    child.signal(Signal::SIGSTOP);
    sandbox.wait_until("it to stop", || child.stat(3).as_deref() == Some("T"));
    let pid = child.pid().to_string();
    criu.refused(
        &sandbox,
        ["checkpoint", "--name", "first", &id],
        &["cannot checkpoint", &pid, "is stopped"],
    );
    assert_eq!(fs::read_dir(bundle.dir()).unwrap().count(), 1);
    child.signal(Signal::SIGCONT);
    criu.run_ok(&sandbox, ["checkpoint", "--name", "first", &id]);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}
