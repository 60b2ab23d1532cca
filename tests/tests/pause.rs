//! A container is paused and goes on where it was; what is asked of it meanwhile is what runc would do. And all of a
//! container's processes are signalled at once, also when its own is gone.

use std::process::Command;

use holdfast_tests::{AtEnd, DEADLINE, FakeRuntime, Gate, Proc, Sandbox, Snapshot, fifo, wait};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

/// What `holdfast state` says.
fn status(sandbox: &Sandbox, id: &str) -> String {
    let state: Value = serde_json::from_str(&sandbox.run_ok(["state", id])).unwrap();
    state["status"].as_str().unwrap().to_owned()
}

fn init(sandbox: &Sandbox, id: &str) -> Proc {
    Proc::from_file(&sandbox.process_dir(id, "init").join("pid")).unwrap()
}

#[test]
fn a_paused_container_stands_still_and_goes_on_where_it_was() {
    let sandbox = Sandbox::new("pause");
    let id = sandbox.id("pause");
    let gate = sandbox.gate();
    let script = format!("{}; (while :; do :; done) & echo on; wait", Gate::WAIT);
    let bundle = sandbox.sh(&script).bind(gate.dir());
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let stdout = fifo::reader(&sandbox.process_dir(&id, "init").join("stdout"));
    gate.open();
    sandbox.read_until(&stdout, "on\n");
    let busy = init(&sandbox, &id).children()[0];
    sandbox.wait_until("it to work", || !busy.cpu().is_zero());

    sandbox.run_ok(["pause", &id]);
    assert_eq!(status(&sandbox, &id), "paused");
    let (before, used) = (Snapshot::of(&sandbox.root()), busy.cpu());
    sandbox.refused(["pause", &id], &[&id, "cannot pause", "it is paused"]);
    sandbox.refused(["exec", &id, "true"], &["paused"]);
    sandbox.refused(["delete", &id], &[&id, "is not stopped"]);
    for _ in 0..10 {
        assert_eq!(status(&sandbox, &id), "paused");
    }
    assert_eq!(busy.cpu(), used, "it has worked while it was paused");
    wait::until(DEADLINE, || before.is_unchanged());
    before.assert_unchanged("asking a paused container");

    sandbox.run_ok(["resume", &id]);
    assert_eq!(status(&sandbox, &id), "running");
    sandbox.wait_until("it to work again", || busy.cpu() > used);
    sandbox.refused(["resume", &id], &[&id, "cannot resume", "it is running"]);
    sandbox.run_ok(["pause", &id]);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

const WORDS: &str = r#"
quietly $TOOL run -d -b $BUNDLE $ID
says $TOOL pause $ID;        says is paused
refuses $TOOL pause $ID
refuses $TOOL start $ID
refuses $TOOL exec $ID true
refuses $TOOL delete $ID
$TOOL ps -f json $ID | sed 's/[0-9][0-9]*/N/g'; echo
says $TOOL resume $ID;       says is running
refuses $TOOL resume $ID
says $TOOL pause $ID;        says $TOOL kill $ID KILL; soon is stopped
refuses $TOOL pause $ID
refuses $TOOL resume $ID
says $TOOL delete $ID
quietly $TOOL create -b $BUNDLE $ID
says $TOOL pause $ID;        says is paused
refuses $TOOL start $ID
says $TOOL resume $ID;       says is created
says $TOOL start $ID;        soon is running
says $TOOL pause $ID;        says $TOOL kill -a $ID KILL; soon is stopped
says $TOOL delete $ID
quietly $TOOL run -d -b $BUNDLE $ID
says $TOOL pause $ID;        says $TOOL delete -f $ID
refuses $TOOL pause $ID
refuses $TOOL resume $ID
"#;

#[test]
fn a_script_that_pauses_takes_the_same_words_as_runcs() {
    let sandbox = Sandbox::new("rw-pause");
    let said = sandbox.same_as_runc(&sandbox.bundle(["sleep", "1000"]), WORDS);
    assert!(!said.contains("no\n"), "{said}");
    assert!(!said.contains("accepted"), "{said}");
    sandbox.assert_clean();
}

/// A process that waits for a lock of the kernel's cannot be frozen until it has it. Here: that of a directory in which another
/// makes a file, outside of the container, while the directory's file system says nothing.
#[test]
fn a_container_that_cannot_be_frozen_yet_is_pausing() {
    let sandbox = Sandbox::new("pausing");
    let id = sandbox.id("pausing");
    let gate = sandbox.gate();
    let script = format!(
        "{}; mkdir /tmp/second; echo answered; exec sleep 1000",
        Gate::WAIT
    );
    let bundle = sandbox.sh(&script).bind(gate.dir());
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let stdout = fifo::reader(&sandbox.process_dir(&id, "init").join("stdout"));

    // A file system in the container's mount namespace, whose server holds its end and never says a word.
    let pid = init(&sandbox, &id).pid().to_string();
    let mut server = Command::new("sh");
    let serve = "exec 9<>/dev/fuse
        nsenter -t $1 -m /bin/busybox mount -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 none /tmp || exit
        (exec 9<&-; exec nsenter -t $1 -m /bin/busybox mkdir /tmp/first) & echo $!; read end; exec 9<&-; wait";
    server.args(["-c", serve, "sh", &pid]);
    let mut server = sandbox.spawn(server);
    server.wait_stdout("\n");
    let waits = |process: Proc| process.stat(3).as_deref() == Some("D");
    let first = server.stdout().trim().parse().unwrap();
    let first = Proc::new(Pid::from_raw(first));
    sandbox.wait_until("the directory to be locked", || waits(first));
    gate.open();
    let second = || init(&sandbox, &id).children().into_iter().next();
    sandbox.wait_until("it to wait for the lock", || second().is_some_and(waits));

    let (freezer, [frozen, thawed]) = sandbox.freezer(&id);
    let thaw = AtEnd(|| drop(std::fs::write(&freezer, thawed)));
    std::fs::write(&freezer, frozen).unwrap();
    assert_eq!(status(&sandbox, &id), "pausing");
    assert!(sandbox.run_ok(["list"]).contains(" pausing "));
    let before = Snapshot::of(&sandbox.root());
    sandbox.refused(["pause", &id], &[&id, "it is pausing"]);
    sandbox.refused(["start", &id], &[&id, "it is pausing"]);
    sandbox.refused(["delete", &id], &[&id, "is not stopped"]);
    before.assert_unchanged("asking a pausing container");

    // The server goes, its end is closed, and whoever waits has an answer: none.
    server.close_stdin();
    server.wait();
    sandbox.wait_until("the freeze", || status(&sandbox, &id) == "paused");
    sandbox.run_ok(["resume", &id]);
    sandbox.read_until(&stdout, "answered\n");
    assert_eq!(status(&sandbox, &id), "running");
    drop(thaw);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn what_is_left_of_a_container_whose_init_is_gone_is_listed_and_signalled() {
    let sandbox = Sandbox::new("kill-all");
    let id = sandbox.id("kill-all");
    // Among the host's processes, nobody kills the children when their parent ends but the shim, and that is killed first.
    let script = "sleep 1000 & setsid sleep 1001 & echo on; wait";
    let bundle = sandbox.sh(script).host_pid();
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    let stdout = fifo::reader(&dir.join("stdout"));
    sandbox.read_until(&stdout, "on\n");
    let pids = || -> Vec<i32> {
        serde_json::from_str(&sandbox.run_ok(["ps", "-f", "json", &id])).unwrap()
    };
    sandbox.wait_until("three processes", || pids().len() == 3);
    sandbox.kill_shim(&dir);
    let init = init(&sandbox, &id);
    init.signal(Signal::SIGKILL);
    sandbox.wait_until("its end", || status(&sandbox, &id) == "stopped");

    let left: Vec<Proc> = pids()
        .into_iter()
        .map(|pid| Proc::new(Pid::from_raw(pid)))
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().all(|process| process.argv()[0] == "sleep"));
    sandbox.refused(["kill", &id], &[&id, "has exited"]);
    assert!(left.iter().all(|process| process.is_alive()));
    sandbox.run_ok(["kill", "--all", &id, "TERM"]);
    sandbox.wait_until("their end", || {
        left.iter().all(|process| !process.is_alive())
    });
    // Nobody is left, and that is no failure; nor is it when the runtime has forgotten it.
    assert!(pids().is_empty());
    sandbox.run_ok(["kill", "-a", &id]);
    sandbox.output_of(sandbox.runtime(["delete", &id]));
    sandbox.run_ok(["kill", "-a", &id]);
    assert!(pids().is_empty());
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

/// A stranger's container that has the id in the runtime by now is nobody whom we may signal.
#[test]
fn all_of_a_stopped_container_is_not_all_of_another_with_its_name() {
    let sandbox = Sandbox::new("kill-name");
    let id = sandbox.id("kill-name");
    sandbox.run_ok(["run", "-d", "-b", sandbox.bundle(["true"]).arg(), &id]);
    assert_eq!(sandbox.run_ok(["wait", &id]), "0\n");
    sandbox.wait_until("its shim to be done", || {
        Proc::shim_of(&sandbox.process_dir(&id, "init")).is_none_or(|shim| !shim.is_alive())
    });
    let pid_file = sandbox.path().join("pid");
    let stranger = sandbox.bundle(["sleep", "1000"]);
    let mut runc = sandbox.runtime(["run", "-d", "--pid-file"]);
    runc.arg(&pid_file).args(["-b", stranger.arg(), &id]);
    // Its stdio is the container's, which stays.
    runc.stdin(std::process::Stdio::null());
    runc.stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    assert!(runc.status().unwrap().success());
    let stranger = Proc::from_file(&pid_file).unwrap();
    sandbox.run_ok(["kill", "-a", &id, "KILL"]);
    assert_eq!(sandbox.run_ok(["ps", "-f", "json", &id]), "[]\n");
    assert!(stranger.is_alive());
    assert!(
        sandbox
            .output_of(sandbox.runtime(["delete", "-f", &id]))
            .status
            .success()
    );
}

#[test]
fn a_runtime_that_cannot_pause_is_heard_and_nothing_is_changed() {
    let sandbox = Sandbox::new("pause-not");
    let fake = FakeRuntime::script(
        &sandbox,
        r#"case $VERB in pause | resume) log_error "no freezer here"; exit 1 ;; esac; delegate "$@""#,
    );
    let id = sandbox.id("pause-not");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    sandbox.run_ok([
        "--runtime",
        &fake.arg(),
        "run",
        "-d",
        "-b",
        bundle.arg(),
        &id,
    ]);
    sandbox.refused(["pause", &id], &["oci runtime: no freezer here"]);
    assert_eq!(status(&sandbox, &id), "running");
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}
