//! The end of a process as seen by whoever comes when: before, at and after each of the shim's steps.

use std::io::Write;
use std::time::Duration;

use holdfast_common::exit_record::{ExitStatus, Source};
use holdfast_common::sys::flock::Lock;

use super::*;
use crate::process::Process;
use crate::testing::{FakeShim, scratch};

const SHORT: Option<Duration> = Some(Duration::from_millis(20));
const LONG: Option<Duration> = Some(Duration::from_secs(20));

#[test]
fn whoever_waits_is_woken_by_the_status_and_not_only_by_the_hang_up() {
    let dir = scratch("end-wait");
    let shim = FakeShim::start(dir.join("init"));
    let process = shim.process();
    assert!(matches!(
        process.wait(SHORT),
        Err(Error::WaitTimeout { .. })
    ));
    assert!(matches!(
        process.exit_status(),
        Err(Error::ProcessNotExited { .. })
    ));
    let record = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| process.wait(LONG));
        let record = shim.record(7);
        shim.announce(7);
        assert_eq!(waiter.join().unwrap().unwrap(), record);
        record
    });
    assert!(matches!(
        process.wait_gone(SHORT),
        Err(Error::ShimBusy { .. })
    ));
    assert_eq!(shim.process().wait(SHORT).unwrap(), record);
    assert_eq!(shim.process().exit_status().unwrap(), 7);
}

#[test]
fn whoever_comes_late_gets_the_record_and_waits_for_nothing() {
    let dir = scratch("end-late");
    let mut shim = FakeShim::start(dir.join("init"));
    let record = shim.record(0);
    shim.leave();
    let process = shim.process();
    assert_eq!(process.wait(SHORT).unwrap(), record);
    process.wait_gone(SHORT).unwrap();
}

#[test]
fn a_shim_that_died_without_a_word_is_told_of() {
    let dir = scratch("end-killed");
    let mut shim = FakeShim::start(dir.join("init"));
    let before = shim.process();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| before.wait(LONG));
        shim.leave();
        let error = waiter.join().unwrap().unwrap_err();
        assert!(
            matches!(error, Error::ShimGone { alive: true, .. }),
            "{error}"
        );
    });
    let error = shim.process().wait(LONG).unwrap_err();
    assert!(matches!(error, Error::ShimGone { .. }), "{error}");
    let error = before.close_stdin().unwrap_err();
    assert!(matches!(error, Error::ShimGone { .. }), "{error}");
}

#[test]
fn whoever_opens_exit_in_the_instant_before_the_lock_is_free_does_not_wait_for_ever() {
    let dir = scratch("end-instant");
    let mut shim = FakeShim::start(dir.join("init"));
    shim.exit = None;
    let process = shim.process();
    assert!(process.shim_lives().unwrap());
    let error = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| process.wait(LONG));
        std::thread::yield_now();
        shim.lock = None;
        waiter.join().unwrap().unwrap_err()
    });
    assert!(matches!(error, Error::ShimGone { .. }), "{error}");
}

#[test]
fn a_directory_that_is_gone_leaves_its_record_to_whoever_held_exit() {
    let dir = scratch("end-removed");
    let mut shim = FakeShim::start(dir.join("init"));
    let (knew, did_not) = (shim.process(), shim.process());
    let record = shim.record(9);
    shim.announce(9);
    assert_eq!(knew.wait(LONG).unwrap(), record);
    std::fs::remove_dir_all(&shim.dir).unwrap();
    assert!(did_not.shim_lives().is_ok());
    shim.leave();
    assert_eq!(knew.wait(LONG).unwrap(), record);
    assert_eq!(did_not.wait(LONG).unwrap(), record);
    did_not.wait_gone(LONG).unwrap();
}

#[test]
fn another_container_in_the_same_place_is_not_mistaken_for_this_one() {
    let dir = scratch("end-replaced");
    let mut first = FakeShim::start(dir.join("init"));
    let process = first.process();
    first.announce(3);
    std::fs::rename(&first.dir, dir.join("~init")).unwrap();
    first.leave();
    let second = FakeShim::start(dir.join("init"));
    second.record(4);
    assert_eq!(process.wait(LONG).unwrap().status, ExitStatus::Code(3));
    assert!(!process.shim_lives().unwrap() && second.process().shim_lives().unwrap());
}

#[test]
fn what_others_write_into_exit_changes_nothing() {
    let dir = scratch("end-noise");
    let shim = FakeShim::start(dir.join("init"));
    let process = shim.process();
    shim.exit.as_ref().unwrap().write_all(b"noise\n").unwrap();
    assert!(matches!(
        process.wait(SHORT),
        Err(Error::WaitTimeout { .. })
    ));
    let looks = End::open(
        process.container_id().clone(),
        process.id().clone(),
        shim.dir.clone(),
    );
    assert_eq!(looks.unwrap().outlook().unwrap(), Outlook::Quiet);
    let record = shim.record(1);
    shim.announce(1);
    assert_eq!(process.wait(LONG).unwrap(), record);
}

#[test]
fn a_number_is_all_that_an_older_shim_leaves() {
    let dir = scratch("end-number");
    let mut shim = FakeShim::start(dir.join("init"));
    let file = shim.dir.join(layout::EXIT_STATUS_FILE);
    std::fs::write(&file, "").unwrap();
    assert!(shim.process().exit_record().unwrap().is_none());
    std::fs::write(&file, "143").unwrap();
    shim.leave();
    let record = shim.process().wait(LONG).unwrap();
    assert_eq!(record.status, ExitStatus::Code(143));
    assert_eq!(record.source, Source::Reaped);
    std::fs::write(&file, "300").unwrap();
    let error = shim.process().wait(LONG).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("exitStatus: 300 is not an exit status"),
        "{error}"
    );
}

#[test]
fn what_bears_the_fifos_name_but_is_none_is_named() {
    let dir = scratch("end-alien");
    let shim = FakeShim::start(dir.join("init"));
    let exit = shim.dir.join(layout::EXIT_FIFO);
    let ids = (ContainerId::new("web").unwrap(), ProcessId::init());
    for make in [
        |path: &Path| std::fs::create_dir(path),
        |path: &Path| std::fs::write(path, "0"),
    ] {
        let _ = std::fs::remove_file(&exit);
        make(&exit).unwrap();
        let error = Process::open(&ids.0, &ids.1, &shim.dir).unwrap_err();
        assert!(matches!(error, Error::NotAFifo { .. }), "{error}");
        let _ = std::fs::remove_dir(&exit);
    }
}

#[test]
fn a_full_control_fifo_is_an_error_and_not_a_wait() {
    let dir = scratch("end-control");
    let shim = FakeShim::start(dir.join("init"));
    let control = shim.dir.join(layout::CONTROL_FIFO);
    let held = fifo::open_read_write(&control).unwrap();
    let process = shim.process();
    process.close_stdin().unwrap();
    assert_eq!(fifo::peek(held.as_fd()).unwrap(), b"0 0 0\n");
    assert!(matches!(
        process.resize(80, 24),
        Err(Error::NoTerminal { .. })
    ));
    while nix::unistd::write(&held, &[b'x'; 4096]).is_ok() {}
    let error = process.close_stdin().unwrap_err();
    assert!(matches!(error, Error::ControlFull { .. }), "{error}");
    shim.record(0);
    let error = process.close_stdin().unwrap_err();
    assert!(matches!(error, Error::ContainerExited { .. }), "{error}");
}

#[test]
fn an_exec_goes_when_it_has_ended_and_its_shim_is_gone() {
    let dir = scratch("end-delete");
    let mut shim = FakeShim::start(dir.join("e1"));
    let process = shim.process();
    assert!(matches!(
        process.delete(),
        Err(Error::ProcessNotExited { .. })
    ));
    shim.record(0);
    // This test, which it takes for its process, still runs.
    std::fs::write(shim.dir.join(layout::START_TIME_FILE), "1").unwrap();
    let process = shim.process();
    shim.leave();
    process.delete().unwrap();
    assert_eq!(std::fs::read_dir(&*dir).unwrap().count(), 0);
    process.delete().unwrap();
    let init = FakeShim::start(dir.join("init")).process();
    assert!(matches!(init.delete(), Err(Error::InitStays { .. })));
}

#[test]
fn a_lock_that_is_only_tested_is_not_held() {
    let dir = scratch("end-lock");
    let mut shim = FakeShim::start(dir.join("init"));
    let process = shim.process();
    shim.leave();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| assert!(!process.shim_lives().unwrap())));
        }
    });
    let lock = Lock::try_take(&shim.dir.join(layout::SHIM_LOCK_FILE)).unwrap();
    assert!(lock.is_some());
}

#[test]
fn whoever_waits_for_a_shim_that_has_just_closed_exit_waits_for_its_lock_alone() {
    let dir = scratch("end-closed");
    let mut shim = FakeShim::start(dir.join("init"));
    // Keeps the status in `exit`, so that the FIFO does not look as if it had ended.
    let reader = shim.process();
    shim.record(0);
    shim.announce(0);
    assert!(reader.will_hang_up().unwrap());
    shim.exit = None;
    let process = shim.process();
    assert!(process.shim_lives().unwrap() && !process.will_hang_up().unwrap());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| process.wait_gone(LONG));
        std::thread::yield_now();
        shim.lock = None;
        waiter.join().unwrap().unwrap();
    });
}
