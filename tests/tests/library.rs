//! The library as a daemon uses it: launch, watch, collect, one epoll for all; and errors that a program can tell apart.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast::{
    Container, ContainerId, CreateOptions, Error, Event, EventKind, ExecOptions, ExitStatus,
    Monitor, Policy, Process, ProcessId, Status, Stdio,
};
use holdfast_tests::daemon::quiet;
use holdfast_tests::wait::events;
use holdfast_tests::{DEADLINE, FakeRuntime, Gate, Sandbox};
use nix::poll::PollFlags;

/// Runs a command beside a container's own, its streams on /dev/null.
fn exec(container: &Container, name: &str, args: &[&str]) -> Result<Process, Error> {
    let options = ExecOptions {
        stdio: Stdio::all(Policy::Null),
        ..ExecOptions::default()
    };
    let spec = container.exec_spec()?.args(args.iter().copied());
    container.exec(&ProcessId::new(name)?, &spec, &options)
}

fn next(monitor: &mut Monitor) -> Event {
    let event = monitor.next(Some(DEADLINE)).unwrap();
    event.expect("an event before the deadline")
}

fn is_readable(fd: impl std::os::fd::AsFd, patience: Duration) -> bool {
    events(fd, PollFlags::POLLIN, patience).contains(PollFlags::POLLIN)
}

const AT_ONCE: Duration = Duration::ZERO;
const A_MOMENT: Duration = Duration::from_millis(20);

#[test]
fn a_container_lives_from_create_to_delete() {
    let sandbox = Sandbox::new("lib-life");
    let driver = sandbox.driver();
    let gate = sandbox.gate();
    let bundle = sandbox
        .sh(&format!("{}; exit 7", Gate::WAIT))
        .bind(gate.dir());
    let options = CreateOptions {
        labels: vec!["of=mine".to_owned()],
        ..quiet()
    };
    let id = ContainerId::new(sandbox.id("life")).unwrap();
    let container = driver.create(&id, bundle.dir(), &options).unwrap();
    assert_eq!(container.status().unwrap(), Status::Created);
    container.start().unwrap();
    assert_eq!(container.status().unwrap(), Status::Running);
    drop(container);

    // Another who comes later has all of it.
    let container = sandbox.driver().load(&id).unwrap();
    assert_eq!(container.bundle(), bundle.dir());
    assert_eq!(container.labels(), ["of=mine"]);
    let init = container.init().unwrap();
    let identity = init.identity().unwrap().unwrap();
    assert_eq!(container.state().unwrap().pid, identity.pid);
    assert!(container.pids().unwrap().contains(&identity.pid));
    gate.open();
    let record = init.wait(Some(DEADLINE)).unwrap();
    assert_eq!(
        (record.pid, record.status),
        (identity.pid, ExitStatus::Code(7))
    );
    assert_eq!(init.exit_status().unwrap(), 7);
    assert_eq!(container.status().unwrap(), Status::Stopped);
    container.delete(false).unwrap();
    assert!(matches!(driver.load(&id), Err(Error::NotFound { id: named }) if named == id));
    sandbox.assert_clean();
}

#[test]
fn fifty_processes_yield_fifty_events() {
    let sandbox = Sandbox::new("lib-fifty");
    let driver = sandbox.driver();
    let gate = sandbox.gate();
    let bundle = sandbox.bundle(["sleep", "1000"]).bind(gate.dir());
    let container = sandbox.started(&driver, &bundle, "fifty");
    let mut monitor = Monitor::new().unwrap();
    for n in 0..50 {
        // A third end before they are watched, a third while the next are launched, the rest all at once.
        let script = match n % 3 {
            0 => format!("exit {n}"),
            1 => format!("sleep 0.1; exit {n}"),
            _ => format!("until [ -e /host/open ]; do sleep 0.05; done; exit {n}"),
        };
        let process = exec(&container, &format!("job{n}"), &["sh", "-c", &script]).unwrap();
        if n % 3 == 0 {
            process.wait(Some(DEADLINE)).unwrap();
        }
        monitor.add(&process).unwrap();
    }
    assert_eq!(monitor.len(), 50);
    std::fs::write(gate.dir().join("open"), "").unwrap();
    let mut seen = BTreeMap::new();
    while !monitor.is_empty() {
        let event = next(&mut monitor);
        assert_eq!(&event.container, container.id());
        let EventKind::Exited(record) = event.kind else {
            panic!("{event:?}");
        };
        let twice = seen.insert(event.process.to_string(), record.status);
        assert_eq!(twice, None, "{}", event.process);
    }
    let expected = (0..50).map(|n| (format!("job{n}"), ExitStatus::Code(n)));
    assert_eq!(seen, expected.collect());
    assert_eq!(monitor.next(Some(A_MOMENT)).unwrap(), None);
    assert_eq!(container.status().unwrap(), Status::Running);
}

#[test]
fn what_can_be_waited_for_is_a_descriptor() {
    let sandbox = Sandbox::new("lib-fd");
    let driver = sandbox.driver();
    let gates = [sandbox.gate(), sandbox.gate()];
    let started = gates.each_ref().map(|gate| {
        let bundle = sandbox.sh(Gate::WAIT).bind(gate.dir());
        sandbox.started(&driver, &bundle, "fd").init().unwrap()
    });
    let mut monitor = Monitor::new().unwrap();
    for process in &started {
        monitor.add(process).unwrap();
    }
    assert!(!is_readable(&monitor, A_MOMENT) && !is_readable(&started[0], AT_ONCE));

    gates[0].open();
    assert!(is_readable(&started[0], DEADLINE) && is_readable(&monitor, DEADLINE));
    assert!(!is_readable(&started[1], AT_ONCE));
    // What is readable says how it ended: nobody has to ask again.
    assert!(started[0].exit_record().unwrap().is_some());
    // Still there, until it is taken.
    assert!(is_readable(&monitor, AT_ONCE));
    assert_eq!(next(&mut monitor).container, *started[0].container_id());
    assert!(!is_readable(&monitor, A_MOMENT));

    gates[1].open();
    assert_eq!(next(&mut monitor).container, *started[1].container_id());
    assert!(!is_readable(&monitor, A_MOMENT));
    // One that has ended is an event at once.
    monitor.add(&started[0]).unwrap();
    assert!(is_readable(&monitor, AT_ONCE));
    monitor.remove(started[0].container_id(), started[0].id());
    assert!(monitor.is_empty());
    assert_eq!(monitor.next(Some(A_MOMENT)).unwrap(), None);
}

#[test]
fn a_shim_that_is_killed_is_an_event_too() {
    let sandbox = Sandbox::new("lib-gone");
    let driver = sandbox.driver();
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let init = sandbox.started(&driver, &bundle, "gone").init().unwrap();
    let mut monitor = Monitor::new().unwrap();
    monitor.add(&init).unwrap();
    let shim = init.shim().unwrap().unwrap().identity();
    holdfast_tests::Proc::new(nix::unistd::Pid::from_raw(shim.pid))
        .signal(nix::sys::signal::Signal::SIGKILL);
    assert!(matches!(next(&mut monitor).kind, EventKind::ShimGone));
    assert!(matches!(
        init.wait(Some(DEADLINE)),
        Err(Error::ShimGone { alive: true, .. })
    ));
    init.signal(nix::libc::SIGKILL).unwrap();
}

/// Asserts that a result is an error of one kind.
macro_rules! assert_error {
    ($result:expr, $kind:pat $(if $guard:expr)?) => {
        match $result {
            Err($kind) $(if $guard)? => {}
            other => panic!("not {}: {other:?}", stringify!($kind)),
        }
    };
}

#[test]
fn what_cannot_be_done_is_told_apart() {
    let sandbox = Sandbox::new("lib-errors");
    let driver = sandbox.driver();
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let created = sandbox.created(&driver, &bundle, "created");
    let running = sandbox.started(&driver, &bundle, "running");
    let stopped = sandbox.started(&driver, &bundle, "stopped");
    stopped.kill(9).unwrap();
    let ended = stopped.init().unwrap();
    ended.wait(Some(DEADLINE)).unwrap();
    let job = exec(&running, "job", &["sleep", "1000"]).unwrap();
    let done = exec(&running, "done", &["true"]).unwrap();
    done.wait(Some(DEADLINE)).unwrap();
    let nobody = ContainerId::new("nobody").unwrap();
    let nothing = ProcessId::new("nothing").unwrap();

    assert_error!(ContainerId::new("../x").map_err(Error::from), Error::Id(_));
    assert_error!(driver.load(&nobody), Error::NotFound { .. });
    assert_error!(
        driver.create(running.id(), bundle.dir(), &quiet()),
        Error::AlreadyExists { .. }
    );
    assert_error!(running.process(&nothing), Error::ProcessNotFound { .. });
    assert_error!(
        exec(&running, "job", &["true"]),
        Error::ProcessAlreadyExists { .. }
    );
    assert_error!(
        exec(&running, "init", &["true"]),
        Error::ProcessAlreadyExists { .. }
    );
    assert_error!(
        exec(&stopped, "late", &["true"]),
        Error::ContainerExited { .. }
    );
    assert_error!(stopped.kill(15), Error::ContainerExited { .. });
    assert_error!(ended.signal(15), Error::ContainerExited { .. });
    assert_error!(ended.close_stdin(), Error::ContainerExited { .. });
    assert_error!(done.signal(15), Error::ProcessExited { .. });
    assert_error!(done.close_stdin(), Error::ProcessExited { .. });
    assert_error!(job.exit_status(), Error::ProcessNotExited { .. });
    assert_error!(job.delete(), Error::ProcessNotExited { .. });
    assert_error!(
        created.init().unwrap().exit_status(),
        Error::ProcessNotExited { .. }
    );
    assert_error!(job.wait(Some(A_MOMENT)), Error::WaitTimeout { .. });
    assert_error!(job.resize(80, 24), Error::NoTerminal { .. });
    assert_error!(
        running.start(),
        Error::NotCreated {
            status: Status::Running,
            ..
        }
    );
    assert_error!(
        stopped.start(),
        Error::NotCreated {
            status: Status::Stopped,
            ..
        }
    );
    assert_error!(
        running.delete(false),
        Error::NotStopped {
            status: Status::Running,
            ..
        }
    );

    job.signal(15).unwrap();
    let status = job.wait(Some(DEADLINE)).unwrap().status;
    assert_eq!(status.number(), 143);
    assert!(matches!(status, ExitStatus::Signal { signal: 15, .. }));
    job.delete().unwrap();
    assert_error!(running.process(job.id()), Error::ProcessNotFound { .. });
    for container in [created, running, stopped] {
        container.delete(true).unwrap();
    }
    sandbox.assert_clean();
}

#[test]
fn what_was_meant_for_a_container_that_is_gone_does_not_happen_to_the_next_of_its_name() {
    let sandbox = Sandbox::new("lib-next");
    let driver = sandbox.driver();
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let first = sandbox.created(&driver, &bundle, "name");
    let id = first.id().clone();
    driver.load(&id).unwrap().delete(true).unwrap();
    let second = driver.create(&id, bundle.dir(), &quiet()).unwrap();
    let is_gone = |result: Result<(), Error>| {
        assert!(matches!(result, Err(Error::NotFound { .. })), "{result:?}");
    };
    is_gone(first.start());
    is_gone(first.delete(false));
    first.delete(true).unwrap();
    assert_eq!(second.status().unwrap(), Status::Created);
    second.start().unwrap();
    is_gone(exec(&first, "e", &["true"]).map(drop));
    is_gone(first.pause());
    first.delete(true).unwrap();
    assert_eq!(second.status().unwrap(), Status::Running);
    second.delete(true).unwrap();
    sandbox.assert_clean();
}

#[test]
fn what_cannot_be_launched_is_told_apart() {
    let sandbox = Sandbox::new("lib-launch");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let terminal = sandbox.bundle(["sleep", "1000"]).terminal();
    let id = ContainerId::new(sandbox.id("launch")).unwrap();
    let driver = sandbox.driver();
    let create = |options: &CreateOptions| driver.create(&id, bundle.dir(), options);
    let nowhere = "/nowhere".as_ref();
    assert_error!(
        driver.create(&id, nowhere, &quiet()),
        Error::BadBundle { .. }
    );
    let nothing = sandbox
        .bundle(["true"])
        .edit(|c| c["process"] = serde_json::Value::Null);
    assert_error!(
        driver.create(&id, nothing.dir(), &quiet()),
        Error::NoProcess { .. }
    );
    let beyond = CreateOptions {
        preserve_fds: 1000,
        ..quiet()
    };
    assert_error!(create(&beyond), Error::NotOpen { .. });
    let inherit = CreateOptions {
        stdio: Stdio::all(Policy::Inherit),
        ..CreateOptions::default()
    };
    assert_error!(
        driver.create(&id, terminal.dir(), &inherit),
        Error::InheritWithTerminal { .. }
    );
    let from_nowhere = CreateOptions {
        stdio: Stdio {
            stdin: Policy::Path("/nowhere/in".into()),
            ..Stdio::default()
        },
        ..CreateOptions::default()
    };
    assert_error!(create(&from_nowhere), Error::Io { .. });
    let no_runtime = sandbox
        .driver_builder()
        .runtime("/nowhere/runc")
        .build()
        .unwrap();
    assert_error!(
        no_runtime.create(&id, bundle.dir(), &quiet()),
        Error::RuntimeNotFound { .. }
    );
    let no_shim = sandbox
        .driver_builder()
        .shim("/nowhere/shim")
        .build()
        .unwrap();
    assert_error!(
        no_shim.create(&id, bundle.dir(), &quiet()),
        Error::ShimNotFound { .. }
    );
    let wordless = sandbox.driver_builder().shim("/bin/false").build().unwrap();
    assert_error!(
        wordless.create(&id, bundle.dir(), &quiet()),
        Error::Shim { .. }
    );
    sandbox.assert_clean();
}

#[test]
fn a_stream_has_one_reader_who_is_named_to_the_second() {
    let sandbox = Sandbox::new("lib-taken");
    let driver = sandbox.driver();
    let id = ContainerId::new(sandbox.id("taken")).unwrap();
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let container = driver
        .create(&id, bundle.dir(), &CreateOptions::default())
        .unwrap();
    let held = container.init().unwrap().stdio().unwrap();
    let me = i32::try_from(std::process::id()).unwrap();
    let second = container.init().unwrap().stdio();
    assert_error!(&second, Error::StreamTaken { pid: Some(pid), .. } if *pid == me);
    drop(held);
    container.init().unwrap().stdio().unwrap();
}

#[test]
fn a_container_that_is_still_being_made_is_not_started() {
    let sandbox = Sandbox::new("lib-making");
    let fake = FakeRuntime::script(
        &sandbox,
        r#"case $VERB in create) echo >"$FAKE/begun"; wait_for "$FAKE/go"; delegate "$@";; *) delegate "$@";; esac"#,
    );
    let driver = sandbox
        .driver_builder()
        .runtime(fake.arg())
        .build()
        .unwrap();
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = ContainerId::new(sandbox.id("making")).unwrap();
    std::thread::scope(|scope| {
        let creating = scope.spawn(|| driver.create(&id, bundle.dir(), &quiet()).map(drop));
        sandbox.wait_file(&fake.dir().join("begun"));
        let found = sandbox.driver().load(&id).unwrap();
        assert_eq!(found.status().unwrap(), Status::Creating);
        let init = found.init().unwrap();
        assert_error!(init.signal(15), Error::ContainerNotStarted { .. });
        // Who wants to do something with it waits for whoever is making it.
        let late = found.clone();
        let starting = scope.spawn(move || late.start());
        fake.let_go("go");
        creating.join().unwrap().unwrap();
        starting.join().unwrap().unwrap();
        assert_eq!(found.status().unwrap(), Status::Running);
    });
    sandbox.driver().load(&id).unwrap().delete(true).unwrap();
    sandbox.assert_clean();
}
