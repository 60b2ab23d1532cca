//! Whoever reads what happened to containers loses nothing, wherever it left off: one that comes and goes, one that follows, a daemon.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

use holdfast::{Backend, ContainerId, Cursor, Error, EventWord, Events, Since, StateInfo};
use holdfast_tests::command::{show, text};
use holdfast_tests::events::{lines, told, words};
use holdfast_tests::{DEADLINE, Sandbox, Snapshot, wait};
use nix::poll::PollFlags;
use serde_json::Value;

const NOW: Option<Duration> = Some(Duration::ZERO);

fn taken(events: &mut Events) -> Vec<String> {
    let mut taken = Vec::new();
    while let Some(change) = events.next(NOW).unwrap() {
        taken.push(format!("{} {}", change.container, change.info.word));
    }
    taken
}

#[test]
fn a_reader_that_comes_and_goes_takes_everything_once() {
    let sandbox = Sandbox::new("events-cursor");
    let seen = sandbox.path().join("seen");
    let read = || {
        let cursor = ["--cursor-file", seen.to_str().unwrap()];
        words(&told(&sandbox, &cursor))
    };
    assert_eq!(read(), [] as [&str; 0]);
    let ids = ["a", "b"].map(|name| sandbox.id(name));
    let bundle = sandbox.bundle(["sleep", "1000"]);
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &ids[0]]);
    assert_eq!(read(), ["init start-container"]);
    assert_eq!(read(), [] as [&str; 0]);
    sandbox.run_ok(["exec", &ids[0], "true"]);
    // One that it has never heard of.
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &ids[1]]);
    assert_eq!(read().len(), 3);

    // The cursor that comes with an event goes on after it, in its container.
    let events = told(&sandbox, &[&ids[0]]);
    let cursor = events[0]["cursor"].as_str().unwrap();
    let rest = told(&sandbox, &["--since", cursor, &ids[0]]);
    assert_eq!(rest, events[1..]);
    let last = |id: &str| {
        let events = told(&sandbox, &[id]);
        events.last().unwrap()["cursor"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let both = format!("{},{}", last(&ids[0]), last(&ids[1]));
    assert_eq!(told(&sandbox, &["--since", &both]), [] as [Value; 0]);

    // Another container of the same id is another container.
    sandbox.run_ok(["delete", "-f", &ids[0]]);
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &ids[0]]);
    assert_eq!(read(), ["init start-container"]);

    let time = told(&sandbox, &[&ids[0]])[0]["time"].clone();
    let at = |time: &str| told(&sandbox, &["--since", time]).len();
    assert_eq!(at(time.as_str().unwrap()), 1);
    assert_eq!((at("1h"), at("2100-01-01T00:00:00Z")), (3 - 1, 0));
    sandbox.run_ok(["delete", "-f", &ids[0], &ids[1]]);
    sandbox.assert_clean();
}

#[test]
fn a_follower_sees_containers_come_and_go_and_files_change_and_wakes_for_nothing_else() {
    let sandbox = Sandbox::new("events-follow");
    let follow = sandbox.holdfast(["events", "-f", "--format", "json"]);
    let follower = sandbox.spawn(follow);
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let ids = ["a", "b"].map(|name| sandbox.id(name));
    let wait_for = |count: usize| {
        let complete = || follower.stdout().matches('\n').count();
        sandbox.wait_until("the follower", || complete() >= count);
        assert_eq!(complete(), count, "{}", follower.stdout());
    };
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &ids[0]]);
    wait_for(1);
    // It waits, and does nothing else.
    let process = follower.process();
    let before = process.wake_ups();
    assert!(!wait::until(Duration::from_millis(500), || process
        .wake_ups()
        > before));

    // The file is about to be full; a hundred ends and starts do not fit any more.
    let log = sandbox.container_dir(&ids[0]).join("events.log");
    let mut file = OpenOptions::new().append(true).open(&log).unwrap();
    file.write_all(&vec![b'\n'; (1 << 20) - 3000]).unwrap();
    for _ in 0..16 {
        sandbox.run_ok(["exec", &ids[0], "true"]);
    }
    wait_for(1 + 2 * 16);
    assert!(log.with_extension("log.1").exists());
    // What it says at its end is read, though its directory goes with it.
    let end = ["run", "-d", "--rm", "-b", bundle.arg(), &ids[1]];
    sandbox.run_ok(end);
    wait_for(34);
    sandbox.run_ok(["kill", &ids[1], "KILL"]);
    wait_for(35);
    let events = lines(&follower.stdout());
    assert_eq!(events[34]["exitCode"], 137);
    // Whoever comes now reads the same of the one that is there, file for file.
    let there = told(&sandbox, &[]);
    assert_eq!(there, events[..33]);
    follower.kill();
    sandbox.run_ok(["delete", "-f", &ids[0]]);
    sandbox.assert_clean();
}

#[test]
fn a_log_that_is_damaged_or_none_hides_no_other() {
    let sandbox = Sandbox::new("events-alien");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let ids = ["a", "b", "c"].map(|name| sandbox.id(name));
    for id in &ids {
        sandbox.run_ok(["run", "-d", "-b", bundle.arg(), id]);
    }
    let log = |id: &str| sandbox.container_dir(id).join("events.log");
    let mut file = OpenOptions::new().append(true).open(log(&ids[0])).unwrap();
    file.write_all(b"nonsense\n{\"time\":\"2026-01-0").unwrap();
    fs::remove_file(log(&ids[1])).unwrap();
    fs::create_dir(log(&ids[1])).unwrap();
    sandbox.run_ok(["exec", &ids[0], "true"]);
    sandbox.run_ok(["exec", &ids[1], "true"]);
    let snapshot = Snapshot::of(&sandbox.root());
    let output = sandbox.output(["events", "--format", "json"]);
    snapshot.assert_unchanged("events");
    assert_eq!(output.status.code(), Some(125), "{}", show(&output));
    let said = text(&output.stderr);
    assert!(said.contains("2 lines are no events: skipped"), "{said}");
    let alien = log(&ids[1]).display().to_string();
    assert!(said.contains(&format!("read {alien}: ")), "{said}");
    let events = lines(&text(&output.stdout));
    assert_eq!(events.len(), 4, "{events:?}");
    // The container is none the worse for it.
    sandbox.run_ok(["kill", &ids[1], "KILL"]);
    assert_eq!(sandbox.run_ok(["wait", &ids[1]]), "137\n");
    for id in &ids {
        sandbox.run_ok(["delete", "-f", id]);
    }
    sandbox.assert_clean();
}

#[test]
fn bad_words_are_one_line_and_change_nothing() {
    let sandbox = Sandbox::new("events-bad");
    let file = sandbox.path().join("cursor");
    fs::write(&file, "nonsense\n").unwrap();
    let snapshot = Snapshot::of(sandbox.path());
    for (words, wanted) in [
        (
            &["--since", "yesterday"][..],
            "how long ago (10m), or a cursor",
        ),
        (&["--since", "web@x"], "is not ID@LOG.GENERATION.OFFSET"),
        (&["--format", "xml"], "xml"),
        (&["--cursor-file", file.to_str().unwrap()], "cursor file"),
        (&["nobody"], "nobody"),
        (&["../x"], "../x"),
    ] {
        let words = ["events"].iter().chain(words);
        let output = sandbox.output(words);
        assert_eq!(output.status.code(), Some(125), "{}", show(&output));
        let said = text(&output.stderr);
        assert!(said.contains(wanted) && said.lines().count() == 1, "{said}");
    }
    snapshot.assert_unchanged("bad words");
}

/// Takes what it is told, but not everything at once.
struct Picky {
    told: Vec<String>,
    refuses: Option<EventWord>,
}

impl Backend for Picky {
    fn state_changed(
        &mut self,
        container: &ContainerId,
        info: &StateInfo,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if self.refuses.take_if(|word| *word == info.word).is_some() {
            return Err("not now".into());
        }
        self.told.push(format!("{container} {}", info.word));
        Ok(())
    }
}

#[test]
fn a_daemon_polls_one_descriptor_and_a_backend_that_refuses_is_told_again() {
    let sandbox = Sandbox::new("events-library");
    let driver = sandbox.driver();
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let mut events = driver.events(Since::Beginning).unwrap();
    let readable =
        |events: &Events| !wait::events(events, PollFlags::POLLIN, Duration::ZERO).is_empty();
    assert!(!readable(&events));
    let first = sandbox.started(&driver, &bundle, "first");
    assert!(!wait::events(&events, PollFlags::POLLIN, DEADLINE).is_empty());
    let place = events.cursor();
    first.kill(9).unwrap();
    first.init().unwrap().wait(Some(DEADLINE)).unwrap();

    let mut backend = Picky {
        told: Vec::new(),
        refuses: Some(EventWord::Exit),
    };
    let name = first.id().to_string();
    sandbox.wait_until("the end to be refused", || {
        match events.dispatch(&mut backend, NOW) {
            Err(Error::Backend { id, word, source }) => {
                assert_eq!((&id, word), (first.id(), EventWord::Exit));
                assert_eq!(source.to_string(), "not now");
                true
            }
            told => told.is_err(),
        }
    });
    assert_eq!(backend.told, [format!("{name} start-container")]);
    // Until it has taken it, the place is before it.
    let before = events.cursor();
    assert!(readable(&events));
    assert_eq!(events.dispatch(&mut backend, NOW).unwrap(), 1);
    assert_eq!(backend.told[1], format!("{name} exit"));
    assert!(!readable(&events));

    for (cursor, rest) in [(place, 2), (before, 1), (events.cursor(), 0)] {
        let cursor: Cursor = cursor.to_string().parse().unwrap();
        let mut again = driver.past_events(Since::Cursor(cursor)).unwrap();
        assert_eq!(taken(&mut again).len(), rest);
    }
    let mut now = driver
        .events(Since::Now)
        .unwrap()
        .only([first.id().clone()]);
    assert_eq!(taken(&mut now), [] as [&str; 0]);
    let second = sandbox.started(&driver, &bundle, "second");
    first.delete(true).unwrap();
    assert_eq!(taken(&mut now), [] as [&str; 0]);
    assert_eq!(
        taken(&mut events),
        [format!("{} start-container", second.id())]
    );
    // What cannot be read is told once, and does not wake for ever.
    fs::create_dir_all(sandbox.root().join("alien/events.log")).unwrap();
    assert!(!wait::events(&events, PollFlags::POLLIN, DEADLINE).is_empty());
    assert!(events.next(NOW).is_err());
    assert_eq!(taken(&mut events), [] as [&str; 0]);
    assert_eq!(taken(&mut now), [] as [&str; 0]);
    assert!(!readable(&events) && !readable(&now));
    fs::remove_dir_all(sandbox.root().join("alien")).unwrap();
    second.delete(true).unwrap();
    sandbox.assert_clean();
}
