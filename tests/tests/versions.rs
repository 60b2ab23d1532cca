//! Both binaries say what they are, to people and to programs, and `holdfast version` what it would work with.

use std::process::Command;

use holdfast_tests::command::{show, text};
use holdfast_tests::{FakeRuntime, Sandbox, binaries, fake_runtime};
use serde_json::Value;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn printed(sandbox: &Sandbox, mut command: Command) -> String {
    command.current_dir(sandbox.path());
    let output = sandbox.output_of(command);
    assert!(output.status.success(), "{}", show(&output));
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
}

fn shim(words: &[&str]) -> Command {
    let mut shim = Command::new(binaries::shim());
    shim.args(words);
    shim
}

#[test]
fn both_binaries_say_their_versions() {
    let sandbox = Sandbox::new("versions");
    for flag in ["-v", "--version"] {
        let said = sandbox.run_ok([flag]);
        assert!(said.starts_with(&format!("holdfast {VERSION}")), "{said}");
        assert_eq!(said.lines().count(), 1);
    }
    let said = printed(&sandbox, shim(&["--version"]));
    assert!(
        said.starts_with(&format!("holdfast-shim {VERSION}")),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1);

    let said = printed(&sandbox, shim(&["--version=json"]));
    assert_eq!(said.lines().count(), 1);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["version"], VERSION);
    let handover = printed(&sandbox, shim(&["--handover-protocol"]));
    assert_eq!(said["protocols"]["handover"].to_string(), handover.trim());
    assert_eq!(said["protocols"]["control"][0], 0);
    let features = said["features"].as_array().unwrap();
    assert!(features.contains(&"autoRemove".into()), "{said}");
}

#[test]
fn the_shim_and_the_runtime_are_asked_as_they_would_be_used() {
    let sandbox = Sandbox::new("asked");
    let json = |words: &[&str]| -> Value {
        let words = [words, &["version", "-f", "json"]].concat();
        serde_json::from_str(&sandbox.run_ok(words)).unwrap()
    };
    let found = json(&[]);
    assert_eq!(found["version"], VERSION);
    assert_eq!(found["executable"], *binaries::holdfast().to_str().unwrap());
    assert_eq!(found["shim"]["version"], VERSION);
    assert_eq!(
        found["shim"]["executable"],
        *binaries::shim().to_str().unwrap()
    );
    assert_eq!(found["shim"]["features"], found["features"]);
    assert_eq!(
        found["shim"]["protocols"]["control"],
        found["protocols"]["control"]
    );
    assert!(found["shim"].get("lacks").is_none(), "{found}");
    let runc = printed(&sandbox, sandbox.runc(["--version"]));
    let runc_version = found["runtime"]["version"].as_str().unwrap();
    assert!(
        runc.contains(&format!("runc version {runc_version}\n")),
        "{runc}"
    );
    assert_eq!(found["runtime"]["name"], "runc");
    assert!(
        binaries::installed("runc")
            .unwrap()
            .ends_with(found["runtime"]["executable"].as_str().unwrap())
    );

    // A shim of another version, and a runtime that is none of those that we know.
    let old = sandbox.path().join("old-shim");
    fake_runtime::install(
        &old,
        "#!/bin/sh\n[ $# = 1 ] && [ \"$1\" = --version=json ] || exit 1\n\
         echo '{\"version\":\"0.0.1\",\"features\":[\"inherit\",\"autoRemove\"],\"mood\":\"good\"}'\n",
    );
    let runtime = FakeRuntime::script(&sandbox, "echo 'mine version 7-beta'");
    let words = ["--shim", old.to_str().unwrap(), "--runtime", &runtime.arg()];
    let found = json(&words);
    assert_eq!(found["shim"]["version"], "0.0.1");
    let lacks = found["shim"]["lacks"].as_array().unwrap();
    assert!(lacks.contains(&"timeLimit".into()) && !lacks.contains(&"inherit".into()));
    assert_eq!(found["runtime"]["version"], "7-beta");
    assert!(found["runtime"].get("spec").is_none());
    let told = sandbox.run_ok([&words[..], &["version"]].concat());
    assert!(
        told.contains("0.0.1, ") && told.contains("; does not know "),
        "{told}"
    );
    assert!(told.contains("runtime        mine 7-beta, "), "{told}");
}

#[test]
fn what_is_not_there_is_an_answer_too() {
    let sandbox = Sandbox::new("absent");
    for (words, expected) in [
        (
            ["--shim", "/nowhere/shim"],
            "shim \"/nowhere/shim\" not found",
        ),
        (
            ["--shim", "/bin/false"],
            "/bin/false: does not say its version: exit status: 1",
        ),
        (
            ["--shim", "/bin/true"],
            "/bin/true: does not say its version",
        ),
        (
            ["--runtime", "no-such-runtime"],
            "oci runtime no-such-runtime not found",
        ),
        (
            ["--runtime", "/bin/true"],
            "/bin/true: does not say its version",
        ),
    ] {
        let told = sandbox.run_ok([&words[..], &["version"]].concat());
        assert_eq!(told.lines().count(), 3, "{told}");
        assert!(told.contains(expected), "{told}");
        let json = sandbox.run_ok([&words[..], &["version", "-f", "json"]].concat());
        let json: Value = serde_json::from_str(&json).unwrap();
        let part = words[0].trim_start_matches('-');
        assert!(json[part]["problem"].is_string(), "{json}");
    }
    // No root is needed, nor made.
    let told = sandbox.run_ok(["--root", "/dev/null/none", "version"]);
    assert!(
        told.starts_with(&format!("holdfast       {VERSION}")),
        "{told}"
    );
}
