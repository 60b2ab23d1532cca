//! Steps 1 to 7 of a launch (docs/architecture.md), and whoever is at work in them.

use std::fs;
use std::path::Path;
use std::process::Command;

use holdfast_tests::Sandbox;
use holdfast_tests::command::show;
use holdfast_tests::fake_runtime::install;
use holdfast_tests::matrix::{Ended, Family};

use super::{
    AND_THE_LAUNCHER, BOTH_LAUNCH, LAUNCHER, LAUNCHER_RUNTIME_CREATE, RUNTIME_CREATE,
    RUNTIME_START, SHIM_EXEC, SHIM_LAUNCH, SHIM_RUNTIME_CREATE, arg, create, launch_moments,
    nothing_or_all, runtime_moments, says_and_ends,
};

#[test]
fn the_launcher_is_killed() {
    let sandbox = Sandbox::new("cm-launcher");
    let bundle = says_and_ends(&sandbox);
    let id = sandbox.id("whole");
    let moments = sandbox.moments(&sandbox.holdfast(["run", "-d", "-b", bundle.arg(), &id]));
    nothing_or_all(&sandbox, &id);
    LAUNCHER.run(&sandbox, &moments, |moment| {
        let id = sandbox.id("cut");
        sandbox.killed_at(
            moment,
            &sandbox.holdfast(["run", "-d", "-b", bundle.arg(), &id]),
        );
        nothing_or_all(&sandbox, &id)
    });
}

#[test]
fn the_shim_is_killed_while_it_launches() {
    let sandbox = Sandbox::new("cm-launch");
    let bundle = says_and_ends(&sandbox);
    let moments = launch_moments(&sandbox, &bundle);
    SHIM_LAUNCH.run(&sandbox, &moments, |moment| {
        let id = sandbox.id("cut");
        let shim = sandbox.traced_shim(Some(moment));
        sandbox.output_of(create(&sandbox, &["--shim", arg(&shim)], &bundle, &id));
        nothing_or_all(&sandbox, &id)
    });
}

#[test]
fn the_launcher_and_the_shim_are_killed_while_they_launch() {
    let sandbox = Sandbox::new("cm-both");
    let bundle = says_and_ends(&sandbox);
    let moments = launch_moments(&sandbox, &bundle);
    BOTH_LAUNCH.run(&sandbox, &moments, |moment| {
        let id = sandbox.id("cut");
        let shim = sandbox.traced_shim(Some(moment));
        // The launcher, which collects what it has spawned, outlives the shim by this much.
        let script = fs::read_to_string(&shim).unwrap();
        let script = script.replace("exec strace", "strace") + "kill -KILL $PPID\n";
        install(&shim, &script);
        let output = sandbox.output_of(create(&sandbox, &["--shim", arg(&shim)], &bundle, &id));
        assert_eq!(output.status.code(), None, "{}", show(&output));
        nothing_or_all(&sandbox, &id)
    });
}

#[test]
fn the_shim_is_killed_while_it_launches_an_exec() {
    let sandbox = Sandbox::new("cm-exec");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("host");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let exec = |shim: &Path, name: &str| {
        let words = ["exec", "-d", "--exec-id", name, &id, "sleep", "1000"];
        sandbox.holdfast([&["--shim", arg(shim)][..], &words].concat())
    };
    let check = |name: &str| {
        sandbox.settle();
        sandbox.run_ok(["recover"]);
        let found = sandbox.process_dir(&id, name).exists();
        if found {
            let output = sandbox.output(["kill", "--process", name, &id, "KILL"]);
            let ended = sandbox.ended(&id, name);
            // One that has not been killed now was with its shim: a terminal it had not.
            assert_eq!(ended, Ended::Signal(9), "{}", show(&output));
        }
        let pids = sandbox.run_ok(["ps", "-f", "json", &id]);
        let pids: Vec<i32> = serde_json::from_str(&pids).expect("ps -f json prints a list");
        assert_eq!(pids.len(), 1, "only init, of {pids:?}, {found}");
        if found { "an exec" } else { "nothing" }.to_owned()
    };
    let shim = sandbox.traced_shim(None);
    sandbox.output_of(exec(&shim, "whole"));
    let moments = sandbox.launch_moments();
    check("whole");
    let mut n = 0;
    SHIM_EXEC.run(&sandbox, &moments, |moment| {
        n += 1;
        let name = format!("job{n}");
        let shim = sandbox.traced_shim(Some(moment));
        sandbox.output_of(exec(&shim, &name));
        check(&name)
    });
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_nothing(&id);
}

/// Kills the runtime in the middle of `create`, and then does `after`, in a shell that the shim has started.
fn mid_create(family: &Family, after: &str, launch: impl Fn(&Sandbox, Command)) {
    let sandbox = Sandbox::new("cm-create");
    let bundle = says_and_ends(&sandbox);
    let moments = runtime_moments(&sandbox, "create", &bundle);
    family.run(&sandbox, &moments, |moment| {
        let id = sandbox.id("cut");
        let runtime = sandbox.traced_runtime("create", Some(moment), after);
        launch(
            &sandbox,
            create(&sandbox, &["--runtime", arg(&runtime)], &bundle, &id),
        );
        nothing_or_all(&sandbox, &id)
    });
}

#[test]
fn the_runtime_is_killed_while_it_creates() {
    mid_create(&RUNTIME_CREATE, "", |sandbox, create| {
        let output = sandbox.output_of(create);
        // A moment that does not come this time is a launch like any other.
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(125), "{}", show(&output));
            assert!(!output.stderr.is_empty());
        }
    });
}

#[test]
fn the_runtime_and_the_shim_are_killed_while_they_create() {
    mid_create(
        &SHIM_RUNTIME_CREATE,
        "kill -KILL $PPID",
        |sandbox, create| {
            let output = sandbox.output_of(create);
            assert_eq!(output.status.code(), Some(125), "{}", show(&output));
        },
    );
}

#[test]
fn the_runtime_and_the_launcher_are_killed_while_they_create() {
    mid_create(
        &LAUNCHER_RUNTIME_CREATE,
        AND_THE_LAUNCHER,
        |sandbox, create| {
            let file = sandbox.path().join("launcher");
            let mut sh = Command::new("sh");
            sh.args(["-c", r#"echo $$ >"$LAUNCHER"; exec "$@""#, "sh"]);
            let mut launch = holdfast_tests::command::behind(sh, &create);
            launch.env("LAUNCHER", file);
            let output = sandbox.output_of(launch);
            assert_eq!(output.status.code(), None, "{}", show(&output));
        },
    );
}

#[test]
fn the_runtime_is_killed_while_it_starts() {
    let sandbox = Sandbox::new("cm-start");
    let bundle = says_and_ends(&sandbox);
    let moments = runtime_moments(&sandbox, "start", &bundle);
    RUNTIME_START.run(&sandbox, &moments, |moment| {
        let id = sandbox.id("cut");
        let runtime = sandbox.traced_runtime("start", Some(moment), "");
        sandbox.run_ok([
            "--runtime",
            arg(&runtime),
            "create",
            "-b",
            bundle.arg(),
            &id,
        ]);
        sandbox.output(["start", &id]);
        let _ = sandbox.traced_runtime("never", None, "");
        nothing_or_all(&sandbox, &id)
    });
}
