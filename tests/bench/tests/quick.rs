//! scripts/bench does what it says, at its smallest: figures, page and pictures are written, and nothing is left of it, however it ends.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use holdfast_tests::{DEADLINE, Sandbox, process, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A run, and where it takes place.
struct Run {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    place: PathBuf,
}

fn run(into: &Path, rows: &[&str]) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_holdfast-bench"))
        .args(["--quick", "--into"])
        .arg(into)
        .args(rows)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = said.next().unwrap().unwrap();
    let place = first.strip_prefix("bench: in ").unwrap_or_else(|| {
        panic!("it says {first:?} and not where it is");
    });
    Run {
        place: place.into(),
        child,
        said,
    }
}

/// What is left of a run: its directory, its processes, its cgroups.
fn left(place: &Path) -> Vec<String> {
    let mut left = Vec::new();
    if place.exists() {
        left.push(place.display().to_string());
    }
    for process in process::under(place) {
        left.push(format!("process {:?}", process.argv()));
    }
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let cgroup = hierarchy.path().join(place.file_name().unwrap());
        if cgroup.exists() {
            left.push(cgroup.display().to_string());
        }
    }
    left
}

#[test]
fn a_short_run_writes_figures_page_and_pictures_and_leaves_nothing() {
    let sandbox = Sandbox::new("bench");
    let docs = sandbox.path().join("docs");
    let mut run = run(&docs, &["launch", "exit", "reattach"]);
    for _ in run.said.by_ref() {}
    assert!(run.child.wait().unwrap().success());
    assert_eq!(left(&run.place), Vec::<String>::new());

    let read = |name: &str| fs::read_to_string(docs.join(name)).unwrap();
    let figures: Value = serde_json::from_str(&read("benchmarks.json")).unwrap();
    let series = figures["rows"]["exit"]["series"].as_array().unwrap();
    let of = |who: &str| series.iter().find(|series| series["who"] == who);
    for who in ["runc alone", "holdfast"] {
        let values = of(who).unwrap()["values"].as_array().unwrap();
        assert!(values.len() > 1, "{who}: {values:?}");
        assert!(values.iter().all(|value| value.as_f64().unwrap() > 0.0));
    }
    let page = read("benchmarks.md");
    for said in ["| launch beyond the runtime | ≤ 2 ms |", "## Reattach"] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(!page.contains("## Output"), "{page}");
    assert!(read("img/bench-launch.svg").contains("conmon") || of("conmon").is_none());
}

#[test]
fn one_that_is_interrupted_leaves_nothing() {
    let sandbox = Sandbox::new("bench");
    let mut run = run(sandbox.path(), &["memory"]);
    // In the middle of it.
    let last = run
        .said
        .find(|line| line.as_ref().unwrap().contains("round 1, holdfast"));
    assert!(last.is_some(), "it ended before");
    let pid = Pid::from_raw(i32::try_from(run.child.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    assert!(wait::until(DEADLINE, || run
        .child
        .try_wait()
        .unwrap()
        .is_some()));
    assert_eq!(run.child.wait().unwrap().code(), Some(130));
    assert_eq!(left(&run.place), Vec::<String>::new());
}
