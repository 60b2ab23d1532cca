//! What the library does to the program that links it: nothing that stays. No descriptor, no child, no thread; and what that
//! program leaks or ignores does not reach a container. Apart from the other tests of the library, because it counts what
//! belongs to the whole process; and one test at a time, for the same reason.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use holdfast::{
    ContainerId, CreateOptions, Driver, Error, EventKind, ExecOptions, ExitStatus, Monitor,
    Process, ProcessId,
};
use holdfast_tests::command::{show, text};
use holdfast_tests::{Bundle, DEADLINE, Proc, Sandbox};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::getpid;

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a program has, and would notice if it had more and more of it.
#[derive(Debug, PartialEq, Eq)]
struct Belongings {
    fds: BTreeMap<i32, PathBuf>,
    children: Vec<String>,
    threads: u64,
}

impl Belongings {
    fn now() -> Self {
        let me = Proc::new(getpid());
        let mut children = Vec::new();
        // Of every thread: a child belongs to the thread that forked it.
        for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
            let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            children.extend(list.split_whitespace().map(str::to_owned));
        }
        let mut fds = me.fds();
        // The directory that is being read to find out.
        fds.retain(|_, target| !target.starts_with("/proc"));
        Self {
            fds,
            children,
            threads: me.threads(),
        }
    }
}

/// Everything that a daemon does with a container, and some things that fail.
fn round(sandbox: &Sandbox, driver: &Driver, bundle: &Bundle, broken: &Bundle) {
    let id = ContainerId::new(sandbox.id("leak")).unwrap();
    let options = CreateOptions::default();
    driver.create(&id, broken.dir(), &options).unwrap_err();
    let container = driver.create(&id, bundle.dir(), &options).unwrap();
    let init = container.init().unwrap();
    let mut monitor = Monitor::new().unwrap();
    monitor.add(&init).unwrap();
    container.start().unwrap();
    let streams = init.stdio().unwrap();
    let exec = |name: &str, args: &[&str]| -> Result<Process, Error> {
        let spec = container.exec_spec()?.args(args.iter().copied());
        container.exec(&ProcessId::new(name)?, &spec, &ExecOptions::default())
    };
    exec("job", &["nope"]).unwrap_err();
    let job = exec("job", &["true"]).unwrap();
    assert_eq!(
        job.wait(Some(DEADLINE)).unwrap().status,
        ExitStatus::Code(0)
    );
    container.pids().unwrap();
    driver.survey().unwrap();
    driver.list().unwrap();
    container.kill(9).unwrap();
    let event = monitor.next(Some(DEADLINE)).unwrap().unwrap();
    assert!(matches!(event.kind, EventKind::Exited(_)), "{event:?}");
    drop(streams);
    container.delete(false).unwrap();
}

#[test]
fn twenty_rounds_leave_no_descriptor_no_child_and_no_thread() {
    let _alone = alone();
    let sandbox = Sandbox::new("leaks");
    let driver = sandbox.driver();
    let (bundle, broken) = (sandbox.bundle(["sleep", "1000"]), sandbox.bundle(["nope"]));
    round(&sandbox, &driver, &bundle, &broken);
    let before = Belongings::now();
    for _ in 0..20 {
        round(&sandbox, &driver, &bundle, &broken);
    }
    assert_eq!(Belongings::now(), before);
    assert!(before.children.is_empty(), "{before:?}");
    sandbox.assert_clean();
}

/// A daemon's descriptor that it forgot to make close-on-exec.
fn leaked(sandbox: &Sandbox) -> File {
    let path = sandbox.path().join("leaked");
    fs::write(&path, "secret").unwrap();
    let file = File::open(path).unwrap();
    fcntl(file.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    file
}

#[test]
fn what_the_daemon_leaks_reaches_neither_container_nor_shim() {
    let _alone = alone();
    let sandbox = Sandbox::new("leaked");
    let driver = sandbox.driver();
    let _leaked = leaked(&sandbox);
    let list = "ls -1 /proc/self/fd | tr '\\n' ' '";
    let id = ContainerId::new(sandbox.id("leaked")).unwrap();
    let script = format!("{list}; exec sleep 1000");
    let bundle = sandbox.sh(&script);
    let container = driver
        .create(&id, bundle.dir(), &CreateOptions::default())
        .unwrap();
    container.start().unwrap();
    let read = |process: &Process, end: &str| {
        let stdout = process.stdio().unwrap().stdout.unwrap();
        let file = File::from(stdout.as_fd().try_clone_to_owned().unwrap());
        sandbox.read_until(&file, end)
    };
    // The last is the directory that ls(1) reads.
    assert_eq!(read(&container.init().unwrap(), "3 "), "0 1 2 3 ");
    let spec = container.exec_spec().unwrap().args(["sh", "-c", list]);
    let name = ProcessId::new("job").unwrap();
    let job = container
        .exec(&name, &spec, &ExecOptions::default())
        .unwrap();
    assert_eq!(read(&job, "3 "), "0 1 2 3 ");
    let shim = container.init().unwrap().shim().unwrap().unwrap();
    let fds = Proc::new(nix::unistd::Pid::from_raw(shim.pid)).fds();
    assert!(
        fds.len() > 3 && !fds.values().any(|fd| fd.ends_with("leaked")),
        "{fds:?}"
    );
    container.delete(true).unwrap();
    sandbox.assert_clean();
}

#[test]
fn a_daemon_that_ignores_and_blocks_signals_gets_every_status() {
    let _alone = alone();
    let sandbox = Sandbox::new("ignores");
    let run = |args: &[&str]| {
        let script = "exec env --ignore-signal --block-signal \"$@\"";
        sandbox.output_of(sandbox.in_shell(script, args))
    };
    let (id, other) = (sandbox.id("ignores"), sandbox.id("ignores"));
    let output = run(&["run", "-b", sandbox.sh("echo hello; exit 7").arg(), &id]);
    assert_eq!(output.status.code(), Some(7), "{}", show(&output));
    assert_eq!(text(&output.stdout), "hello\n");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    assert!(
        run(&["run", "-d", "-b", bundle.arg(), &other])
            .status
            .success()
    );
    let output = run(&["exec", &other, "sh", "-c", "exit 3"]);
    assert_eq!(output.status.code(), Some(3), "{}", show(&output));
    let output = run(&["ps", "-f", "json", &other]);
    assert!(output.status.success(), "{}", show(&output));
    let output = run(&["ps", &other]);
    assert!(output.status.success(), "{}", show(&output));
    assert!(run(&["kill", &other, "KILL"]).status.success());
    assert_eq!(text(&run(&["wait", &other]).stdout), "137\n");
    assert!(run(&["delete", &other]).status.success());
    sandbox.assert_clean();
}
