//! A root on a disk outlives the host's boot: then its pids name nobody, whoever has them now, and how its processes ended
//! is unknown because the host was rebooted. What a reboot does is done here to the files of a container whose processes are
//! gone: another boot's id in shim.json.

use std::fs;
use std::process::{Child, Command};

use holdfast::{ContainerId, Error, ExitStatus, Finding, ProcessId, Recovery};
use holdfast_tests::{Proc, Sandbox};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

/// A container with an exec, and the boot that it was started in long over.
struct Rebooted<'a> {
    sandbox: &'a Sandbox,
    id: String,
}

impl<'a> Rebooted<'a> {
    fn new(sandbox: &'a Sandbox) -> Self {
        let id = sandbox.id("web");
        let bundle = sandbox.bundle(["sleep", "1000"]);
        sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
        sandbox.run_ok(["exec", "-d", "--exec-id", "job", &id, "sleep", "1000"]);
        let dirs = ["init", "job"].map(|name| sandbox.process_dir(&id, name));
        for dir in &dirs {
            sandbox.kill_shim(dir);
        }
        // What the runtime keeps is on a tmpfs.
        let mut delete = sandbox.runtime(["delete", "-f", &id]);
        assert!(delete.status().unwrap().success());
        for dir in &dirs {
            change(dir, |shim| {
                shim["bootId"] = "11111111-2222-3333-4444-555555555555".into();
            });
        }
        Self { sandbox, id }
    }

    /// A process of somebody else's, which by chance has the pid and even the start time that are recorded for `process`,
    /// and for its shim.
    fn stranger(&self, process: &str) -> Stranger {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let proc = Proc::new(Pid::from_raw(pid));
        let start_time = proc.stat(22).unwrap();
        let dir = self.sandbox.process_dir(&self.id, process);
        fs::write(dir.join("pid"), pid.to_string()).unwrap();
        fs::write(dir.join("starttime"), &start_time).unwrap();
        change(&dir, |shim| {
            shim["pid"] = pid.into();
            shim["startTime"] = start_time.parse::<u64>().unwrap().into();
        });
        Stranger { child, proc }
    }

    fn exit_record(&self, process: &str) -> Value {
        let file = self
            .sandbox
            .process_dir(&self.id, process)
            .join("exit.json");
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    }
}

fn change(dir: &std::path::Path, change: impl FnOnce(&mut Value)) {
    let file = dir.join("shim.json");
    let mut shim: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(&mut shim);
    fs::write(file, shim.to_string()).unwrap();
}

struct Stranger {
    child: Child,
    proc: Proc,
}

impl Stranger {
    #[track_caller]
    fn assert_unharmed(&mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "it was killed");
        assert_ne!(self.proc.stat(3).as_deref(), Some("T"));
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.proc.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

#[test]
fn what_outlived_the_boot_is_stopped_and_its_status_is_unknown_with_that_reason() {
    let sandbox = Sandbox::new("reboot");
    let web = Rebooted::new(&sandbox);
    let listed: Value = serde_json::from_str(&sandbox.run_ok(["list", "-f", "json"])).unwrap();
    assert_eq!(listed[0]["status"], "stopped");
    assert_eq!(listed[0]["holdfast"]["finding"], "lost");
    let shown = sandbox.run_ok(["inspect", &web.id]);
    assert!(shown.contains("gone with an earlier boot"), "{shown}");
    assert!(shown.contains("the host was rebooted"), "{shown}");

    let said = sandbox.run_ok(["recover", &web.id]);
    let lines: Vec<String> = ["init", "job"]
        .map(|process| format!("{}/{process}: finished, exit status 255", web.id))
        .into();
    assert_eq!(said.lines().collect::<Vec<_>>(), lines);
    for process in ["init", "job"] {
        assert_eq!(web.exit_record(process)["reason"], "host rebooted");
        assert_eq!(sandbox.run_ok(["wait", &web.id, process]), "255\n");
    }
    let listed: Value = serde_json::from_str(&sandbox.run_ok(["list", "-f", "json"])).unwrap();
    assert_eq!(listed[0]["holdfast"]["finding"], "unknown");
    sandbox.run_ok(["delete", &web.id]);
    sandbox.assert_clean();
}

#[test]
fn whoever_has_the_pids_of_then_is_a_stranger_to_every_verb() {
    let sandbox = Sandbox::new("stranger");
    let web = Rebooted::new(&sandbox);
    let mut strangers = ["init", "job"].map(|process| web.stranger(process));
    let driver = sandbox.driver();
    let id = ContainerId::new(web.id.clone()).unwrap();
    let container = driver.load(&id).unwrap();

    let state: Value = serde_json::from_str(&sandbox.run_ok(["state", &web.id])).unwrap();
    assert_eq!(
        (&state["status"], &state["pid"]),
        (&"stopped".into(), &0.into())
    );
    for verdict in driver.survey().unwrap() {
        assert!(
            matches!(verdict.finding, Finding::Lost { .. }),
            "{verdict:?}"
        );
    }
    let error = container.kill(9).unwrap_err();
    assert!(matches!(error, Error::ContainerExited { .. }), "{error}");
    let job = ProcessId::new("job").unwrap();
    let error = container.process(&job).unwrap().signal(9).unwrap_err();
    assert!(matches!(error, Error::ProcessExited { .. }), "{error}");
    let error = container.init().unwrap().wait(None).unwrap_err();
    assert!(
        matches!(error, Error::ShimGone { alive: false, .. }),
        "{error}"
    );

    assert_eq!(container.recover(&job).unwrap(), Recovery::Finished);
    let record = container.process(&job).unwrap().exit_record().unwrap();
    let reason = "host rebooted".to_owned();
    assert_eq!(record.unwrap().status, ExitStatus::Unknown { reason });
    // By force, and without having been recovered.
    sandbox.run_ok(["delete", "-f", &web.id]);
    for stranger in &mut strangers {
        stranger.assert_unharmed();
    }
    sandbox.assert_clean();
}
