//! What is in the files, chosen and found again.

use super::*;

#[test]
fn what_was_written_is_read_oldest_file_first_in_both_formats() {
    for json in [false, true] {
        let mut writer = Writer::new("logs-read", 3, json);
        writer.out("1\n2\n");
        writer.rotate();
        writer.err("3\nunfini");
        writer.rotate();
        writer.err("shed\n\n");
        let mut logs = writer.read(&LogQuery::default());
        // What comes later is not asked for.
        writer.out("late\n");
        writer.rotate();
        assert_eq!(take(&mut logs), "1\n2\n3\nunfinished\n\n");
        assert!(logs.is_over() && logs.missing().is_none() && logs.skipped() == 0);
        let mut logs = writer.read(&LogQuery {
            stream: Some(Stream::Stderr),
            join: true,
            ..LogQuery::default()
        });
        // Its beginning was in a file that is gone.
        assert_eq!(logs.next(NOW).unwrap().unwrap().bytes, &b"3"[..]);
        assert_eq!(logs.next(NOW).unwrap().unwrap().bytes, &b"unfinished"[..]);
        assert_eq!(logs.next(NOW).unwrap().unwrap().bytes, &b""[..]);
        assert!(logs.next(NOW).unwrap().is_none());
    }
}

#[test]
fn what_is_no_entry_is_passed_over_and_counted() {
    for json in [false, true] {
        let mut writer = Writer::new("logs-alien", 2, json);
        writer.out("1\n");
        writer.file.write_all(b"what?\n\n\xff\xfe\n").unwrap();
        writer.out("2\n");
        writer.file.write_all(b"2026-01-02T03:04:05.67").unwrap();
        writer.rotate();
        writer.out("3\n");
        let long = vec![b'x'; 9 << 20];
        writer.file.write_all(&long).unwrap();
        writer.file.write_all(b"\n").unwrap();
        writer.out("4\n");
        writer.file.write_all(b"torn").unwrap();
        let mut logs = writer.read(&LogQuery::default());
        assert_eq!(take(&mut logs), "1\n2\n3\n4\n");
        // It may still be being written.
        assert_eq!(logs.skipped(), 4);
        writer.end();
        let mut logs = writer.read(&followed());
        assert_eq!(take_all(&mut logs), "1\n2\n3\n4\n");
        assert_eq!(logs.skipped(), 5);
        let last = LogQuery {
            tail: Some(3),
            ..LogQuery::default()
        };
        assert_eq!(take(&mut writer.read(&last)), "2\n3\n4\n");
    }
}

#[test]
fn times_choose_whole_lines_and_an_end_is_waited_for() {
    let mut writer = Writer::new("logs-times", 3, false);
    let start = UNIX_EPOCH + Duration::from_secs(writer.clock);
    let at = |seconds| Some(start + Duration::from_secs(seconds));
    for text in ["0\n", "1-", "2\n", "3\n", "4-", "5\n", "6\n"] {
        writer.out(text);
    }
    let between = |since, until| LogQuery {
        since,
        until,
        ..LogQuery::default()
    };
    for (since, until, expected) in [
        (at(2), None, "3\n4-5\n6\n"),
        (at(1), at(3), "1-2\n"),
        (None, at(5), "0\n1-2\n3\n4-5\n"),
        (at(9), None, ""),
    ] {
        assert_eq!(take(&mut writer.read(&between(since, until))), expected);
    }
    // What comes until then is waited for, and no longer.
    let until = SystemTime::now() + Duration::from_millis(50);
    let query = LogQuery {
        follow: true,
        ..between(at(6), Some(until))
    };
    assert_eq!(take_all(&mut writer.read(&query)), "6\n");
    assert!(SystemTime::now() >= until);
}

#[test]
fn who_goes_on_after_a_file_that_is_gone_is_told_so() {
    let mut writer = Writer::new("logs-cursor-gone", 2, false);
    writer.out("1\n");
    let mut logs = writer.read(&LogQuery::default());
    assert_eq!(take(&mut logs), "1\n");
    let after = logs.cursor();
    drop(logs);
    for text in ["2\n", "3\n", "four\n"] {
        writer.rotate();
        writer.out(text);
    }
    let query = LogQuery {
        after,
        ..LogQuery::default()
    };
    let mut logs = writer.read(&query);
    assert_eq!(take(&mut logs), "3\nfour\n");
    assert!(logs.missing().or_more);
    // Emptied by hand, and shorter: what is in it is new.
    let after = logs.cursor();
    File::create(&writer.log).unwrap();
    writer.out("5\n");
    let mut logs = writer.read(&LogQuery { after, ..query });
    assert_eq!(take(&mut logs), "5\n");
}
