//! What nobody thought of: lines, streams and rotations at random, and beside each other.

use super::*;

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
