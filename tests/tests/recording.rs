//! A terminal that is recorded: what it shows is in the file as well as where it goes, with its times, whatever becomes of shims, and
//! asciinema replays it.

use std::fs;
use std::path::Path;
use std::process::Command;

use holdfast_tests::binaries::installed;
use holdfast_tests::{Gate, Sandbox, entries, fifo};
use serde_json::Value;

/// A recording, read strictly: a header, then events whose times do not go back.
struct Cast {
    header: Value,
    events: Vec<(f64, String, String)>,
}

impl Cast {
    fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).expect("a recording is text");
        assert!(text.ends_with('\n'), "torn: {text}");
        let mut lines = text.lines();
        let header: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!(header["version"], 2);
        assert!(header["timestamp"].as_u64().unwrap() > 1_700_000_000);
        let event = |line| serde_json::from_str::<(f64, String, String)>(line).expect("an event");
        let events: Vec<_> = lines.map(event).collect();
        assert!(events.is_sorted_by(|a, b| a.0 <= b.0), "{text}");
        assert!(events.iter().all(|event| (0.0..600.0).contains(&event.0)));
        Self { header, events }
    }

    fn of_kind(&self, kind: &str) -> Vec<&str> {
        let events = self.events.iter().filter(|event| event.1 == kind);
        events.map(|event| event.2.as_str()).collect()
    }

    fn shown(&self) -> String {
        self.of_kind("o").concat()
    }
}

#[test]
fn what_a_terminal_shows_is_recorded_and_replayed_whole_characters_over_upgrades() {
    let sandbox = Sandbox::new("cast");
    let cast = sandbox.path().join("cast");
    let gate = sandbox.gate();
    let wait = Gate::WAIT;
    // A character in two halves, with an upgrade between them; bytes that are none; colours.
    let script = format!(
        r"stty -opost; printf 'caf\303'; {wait}; printf '\251 \033[31mred\033[0m\n'; {wait}; printf 'x\377y\342\202'"
    );
    let bundle = sandbox.sh(&script).terminal().bind(gate.dir());
    let id = sandbox.id("cast");
    let record = ["--stdio", "log", "--record", cast.to_str().unwrap()];
    sandbox.run_ok([&["run", "-d"][..], &record, &["-b", bundle.arg(), &id]].concat());
    let shows = |text: &str| {
        sandbox.wait_until(text, || {
            fs::read_to_string(&cast).is_ok_and(|all| all.matches('\n').count() > 1)
                && Cast::read(&cast).shown().ends_with(text)
        });
    };
    shows("caf");
    sandbox.run_ok(["upgrade", &id]);
    sandbox.run_ok(["resize", &id, "100", "30"]);
    gate.open();
    shows("\u{e9} \u{1b}[31mred\u{1b}[0m\n");
    sandbox.run_ok(["resize", &id, "100", "30"]);
    sandbox.run_ok(["resize", &id, "90", "20"]);
    gate.open();
    assert_eq!(sandbox.run_ok(["wait", &id]).trim(), "0");
    let dir = sandbox.process_dir(&id, "init");
    sandbox.wait_done(&dir);
    let read = Cast::read(&cast);
    let shown = "caf\u{e9} \u{1b}[31mred\u{1b}[0m\nx\u{fffd}y\u{fffd}";
    assert_eq!(read.shown(), shown);
    assert_eq!(read.of_kind("r"), ["100x30", "90x20"]);
    assert_eq!(
        (&read.header["width"], &read.header["height"]),
        (&80.into(), &24.into())
    );
    // The log has the bytes.
    let log = entries::written(&entries::of_log(&dir.join("log")), "stdout");
    assert_eq!(log, b"caf\xc3\xa9 \x1b[31mred\x1b[0m\nx\xffy\xe2\x82");

    // As the program replays it that it is for.
    let Some(asciinema) = installed("asciinema") else {
        assert_ne!(
            std::env::var("STRICT").as_deref(),
            Ok("1"),
            "asciinema is missing"
        );
        return;
    };
    let mut replay = Command::new(asciinema);
    replay.args(["play", "-s", "100", "-i", "0.1"]).arg(&cast);
    let replayed = sandbox.output_of(replay);
    assert!(replayed.status.success(), "{replayed:?}");
    let replayed = String::from_utf8(replayed.stdout).unwrap();
    assert!(replayed.contains(shown), "{replayed:?}");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn whoever_is_attached_misses_nothing_by_it_and_a_restart_goes_on_in_the_same_file() {
    let sandbox = Sandbox::new("cast-fifo");
    let supervisor = sandbox.supervise();
    let cast = sandbox.path().join("cast");
    let gate = sandbox.gate();
    let script = format!("stty -opost; echo hello; {}; exit 1", Gate::WAIT);
    let bundle = sandbox.sh(&script).terminal().bind(gate.dir());
    let id = sandbox.id("fifo");
    let record = ["--stdio", "fifo", "--record", cast.to_str().unwrap()];
    let run = [
        &["run", "-d", "--restart", "always"][..],
        &record,
        &["-b", bundle.arg(), &id],
    ];
    sandbox.run_ok(run.concat());
    let stdout = fifo::reader(&sandbox.process_dir(&id, "init").join("stdout"));
    assert_eq!(sandbox.read_until(&stdout, "\n"), "hello\n");
    gate.open();
    sandbox.wait_until("it to be restarted", || {
        Cast::read(&cast).shown() == "hello\nhello\n"
    });
    drop(supervisor);
    let read = Cast::read(&cast);
    assert_eq!(read.of_kind("o").len(), 2);
    sandbox.run_ok(["delete", "-f", &id]);
    // Nobody else's is written over.
    let again = [&["run", "-d"][..], &record, &["-b", bundle.arg(), &id]].concat();
    sandbox.refused(again, &["it exists already"]);
    sandbox.assert_clean_but_for_supervision();
}
