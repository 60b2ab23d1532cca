//! Names that nobody would give, but somebody has: ids that are odd and legal, and strangers in the state directory that are
//! no containers at all.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use holdfast::Finding;
use holdfast_tests::command::{show, text};
use holdfast_tests::{Sandbox, Snapshot, fifo};
use serde_json::Value;

#[test]
fn strangers_in_the_root_are_reported_and_left_alone() {
    let sandbox = Sandbox::new("strangers");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let ids = [sandbox.id("one"), sandbox.id("two")];
    for id in &ids {
        sandbox.run_ok(["run", "-d", "-b", bundle.arg(), id]);
    }
    let id = &ids[0];
    let root = sandbox.root();
    fs::write(root.join("notes.txt"), "not ours").unwrap();
    fs::create_dir(root.join("lost+found")).unwrap();
    fs::create_dir(root.join("not an id")).unwrap();
    fs::create_dir(root.join("new\nline")).unwrap();
    fs::create_dir(root.join("deep")).unwrap();
    fs::create_dir(root.join("deep/init")).unwrap();
    symlink(sandbox.container_dir(id), root.join("alias")).unwrap();
    symlink("/", root.join("slash")).unwrap();
    fifo::make(&root.join("pipe"));
    drop(UnixListener::bind(root.join("socket")).unwrap());
    let container = sandbox.container_dir(id);
    fs::write(container.join("notes.txt"), "not ours").unwrap();
    fs::write(container.join("init/notes.txt"), "not ours").unwrap();
    symlink("init", container.join("alias")).unwrap();
    fs::create_dir(container.join("not an id")).unwrap();
    fs::create_dir(container.join("job")).unwrap();

    let before = Snapshot::of(&root);
    let output = sandbox.output(["list", "-q"]);
    assert!(output.status.success(), "{}", show(&output));
    assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), ids);
    let warnings = text(&output.stderr);
    assert_eq!(warnings.lines().count(), 4, "{warnings}");
    for line in warnings.lines() {
        assert!(line.starts_with("holdfast: container "), "{warnings}");
    }
    for name in ["lost+found", "not an id", "deep", "new\\nline"] {
        assert!(warnings.contains(name), "{name}: {warnings}");
    }
    for name in ["lost+found", "deep"] {
        let path = root.join(name).join("state.json");
        sandbox.refused(["state", name], &[path.to_str().unwrap()]);
    }
    for name in ["notes.txt", "alias", "slash", "pipe", "socket", "nobody"] {
        sandbox.refused(["state", name], &[name]);
        sandbox.refused(["delete", name], &[name]);
    }
    before.assert_unchanged("asking among strangers");
    // What happens to the containers now stands in their event logs.
    let strangers = ["lost+found", "not an id", "deep"].map(|name| Snapshot::of(&root.join(name)));
    let verdicts = sandbox.driver().restore().unwrap();
    let runs: Vec<_> = verdicts
        .iter()
        .filter(|v| matches!(v.finding, Finding::Running))
        .collect();
    assert_eq!(runs.len(), 2, "{verdicts:?}");
    let job = verdicts
        .iter()
        .find(|v| v.process == "job")
        .expect("a verdict for everything");
    assert!(
        matches!(job.finding, Finding::Unreadable(_) | Finding::Lost { .. }),
        "{job:?}"
    );
    sandbox.run_ok(["exec", id, "true"]);
    for stranger in strangers {
        stranger.assert_unchanged("restoring among strangers");
    }
    let before = Snapshot::of(&root);

    // Another container comes and goes among them.
    let passing = sandbox.id("passing");
    let output = sandbox.output(["run", "-b", sandbox.sh("exit 3").arg(), &passing]);
    assert_eq!(output.status.code(), Some(3), "{}", show(&output));
    before.assert_unchanged("a container among strangers");
    sandbox.run_ok(["delete", "-f", id]);
    assert!(!container.exists());
}

/// Lives through everything that a container can be asked for.
fn lives(sandbox: &Sandbox, id: &str) {
    let bundle = sandbox.bundle(["sleep", "1000"]);
    sandbox.run_ok(["create", "-b", bundle.arg(), "--", id]);
    sandbox.run_ok(["start", "--", id]);
    assert!(
        sandbox
            .run_ok(["list", "-q"])
            .lines()
            .any(|line| line == id)
    );
    let state: Value = serde_json::from_str(&sandbox.run_ok(["state", "--", id])).unwrap();
    assert_eq!(
        (&state["id"], &state["status"]),
        (&id.into(), &"running".into())
    );
    assert_eq!(
        sandbox.run_ok(["exec", "--", id, "echo", "hello"]),
        "hello\n"
    );
    sandbox.run_ok(["exec", "-d", "--exec-id=-job", "--", id, "sleep", "1000"]);
    assert_eq!(
        sandbox
            .run_ok(["ps", "-f", "json", "--", id])
            .matches(',')
            .count(),
        1
    );
    sandbox.run_ok(["kill", "--", id, "KILL"]);
    assert_eq!(sandbox.run_ok(["wait", "--", id]), "137\n");
    sandbox.run_ok(["delete", "--", id]);
}

#[test]
fn odd_names_that_are_ids_are_names_like_any_other() {
    let sandbox = Sandbox::new("oddids");
    // As long as may be, whatever the pid is.
    let short = sandbox.id("x").len() + 1;
    let mut length = 128 - short;
    let longest = loop {
        let id = sandbox.id(&"x".repeat(1 + length));
        if id.len() == 128 {
            break id;
        }
        length = length + 128 - id.len();
    };
    lives(&sandbox, &longest);
    for prefix in ["...", ".hidden", "_", "+", "a.b+c_d", "state.json", "init"] {
        lives(&sandbox, &sandbox.id(prefix));
    }
    sandbox.assert_clean();
}

#[test]
fn ids_that_look_like_flags_are_names_like_any_other() {
    let sandbox = Sandbox::new("flagids");
    for prefix in ["-", "-x", "--root", "--log"] {
        lives(&sandbox, &sandbox.id(prefix));
    }
    for id in ["--version", "--help", "-h", "--"] {
        sandbox.claim(id);
        lives(&sandbox, id);
    }
    sandbox.assert_clean();
}
