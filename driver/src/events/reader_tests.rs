//! A log that is read while it is written, changes files, or is damaged.

use super::*;
use crate::testing::{Scratch, scratch};
use holdfast_common::event_log::{EventLog, FULL};
use holdfast_common::event_record::EventWord;
use holdfast_common::id::ProcessId;
use holdfast_common::identity::Identity;
use std::io::Write;

fn log(name: &str) -> (Scratch, EventLog) {
    let dir = scratch(name);
    let log = EventLog::of(&dir);
    log.make().unwrap();
    (dir, log)
}

fn tell(log: &EventLog, pids: impl IntoIterator<Item = i32>) {
    for pid in pids {
        let start_time = 1;
        let identity = Some(Identity { pid, start_time });
        let event = EventRecord::now(EventWord::Live, ProcessId::init(), identity);
        log.append(&event).unwrap();
    }
}

fn begun(dir: &Path, from: From<'_>) -> Reader {
    Reader::open(dir).unwrap().begin(from).unwrap()
}

fn taken(reader: &mut Reader) -> Vec<(i32, Position)> {
    let mut taken = Vec::new();
    let mut each = |event: EventRecord, place| taken.push((event.identity.unwrap().pid, place));
    reader.read(&mut each).unwrap();
    taken
}

fn pids(reader: &mut Reader) -> Vec<i32> {
    taken(reader).into_iter().map(|(pid, _)| pid).collect()
}

#[test]
fn every_line_comes_once_over_changes_of_files_whenever_it_is_read() {
    let (dir, log) = log("reader-rotation");
    let mut reader = begun(&dir, From::Beginning);
    let path = dir.join(layout::EVENTS_FILE);
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap();
    file.write_all(&vec![b'\n'; usize::try_from(FULL).unwrap() - 1000])
        .unwrap();
    let mut seen = Vec::new();
    for n in 0..40 {
        tell(&log, [n + 1]);
        if n % 7 == 0 {
            seen.extend(pids(&mut reader));
        }
    }
    seen.extend(pids(&mut reader));
    assert_eq!(seen, (1..=40).collect::<Vec<_>>());
    assert_eq!(reader.place().unwrap().generation, 1);
    assert_eq!(reader.skipped, 0);
    // And from the beginning, as whoever comes now does.
    let mut late = begun(&dir, From::Beginning);
    assert_eq!(pids(&mut late), seen);
}

#[test]
fn a_place_is_found_again_in_whichever_file_it_is() {
    let (dir, log) = log("reader-place");
    tell(&log, 1..=5);
    let mut reader = begun(&dir, From::Beginning);
    let places = taken(&mut reader);
    let from = |place: &Position| pids(&mut begun(&dir, From::Place(place)));
    assert_eq!(from(&places[2].1), [4, 5]);
    assert_eq!(from(&places[4].1), [0; 0]);

    // It has become the file before.
    let path = dir.join(layout::EVENTS_FILE);
    std::fs::rename(&path, previous(&path)).unwrap();
    tell(&log, [6]);
    assert_eq!(from(&places[2].1), [4, 5, 6]);
    // And then it is not there any more: what there is was not taken.
    std::fs::rename(&path, previous(&path)).unwrap();
    tell(&log, [7]);
    assert_eq!(from(&places[2].1), [6, 7]);
    // A log that somebody else had under this name, or a place in the middle of a line.
    let other = Position {
        log: "0".to_owned(),
        ..places[2].1.clone()
    };
    assert_eq!(from(&other), [6, 7]);
    let mut last = begun(&dir, From::Beginning);
    let place = taken(&mut last).pop().unwrap().1;
    let torn = Position {
        offset: place.offset - 1,
        ..place
    };
    assert_eq!(from(&torn), [6, 7]);
    let mut end = begun(&dir, From::End);
    tell(&log, [8]);
    assert_eq!(pids(&mut end), [8]);
}

#[test]
fn what_is_torn_or_alien_is_skipped_and_counted_and_hides_nothing() {
    let (dir, log) = log("reader-alien");
    tell(&log, [1]);
    let path = dir.join(layout::EVENTS_FILE);
    let append = |bytes: &[u8]| {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        file.write_all(bytes).unwrap();
    };
    let mut reader = begun(&dir, From::Beginning);
    append(b"nonsense\n\xff\xff\n{\"time\":");
    // The last one has only begun.
    assert_eq!((pids(&mut reader), reader.skipped), (vec![1], 2));
    tell(&log, [2]);
    assert_eq!((pids(&mut reader), reader.skipped), (vec![2], 3));
    append(&vec![b'x'; 5 * PIECE]);
    append(b"\n");
    tell(&log, [3]);
    assert_eq!((pids(&mut reader), reader.skipped), (vec![3], 4));
    // Emptied by hand.
    File::create(&path).unwrap();
    assert_eq!(pids(&mut reader), [0; 0]);
    tell(&log, [4]);
    assert_eq!(pids(&mut reader), [4]);
}

#[test]
fn what_was_said_before_the_directory_went_is_still_read() {
    let (dir, log) = log("reader-gone");
    let mut reader = begun(&dir, From::Beginning);
    tell(&log, 1..=2);
    std::fs::remove_dir_all(&*dir).unwrap();
    assert_eq!(pids(&mut reader), [1, 2]);
}
