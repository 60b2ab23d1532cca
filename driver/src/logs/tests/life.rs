//! A log's end: that of its process, whatever becomes of the shim.

use super::*;

#[test]
fn who_ends_while_nobody_looks_is_read_to_the_end() {
    let mut writer = Writer::new("logs-over", 3, false);
    writer.out("1\n");
    let mut logs = writer.read(&followed());
    writer.rotate();
    writer.out("2\n");
    writer.end();
    assert_eq!(take_all(&mut logs), "1\n2\n");
    let mut late = writer.read(&followed());
    assert_eq!(take_all(&mut late), "1\n2\n");
}

#[test]
fn a_killed_shim_ends_nothing_and_the_one_that_adopts_is_heard() {
    let mut writer = Writer::new("logs-adopted", 3, false);
    writer.out("1\n");
    let mut logs = writer.read(&followed());
    assert_eq!(take(&mut logs), "1\n");
    writer.shim.leave();
    assert_eq!(take(&mut logs), "");
    assert!(!is_readable(&logs) && !logs.is_over());
    writer.shim.take_over();
    std::fs::rename(
        append_text(&writer.shim.dir.join("~tmp"), "{}"),
        writer.shim.dir.join(layout::SHIM_FILE),
    )
    .unwrap();
    assert!(is_readable(&logs));
    writer.out("2\n");
    assert_eq!(take(&mut logs), "2\n");
    assert!(!is_readable(&logs));
    writer.end();
    assert_eq!(take_all(&mut logs), "");
}

fn append_text(path: &Path, text: &str) -> PathBuf {
    append(path).write_all(text.as_bytes()).unwrap();
    path.to_owned()
}

#[test]
fn a_shim_that_is_stopped_is_not_waited_for_for_ever() {
    let mut writer = Writer::new("logs-stuck", 3, false);
    let query = LogQuery {
        shim_timeout: Some(Duration::from_millis(20)),
        ..followed()
    };
    let mut logs = writer.read(&query);
    writer.out("1\n");
    assert_eq!(take(&mut logs), "1\n");
    writer.shim.record(0);
    let error = logs.next(SOON).unwrap_err();
    assert!(matches!(error, Error::ShimBusy { .. }), "{error}");
    assert!(logs.is_over() && logs.next(NOW).unwrap().is_none());
}

#[test]
fn a_restarted_container_is_followed_when_that_is_asked_for() {
    let mut writer = Writer::new("logs-restart", 3, false);
    writer.out("1\n");
    let mut logs = writer.read(&followed());
    writer.end();
    assert_eq!(take_all(&mut logs), "1\n");
    logs.expect_restart();
    assert!(logs.next(NOW).unwrap().is_none());
    assert!(!logs.is_over() && !is_readable(&logs));
    // Somebody stops it on purpose: whoever knows the policy is asked.
    std::fs::write(writer.dir.join("web/stopped"), "").unwrap();
    assert!(logs.next(SOON).unwrap().is_none() && logs.is_over());
    logs.expect_restart();
    assert!(logs.next(NOW).unwrap().is_none() && !logs.is_over());

    let staged = writer.dir.join("web/~staged");
    let mut next = FakeShim::start(staged.clone());
    ProcessState::read(&writer.shim.dir)
        .unwrap()
        .write(&staged)
        .unwrap();
    std::fs::hard_link(&writer.log, staged.join("log")).unwrap();
    fifo_exchange(&staged, &writer.shim.dir);
    std::fs::remove_dir_all(&staged).unwrap();
    next.dir = writer.shim.dir.clone();
    writer.shim = next;
    writer.reopen();
    writer.out("2\n");
    assert!(is_readable(&logs));
    assert_eq!(take(&mut logs), "2\n");
    assert!(!is_readable(&logs) && !logs.is_over());
    writer.rotate();
    writer.out("3\n");
    writer.end();
    assert_eq!(take_all(&mut logs), "3\n");
    assert!(logs.missing().is_none());

    logs.expect_restart();
    assert!(logs.next(NOW).unwrap().is_none() && !logs.is_over());
    std::fs::remove_dir_all(writer.dir.join("web")).unwrap();
    assert!(logs.next(SOON).unwrap().is_none() && logs.is_over());
}

fn fifo_exchange(one: &Path, other: &Path) {
    let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
    let here = nix::fcntl::AT_FDCWD;
    nix::fcntl::renameat2(here, one, here, other, flags).unwrap();
}

#[test]
fn a_directory_that_goes_takes_nothing_that_is_open_along() {
    let mut writer = Writer::new("logs-gone", 3, false);
    writer.out("1\n");
    let mut logs = writer.read(&followed());
    logs.next(NOW).unwrap().unwrap();
    writer.out("2\n");
    writer.shim.record(0);
    writer.shim.announce(0);
    std::fs::remove_dir_all(writer.dir.join("web")).unwrap();
    writer.shim.leave();
    assert_eq!(take_all(&mut logs), "2\n");
}
