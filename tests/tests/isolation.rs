//! A shim apart from its launcher: who stops the launcher's cgroup does not take the shim along, nor its container; and the
//! shim's score for the out-of-memory killer is the shim's alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_tests::command::{behind, show};
use holdfast_tests::{AtEnd, Proc, Sandbox, process};
use nix::sys::signal::Signal;

const TOP: &str = "/sys/fs/cgroup";

/// The hierarchies' tops.
fn hierarchies() -> Vec<PathBuf> {
    if Path::new(TOP).join("cgroup.controllers").exists() {
        return vec![TOP.into()];
    }
    let entries = fs::read_dir(TOP).unwrap().map(|entry| entry.unwrap());
    let entries = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    let dirs = entries.map(|entry| entry.path());
    // A service manager makes directories for more than the kernel has.
    let tops: Vec<PathBuf> = dirs
        .filter(|dir| dir.join("cgroup.procs").exists())
        .collect();
    assert!(!tops.is_empty(), "no cgroups in {TOP}");
    tops
}

/// The hierarchy in which a service manager keeps its units.
fn units() -> PathBuf {
    let named = Path::new(TOP).join("systemd");
    if named.is_dir() {
        named
    } else {
        hierarchies().remove(0)
    }
}

fn remove_tree(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(cgroup);
}

/// A cgroup of the test's own, below every top, and what removes it.
fn cgroup(name: &str) -> (String, AtEnd<impl FnMut()>) {
    let name = format!("hf-{name}-{}", std::process::id());
    let own = name.clone();
    let remove = move || {
        for top in hierarchies() {
            remove_tree(&top.join(&own));
        }
    };
    (name, AtEnd(remove))
}

/// What a service manager does to a unit that is stopped: SIGKILL for all that is in its cgroup, or below.
fn stop_unit(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            stop_unit(&entry.path());
        }
    }
    let pids = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
    for pid in pids.lines().map(|pid| pid.parse().unwrap()) {
        Proc::new(nix::unistd::Pid::from_raw(pid)).signal(Signal::SIGKILL);
    }
}

/// A command that is run in a unit's cgroup.
fn in_unit(unit: &Path, command: &Command) -> Command {
    fs::create_dir_all(unit).unwrap();
    let mut wrapper = Command::new("sh");
    let script = r#"echo 0 >"$1/cgroup.procs"; shift; exec "$@""#;
    wrapper.args(["-c", script, "sh"]).arg(unit);
    behind(wrapper, command)
}

fn shim(sandbox: &Sandbox, id: &str) -> Proc {
    Proc::shim_of(&sandbox.process_dir(id, "init")).expect("a shim holds what runs")
}

fn score(process: Proc) -> String {
    let file = format!("/proc/{}/oom_score_adj", process.pid());
    fs::read_to_string(file).unwrap().trim().to_owned()
}

#[test]
fn stopping_the_launchers_unit_leaves_what_is_in_a_cgroup_of_its_own() {
    let (shims, _shims) = cgroup("shims");
    let (unit, _unit) = cgroup("unit");
    let unit = units().join(unit);
    let sandbox = Sandbox::new("cgroup");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let path = format!("/{shims}/of/mine");
    let isolated = sandbox.id("isolated");
    let run = [
        "--shim-cgroup",
        &path,
        "run",
        "-d",
        "-b",
        bundle.arg(),
        &isolated,
    ];
    let run = sandbox.output_of(in_unit(&unit, &sandbox.holdfast(run)));
    assert!(run.status.success(), "{}", show(&run));
    let exposed = sandbox.id("exposed");
    let run = sandbox.holdfast(["run", "-d", "-b", bundle.arg(), &exposed]);
    let run = sandbox.output_of(in_unit(&unit, &run));
    assert!(run.status.success(), "{}", show(&run));

    // In every hierarchy, and not by its name alone.
    for top in hierarchies() {
        let procs = top.join(&path[1..]).join("cgroup.procs");
        let members = fs::read_to_string(&procs).unwrap();
        let pid = shim(&sandbox, &isolated).pid().to_string();
        let is_there = members.lines().any(|member| member == pid);
        assert!(is_there, "{} has {members:?}, not {pid}", procs.display());
    }
    let lost = shim(&sandbox, &exposed);
    stop_unit(&unit);
    sandbox.wait_until("the exposed shim's end", || !lost.is_alive());

    let state = sandbox.run_ok(["state", &isolated]);
    assert!(state.contains("\"running\""), "{state}");
    assert!(shim(&sandbox, &isolated).is_alive());
    sandbox.run_ok(["kill", &isolated, "KILL"]);
    assert_eq!(sandbox.run_ok(["wait", &isolated]), "137\n");
    sandbox.run_ok(["delete", &isolated]);
    sandbox.output(["recover"]);
    sandbox.run_ok(["delete", "-f", &exposed]);
    sandbox.assert_clean();
}

#[test]
fn a_cgroup_that_cannot_be_entered_fails_the_launch_and_leaves_nothing() {
    let sandbox = Sandbox::new("cgroup-bad");
    let bundle = sandbox.bundle(["true"]);
    for path in ["/", "../up", "a/../../b"] {
        let id = sandbox.id("bad");
        let output = sandbox.output([
            &format!("--shim-cgroup={path}"),
            "run",
            "-b",
            bundle.arg(),
            &id,
        ]);
        assert_eq!(output.status.code(), Some(125), "{}", show(&output));
        assert!(show(&output).contains("cgroup"), "{}", show(&output));
    }
    sandbox.assert_clean();
}

#[test]
fn the_shims_score_is_the_shims_alone() {
    let sandbox = Sandbox::new("oom");
    let own = score(Proc::new(nix::unistd::getpid()));
    for (in_bundle, expected) in [(None, own.as_str()), (Some(77), "77")] {
        let id = sandbox.id("oom");
        let bundle = sandbox.bundle(["sleep", "1000"]).edit(|config| {
            if let Some(score) = in_bundle {
                config["process"]["oomScoreAdj"] = score.into();
            }
        });
        let flag = ["--shim-oom-score-adj", "500"];
        let run = ["run", "-d", "-b", bundle.arg(), &id];
        sandbox.run_ok(flag.iter().chain(&run));
        let init = Proc::from_file(&sandbox.process_dir(&id, "init").join("pid")).unwrap();
        assert_eq!(score(init), expected);
        assert_eq!(score(shim(&sandbox, &id)), "500");

        let read = ["exec", &id, "cat", "/proc/self/oom_score_adj"];
        let told = sandbox.run_ok(flag.iter().chain(&read));
        // The bundle's process is what an exec is made from.
        assert_eq!(told.trim(), expected);

        // One that adopts has the score that its own launcher asks for.
        let dead = shim(&sandbox, &id);
        dead.signal(Signal::SIGKILL);
        sandbox.wait_until("the shim's end", || !dead.is_alive());
        sandbox.run_ok(["--shim-oom-score-adj", "600", "recover", &id]);
        assert_eq!(score(shim(&sandbox, &id)), "600");
        assert_eq!(score(init), expected);
        sandbox.run_ok(["delete", "-f", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn a_score_that_is_not_permitted_is_a_warning() {
    let sandbox = Sandbox::new("oom-low");
    let id = sandbox.id("low");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let run = ["run", "-d", "-b", bundle.arg(), &id];
    sandbox.run_ok(["--shim-oom-score-adj", "-900"].iter().chain(&run));
    let log = sandbox.process_dir(&id, "init").join("shim-log.json");
    let log = fs::read_to_string(log).unwrap();
    let warned = log.contains("\"warning\"") && log.contains("-900 is refused");
    // With CAP_SYS_RESOURCE it is permitted.
    let permitted = score(shim(&sandbox, &id)) == "-900";
    assert!(warned != permitted, "{log}");
    let output = sandbox.output(["--shim-oom-score-adj", "1001", "list"]);
    assert_eq!(output.status.code(), Some(125), "{}", show(&output));
    sandbox.run_ok(["delete", "-f", &id]);
    assert_eq!(process::under(&sandbox.root()), []);
    sandbox.assert_clean();
}
