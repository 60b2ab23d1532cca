//! A pid is no identity: whoever has the pid that is on record, but not the start time, is a stranger, and no stranger is
//! ever signalled, however hard one asks.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};

use holdfast::{Container, Error, Finding, Status};
use holdfast_tests::{DEADLINE, Proc, Sandbox};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// A process that has nothing to do with any container. Any signal would end it.
struct Stranger(Child);

impl Stranger {
    fn new() -> Self {
        let sleep = Command::new("sleep").arg("1000").current_dir("/").spawn();
        Self(sleep.unwrap())
    }

    /// Whoever reads the record will take it for the container's process, if all that counts is the pid.
    fn takes_the_pid_of(&self, container: &Container) {
        fs::write(container.dir().join("init/pid"), self.0.id().to_string()).unwrap();
    }

    #[track_caller]
    fn assert_unharmed(&mut self) {
        let ended = self.0.try_wait().unwrap();
        assert!(
            ended.is_none(),
            "the stranger was ended by {:?}",
            ended.unwrap().signal()
        );
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn assert_refused(result: Result<(), Error>) {
    assert!(
        matches!(result, Err(Error::ContainerExited { .. })),
        "{result:?}"
    );
}

#[test]
fn a_stranger_with_the_pid_of_a_dead_container_is_left_alone() {
    let sandbox = Sandbox::new("recycled");
    let driver = sandbox.driver();
    let mut stranger = Stranger::new();
    let container = sandbox.started(&driver, &sandbox.bundle(["sleep", "1000"]), "dead");
    container.kill(9).unwrap();
    let init = container.init().unwrap();
    init.wait(Some(DEADLINE)).unwrap();
    init.wait_gone(Some(DEADLINE)).unwrap();
    // As after a crash of everything: nothing says that it has ended but that it is not there.
    for file in ["exit.json", "exitStatus"] {
        fs::remove_file(init.dir().join(file)).unwrap();
    }
    stranger.takes_the_pid_of(&container);

    let container = sandbox.driver().load(container.id()).unwrap();
    let id = container.id().as_str();
    assert_refused(container.kill(15));
    assert_refused(container.init().unwrap().signal(9));
    assert_refused(container.init().unwrap().signal(0));
    for signal in ["TERM", "KILL", "0"] {
        sandbox.refused(["kill", id, signal], &[id, "has exited"]);
    }
    // Whether or not there is anything to signal: not him.
    let _ = container.signal_all(9);
    sandbox.output(["kill", "-a", id, "KILL"]);
    assert_eq!(container.status().unwrap(), Status::Stopped);
    let verdicts = driver.survey().unwrap();
    assert!(
        matches!(verdicts[0].finding, Finding::Lost { .. }),
        "{verdicts:?}"
    );
    stranger.assert_unharmed();
    sandbox.run_ok(["delete", "-f", id]);
    stranger.assert_unharmed();
    sandbox.assert_clean();
}

#[test]
fn a_stranger_with_the_pid_of_a_living_container_is_left_alone() {
    let sandbox = Sandbox::new("forged");
    let driver = sandbox.driver();
    let mut stranger = Stranger::new();
    let container = sandbox.started(&driver, &sandbox.bundle(["sleep", "1000"]), "alive");
    let identity = container.init().unwrap().identity().unwrap().unwrap();
    stranger.takes_the_pid_of(&container);
    let id = container.id().as_str();
    assert_refused(container.kill(9));
    sandbox.refused(["kill", id, "KILL"], &[id, "has exited"]);
    stranger.assert_unharmed();
    // The shim holds on to the right one, whatever stands in a file.
    assert!(identity.is_alive());
    Proc::new(Pid::from_raw(identity.pid)).signal(Signal::SIGKILL);
    assert_eq!(sandbox.run_ok(["wait", id]), "137\n");
    stranger.assert_unharmed();
    sandbox.run_ok(["delete", id]);
    stranger.assert_unharmed();
    sandbox.assert_clean();
}

#[test]
fn a_stranger_with_the_pid_of_a_dead_shim_is_left_alone() {
    let sandbox = Sandbox::new("deadshim");
    let driver = sandbox.driver();
    let mut stranger = Stranger::new();
    let container = sandbox.started(&driver, &sandbox.bundle(["sleep", "1000"]), "orphan");
    let init = container.init().unwrap();
    let shim = init.shim().unwrap().unwrap();
    Proc::new(Pid::from_raw(shim.pid)).signal(Signal::SIGKILL);
    init.wait_gone(Some(DEADLINE)).unwrap();
    let file = init.dir().join("shim.json");
    let record = fs::read_to_string(&file).unwrap();
    let forged = record.replace(
        &format!("\"pid\":{}", shim.pid),
        &format!("\"pid\":{}", stranger.0.id()),
    );
    assert_ne!(forged, record);
    fs::write(&file, forged).unwrap();
    sandbox.run_ok(["delete", "-f", container.id().as_str()]);
    stranger.assert_unharmed();
    sandbox.assert_clean();
}
