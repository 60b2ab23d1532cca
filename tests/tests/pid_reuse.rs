//! Pids are given to others, of our choosing (`/proc/sys/kernel/ns_last_pid`, pid_namespaces(7)): a stranger that has the pid of
//! a dead container, exec or shim is never signalled, whatever is asked for.

use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use holdfast_tests::command::{show, text};
use holdfast_tests::process::under;
use holdfast_tests::{FakeRuntime, Proc, Sandbox};
use nix::unistd::Pid;

/// One at a time: the pids that one test means to have, another's strangers would take.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process that has nothing to do with containers, and a pid that somebody else had. Its end is an end of the test.
struct Stranger(Child);

impl Stranger {
    /// Others are given pids at the same time, so that more than one try may be needed.
    #[track_caller]
    fn with_pid_of(sandbox: &Sandbox, dead: Proc) -> Self {
        let pid = dead.pid().as_raw();
        sandbox.wait_until("the pid to be free", || dead.stat(3).is_none());
        let mut stranger = None;
        sandbox.wait_until("a stranger with that pid", || {
            let last = (pid - 1).to_string();
            std::fs::write("/proc/sys/kernel/ns_last_pid", last).expect("choose a pid");
            let mut sleep = Command::new("sleep");
            sleep.arg("1000").stdin(Stdio::null()).current_dir("/");
            let mut child = sleep.spawn().expect("start a stranger");
            if child.id() == pid.unsigned_abs() {
                stranger = Some(Self(child));
                return true;
            }
            child.kill().expect("kill a child");
            child.wait().expect("wait for a child");
            false
        });
        stranger.expect("the wait ended because there was one")
    }

    #[track_caller]
    fn assert_untouched(&mut self, after: &str) {
        let ended = self.0.try_wait().expect("look at a child");
        assert_eq!(ended, None, "a stranger was signalled by {after}");
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command, whatever comes of it.
#[track_caller]
fn harmless(sandbox: &Sandbox, stranger: &mut Stranger, args: &[&str]) -> String {
    let output = sandbox.output(args);
    stranger.assert_untouched(&format!("{args:?}: {}", show(&output)));
    text(&output.stdout)
}

/// A container whose shim and whose process are dead, and the pid that it had.
fn dead(sandbox: &Sandbox, id: &str, host_pid: bool) -> Proc {
    let mut bundle = sandbox.bundle(["sleep", "1000"]);
    if host_pid {
        bundle = bundle.host_pid();
    }
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), id]);
    let dir = sandbox.process_dir(id, "init");
    let process = Proc::from_file(&dir.join("pid")).unwrap();
    sandbox.kill_shim(&dir);
    sandbox.run_ok(["kill", id, "KILL"]);
    process
}

#[test]
fn a_stranger_with_the_pid_of_a_dead_container_is_never_signalled() {
    let _alone = alone();
    let sandbox = Sandbox::new("reuse");
    for host_pid in [false, true] {
        let id = sandbox.id("reuse");
        let process = dead(&sandbox, &id, host_pid);
        let mut stranger = Stranger::with_pid_of(&sandbox, process);
        for args in [
            &["kill", &id, "KILL"][..],
            &["kill", &id, "TERM"],
            &["kill", "--all", &id, "KILL"],
            &["pause", &id],
            &["exec", &id, "true"],
            &["start", &id],
            &["wait", &id],
            &["list"],
        ] {
            harmless(&sandbox, &mut stranger, args);
        }
        let state = harmless(&sandbox, &mut stranger, &["state", &id]);
        assert!(
            state.contains(r#""status": "stopped""#) && state.contains(r#""pid": 0"#),
            "{state}"
        );
        let said = harmless(&sandbox, &mut stranger, &["recover", &id]);
        assert_eq!(said, format!("{id}/init: finished, exit status 255\n"));
        assert_eq!(harmless(&sandbox, &mut stranger, &["wait", &id]), "255\n");
        harmless(&sandbox, &mut stranger, &["kill", &id, "KILL"]);
        harmless(&sandbox, &mut stranger, &["delete", &id]);
        assert!(!sandbox.container_dir(&id).exists());
    }
    sandbox.assert_clean();
}

#[test]
fn a_stranger_with_the_pid_of_a_dead_container_survives_its_forced_removal() {
    let _alone = alone();
    let sandbox = Sandbox::new("reuse-delete");
    let id = sandbox.id("delete");
    let process = dead(&sandbox, &id, false);
    let mut stranger = Stranger::with_pid_of(&sandbox, process);
    harmless(&sandbox, &mut stranger, &["delete", "-f", &id]);
    assert!(!sandbox.container_dir(&id).exists());
    sandbox.assert_clean();
}

#[test]
fn a_stranger_with_the_pid_of_a_dead_exec_is_never_signalled() {
    let _alone = alone();
    let sandbox = Sandbox::new("reuse-exec");
    let id = sandbox.id("host");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    sandbox.run_ok(["exec", "-d", "--exec-id", "job", &id, "sleep", "1000"]);
    let dir = sandbox.process_dir(&id, "job");
    let process = Proc::from_file(&dir.join("pid")).unwrap();
    sandbox.kill_shim(&dir);
    sandbox.run_ok(["kill", "--process", "job", &id, "KILL"]);
    let mut stranger = Stranger::with_pid_of(&sandbox, process);
    for signal in ["KILL", "TERM"] {
        harmless(
            &sandbox,
            &mut stranger,
            &["kill", "--process", "job", &id, signal],
        );
    }
    let said = harmless(&sandbox, &mut stranger, &["recover", &id]);
    assert_eq!(said, format!("{id}/job: finished, exit status 255\n"));
    harmless(&sandbox, &mut stranger, &["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_stranger_with_the_pid_of_a_dead_shim_is_never_signalled() {
    let _alone = alone();
    let sandbox = Sandbox::new("reuse-shim");
    // A launch that hangs: only there does anybody mean to kill a shim.
    let body =
        r#"if [ $VERB = create ]; then : >"$FAKE/here"; wait_for "$FAKE/go"; fi; delegate "$@""#;
    let fake = FakeRuntime::script(&sandbox, body);
    let id = sandbox.id("shim");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let create = sandbox.holdfast(["--runtime", &fake.arg(), "create", "-b", bundle.arg(), &id]);
    let launcher = sandbox.spawn(create);
    sandbox.wait_until("the launch", || fake.dir().join("here").exists());
    launcher.kill();
    let dir = sandbox.process_dir(&id, "init");
    let shim = sandbox.shim_of(&dir);
    sandbox.kill_shim(&dir);
    let mut stranger = Stranger::with_pid_of(&sandbox, shim);
    for args in [
        &["upgrade", &id][..],
        &["kill", &id, "KILL"],
        &["delete", "-f", &id],
    ] {
        harmless(&sandbox, &mut stranger, args);
    }
    assert!(!sandbox.container_dir(&id).exists());
    // The runtime died with its shim.
    sandbox.wait_until("the runtime's end", || under(sandbox.path()).is_empty());
    assert!(Proc::new(Pid::from_raw(shim.pid().as_raw())).is_alive());
    sandbox.assert_clean();
}
