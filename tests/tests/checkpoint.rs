//! Containers are taken to the disk and brought back, by the real runtime and a real CRIU: they go on where they were, and are held,
//! adopted, replaced and collected like any other.

use std::fs;
use std::path::Path;

use holdfast::{CheckpointStore, ContainerId, CreateOptions, Source};
use holdfast_tests::command::text;
use holdfast_tests::criu::Counter;
use holdfast_tests::{Bundle, Criu, DEADLINE, FakeRuntime, Proc, Sandbox, events};
use serde_json::Value;

/// The states that a container's events tell, in order.
fn told(sandbox: &Sandbox, id: &str) -> Vec<String> {
    let events = events::told(sandbox, &[id]);
    let state = |event: &Value| event["state"].as_str().unwrap().to_owned();
    events.iter().map(state).collect()
}

fn init(sandbox: &Sandbox, id: &str) -> Proc {
    Proc::from_file(&sandbox.process_dir(id, "init").join("pid")).unwrap()
}

/// A container that has counted to 2.
#[track_caller]
fn counted_to_2(sandbox: &Sandbox, bundle: &Bundle) -> String {
    let id = sandbox.id("count");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let counter = Counter::of(sandbox, &id);
    counter.assert_counts(1);
    counter.assert_counts(2);
    id
}

#[test]
fn a_container_ends_with_its_checkpoint_and_goes_on_where_it_was() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cp-round");
    let bundle = sandbox.counter();
    let id = counted_to_2(&sandbox, &bundle);

    criu.run_ok(&sandbox, ["checkpoint", "--name", "first", &id]);

    let exit = sandbox.exit_json(&id, "init");
    assert_eq!(
        (&exit["signal"], &exit["source"]),
        (&9.into(), &"reaped".into())
    );
    assert_eq!(sandbox.run_ok(["wait", &id]), "137\n");
    let dir = bundle.dir().join("checkpoints/first");
    let config: Value =
        serde_json::from_str(&fs::read_to_string(dir.join("config.json")).unwrap()).unwrap();
    for (key, value) in [
        ("name", "first".into()),
        ("exit", true.into()),
        ("tcp", false.into()),
        ("unixSockets", false.into()),
        ("shell", false.into()),
        ("emptyNS", Value::Null),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
    humantime::parse_rfc3339(config["created"].as_str().unwrap()).unwrap();
    assert!(!dir.join("criu.work/commit").exists() && dir.join("criu.work/dump.log").exists());

    criu.run_ok(&sandbox, ["restore", "-d", "--name", "first", &id]);

    let counter = Counter::of(&sandbox, &id);
    counter.assert_counts(3);
    counter.assert_counts(4);
    drop(counter);
    sandbox.run_ok(["close-stdin", &id]);
    assert_eq!(sandbox.run_ok(["wait", &id]), "5\n");
    assert_eq!(sandbox.exit_json(&id, "init")["source"], "reaped");
    assert_eq!(
        told(&sandbox, &id),
        ["start-container", "checkpoint", "exit", "restore", "exit"]
    );
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn one_that_is_left_running_goes_on_and_others_come_from_its_checkpoint() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cp-leave");
    let bundle = sandbox.counter();
    let id = counted_to_2(&sandbox, &bundle);
    criu.run_ok(
        &sandbox,
        ["checkpoint", "--leave-running", "--name", "second", &id],
    );
    let twin = sandbox.id("twin");
    let path = bundle.dir().join("checkpoints/second");

    criu.run_ok(
        &sandbox,
        [
            "run",
            "-d",
            "--checkpoint",
            "second",
            "-b",
            bundle.arg(),
            &twin,
        ],
    );
    let third = sandbox.id("third");
    let image = path.to_str().unwrap();
    criu.run_ok(
        &sandbox,
        [
            "run",
            "-d",
            "--checkpoint",
            image,
            "-b",
            bundle.arg(),
            &third,
        ],
    );

    for id in [&id, &twin, &third] {
        let counter = Counter::of(&sandbox, id);
        counter.assert_counts(3);
        counter.assert_counts(4);
    }
    assert_eq!(told(&sandbox, &id), ["start-container", "checkpoint"]);
    assert_eq!(told(&sandbox, &twin), ["restore"]);
    sandbox.run_ok(["delete", "-f", &id, &twin, &third]);
    sandbox.assert_clean();
}

/// As a script for runc has it: no name, and the container's id is free again.
#[test]
fn a_script_for_runc_takes_a_checkpoint_and_restores_it() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cp-runc");
    let bundle = sandbox.counter();
    let id = counted_to_2(&sandbox, &bundle);
    let (image, work) = (sandbox.path().join("image"), sandbox.path().join("work"));
    let (image, work) = (image.to_str().unwrap(), work.to_str().unwrap());
    let checkpoint = ["checkpoint", "--image-path", image, "--work-path", work];
    criu.run_ok(&sandbox, checkpoint.iter().chain(&["--leave-running", &id]));
    // Another in its place.
    criu.run_ok(&sandbox, checkpoint.iter().chain(&[&*id]));
    assert!(Path::new(work).join("dump.log").exists());
    let pid_file = sandbox.path().join("pid");
    let pid_file = pid_file.to_str().unwrap();

    let restore = ["restore", "-d", "--image-path", image, "--work-path", work];
    let more = ["--bundle", bundle.arg(), "--pid-file", pid_file, &id];
    criu.run_ok(&sandbox, restore.iter().chain(&more));

    assert_eq!(
        Proc::from_file(Path::new(pid_file)),
        Some(init(&sandbox, &id))
    );
    assert!(Path::new(work).join("restore.log").exists());
    Counter::of(&sandbox, &id).assert_counts(3);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

/// The foreground of a container that comes from a checkpoint is that of any other.
#[test]
fn a_restored_container_is_attended_to_in_the_foreground() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cp-fore");
    let bundle = sandbox.counter();
    let id = counted_to_2(&sandbox, &bundle);
    criu.run_ok(&sandbox, ["checkpoint", "--name", "first", &id]);
    for (verb, words, next) in [
        ("restore", vec!["--name", "first", &id], 3),
        (
            "run",
            vec!["--checkpoint", "first", "-b", bundle.arg(), "other"],
            3,
        ),
    ] {
        sandbox.claim("other");
        let command = criu.holdfast(&sandbox, [verb].iter().chain(&words));
        let output = sandbox.feed(command, b"x\ny\n");
        let wanted = format!("{next} x\n{} y\n", next + 1);
        assert_eq!(
            text(&output.stdout),
            wanted,
            "{verb}: {}",
            text(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(5), "{verb}");
    }
    // It was there before, and is still.
    assert_eq!(sandbox.run_ok(["wait", &id]), "5\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn checkpoints_are_listed_and_deleted_by_their_names() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cp-list");
    let bundle = sandbox.counter();
    let id = counted_to_2(&sandbox, &bundle);
    let elsewhere = sandbox.path().join("elsewhere");
    let elsewhere = elsewhere.to_str().unwrap();
    assert!(sandbox.run_ok(["checkpoints", &id]).starts_with("NAME"));
    assert_eq!(sandbox.run_ok(["checkpoints", "-f", "json", &id]), "[]\n");
    assert!(
        !bundle.dir().join("checkpoints").exists(),
        "made by looking"
    );
    let leave = ["checkpoint", "--leave-running", "--name"];
    criu.run_ok(
        &sandbox,
        leave.iter().chain(&["b", "--tcp-established", &id]),
    );
    criu.run_ok(
        &sandbox,
        leave.iter().chain(&["a", "--empty-ns", "network", &id]),
    );
    criu.run_ok(
        &sandbox,
        leave
            .iter()
            .chain(&["c", "--checkpoint-dir", elsewhere, &id]),
    );
    let names = |words: &[&str]| -> Vec<String> {
        let list = sandbox.run_ok(["checkpoints", "-f", "json"].iter().chain(words));
        let list: Vec<Value> = serde_json::from_str(&list).unwrap();
        list.iter()
            .map(|one| format!("{} {} {}", one["name"], one["tcp"], one["emptyNS"]))
            .collect()
    };

    let table = sandbox.run_ok(["checkpoints", &id]);
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["NAME", "CREATED", "CONTAINER", "OPTIONS"]);
    assert_eq!(
        [lines[1][0], lines[1][2], lines[1][3]],
        ["a", &*id, "empty-ns=network"]
    );
    assert_eq!([lines[2][0], lines[2][2], lines[2][3]], ["b", &*id, "tcp"]);
    let both = [r#""a" false ["network"]"#, r#""b" true null"#];
    assert_eq!(names(&[&id]), both);
    assert_eq!(names(&["-b", bundle.arg()]), both);
    assert_eq!(names(&["--checkpoint-dir", elsewhere]).len(), 1);

    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.run_ok(["delete-checkpoint", "-b", bundle.arg(), "a"]);
    assert_eq!(names(&["-b", bundle.arg()]), [both[1]]);
    sandbox.run_ok(["delete-checkpoint", "--checkpoint-dir", elsewhere, "c"]);
    assert!(names(&["--checkpoint-dir", elsewhere]).is_empty());
    sandbox.assert_clean();
}

/// It is where it would be without a checkpoint: its shim is killed and another adopts it, and that one is replaced in place.
#[test]
fn a_restored_container_is_adopted_and_its_shim_replaced() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cp-adopt");
    let bundle = sandbox.counter();
    let id = counted_to_2(&sandbox, &bundle);
    criu.run_ok(&sandbox, ["checkpoint", "--name", "first", &id]);
    criu.run_ok(&sandbox, ["restore", "-d", "--name", "first", &id]);
    let dir = sandbox.process_dir(&id, "init");

    // As a client who is connected: with nobody at its stdin, a shim's death would end it.
    let counter = Counter::of(&sandbox, &id);
    sandbox.kill_shim(&dir);
    counter.assert_counts(3);
    assert!(sandbox.recovered(&id).starts_with("adopted"));
    drop(counter);
    Counter::of(&sandbox, &id).assert_counts(4);
    sandbox.run_ok(["upgrade", &id]);
    Counter::of(&sandbox, &id).assert_counts(5);

    // And once more to the disk, from there.
    criu.run_ok(&sandbox, ["checkpoint", "--name", "again", &id]);
    assert_eq!(sandbox.exit_json(&id, "init")["source"], "pidfd");
    criu.run_ok(&sandbox, ["restore", "-d", "--name", "again", &id]);
    Counter::of(&sandbox, &id).assert_counts(6);
    sandbox.run_ok(["close-stdin", &id]);
    assert_eq!(sandbox.run_ok(["wait", &id]), "5\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

/// A paused container is one that stands still already; its execs are not in the checkpoint.
#[test]
fn one_that_is_paused_or_has_execs_is_taken_too() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cp-paused");
    let bundle = sandbox.counter();
    let id = counted_to_2(&sandbox, &bundle);
    sandbox.run_ok(["exec", "-d", "--exec-id", "job", &id, "sleep", "1000"]);
    sandbox.run_ok(["pause", &id]);
    criu.run_ok(
        &sandbox,
        ["checkpoint", "--leave-running", "--name", "paused", &id],
    );
    let state: Value = serde_json::from_str(&sandbox.run_ok(["state", &id])).unwrap();
    assert_eq!(state["status"], "paused");
    criu.run_ok(&sandbox, ["checkpoint", "--name", "first", &id]);
    assert_eq!(sandbox.run_ok(["wait", &id, "job"]), "137\n");
    criu.run_ok(&sandbox, ["restore", "-d", "--name", "first", &id]);
    Counter::of(&sandbox, &id).assert_counts(3);
    assert_eq!(init(&sandbox, &id).children().len(), 0);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn the_library_makes_lists_and_restores() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cp-lib");
    let bundle = sandbox.counter();
    let driver = sandbox.driver_builder().criu(criu.arg()).build().unwrap();
    let id = ContainerId::new(sandbox.id("lib")).unwrap();
    let container = driver
        .create(&id, bundle.dir(), &CreateOptions::default())
        .unwrap();
    container.start().unwrap();
    let id = id.as_str();
    Counter::of(&sandbox, id).assert_counts(1);
    let name = holdfast::CheckpointName::new("first").unwrap();
    let place = holdfast::CheckpointPlace::Named {
        name: name.clone(),
        dir: None,
    };
    let mut seen = 0;
    let options = holdfast::CheckpointOptions {
        exit: true,
        ..Default::default()
    };
    let made = container
        .checkpoint_watched(&place, &options, &mut |progress| {
            seen = seen.max(progress.written);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((made.name.as_str(), made.exit), ("first", true));
    let listed = container.checkpoints(None).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].1.as_ref().unwrap(), &made);

    let restored = container
        .restore(&place.path(container.bundle()), &Default::default())
        .unwrap();
    Counter::of(&sandbox, id).assert_counts(2);
    assert_eq!(restored.restarts().count, 1);
    restored.close_stdin().unwrap();
    let record = restored.wait(Some(DEADLINE)).unwrap();
    assert_eq!((record.status.number(), record.source), (5, Source::Reaped));
    container.delete_checkpoint(&name, None).unwrap();
    let store = CheckpointStore::of_bundle(container.bundle());
    assert!(store.list().unwrap().is_empty());
    container.delete(false).unwrap();
    sandbox.assert_clean();
}

#[test]
fn the_runtime_restores_what_the_checkpoint_says() {
    let sandbox = Sandbox::new("checkpoint");
    let checkpoint = sandbox.path().join("first");
    fs::create_dir(&checkpoint).unwrap();
    let config = r#"{"created":"2026-01-02T03:04:05Z","name":"first","tcp":true,"unixSockets":true,"shell":true,"exit":true,"emptyNS":["network"]}"#;
    fs::write(checkpoint.join("config.json"), config).unwrap();
    fs::write(checkpoint.join("inventory.img"), "").unwrap();
    let fake = FakeRuntime::script(
        &sandbox,
        "[ $VERB = restore ] && spawn sh -c 'read x; exit 4'",
    );
    let driver = sandbox
        .driver_builder()
        .runtime(fake.arg())
        .build()
        .unwrap();
    let options = CreateOptions {
        checkpoint: Some(checkpoint.clone()),
        ..CreateOptions::default()
    };
    let id = ContainerId::new(sandbox.id("back")).unwrap();
    let bundle = sandbox.bundle(["true"]);

    let container = driver.create(&id, bundle.dir(), &options).unwrap();

    let init = container.init().unwrap();
    init.close_stdin().unwrap();
    let record = init.wait(Some(DEADLINE)).unwrap();
    assert_eq!((record.status.number(), record.source), (4, Source::Reaped));
    let argv = fake.argv("restore").expect("nothing was restored");
    let of = |option: &str| {
        let at = argv.iter().position(|word| word == option);
        at.map(|at| argv[at + 1].clone())
    };
    let image = checkpoint.to_str().unwrap();
    assert_eq!(of("--image-path").as_deref(), Some(image), "{argv:?}");
    assert_eq!(of("--bundle").as_deref(), Some(bundle.arg()), "{argv:?}");
    assert_eq!(of("--empty-ns").as_deref(), Some("network"), "{argv:?}");
    let work = sandbox.process_dir(id.as_str(), "init").join("criu.work");
    assert_eq!(of("--work-path").as_deref(), work.to_str());
    for flag in ["-d", "--shell-job", "--tcp-established", "--ext-unix-sk"] {
        assert!(argv.iter().any(|word| word == flag), "{flag}: {argv:?}");
    }
    assert_eq!(argv.last().map(String::as_str), Some(id.as_str()));
    // Only `created` waits for a `start`.
    assert!(
        !sandbox
            .process_dir(id.as_str(), "init")
            .join("created")
            .exists()
    );
    container.delete(false).unwrap();
    sandbox.assert_clean();
}
