//! After a restart a daemon asks what is there: every process has a verdict, whoever started it, however its shim ended, and
//! asking changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use holdfast::{
    Container, ContainerId, Driver, EventKind, ExecOptions, Finding, Monitor, Policy, ProcessId,
    Status, Stdio,
};
use holdfast_tests::daemon::quiet;
use holdfast_tests::daemon02::{Daemon02, Stdio02};
use holdfast_tests::{DEADLINE, FakeRuntime, Gate, Proc, Sandbox, Snapshot};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::json;

/// The verdicts in short, by container and process.
fn verdicts(driver: &Driver) -> BTreeMap<(String, String), String> {
    let found = driver.survey().unwrap().into_iter().map(|verdict| {
        let finding = match verdict.finding {
            Finding::Exited(record) => format!("exited {}", record.status.number()),
            Finding::Lost { .. } => "lost".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        ((verdict.id, verdict.process), finding)
    });
    found.collect()
}

fn key(container: &Container, process: &str) -> (String, String) {
    (container.id().to_string(), process.to_owned())
}

fn kill_shim(container: &Container) {
    let shim = container.init().unwrap().shim().unwrap().unwrap();
    Proc::new(Pid::from_raw(shim.pid)).signal(Signal::SIGKILL);
    let init = container.init().unwrap();
    init.wait_gone(Some(DEADLINE)).unwrap();
}

fn exec(container: &Container, name: &str, script: &str) {
    let spec = container.exec_spec().unwrap().args(["sh", "-c", script]);
    let options = ExecOptions {
        stdio: Stdio::all(Policy::Null),
        ..ExecOptions::default()
    };
    let name = ProcessId::new(name).unwrap();
    container.exec(&name, &spec, &options).unwrap();
}

#[test]
fn every_process_has_a_verdict() {
    let sandbox = Sandbox::new("restore");
    let driver = sandbox.driver();
    let sleep = sandbox.bundle(["sleep", "1000"]);
    let gate = sandbox.gate();
    let gated = sandbox.sh(Gate::WAIT).bind(gate.dir());
    let created = sandbox.created(&driver, &sleep, "created");
    let running = sandbox.started(&driver, &sleep, "running");
    exec(&running, "job", "exec sleep 1000");
    exec(&running, "done", "exit 3");
    running
        .process(&ProcessId::new("done").unwrap())
        .unwrap()
        .wait(Some(DEADLINE))
        .unwrap();
    let exited = sandbox.started(&driver, &sandbox.sh("exit 7"), "exited");
    exited.init().unwrap().wait(Some(DEADLINE)).unwrap();
    let killed = sandbox.started(&driver, &sleep, "killed");
    killed.kill(9).unwrap();
    killed.init().unwrap().wait(Some(DEADLINE)).unwrap();
    let orphaned = sandbox.started(&driver, &sleep, "orphaned");
    kill_shim(&orphaned);
    let lost = sandbox.started(&driver, &gated, "lost");
    kill_shim(&lost);
    let identity = lost.init().unwrap().identity().unwrap().unwrap();
    gate.open();
    sandbox.wait_until("the end of one without a shim", || !identity.is_alive());

    let expected = BTreeMap::from(
        [
            (key(&created, "init"), "created"),
            (key(&running, "init"), "running"),
            (key(&running, "job"), "running"),
            (key(&running, "done"), "exited 3"),
            (key(&exited, "init"), "exited 7"),
            (key(&killed, "init"), "exited 137"),
            (key(&orphaned, "init"), "orphaned"),
            (key(&lost, "init"), "lost"),
        ]
        .map(|(key, finding)| (key, finding.to_owned())),
    );
    for dead in [&exited, &killed] {
        dead.init().unwrap().wait_gone(Some(DEADLINE)).unwrap();
    }
    let done = running.process(&ProcessId::new("done").unwrap()).unwrap();
    done.wait_gone(Some(DEADLINE)).unwrap();
    let before = Snapshot::of(&sandbox.root());
    // As often as one likes, and by whomever.
    for driver in [&driver, &sandbox.driver(), &driver] {
        assert_eq!(verdicts(driver), expected);
    }
    before.assert_unchanged("survey");

    for entry in driver.list().unwrap() {
        entry.container.unwrap().delete(true).unwrap();
    }
    assert_eq!(verdicts(&driver), BTreeMap::new());
    sandbox.assert_clean();
}

#[test]
fn what_can_be_adopted_is_whatever_stands_beside_it() {
    let sandbox = Sandbox::new("adopt-all");
    let driver = sandbox.driver();
    let sleep = sandbox.bundle(["sleep", "1000"]);
    let orphan = sandbox.started(&driver, &sleep, "orphan");
    let terminal = sandbox.started(&driver, &sleep.terminal(), "terminal");
    let running = sandbox.started(&driver, &sandbox.bundle(["sleep", "1000"]), "running");
    for container in [&orphan, &terminal] {
        kill_shim(container);
    }
    fs::create_dir(sandbox.root().join("alien")).unwrap();

    // With a shim that is not there, nothing can be adopted, and everything is told.
    let broken = sandbox.driver_builder().shim("/no/such/shim");
    let said = |driver: &Driver| -> Vec<String> {
        let verdicts = driver.restore().unwrap().into_iter();
        verdicts.map(|verdict| verdict.to_string()).collect()
    };
    let at = |container: &Container| format!("{}/init: ", container.id());
    let told = said(&broken.build().unwrap());
    let find = |told: &[String], start: &str| {
        let found = told.iter().find(|line| line.starts_with(start));
        found
            .unwrap_or_else(|| panic!("{start} in {told:#?}"))
            .clone()
    };
    assert_eq!(told.len(), 4, "{told:#?}");
    assert!(find(&told, "alien: unreadable: ").contains("state.json"));
    assert_eq!(find(&told, &at(&running)), at(&running) + "running");
    for container in [&orphan, &terminal] {
        let line = find(&told, &at(container));
        assert!(
            line.contains("running without a shim, not adopted: "),
            "{line}"
        );
        assert!(line.contains("/no/such/shim"), "{line}");
    }

    let told = said(&driver);
    assert_eq!(find(&told, &at(&orphan)), at(&orphan) + "running, adopted");
    let lost = "running, adopted; its terminal was lost with its shim";
    let _ = find(&told, &(at(&terminal) + "running"));
    let line = find(&told, &at(&terminal));
    // The kernel hangs a terminal up: who does not mind runs on.
    assert!(
        line.contains("its terminal was lost"),
        "{line} is not {lost}"
    );
    fs::remove_dir(sandbox.root().join("alien")).unwrap();
    for entry in driver.list().unwrap() {
        entry.container.unwrap().delete(true).unwrap();
    }
    sandbox.assert_clean();
}

#[test]
fn whoever_reattaches_hears_of_every_end_that_is_still_to_come() {
    let sandbox = Sandbox::new("reattach");
    let driver = sandbox.driver();
    let sleep = sandbox.bundle(["sleep", "1000"]);
    let created = sandbox.created(&driver, &sleep, "created");
    let running = sandbox.started(&driver, &sleep, "running");
    exec(&running, "e1", "sleep 1000");
    exec(&running, "e2", "exit 3");
    let e2 = running.process(&ProcessId::new("e2").unwrap()).unwrap();
    e2.wait(Some(DEADLINE)).unwrap();
    let orphan = sandbox.started(&driver, &sleep, "orphan");
    kill_shim(&orphan);
    let stopped = sandbox.started(&driver, &sandbox.sh("true"), "stopped");
    stopped.init().unwrap().wait(Some(DEADLINE)).unwrap();
    let held = [
        key(&created, "init"),
        key(&orphan, "init"),
        key(&running, "e1"),
        key(&running, "init"),
    ];

    // Without a shim, the orphan is told of and not watched.
    let mut monitor = Monitor::new().unwrap();
    let broken = sandbox.driver_builder().shim("/no/such/shim");
    let verdicts = broken.build().unwrap().reattach(&mut monitor).unwrap();
    assert_eq!((verdicts.len(), monitor.len()), (6, 3));

    // As it is in a daemon that reattaches twice: each is watched once.
    let verdicts = driver.reattach(&mut monitor).unwrap();
    let restored = driver.restore().unwrap();
    let short = |verdicts: Vec<holdfast::Verdict>| -> Vec<String> {
        let verdicts = verdicts.iter().map(ToString::to_string);
        verdicts.map(|line| line.replace(", adopted", "")).collect()
    };
    assert_eq!(short(verdicts), short(restored));
    assert_eq!(monitor.len(), held.len());
    for container in [&created, &running, &orphan] {
        let init = container.init().unwrap();
        init.signal(Signal::SIGKILL as i32).unwrap();
    }
    let mut told: Vec<_> = std::iter::from_fn(|| {
        let event = monitor.next(Some(DEADLINE)).unwrap()?;
        assert!(matches!(event.kind, EventKind::Exited(_)), "{event:?}");
        Some((event.container.to_string(), event.process.to_string()))
    })
    .take(held.len())
    .collect();
    told.sort_unstable();
    let mut held = held.to_vec();
    held.sort_unstable();
    assert_eq!(told, held);
    assert!(monitor.is_empty());
    for container in [created, running, orphan, stopped] {
        container.delete(true).unwrap();
    }
    sandbox.assert_clean();
}

#[test]
fn one_that_is_still_being_made_is_launching() {
    let sandbox = Sandbox::new("restore-new");
    let fake = FakeRuntime::script(
        &sandbox,
        r#"[ $VERB != create ] || { echo >"$FAKE/begun"; wait_for "$FAKE/go"; }; delegate "$@""#,
    );
    let driver = sandbox
        .driver_builder()
        .runtime(fake.arg())
        .build()
        .unwrap();
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = ContainerId::new(sandbox.id("new")).unwrap();
    let key = (id.to_string(), "init".to_owned());
    std::thread::scope(|scope| {
        let creating = scope.spawn(|| driver.create(&id, bundle.dir(), &quiet()).map(drop));
        sandbox.wait_file(&fake.dir().join("begun"));
        assert_eq!(verdicts(&sandbox.driver())[&key], "launching");
        fake.let_go("go");
        creating.join().unwrap().unwrap();
    });
    assert_eq!(verdicts(&sandbox.driver())[&key], "created");
}

#[test]
fn a_root_that_is_not_there_has_nothing_in_it() {
    let sandbox = Sandbox::new("restore-none");
    let root = sandbox.path().join("absent");
    let driver = sandbox.driver_builder().root(&root).build().unwrap();
    assert!(driver.survey().unwrap().is_empty() && driver.list().unwrap().is_empty());
    assert!(!root.exists());
}

/// What containerd 0.2 writes into a container's directory.
fn write_state_02(sandbox: &Sandbox, dir: &Path, bundle: &Path) {
    let state = json!({
        "bundle": bundle,
        "labels": null,
        "stdin": "", "stdout": "", "stderr": "",
        "runtime": "runc",
        "runtimeArgs": ["--root", sandbox.runtime_root()],
        "shim": "containerd-shim",
        "noPivotRoot": false,
    });
    fs::write(dir.join("state.json"), format!("{state}\n")).unwrap();
}

#[test]
fn what_containerd_0_2_made_is_a_container_like_any_other() {
    let sandbox = Sandbox::new("restore-02");
    let daemon = Daemon02::new(&sandbox);
    let bundle = sandbox.sh("trap 'exit 5' TERM; while :; do sleep 0.05; done");
    let id = sandbox.id("old");
    let mut init = daemon.create(&id, &bundle, &Stdio02::null()).unwrap();
    let dir = daemon.container_dir(&id);
    write_state_02(&sandbox, &dir, bundle.dir());
    let root = dir.parent().unwrap();
    let driver = sandbox.driver_builder().root(root).build().unwrap();
    let container = driver
        .load(&ContainerId::new(id.as_str()).unwrap())
        .unwrap();
    assert_eq!(container.status().unwrap(), Status::Created);
    init.start().unwrap();
    sandbox.wait_until("its start", || {
        container.status().unwrap() == Status::Running
    });

    let state = container.state().unwrap();
    assert_eq!(state.pid, init.process().pid().as_raw());
    assert_eq!(Path::new(&state.bundle), bundle.dir());
    assert_eq!(state.oci_version, "1.0.2");
    assert_eq!(verdicts(&driver)[&key(&container, "init")], "running");
    assert!(container.labels().is_empty());
    assert!(!container.init().unwrap().terminal());
    exec(&container, "job", "exit 3");
    let job = container.process(&ProcessId::new("job").unwrap()).unwrap();
    assert_eq!(job.wait(Some(DEADLINE)).unwrap().status.number(), 3);

    // The shell may not have set its trap yet.
    let ended = container.init().unwrap();
    sandbox.wait_until("the end", || {
        let _ = container.kill(15);
        ended.exit_record().unwrap().is_some()
    });
    let status = ended.wait(Some(DEADLINE)).unwrap().status.number();
    assert!([5, 143].contains(&status), "{status}");
    assert_eq!(init.wait(), u32::from(status));
    assert_eq!(
        verdicts(&driver)[&key(&container, "init")],
        format!("exited {status}")
    );
    container.delete(false).unwrap();
    assert!(!dir.exists());
    sandbox.assert_clean();
}
