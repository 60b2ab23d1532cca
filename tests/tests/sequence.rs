//! Numbered words at full speed, while readers are killed and come back and the shim is replaced, again and again: none is lost, none
//! comes twice, none out of order, whatever the policy; and where the shim moves the bytes, the container is not kept waiting.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holdfast_tests::writer::{Report, Sequence, take_file};
use holdfast_tests::{Sandbox, entries};

/// How often a reader is killed.
const READERS: usize = 500;
/// How often the shim is replaced meanwhile.
const UPGRADES: usize = 50;
/// What is written between two of them, bytes: four times what a FIFO holds.
const BURST: usize = 256 << 10;

/// Numbers that look random, and are the same in each run.
struct Dice(u64);

impl Dice {
    fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % most
    }
}

/// Kills and replaces, while a writer writes. `reader` makes a reader, with this as its stdout; returns what the writer has seen.
fn shake(
    sandbox: &Sandbox,
    name: &str,
    policy: &[&str],
    reader: impl Fn(&str) -> Command,
    output: &File,
) -> (String, Report) {
    let writer = sandbox.writer(name, BURST);
    let id = sandbox.id(name);
    let mut run = vec!["run", "-d", "--stdin", "fifo", "--stderr", "null"];
    run.extend_from_slice(policy);
    run.extend_from_slice(&["-b", writer.bundle().arg(), &id]);
    sandbox.run_ok(run);
    let dir = sandbox.process_dir(&id, "init");
    let stdin = sandbox.open_writer(&dir.join("stdin"));
    let mut dice = Dice(1);
    let start = |output: &File| {
        let mut command = reader(&id);
        let output = output.try_clone().expect("duplicate a file");
        command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::null());
        Reader(command.spawn().expect("start a reader"))
    };
    for round in 0..READERS {
        sandbox.write_all(&stdin, b"x");
        let reader = start(output);
        let pause = Duration::from_micros(dice.up_to(12_000));
        let until = Instant::now() + pause;
        if round % (READERS / UPGRADES) == 0 {
            sandbox.run_ok(["upgrade", &id]);
        }
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        drop(reader);
    }
    // The last one reads to the end.
    let mut reader = start(output);
    sandbox.run_ok(["close-stdin", &id]);
    drop(stdin);
    assert_eq!(sandbox.run_ok(["wait", &id]).trim(), "0");
    sandbox.wait_until("the reader to read to the end", || {
        reader.0.try_wait().expect("wait for a reader").is_some()
    });
    let report = writer.report();
    assert_eq!(report.bytes, (READERS * BURST) as u64);
    println!("{name}: {report:?}");
    (id, report)
}

/// Killed when it is dropped.
struct Reader(Child);

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A file that readers write to one after the other, each where the last has ended: not at its end, where the kernel cannot move
/// bytes to.
fn collected(sandbox: &Sandbox, name: &str) -> File {
    let mut options = File::options();
    let options = options.read(true).write(true).create_new(true);
    options
        .open(sandbox.path().join(name))
        .expect("make a file")
}

fn whole(mut file: File) -> u64 {
    file.seek(SeekFrom::Start(0)).expect("seek");
    let mut sequence = Sequence::default();
    take_file(&mut sequence, &file);
    sequence.bytes()
}

#[test]
fn a_fifo_loses_nothing_while_readers_are_killed_and_shims_replaced() {
    let sandbox = Sandbox::new("seq-fifo");
    let output = collected(&sandbox, "collected");
    let attach = |id: &str| sandbox.holdfast(["attach", "--no-stdin", id]);
    let (id, report) = shake(&sandbox, "fifo", &["--stdout", "fifo"], attach, &output);
    assert_eq!(whole(output), report.bytes);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_spill_loses_nothing_and_nothing_waits() {
    let sandbox = Sandbox::new("seq-spill");
    let output = collected(&sandbox, "collected");
    let attach = |id: &str| sandbox.holdfast(["attach", "--no-stdin", id]);
    let policy = ["--stdout", "spill", "--spill-max", "1G"];
    let (id, report) = shake(&sandbox, "spill", &policy, attach, &output);
    assert_eq!(whole(output), report.bytes);
    assert_eq!(report.frozen, 0, "{report:?}");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_log_loses_nothing_and_nothing_waits() {
    let sandbox = Sandbox::new("seq-log");
    let null = File::options().write(true).open("/dev/null").unwrap();
    let follow = |id: &str| sandbox.holdfast(["logs", "-f", "--tail", "1", id]);
    let policy = ["--stdout", "log", "--log-max-files", "1000"];
    let (id, report) = shake(&sandbox, "log", &policy, follow, &null);
    let log = sandbox.process_dir(&id, "init").join("log");
    let files = entries::files(&log);
    // Each was full when it was left, and none is larger than it may be.
    assert!(files.len() > 10, "{files:?}");
    let mut sequence = Sequence::default();
    for file in &files {
        assert!(fs::metadata(file).unwrap().len() <= 10 << 20);
        sequence.take(&entries::written(&entries::of_file(file), "stdout"));
    }
    assert_eq!(sequence.bytes(), report.bytes);
    assert_eq!(report.frozen, 0, "{report:?}");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}
