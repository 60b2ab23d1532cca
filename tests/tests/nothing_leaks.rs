//! Nothing of the shim's or of the daemon's reaches a container: no signal mask, no ignored signal, no descriptor, no
//! variable, no score for the out-of-memory killer that the bare runtime would not have passed on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_tests::command::{show, text};
use holdfast_tests::daemon02::{Daemon02, Stdio02};
use holdfast_tests::{FakeRuntime, Proc, Sandbox, fifo, spec};
use serde_json::{Value, json};

/// A daemon that takes no care at all of what its children inherit, as a command to start one through. Everything
/// that it leaks has `leak` in its name, or is one of [`LEAKED_FILES`].
const CARELESS: &str = "exec </dev/zero >/dev/full 2>&1 3</etc/passwd 4</dev/zero 5>/dev/full 8<>/dev/zero; \
    exec env --ignore-signal --block-signal NOTIFY_SOCKET=/leak LISTEN_FDS=2 LISTEN_PID=leak \
    LISTEN_FDNAMES=leak:leak HOLDFAST_ROOT=/leak HOLDFAST_RUNTIME=leak HOLDFAST_SHIM=leak LEAK=leak \
    \"$@\"";
const LEAKED_FILES: [&str; 3] = ["/etc/passwd", "/dev/zero", "/dev/full"];

/// What a daemon may well want its children to have, and the bare runtime passes on.
const SCORE: &str = "echo 321 >/proc/self/oom_score_adj; exec \"$@\"";

/// A process that tells what it was given.
const REPORT: &str = "echo fds; ls -1 /proc/self/fd; echo environment; tr '\\0' '\\n' </proc/$$/environ; \
    echo score; cat /proc/self/oom_score_adj; echo signals; exec grep -E '^(Sig(Blk|Ign)|ShdPnd|SigPnd)' /proc/self/status";

/// What it tells when it was given nothing but what its bundle says; ls(1) opens the directory it lists. `HOME` is the
/// runtime's.
fn expected(score: &str) -> String {
    let environment = spec::process(&[])["env"].clone();
    let environment: Vec<String> = serde_json::from_value(environment).unwrap();
    format!(
        "fds\n0\n1\n2\n3\nenvironment\n{}\nHOME=/root\nscore\n{score}\nsignals\n\
         SigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n\
         SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n",
        environment.join("\n"),
    )
}

fn through<'a>(sandbox: &'a Sandbox, scripts: &[&str]) -> Daemon02<'a> {
    scripts
        .iter()
        .fold(Daemon02::new(sandbox), |daemon, script| {
            daemon.through(["sh", "-c", script, "sh"])
        })
}

#[test]
fn a_container_has_what_the_bare_runtime_gives_it_and_no_more() {
    let sandbox = Sandbox::new("leak");
    for (score_in_bundle, score) in [(None, "321"), (Some(77), "77")] {
        let bundle = sandbox.sh(REPORT).edit(|config| {
            if let Some(score) = score_in_bundle {
                config["process"]["oomScoreAdj"] = json!(score);
            }
        });
        let id = sandbox.id("bare");
        let mut bare = Command::new("sh");
        bare.args(["-c", SCORE, "sh", "runc", "--root"])
            .arg(sandbox.runtime_root())
            .args(["run", "--bundle", bundle.arg(), &id])
            .current_dir(sandbox.path());
        let bare = sandbox.output_of(bare);
        assert!(bare.status.success(), "{}", show(&bare));
        // All but the signals: a library of ours ignores one or two in whatever it starts, and runc passes that on.
        let bare = text(&bare.stdout);
        let (bare, _) = bare.split_once("signals").unwrap();
        assert_eq!(expected(score).split_once("signals").unwrap().0, bare);

        let daemon = through(&sandbox, &[CARELESS, SCORE]);
        let mut client = daemon.run("leak", &bundle);
        assert_eq!(text(&sandbox.read_to_end(&client.stdout)), expected(score));
        assert_eq!(client.init.wait(), 0);
    }
    sandbox.assert_clean();
}

#[test]
fn an_exec_has_no_more_than_its_container() {
    let sandbox = Sandbox::new("leak-exec");
    let daemon = through(&sandbox, &[CARELESS]);
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let client = daemon.run("init", &bundle);
    let process = spec::process(&["sh", "-c", REPORT]);
    let stdio = Stdio02::fifos(&sandbox, "exec");
    let stdout = fifo::reader(&stdio.stdout);
    let mut exec = daemon
        .exec(&client.id, "exec", &bundle, &process, &stdio)
        .unwrap();
    let report = text(&sandbox.read_to_end(&stdout));
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(report, expected(own.trim()));
    assert_eq!(exec.wait(), 0);
}

#[test]
fn a_terminal_is_all_that_a_container_on_a_terminal_has() {
    let sandbox = Sandbox::new("leak-tty");
    let daemon = through(&sandbox, &[CARELESS]);
    let script = format!("stty -opost; {REPORT}");
    let mut client = daemon.run("tty", &sandbox.sh(&script).terminal());
    let report = text(&sandbox.read_to_end(&client.stdout));
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(report, expected(own.trim()));
    assert_eq!(client.init.wait(), 0);
    sandbox.assert_clean();
}

/// runc keeps a container clean all by itself, whatever it is given; other runtimes may not.
#[test]
fn the_runtime_itself_is_given_nothing_to_pass_on() {
    let sandbox = Sandbox::new("leak-runtime");
    let fake = FakeRuntime::script(
        &sandbox,
        r#"
        case $VERB in create)
            # Without the descriptor that the script has for its own stdin.
            ls -l /proc/self/fd 9<&- >"$FAKE/fds"
            grep -E '^(SigBlk|SigIgn)' /proc/self/status >"$FAKE/signals"
            spawn cat
        esac
        "#,
    );
    let daemon = through(&sandbox, &[CARELESS]).with_runtime(fake.path());
    let id = sandbox.id("runtime");
    let stdio = Stdio02::fifos(&sandbox, "runtime");
    let mut init = daemon
        .create(&id, &sandbox.bundle(["true"]), &stdio)
        .unwrap();
    init.close_stdin();
    assert_eq!(init.wait(), 0);
    let signals = fs::read_to_string(fake.dir().join("signals")).unwrap();
    assert_eq!(
        signals,
        "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
    );
    let fds = fs::read_to_string(fake.dir().join("fds")).unwrap();
    let mut numbers: Vec<_> = fds
        .lines()
        .filter_map(|line| line.split_once(" -> ")?.0.rsplit_once(' '))
        .map(|(_, number)| number)
        .collect();
    numbers.sort_unstable();
    // The last is the directory that ls(1) has opened.
    assert_eq!(numbers[..3], ["0", "1", "2"], "{fds}");
    assert_eq!(numbers.len(), 4, "{fds}");
    for verb in ["create", "delete"] {
        let environment = fake.env(verb).unwrap();
        for leaked in ["NOTIFY_SOCKET", "LISTEN_"] {
            let leaks = environment.iter().any(|e| e.starts_with(leaked));
            assert!(!leaks, "{verb}: {environment:?}");
        }
    }
}

#[test]
fn a_shim_that_is_started_without_standard_streams_has_some() {
    let sandbox = Sandbox::new("leak-closed");
    let daemon = through(&sandbox, &["exec \"$@\" 0<&- 1>&- 2>&-"]);
    let client = daemon.run("closed", &sandbox.bundle(["cat"]));
    let fds = client.init.settled_shim().fds();
    for number in 0..3 {
        assert_eq!(fds[&number], Path::new("/dev/null"), "{fds:?}");
    }
    client.write("hello\n");
    assert_eq!(client.line(), "hello");
}

#[test]
fn a_shim_keeps_no_descriptor_that_is_not_its_own() {
    let sandbox = Sandbox::new("leak-shim");
    let daemon = through(&sandbox, &[CARELESS]);
    for bundle in [
        sandbox.bundle(["sleep", "1000"]),
        sandbox.bundle(["sleep", "1000"]).terminal(),
    ] {
        let client = daemon.run("shim", &bundle);
        let shim = client.init.settled_shim();
        let fds = shim.fds();
        assert!(
            fds.values()
                .all(|fd| LEAKED_FILES.iter().all(|leaked| fd != Path::new(leaked))),
            "{fds:?}"
        );
        // What it has is in the process directory or the client's, or has no name.
        let own = [
            "/dev/null",
            "/dev/ptmx",
            "/dev/pts/ptmx",
            "/ptmx",
            "anon_inode:[eventpoll]",
            "anon_inode:[signalfd]",
            "anon_inode:[eventfd]",
        ]
        .map(PathBuf::from);
        // What counts the container's kills for want of memory.
        let cgroup = fs::read_to_string(client.init.dir().join("oom.json")).expect("read oom.json");
        let cgroup: Value = serde_json::from_str(&cgroup).expect("oom.json is JSON");
        let cgroup = Path::new(cgroup["cgroup"].as_str().expect("it names a cgroup"));
        let process = Proc::from_file(&client.init.dir().join("pid")).expect("a pid");
        let mounts = fs::read_link(format!("/proc/{}/ns/mnt", process.pid())).expect("a namespace");
        for (number, fd) in &fds {
            let of_container = fd.parent() == Some(cgroup) || *fd == mounts;
            let known = own.contains(fd) || fd.starts_with(sandbox.path()) || of_container;
            assert!(known, "{number} is {fd:?} of {fds:?}");
        }
        for number in 0..3 {
            assert_eq!(fds[&number], Path::new("/dev/null"));
        }
        let cwd = shim.cwd();
        assert_eq!(cwd.as_deref(), Some(client.init.dir()));
    }
}
