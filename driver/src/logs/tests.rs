//! Logs that are written, rotated, emptied and damaged while they are read. The shim is played by the test.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_common::layout::{self, Stream};
use holdfast_common::log_entry::{Stamp, cri, json_file, pieces};
use holdfast_common::output::{LogDriver, LogOptions, Moved, Output};
use holdfast_common::process_state::{Extension, ProcessState};
use nix::poll::PollFlags;

use super::*;
use crate::testing::{FakeShim, Scratch, scratch};

const NOW: Option<Duration> = Some(Duration::ZERO);
const SOON: Option<Duration> = Some(Duration::from_secs(20));

/// xorshift64 (Marsaglia): enough to choose by, and repeatable.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A process with a log, and the shim that writes it.
struct Writer {
    dir: Scratch,
    shim: FakeShim,
    log: PathBuf,
    kept: u32,
    file: File,
    json: bool,
    /// When the next entry is written, seconds.
    clock: u64,
}

impl Writer {
    fn new(name: &str, kept: u32, json: bool) -> Self {
        let dir = scratch(name);
        let shim = FakeShim::start(dir.join("web/init"));
        let driver = match json {
            true => LogDriver::JsonFile { path: None },
            false => LogDriver::Cri { path: None },
        };
        let log = driver.file(&shim.dir).unwrap();
        let state = ProcessState {
            holdfast: Some(Extension {
                output: Some(Output {
                    stdout: Some(Moved::Log),
                    stderr: Some(Moved::Log),
                    log: Some(LogOptions {
                        drivers: vec![driver],
                        max_files: kept,
                        ..LogOptions::default()
                    }),
                    ..Output::default()
                }),
                ..Extension::default()
            }),
            ..ProcessState::default()
        };
        state.write(&shim.dir).unwrap();
        let file = append(&log);
        Self {
            dir,
            shim,
            log,
            kept,
            file,
            json,
            clock: 1_700_000_000,
        }
    }

    fn name(&self, number: u32) -> PathBuf {
        match number {
            0 => self.log.clone(),
            _ => PathBuf::from(format!("{}.{number}", self.log.display())),
        }
    }

    /// What was read at once from the process.
    fn say(&mut self, stream: Stream, bytes: impl AsRef<[u8]>) {
        let stamp = Stamp::of(UNIX_EPOCH + Duration::from_secs(self.clock));
        self.clock += 1;
        for (piece, ends) in pieces(bytes.as_ref()) {
            let mut line = Vec::new();
            match self.json {
                true => json_file::encode(&mut line, &stamp, stream, piece, ends, b""),
                false => cri::encode(&mut line, &stamp, stream, piece, ends),
            }
            self.file.write_all(&line).unwrap();
        }
    }

    fn out(&mut self, text: &str) {
        self.say(Stream::Stdout, text);
    }

    fn err(&mut self, text: &str) {
        self.say(Stream::Stderr, text);
    }

    /// As the shim does it: by renames, from the oldest on, and then a new file.
    fn rotate(&mut self) {
        self.shift();
        self.reopen();
    }

    fn shift(&mut self) {
        for number in (0..self.kept - 1).rev() {
            let _ = std::fs::rename(self.name(number), self.name(number + 1));
        }
        if self.kept == 1 {
            std::fs::remove_file(&self.log).unwrap();
        }
    }

    fn reopen(&mut self) {
        self.file = append(&self.log);
    }

    fn read(&self, query: &LogQuery) -> Logs {
        self.shim.process().logs(query).unwrap()
    }

    fn end(&mut self) {
        self.shim.record(0);
        self.shim.leave();
    }
}

fn append(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options.append(true).create(true).open(path).unwrap()
}

fn followed() -> LogQuery {
    LogQuery {
        follow: true,
        ..LogQuery::default()
    }
}

/// Everything that is there now, as the bytes that were written.
fn take(logs: &mut Logs) -> String {
    let mut bytes = Vec::new();
    while let Some(entry) = logs.next(NOW).unwrap() {
        entry.append_to(&mut bytes);
    }
    String::from_utf8(bytes).unwrap()
}

/// Everything to the end.
fn take_all(logs: &mut Logs) -> String {
    let mut bytes = Vec::new();
    while let Some(entry) = logs.next(SOON).unwrap() {
        entry.append_to(&mut bytes);
    }
    assert!(logs.is_over());
    String::from_utf8(bytes).unwrap()
}

fn is_readable(logs: &Logs) -> bool {
    let now = Deadline::after(NOW);
    !now.poll(logs.as_fd(), PollFlags::POLLIN)
        .unwrap()
        .is_empty()
}

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

/// A log of pieces of lines of two streams, and the pieces.
fn random_log(writer: &mut Writer, random: &mut Random, count: u64) -> Vec<(Stream, String)> {
    let mut written = Vec::new();
    for number in 0..count {
        let stream = match random.below(4) {
            0 => Stream::Stderr,
            _ => Stream::Stdout,
        };
        let end = match random.below(3) {
            0 => "",
            _ => "\n",
        };
        let filling = "x".repeat(usize::try_from(random.below(40)).unwrap());
        let text = format!("{number}{filling}{end}");
        if random.below(12) == 0 {
            writer.rotate();
        }
        writer.say(stream, &text);
        written.push((stream, text));
    }
    written
}

/// The pieces that belong to the last so many lines, found the long way.
fn last_lines(written: &[(Stream, String)], wanted: impl Fn(Stream) -> bool, lines: u64) -> String {
    // The line that each piece belongs to, by the place of its last piece.
    let line_of = |place: usize| {
        let stream = written[place].0;
        let rest = written.iter().enumerate().skip(place);
        let mut last = place;
        for (number, (of, text)) in rest.filter(|(_, (of, _))| *of == stream) {
            let _ = of;
            last = number;
            if text.ends_with('\n') {
                break;
            }
        }
        last
    };
    let mine: Vec<usize> = (0..written.len())
        .filter(|&place| wanted(written[place].0))
        .collect();
    let mut ends: Vec<usize> = mine.iter().map(|&place| line_of(place)).collect();
    ends.sort_unstable();
    ends.dedup();
    let first = ends.len().saturating_sub(usize::try_from(lines).unwrap());
    let taken = &ends[first..];
    mine.iter()
        .filter(|&&place| taken.contains(&line_of(place)))
        .map(|&place| written[place].1.as_str())
        .collect()
}

#[test]
fn the_last_lines_are_the_same_as_found_the_long_way() {
    for seed in 1..16 {
        let mut random = Random(seed * 0x9e37_79b9);
        let mut writer = Writer::new("logs-tail", 1000, seed % 2 == 0);
        let written = random_log(&mut writer, &mut random, 60);
        for lines in [0, 1, 2, 5, 17, 1000] {
            for stream in [None, Some(Stream::Stdout), Some(Stream::Stderr)] {
                let query = LogQuery {
                    tail: Some(lines),
                    stream,
                    ..LogQuery::default()
                };
                let wanted = |of| stream.is_none_or(|only| only == of);
                assert_eq!(
                    take(&mut writer.read(&query)),
                    last_lines(&written, wanted, lines),
                    "seed {seed}, {lines} lines of {stream:?} of {written:?}"
                );
            }
        }
    }
}

#[test]
fn a_follower_loses_and_doubles_nothing_however_it_meets_rotations() {
    for seed in 1..60 {
        let mut random = Random(seed * 0x9e37_79b9);
        let kept = 2 + u32::try_from(random.below(3)).unwrap();
        let mut writer = Writer::new("logs-random", kept, seed % 2 == 0);
        let mut logs = writer.read(&followed());
        let (mut written, mut read) = (String::new(), Vec::new());
        // A shim renames, and then opens; whoever rotates from outside takes his time.
        let (mut is_shifted, mut rotations) = (false, 0);
        for number in 0..300 {
            match random.below(10) {
                0..5 => {
                    let text = format!("{number}\n");
                    writer.out(&text);
                    written.push_str(&text);
                }
                5 if is_shifted => {
                    writer.reopen();
                    is_shifted = false;
                }
                6 if !is_shifted && rotations + 1 < kept => {
                    writer.shift();
                    (is_shifted, rotations) = (true, rotations + 1);
                }
                _ => {
                    let most = random.below(5);
                    for _ in 0..most {
                        let Some(entry) = logs.next(NOW).unwrap() else {
                            rotations = 0;
                            break;
                        };
                        entry.append_to(&mut read);
                    }
                }
            }
        }
        writer.end();
        read.extend(take_all(&mut logs).bytes());
        assert_eq!(String::from_utf8(read).unwrap(), written, "seed {seed}");
        assert!(logs.missing().is_none() && logs.skipped() == 0);
    }
}

#[test]
fn a_follower_keeps_up_with_a_writer_that_does_not_wait() {
    let mut writer = Writer::new("logs-race", 8, false);
    let mut logs = writer.read(&followed());
    let lines = 60_000;
    let writing = std::thread::spawn(move || {
        for number in 0..lines {
            if number % 3000 == 2999 {
                writer.rotate();
            }
            writer.out(&format!("{number}\n"));
        }
        writer.end();
        writer
    });
    let mut expected = 0;
    while let Some(entry) = logs.next(SOON).unwrap() {
        let number: u64 = std::str::from_utf8(&entry.bytes).unwrap().parse().unwrap();
        if number != expected {
            assert!(!logs.missing().is_none(), "{number} for {expected}");
        }
        expected = number + 1;
    }
    assert!(logs.is_over());
    assert_eq!(expected, lines);
    drop(writing.join().unwrap());
}

#[test]
fn readers_that_come_while_files_are_rotated_see_them_in_their_order_and_once() {
    let mut writer = Writer::new("logs-hammer", 60, false);
    let process = writer.shim.process();
    let done = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&done);
    let writing = std::thread::spawn(move || {
        for number in 0..150 {
            writer.rotate();
            writer.out(&format!("{number}\n"));
        }
        told.store(true, Ordering::Relaxed);
        writer
    });
    let mut readers = 0;
    while !done.load(Ordering::Relaxed) {
        let text = take(&mut process.logs(&LogQuery::default()).unwrap());
        let seen: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
        readers += 1;
    }
    assert!(readers > 0);
    drop(writing.join().unwrap());
}

#[test]
fn a_reader_that_is_killed_is_followed_by_one_that_goes_on_where_it_was() {
    for seed in 1..20 {
        let mut random = Random(seed * 0x9e37_79b9);
        let mut writer = Writer::new("logs-cursor", 1000, seed % 2 == 0);
        let join = seed % 3 != 0;
        let mut cursor: Option<LogCursor> = None;
        let mut seen = [String::new(), String::new()];
        let mut written = Vec::new();
        for _ in 0..8 {
            written.extend(random_log(&mut writer, &mut random, 20));
            let mut logs = writer.read(&LogQuery {
                // As text: it outlives its program.
                after: cursor.map(|cursor| cursor.to_string().parse().unwrap()),
                join,
                ..followed()
            });
            for _ in 0..random.below(25) {
                let Some(entry) = logs.next(NOW).unwrap() else {
                    break;
                };
                let mut bytes = Vec::new();
                entry.append_to(&mut bytes);
                seen[tail::index(entry.stream)].push_str(std::str::from_utf8(&bytes).unwrap());
            }
            assert!(logs.missing().is_none());
            cursor = logs.cursor();
        }
        writer.end();
        let mut logs = writer.read(&LogQuery {
            after: cursor,
            join,
            ..followed()
        });
        while let Some(entry) = logs.next(SOON).unwrap() {
            let mut bytes = Vec::new();
            entry.append_to(&mut bytes);
            seen[tail::index(entry.stream)].push_str(std::str::from_utf8(&bytes).unwrap());
        }
        for (stream, seen) in tail::STREAMS.into_iter().zip(&seen) {
            let all = written.iter().filter(|(of, _)| *of == stream);
            let all: String = all.map(|(_, text)| text.as_str()).collect();
            assert_eq!(*seen, all, "seed {seed}, {stream:?}");
        }
    }
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
