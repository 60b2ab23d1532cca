//! Writers among each other, files that change, and what does not belong there.

use std::fs::File;
use std::time::Instant;

use super::file::PATIENCE;
use super::*;
use crate::event_record::EventWord;
use crate::id::ProcessId;
use crate::identity::Identity;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("holdfast-event-log-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.join(layout::EVENTS_FILE)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let name = |entry: io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn event(word: EventWord, pid: i32) -> EventRecord {
    let start_time = 4711;
    let identity = Some(Identity { pid, start_time });
    EventRecord::now(word, ProcessId::init(), identity)
}

fn pids(log: &EventLog) -> Vec<i32> {
    let mut pids = Vec::new();
    log.each(|event| pids.push(event.identity.unwrap().pid))
        .unwrap();
    pids
}

#[test]
fn what_happens_once_is_told_once_and_the_rest_as_often_as_it_happens() {
    let dir = Scratch::new("once");
    let log = EventLog::of(&dir.0);
    log.make().unwrap();
    let start = event(EventWord::StartContainer, 1);
    assert!(log.append_once(&start).unwrap());
    // By another, at another time.
    assert!(
        !log.append_once(&event(EventWord::StartContainer, 1))
            .unwrap()
    );
    assert!(
        log.append_once(&event(EventWord::StartContainer, 2))
            .unwrap()
    );
    assert!(log.append_once(&event(EventWord::Exit, 1)).unwrap());
    for _ in 0..2 {
        log.append(&event(EventWord::Pause, 2)).unwrap();
    }
    assert_eq!(pids(&log), [1, 2, 1, 2, 2]);
    assert_eq!(dir.names(), [layout::EVENTS_FILE]);
}

#[test]
fn what_comes_often_has_before_it_what_comes_once() {
    let dir = Scratch::new("after");
    let log = EventLog::of(&dir.0);
    log.make().unwrap();
    let found = |log: &EventLog, pid| {
        let start = event(EventWord::StartContainer, pid);
        log.append_after(&start, &event(EventWord::Live, pid))
            .unwrap();
    };
    let words = |log: &EventLog| {
        let mut words = Vec::new();
        log.each(|event| words.push(event.word)).unwrap();
        words
    };
    use EventWord::{Live, StartContainer};
    found(&log, 1);
    found(&log, 1);
    assert_eq!(words(&log), [StartContainer, Live, Live]);
    // Another process in its place; who started it said so.
    log.append(&event(StartContainer, 2)).unwrap();
    found(&log, 2);
    found(&log, 3);
    let rest = [StartContainer, Live, StartContainer, Live];
    assert_eq!(words(&log)[3..], rest);
    // Long ago; and behind a line that was cut off.
    let others = event(EventWord::Pause, 4).encode().repeat(100);
    let mut file = File::options().append(true).open(dir.path()).unwrap();
    file.write_all(&others).unwrap();
    file.write_all(b"{\"time\":\"2023-").unwrap();
    found(&log, 3);
    assert_eq!(words(&log)[7..].len(), 101);
    assert_eq!(pids(&log).last(), Some(&3));
    // So long ago that it is not there any more.
    let count = 2 * FULL / others.len() as u64;
    for n in 0..100 * i32::try_from(count).unwrap() {
        log.append(&event(EventWord::Pause, 4 + n)).unwrap();
    }
    found(&log, 3);
    assert!(!pids(&log)[..10_000].contains(&3));
    let words = words(&log);
    assert_eq!(words[words.len() - 2..], [EventWord::Pause, Live]);
}

#[test]
fn a_full_file_makes_room_and_no_line_is_torn_or_lost_before_its_time() {
    let dir = Scratch::new("room");
    let log = EventLog::of(&dir.0);
    log.make().unwrap();
    let line = event(EventWord::Live, 100_000).encode().len() as u64;
    let count = i32::try_from(5 * FULL / 2 / line).unwrap();
    for n in 0..count {
        log.append(&event(EventWord::Live, 100_000 + n)).unwrap();
    }
    let seen = pids(&log);
    let first = seen[0];
    assert_eq!(seen, (first..100_000 + count).collect::<Vec<_>>());
    assert_eq!(
        dir.names(),
        [layout::EVENTS_FILE, &format!("{}.1", layout::EVENTS_FILE)]
    );
    let sizes = [dir.path(), previous(&dir.path())].map(|path| path.metadata().unwrap().len());
    assert!(sizes[1] <= FULL && sizes[1] > FULL - 2 * line && sizes[0] <= FULL);
    let header = Header::read(&open_to_read(&dir.path()).unwrap()).unwrap();
    let before = Header::read(&open_to_read(&previous(&dir.path())).unwrap()).unwrap();
    assert_eq!((header.generation, before.generation), (2, 1));
    assert_eq!(header.log, before.log);

    // What was dropped was told: a beginning, that is. An end comes last.
    let dropped = event(EventWord::StartContainer, 100_000);
    assert!(!log.append_once(&dropped).unwrap());
    assert!(log.append_once(&event(EventWord::Exit, 100_000)).unwrap());
}

#[test]
fn a_change_of_files_that_was_cut_off_is_taken_up_again() {
    let dir = Scratch::new("cut-off");
    let log = EventLog::of(&dir.0);
    log.make().unwrap();
    log.append(&event(EventWord::Live, 1)).unwrap();
    std::fs::hard_link(dir.path(), previous(&dir.path())).unwrap();
    assert_eq!(pids(&log), [1]);
    log.append(&event(EventWord::Live, 2)).unwrap();
    assert_eq!(pids(&log), [1, 2]);
    // As after a rename that replaced nothing, on a file system without links.
    std::fs::remove_file(dir.path()).unwrap();
    log.append(&event(EventWord::Live, 3)).unwrap();
    assert_eq!(pids(&log), [1, 2, 3]);
    let header = Header::read(&open_to_read(&dir.path()).unwrap()).unwrap();
    assert_eq!(header.generation, 1);
}

#[test]
fn a_torn_end_does_not_take_the_next_line_along() {
    let dir = Scratch::new("torn");
    let log = EventLog::of(&dir.0);
    std::fs::write(dir.path(), "{\"time\":\"2023-").unwrap();
    log.append(&event(EventWord::Live, 1)).unwrap();
    log.append(&event(EventWord::Live, 2)).unwrap();
    assert_eq!(pids(&log), [1, 2]);
    // Who has looked through it first knows how it ends.
    let mut file = File::options().append(true).open(dir.path()).unwrap();
    file.write_all(b"{\"time\":\"2023-").unwrap();
    assert!(log.append_once(&event(EventWord::Exit, 3)).unwrap());
    assert!(!log.append_once(&event(EventWord::Exit, 3)).unwrap());
    assert_eq!(pids(&log), [1, 2, 3]);
}

#[test]
fn what_is_not_told_is_told_if_it_happened() {
    let dir = Scratch::new("happened");
    let log = EventLog::of(&dir.0);
    log.make().unwrap();
    let [start, exit] = [EventWord::StartContainer, EventWord::Exit].map(|word| event(word, 1));
    let both = [start.clone(), exit.clone()];
    let not_started = |event: &EventRecord| event.word != EventWord::StartContainer;
    assert_eq!(log.append_missing(&both, None, not_started).unwrap(), 1);
    assert_eq!(log.append_missing(&both, None, |_| true).unwrap(), 1);
    let asked = |event: &EventRecord| panic!("{event:?} is told");
    assert_eq!(log.append_missing(&both, None, asked).unwrap(), 0);
    let mut words = Vec::new();
    log.each(|event| words.push(event.word)).unwrap();
    assert_eq!(words, [exit.word, start.word]);
}

#[test]
fn who_told_of_a_beginning_looks_no_farther_back() {
    let dir = Scratch::new("since");
    let log = EventLog::of(&dir.0);
    log.make().unwrap();
    let [start, exit] = [EventWord::StartProcess, EventWord::Exit].map(|word| event(word, 1));
    // What stands before the beginning is not looked at; were it there, it would be found.
    log.append(&exit).unwrap();
    let since = log.append(&start).unwrap();
    let both = [start.clone(), exit.clone()];
    let add = |since| log.append_missing(&both, since, |_| true).unwrap();
    assert_eq!(add(None), 0);
    assert_eq!(add(Some(since)), 1);
    assert_eq!(add(Some(since)), 0);
    assert_eq!(pids(&log), [1, 1, 1]);
    // A file that is another by now is looked through as a whole.
    std::fs::rename(dir.path(), previous(&dir.path())).unwrap();
    assert_eq!(add(Some(since)), 0);
}

#[test]
fn a_lock_that_is_held_delays_a_line_and_does_not_stop_it() {
    let dir = Scratch::new("held");
    let log = EventLog::of(&dir.0);
    log.make().unwrap();
    let held = open_to_read(&dir.path()).unwrap();
    held.lock().unwrap();
    let begun = Instant::now();
    log.append(&event(EventWord::Exit, 1)).unwrap();
    assert!(begun.elapsed() >= PATIENCE && begun.elapsed() < 20 * PATIENCE);
    drop(held);
    assert_eq!(pids(&log), [1]);
}

#[test]
fn what_bears_the_name_and_is_no_file_is_left_alone() {
    let dir = Scratch::new("alien");
    let log = EventLog::of(&dir.0);
    nix::unistd::mkfifo(&dir.path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = log.append(&event(EventWord::Exit, 1)).unwrap_err();
    let wanted = format!("append to {}: is not a file", dir.path().display());
    assert_eq!(error.to_string(), wanted);
    std::fs::remove_file(dir.path()).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", dir.path()).unwrap();
    assert!(log.append(&event(EventWord::Exit, 1)).is_err());
}

#[test]
fn many_writers_lose_nothing_to_each_other_not_even_while_files_change() {
    let dir = Scratch::new("writers");
    let log = EventLog::of(&dir.0);
    log.make().unwrap();
    // Nearly full already.
    let filler = vec![b'\n'; usize::try_from(FULL).unwrap() - 4000];
    let mut file = File::options().append(true).open(dir.path()).unwrap();
    file.write_all(&filler).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..50 {
                    log.append(&event(EventWord::Live, 1 + writer * 50 + n))
                        .unwrap();
                }
            });
        }
    });
    let mut seen = pids(&log);
    seen.sort_unstable();
    assert_eq!(seen, (1..=200).collect::<Vec<_>>());
    assert_eq!(dir.names().len(), 2);
}
