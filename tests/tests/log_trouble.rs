//! A log that cannot be written costs what was written to it meanwhile, counted, and nothing else: the container goes on, every entry
//! that is there is whole, and the log goes on by itself when it can.

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_tests::{Gate, Sandbox, disk, entries};

/// A disk of 256 KiB.
fn small_disk(sandbox: &Sandbox) -> PathBuf {
    let dir = sandbox.path().join("small");
    fs::create_dir(&dir).unwrap();
    disk::mount(&dir, "size=256k");
    dir
}

/// A container that writes `lines` each time that its gate is opened, and ends after the third.
struct Talker<'a> {
    sandbox: &'a Sandbox,
    gate: Gate<'a>,
    id: String,
    dir: PathBuf,
}

impl<'a> Talker<'a> {
    fn new(sandbox: &'a Sandbox, lines: &[(u32, u32); 3], flags: &[&str]) -> Self {
        let gate = sandbox.gate();
        let wait = Gate::WAIT;
        let part = |(from, to): &(u32, u32)| format!("{wait}; seq {from} {to}; touch /host/{to}");
        let script = lines.iter().map(part).collect::<Vec<_>>().join("; ");
        let bundle = sandbox.sh(&format!("{script}; exit 7")).bind(gate.dir());
        let id = sandbox.id("talker");
        let args = [
            &["run", "-d", "--stdio", "log"][..],
            flags,
            &["-b", bundle.arg(), &id],
        ]
        .concat();
        sandbox.run_ok(args);
        let dir = sandbox.process_dir(&id, "init");
        Self {
            sandbox,
            gate,
            id,
            dir,
        }
    }

    /// Lets it write, up to this line, and waits until it has.
    fn say(&self, last: u32) {
        self.gate.open();
        let done = self.gate.dir().join(last.to_string());
        self.sandbox.wait_until("it to write", || done.exists());
    }

    fn shim_log(&self) -> String {
        fs::read_to_string(self.dir.join("shim-log.json")).unwrap_or_default()
    }

    fn end(&self) -> u64 {
        assert_eq!(self.sandbox.run_ok(["wait", &self.id]).trim(), "7");
        self.sandbox.wait_done(&self.dir);
        let dropped = &self.sandbox.exit_json(&self.id, "init")["dropped"];
        dropped["cri"].as_u64().unwrap_or(0)
    }
}

fn lines(log: &Path) -> Vec<u32> {
    let written = entries::written(&entries::of_log(log), "stdout");
    let text = String::from_utf8(written).unwrap();
    text.lines().map(|line| line.parse().unwrap_or(0)).collect()
}

fn bytes(lines: impl Iterator<Item = u32>) -> u64 {
    lines.map(|line| line.to_string().len() as u64 + 1).sum()
}

/// Has a log fail and work again, by `break_it` and `mend`, and checks what is left.
fn fails_and_recovers(name: &str, flags: &[&str], break_it: fn(&Path), mend: fn(&Path)) {
    let sandbox = Sandbox::new(name);
    let disk = small_disk(&sandbox);
    let there = disk.join("logs");
    fs::create_dir(&there).unwrap();
    let log = there.join("log");
    let path = log.to_str().unwrap();
    let parts = [(1, 20), (21, 400), (401, 420)];
    let flags = [&["--log-path", path][..], flags].concat();
    let talker = Talker::new(&sandbox, &parts, &flags);
    talker.say(20);
    sandbox.wait_until("the first lines", || lines(&log).len() == 20);
    let before = lines(&log);
    break_it(&disk);
    talker.say(400);
    sandbox.wait_until("the shim to say so", || {
        talker.shim_log().contains("output is dropped")
    });
    mend(&disk);
    // It is tried again with the next output, after a tenth of a second at first.
    std::thread::sleep(std::time::Duration::from_millis(300));
    talker.say(420);
    let dropped = talker.end();

    let mut after = lines(&log);
    if !after.starts_with(&before) {
        // Its directory was another.
        after.splice(..0, before);
    }
    assert!(
        after.ends_with(&(401..=420).collect::<Vec<_>>()),
        "{after:?}"
    );
    assert!(after.is_sorted(), "{after:?}");
    assert_eq!(dropped + bytes(after.into_iter()), bytes(1..=420));
    assert!(dropped > 0);
    let said = talker.shim_log();
    assert_eq!(said.matches("output is dropped").count(), 1, "{said}");
    let ended = format!("written again; {dropped} bytes were dropped");
    assert_eq!(said.matches(&ended).count(), 1, "{said}");
}

#[test]
fn a_full_disk() {
    let full = |disk: &Path| disk::fill(&disk.join("filler"));
    let empty = |disk: &Path| fs::remove_file(disk.join("filler")).unwrap();
    fails_and_recovers("trouble-full", &[], full, empty);
}

#[test]
fn a_full_disk_when_a_file_is_rotated() {
    let full = |disk: &Path| disk::fill(&disk.join("filler"));
    let empty = |disk: &Path| fs::remove_file(disk.join("filler")).unwrap();
    // The first 20 lines fill a file.
    let flags = ["--log-max-size", "840", "--log-max-files", "99"];
    fails_and_recovers("trouble-rotate", &flags, full, empty);
}

#[test]
fn a_file_whose_name_is_another_things() {
    let taken = |disk: &Path| {
        let log = disk.join("logs/log");
        fs::rename(&log, disk.join("aside")).unwrap();
        fs::create_dir(&log).unwrap();
        reopen(disk.parent().unwrap());
    };
    let free = |disk: &Path| {
        let log = disk.join("logs/log");
        fs::remove_dir(&log).unwrap();
        fs::rename(disk.join("aside"), log).unwrap();
    };
    fails_and_recovers("trouble-other", &[], taken, free);
}

/// Tells the shims below a directory to open their logs again.
fn reopen(sandbox: &Path) {
    for container in fs::read_dir(sandbox.join("root")).unwrap().flatten() {
        let control = container.path().join("init/control");
        if control.exists() {
            fs::write(control, "2 0 0\n").unwrap();
        }
    }
}

#[test]
fn a_directory_that_is_removed_and_made_again() {
    let removed = |disk: &Path| {
        fs::remove_dir_all(disk.join("logs")).unwrap();
        reopen(disk.parent().unwrap());
    };
    let made = |disk: &Path| fs::create_dir(disk.join("logs")).unwrap();
    fails_and_recovers("trouble-removed", &[], removed, made);
}

#[test]
fn one_of_several_logs_fails_alone() {
    let sandbox = Sandbox::new("trouble-alone");
    let disk = small_disk(&sandbox);
    let cri = format!("cri:{}", disk.join("log").display());
    let parts = [(1, 20), (21, 2000), (2001, 2020)];
    let flags = ["--log-driver", &cri, "--log-driver", "json-file"];
    let talker = Talker::new(&sandbox, &parts, &flags);
    talker.say(20);
    disk::fill(&disk.join("filler"));
    talker.say(2000);
    talker.say(2020);
    let dropped = talker.end();
    assert!(dropped > 0);
    assert_eq!(
        dropped + bytes(lines(&disk.join("log")).into_iter()),
        bytes(1..=2020)
    );
    let objects = entries::of_json_file(&talker.dir.join("json.log"));
    let text: String = objects
        .iter()
        .filter_map(|object| object["log"].as_str())
        .collect();
    assert_eq!(text.lines().count(), 2020);
    // What is dropped shows while it is, too.
    let record = sandbox.exit_json(&talker.id, "init");
    assert_eq!(record["dropped"].as_object().unwrap().len(), 1, "{record}");
}

#[test]
fn what_is_dropped_is_told_to_who_asks_a_living_shim() {
    let sandbox = Sandbox::new("trouble-view");
    let disk = small_disk(&sandbox);
    let path = disk.join("log");
    let parts = [(1, 20), (21, 3000), (3001, 3002)];
    let talker = Talker::new(&sandbox, &parts, &["--log-path", path.to_str().unwrap()]);
    disk::fill(&disk.join("filler"));
    talker.say(20);
    talker.say(3000);
    sandbox.wait_until("the shim to say so", || {
        talker.shim_log().contains("output is dropped")
    });
    let shim = sandbox.shim_of(&talker.dir);
    nix::sys::signal::kill(shim.pid(), nix::sys::signal::Signal::SIGUSR1).unwrap();
    sandbox.wait_until("its view", || talker.shim_log().contains("\"view\""));
    let log = talker.shim_log();
    let line = log.lines().find(|line| line.contains("\"view\"")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let place = &line["view"]["output"]["log"][0];
    assert_eq!(
        (&place["driver"], &place["failing"]),
        (&"cri".into(), &true.into())
    );
    assert!(place["dropped"].as_u64().unwrap() > 0, "{line}");
    // A replacement takes the count along.
    let before = place["dropped"].as_u64().unwrap();
    sandbox.run_ok(["upgrade", &talker.id]);
    talker.say(3002);
    assert!(talker.end() >= before);
}
