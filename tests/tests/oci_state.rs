//! What a container is, in OCI's words of today and of 2016: from its own files and the kernel, without any runtime, and the same
//! that a runtime would say.

use std::process::Command;

use holdfast_tests::command::text;
use holdfast_tests::{DEADLINE, FakeRuntime, Proc, Sandbox, Snapshot, binaries, wait};
use serde_json::{Value, json};

fn state(sandbox: &Sandbox, args: &[&str]) -> Value {
    let words = ["state"].iter().chain(args);
    serde_json::from_str(&sandbox.run_ok(words)).unwrap()
}

fn runc_state(sandbox: &Sandbox, id: &str) -> Value {
    let output = sandbox.output_of(sandbox.runc(["state", id]));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_state_is_the_runtimes_at_each_stage_and_no_runtime_is_asked() {
    let sandbox = Sandbox::new("oci-state");
    let fake = FakeRuntime::script(&sandbox, r#"delegate "$@""#);
    let id = sandbox.id("oci");
    let bundle = sandbox.bundle(["sleep", "1000"]).edit(|config| {
        config["annotations"] = json!({ "org.example": "1" });
    });
    let create = ["--runtime", &fake.arg(), "create", "-b", bundle.arg(), &id];
    sandbox.run_ok(create);
    let stages: [(&str, &[&str]); 5] = [
        ("created", &[]),
        ("paused", &["pause", &id]),
        ("created", &["resume", &id]),
        ("running", &["start", &id]),
        ("paused", &["pause", &id]),
    ];
    let mut is_started = false;
    for (status, verb) in stages {
        if !verb.is_empty() {
            sandbox.run_ok(verb);
        }
        is_started |= verb.contains(&"start");
        let (calls, before) = (fake.calls(), Snapshot::of(&sandbox.root()));
        let mut ours = state(&sandbox, &[&id]);
        sandbox.run_ok(["list"]);
        sandbox.run_ok(["processes", &id]);
        assert_eq!(fake.calls(), calls, "a runtime was asked");
        before.assert_unchanged("asking");

        let theirs = runc_state(&sandbox, &id);
        assert_eq!(ours["status"], status);
        // Whatever the process executes by now.
        let started = std::fs::read(sandbox.root().join(&id).join("init/created")).unwrap();
        assert_eq!(started.is_empty(), is_started, "{status}");
        // The bundle's own version, where runc has its own; and each has its own moment of creation.
        assert_eq!(ours["ociVersion"], "1.0.2");
        for key in ["ociVersion", "created"] {
            ours[key] = theirs[key].clone();
        }
        assert_eq!(ours, theirs, "{status}");
    }
    // A runtime forgets what has ended as soon as its shim has deleted it; we do not.
    sandbox.run_ok(["kill", &id, "KILL"]);
    sandbox.run_ok(["wait", &id]);
    sandbox.wait_until("its shim to be done", || {
        Proc::shim_of(&sandbox.process_dir(&id, "init")).is_none_or(|shim| !shim.is_alive())
    });
    let calls = fake.calls();
    let ours = state(&sandbox, &[&id]);
    assert_eq!(
        (&ours["status"], &ours["pid"]),
        (&json!("stopped"), &json!(0))
    );
    assert_eq!(fake.calls(), calls);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

/// Nor is anything else executed for it.
#[test]
fn a_state_takes_one_process() {
    let sandbox = Sandbox::new("oci-exec");
    let id = sandbox.id("oci");
    sandbox.run_ok([
        "run",
        "-d",
        "-b",
        sandbox.bundle(["sleep", "1000"]).arg(),
        &id,
    ]);
    let trace = sandbox.path().join("trace");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-e", "trace=execve,fork,vfork,clone,clone3", "-o"])
        .arg(&trace);
    strace
        .arg(binaries::holdfast())
        .arg("--root")
        .arg(sandbox.root());
    strace.args(["state", &id]);
    let output = sandbox.output_of(strace);
    assert!(
        text(&output.stdout).contains("\"running\""),
        "{}",
        text(&output.stderr)
    );
    let trace = std::fs::read_to_string(&trace).unwrap();
    let calls: Vec<_> = trace
        .lines()
        .filter(|line| !line.contains("exited with"))
        .collect();
    assert_eq!(calls.len(), 1, "{trace}");
    assert!(calls[0].contains("execve(") && calls[0].contains("bin/holdfast"));
}

#[test]
fn the_state_of_2016_has_its_four_keys() {
    let sandbox = Sandbox::new("oci-old");
    let id = sandbox.id("oci");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let pid = state(&sandbox, &[&id])["pid"].clone();
    assert!(pid.as_i64().unwrap() > 0);
    for version in ["0.3", "0.3.0"] {
        let said = sandbox.run_ok(["state", "--oci-version", version, &id]);
        let old: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            old,
            json!({ "version": "0.3.0", "id": id, "pid": pid, "bundlePath": bundle.arg() })
        );
        let keys: Vec<_> = old.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 4);
        let places = ["version", "\"id\"", "pid", "bundlePath"].map(|key| said.find(key).unwrap());
        assert!(places.is_sorted(), "{said}");
    }
    assert_eq!(
        state(&sandbox, &["--oci-version", "1.0", &id]),
        state(&sandbox, &[&id])
    );
    let before = Snapshot::of(&sandbox.root());
    sandbox.refused(
        ["state", "--oci-version", "0.2", &id],
        &["0.2", "--oci-version"],
    );
    before.assert_unchanged("a version that there is not");
    sandbox.run_ok(["delete", "-f", &id]);
}

#[test]
fn the_processes_of_a_container_are_listed_with_how_they_are() {
    let sandbox = Sandbox::new("oci-ps");
    let id = sandbox.id("oci");
    sandbox.run_ok(["create", "-b", sandbox.bundle(["sleep", "1000"]).arg(), &id]);
    let list = || -> Vec<Value> {
        serde_json::from_str(&sandbox.run_ok(["processes", "-f", "json", &id])).unwrap()
    };
    assert_eq!(
        (&list()[0]["id"], &list()[0]["status"]),
        (&json!("init"), &json!("created"))
    );
    sandbox.run_ok(["start", &id]);
    sandbox.run_ok(["exec", "-d", "--exec-id", "job", &id, "sleep", "1001"]);
    sandbox.run_ok([
        "exec",
        "-d",
        "--exec-id",
        "failed",
        &id,
        "sh",
        "-c",
        "exit 7",
    ]);
    assert_eq!(sandbox.run_ok(["wait", &id, "failed"]), "7\n");
    let facts = |list: &[Value]| -> Vec<Value> {
        let fact =
            |row: &Value| json!([row["id"], row["status"], row["exec"], row["exit"]["code"]]);
        list.iter().map(fact).collect()
    };
    let listed = list();
    assert_eq!(
        facts(&listed),
        [
            json!(["init", "running", false, null]),
            json!(["failed", "stopped", true, 7]),
            json!(["job", "running", true, null])
        ]
    );
    for (row, process) in [(&listed[0], "init"), (&listed[2], "job")] {
        let pid = std::fs::read_to_string(sandbox.process_dir(&id, process).join("pid"));
        assert_eq!(row["pid"].to_string(), pid.unwrap().trim());
    }
    assert_eq!(
        (&listed[1]["pid"], &listed[2]["args"]),
        (&json!(0), &json!(["sleep", "1001"]))
    );
    sandbox.run_ok(["pause", &id]);
    assert_eq!(facts(&list())[2], json!(["job", "paused", true, null]));
    sandbox.run_ok(["resume", &id]);
    let table = sandbox.run_ok(["processes", &id]);
    let words: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(words[0], ["PROCESS", "PID", "STATUS", "EXIT", "COMMAND"]);
    assert_eq!(
        words[2],
        ["failed", "0", "stopped", "7", "sh", "-c", "exit", "7"]
    );

    // One that cannot be understood hides no other.
    std::fs::write(sandbox.process_dir(&id, "failed").join("process.json"), "{").unwrap();
    let before = Snapshot::of(&sandbox.root());
    let output = sandbox.output(["processes", "-f", "json", &id]);
    assert!(
        text(&output.stderr).contains("process failed: "),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(
        serde_json::from_slice::<Vec<Value>>(&output.stdout)
            .unwrap()
            .len(),
        2
    );
    assert!(wait::until(DEADLINE, || before.is_unchanged()));
    sandbox.refused(["processes", "nobody"], &["nobody", "does not exist"]);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}
