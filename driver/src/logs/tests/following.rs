//! Following a log that is rotated, emptied, removed and overtaken.

use super::*;

#[test]
fn a_follower_is_told_of_what_comes_and_of_nothing_else() {
    let mut writer = Writer::new("logs-follow", 3, false);
    writer.out("old\n");
    let mut logs = writer.read(&followed());
    assert!(is_readable(&logs));
    assert_eq!(take(&mut logs), "old\n");
    assert!(!is_readable(&logs));
    // Nobody else's files are its business.
    std::fs::write(writer.shim.dir.join("shim-log.json"), "x").unwrap();
    take(&mut logs);
    assert!(!is_readable(&logs));

    writer.out("pass");
    assert!(is_readable(&logs));
    assert_eq!(take(&mut logs), "pass");
    assert!(!is_readable(&logs));
    writer.out("word\n");
    writer.rotate();
    writer.rotate();
    writer.out("new\n");
    assert_eq!(take(&mut logs), "word\nnew\n");
    assert!(!is_readable(&logs) && !logs.is_over());
    assert!(logs.missing().is_none());

    writer.out("last");
    writer.shim.record(0);
    assert_eq!(take(&mut logs), "last");
    assert!(!logs.is_over());
    // Its shim has something left to write.
    writer.rotate();
    writer.out(" words");
    writer.shim.announce(0);
    writer.shim.leave();
    assert_eq!(take_all(&mut logs), " words");
    assert!(is_readable(&logs) && logs.skipped() == 0);
}

#[test]
fn a_log_that_is_made_later_is_followed_from_its_beginning() {
    let mut writer = Writer::new("logs-later", 3, false);
    std::fs::remove_file(&writer.log).unwrap();
    let mut logs = writer.read(&followed());
    assert_eq!(take(&mut logs), "");
    writer.reopen();
    writer.out("1\n");
    assert!(is_readable(&logs));
    assert_eq!(take(&mut logs), "1\n");
}

#[test]
fn a_reader_that_is_overtaken_says_how_much_is_missing() {
    let mut writer = Writer::new("logs-overtaken", 3, false);
    writer.out("0\n");
    let mut logs = writer.read(&followed());
    assert_eq!(take(&mut logs), "0\n");
    for number in 1..=10 {
        writer.rotate();
        writer.out(&format!("{number}\n"));
    }
    // Of ten files three are there.
    assert_eq!(take(&mut logs), "8\n9\n10\n");
    let missing = Missing {
        files: 7,
        or_more: false,
    };
    assert_eq!(logs.missing(), missing);
    // It goes on from there.
    writer.rotate();
    writer.out("11\n");
    assert_eq!(take(&mut logs), "11\n");
    assert_eq!(logs.missing(), missing);
}

#[test]
fn a_reader_that_is_slow_has_twice_as_many_files_as_are_kept() {
    let mut writer = Writer::new("logs-slow", 3, false);
    let long = format!("{}\n", "x".repeat(STRIDE + 1));
    writer.out(&long);
    writer.out(&long);
    let mut logs = writer.read(&followed());
    logs.next(NOW).unwrap().unwrap();
    for number in 1..=2 {
        writer.rotate();
        writer.out(&format!("{number}\n"));
    }
    // It looks for new files now and then, while it still reads an old one.
    logs.next(NOW).unwrap().unwrap();
    for number in 3..=5 {
        writer.rotate();
        writer.out(&format!("{number}\n"));
    }
    assert_eq!(take(&mut logs), "1\n2\n3\n4\n5\n");
    assert!(logs.missing().is_none());
}

#[test]
fn what_somebody_else_rotates_is_read_on_until_the_shim_is_told() {
    let mut writer = Writer::new("logs-outside", 3, false);
    writer.out("1\n");
    let mut logs = writer.read(&followed());
    // logrotate, with `create`, and a name of its own.
    std::fs::rename(&writer.log, writer.shim.dir.join("log-20260102")).unwrap();
    append(&writer.log);
    writer.out("2\n");
    assert_eq!(take(&mut logs), "1\n2\n");
    writer.out("3\n");
    assert!(is_readable(&logs));
    assert_eq!(take(&mut logs), "3\n");
    writer.out("4\n");
    writer.reopen();
    writer.out("5\n");
    assert_eq!(take(&mut logs), "4\n5\n");
    assert!(logs.missing().is_none() && logs.skipped() == 0);
    // The same twice between two looks: one file is where nobody would look for it.
    for (name, text) in [("log-a", "6\n"), ("log-b", "7\n")] {
        writer.out(text);
        std::fs::rename(&writer.log, writer.shim.dir.join(name)).unwrap();
        writer.reopen();
    }
    writer.out("8\n");
    assert_eq!(take(&mut logs), "6\n8\n");
    assert_eq!(logs.missing().files, 1);
}

#[test]
fn a_log_that_is_emptied_or_removed_goes_on_with_what_comes() {
    let mut writer = Writer::new("logs-emptied", 3, false);
    writer.out("1\n2\n");
    let mut logs = writer.read(&followed());
    assert_eq!(take(&mut logs), "1\n2\n");
    File::create(&writer.log).unwrap();
    writer.out("3\n");
    assert_eq!(take(&mut logs), "3\n");
    std::fs::remove_file(&writer.log).unwrap();
    // The shim has it open, and so have we.
    writer.out("4\n");
    assert_eq!(take(&mut logs), "4\n");
    writer.reopen();
    writer.out("5\n");
    assert_eq!(take(&mut logs), "5\n");
    assert_eq!(logs.skipped(), 0);
}

#[test]
fn an_entry_that_is_taken_back_was_never_there() {
    let mut writer = Writer::new("logs-back", 3, false);
    writer.out("1\n");
    let mut logs = writer.read(&followed());
    assert_eq!(take(&mut logs), "1\n");
    // A disk that fills up takes half of one. It is taken back, and there is room again.
    let length = writer.file.metadata().unwrap().len();
    writer
        .file
        .write_all(b"2026-01-02T03:04:05.678901234Z stdout F ha")
        .unwrap();
    assert_eq!(take(&mut logs), "");
    writer.file.set_len(length).unwrap();
    assert_eq!(take(&mut logs), "");
    writer.out("a longer one than that, which was cut off\n");
    assert_eq!(
        take(&mut logs),
        "a longer one than that, which was cut off\n"
    );
    // The same between two looks.
    let length = writer.file.metadata().unwrap().len();
    writer
        .file
        .write_all(b"2026-01-02T03:04:05.678901234Z stdout F ha")
        .unwrap();
    assert_eq!(take(&mut logs), "");
    writer.file.set_len(length).unwrap();
    writer.out("another\n");
    writer.end();
    assert_eq!(take_all(&mut logs), "another\n");
    assert_eq!(logs.skipped(), 0);
}

#[test]
fn a_directory_that_is_removed_and_made_again_is_found() {
    let mut writer = Writer::new("logs-away", 3, false);
    let dir = writer.dir.join("var/log");
    std::fs::create_dir_all(&dir).unwrap();
    writer.log = dir.join("web.log");
    let mut state = ProcessState::read(&writer.shim.dir).unwrap();
    let log = state.holdfast.as_mut().unwrap();
    log.output.as_mut().unwrap().log.as_mut().unwrap().drivers = vec![LogDriver::Cri {
        path: Some(writer.log.clone()),
    }];
    state.write(&writer.shim.dir).unwrap();
    writer.reopen();
    writer.out("1\n");
    let mut logs = writer.read(&followed());
    assert_eq!(take(&mut logs), "1\n");
    std::fs::remove_dir_all(writer.dir.join("var")).unwrap();
    take(&mut logs);
    assert!(!is_readable(&logs));
    std::fs::create_dir_all(&dir).unwrap();
    take(&mut logs);
    writer.reopen();
    writer.out("2\n");
    assert!(is_readable(&logs));
    assert_eq!(take(&mut logs), "2\n");
}
