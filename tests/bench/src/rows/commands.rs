//! What somebody who types waits for, by hyperfine.

use std::path::Path;
use std::process::{Command, Stdio};

use holdfast_tests::{Bundle, binaries};
use serde_json::Value;

use super::Bench;
use crate::figures::{Row, Unit};
use crate::peers::{BARE, HOLDFAST, Io, address, must, runtime};
use crate::turns;
use crate::world::World;

pub const ABOUT: &str = "\
The commands themselves, as they are typed, from their start to their end, by hyperfine: a container in the background, without output; `true` in it. One run of \
each is a round. `ctr` is the command of a containerd of the bench's own, which launches through containerd-shim-runc-v2.";

/// containerd's own command.
const CTR: &str = "containerd (ctr)";

pub fn measure(bench: &Bench, row: &mut Row) {
    let Some(hyperfine) = binaries::installed("hyperfine") else {
        println!("bench: hyperfine is not installed: skipped");
        return;
    };
    let rounds = bench.size(2, 30);
    row.parameter("rounds", rounds);
    let all = commanders(&bench.world);
    for round in 0..=rounds {
        let turn: Vec<&Commander> = turns::in_round(round, &all).collect();
        let ids: Vec<String> = turn
            .iter()
            .map(|_| bench.world.sandbox.id("bench"))
            .collect();
        let bundles: Vec<Bundle> = ids
            .iter()
            .map(|id| bench.bundle(id, Io::Null, &["idle"]))
            .collect();
        let runs = ids.iter().zip(&bundles).zip(&turn);
        let runs: Vec<Command> = runs
            .map(|((id, bundle), it)| (it.run)(&bench.world, id, bundle))
            .collect();
        let execs = ids.iter().zip(&turn);
        let execs: Vec<Command> = execs.map(|(id, it)| (it.exec)(&bench.world, id)).collect();
        for (what, commands) in [("run", runs), ("exec", execs)] {
            let times = time(&bench.world, &hyperfine, &commands);
            for (it, time) in turn.iter().zip(times) {
                // The first round warms up, and counts for nothing.
                if round > 0 {
                    row.add(it.who, what, Unit::Seconds, time);
                }
            }
        }
        for (it, id) in turn.iter().zip(&ids) {
            (it.remove)(&bench.world, id);
        }
    }
}

/// Somebody's commands.
struct Commander {
    who: &'static str,
    run: fn(&World, &str, &Bundle) -> Command,
    exec: fn(&World, &str) -> Command,
    remove: fn(&World, &str),
}

fn commanders(world: &World) -> Vec<Commander> {
    let bare = Commander {
        who: BARE,
        run: |world, id, bundle| with(runtime(world), &["run", "-d", "-b", bundle.arg(), id]),
        exec: |world, id| with(runtime(world), &["exec", id, "true"]),
        remove: |world, id| must(&mut with(runtime(world), &["delete", "-f", id])),
    };
    let ours = Commander {
        who: HOLDFAST,
        run: |world, id, bundle| {
            let words = ["run", "-d", "--stdio", "null", "-b", bundle.arg(), id];
            holdfast(world, &words)
        },
        exec: |world, id| holdfast(world, &["exec", id, "true"]),
        remove: |world, id| must(&mut holdfast(world, &["delete", "-f", id])),
    };
    let mut all = vec![bare, ours];
    if binaries::installed("ctr").is_some() && address(world).exists() {
        all.push(Commander {
            who: CTR,
            run: |world, id, bundle| {
                let config = bundle.dir().join("config.json").display().to_string();
                let root = world.sandbox.runtime_root().display().to_string();
                let words = ["run", "-d", "--null-io", "--runc-root", &root];
                with(with(ctr(world), &words), &["--config", &config, id])
            },
            exec: |world, id| {
                with(
                    ctr(world),
                    &["task", "exec", "--exec-id", "true", id, "true"],
                )
            },
            remove: |world, id| {
                must(&mut with(ctr(world), &["task", "rm", "-f", id]));
                must(&mut with(ctr(world), &["container", "rm", id]));
            },
        });
    }
    all
}

fn with(mut command: Command, words: &[&str]) -> Command {
    command.args(words);
    command
}

fn holdfast(world: &World, words: &[&str]) -> Command {
    let mut command = world.sandbox.holdfast(words);
    command.env("HOLDFAST_RUNTIME", &world.runtime);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn ctr(world: &World) -> Command {
    let mut command = Command::new("ctr");
    command.arg("-a").arg(address(world)).args(["-n", "typed"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Runs each of them once; how long each took, in seconds.
fn time(world: &World, hyperfine: &Path, commands: &[Command]) -> Vec<f64> {
    let result = world.sandbox.path().join("hyperfine.json");
    let mut timed = Command::new(hyperfine);
    timed.args(["-N", "--runs", "1", "--style", "none", "--export-json"]);
    timed.arg(&result);
    for command in commands {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        timed.arg(words.join(" "));
        // What one of them is told in its environment, the others do not look at.
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                timed.env(name, value);
            }
        }
    }
    let output = timed.output().expect("run hyperfine");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "hyperfine: {said}");
    let text = std::fs::read_to_string(result).expect("what hyperfine found");
    let found: Value = serde_json::from_str(&text).expect("hyperfine writes JSON");
    let results = found["results"].as_array().expect("results");
    let mean = |result: &Value| result["mean"].as_f64().expect("a time");
    results.iter().map(mean).collect()
}
