//! The policy `spill`: the container never waits for a reader, and the reader gets every byte, in order, whoever is there when.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use holdfast_tests::writer::{Sequence, Writer};
use holdfast_tests::{Gate, Sandbox, disk, fifo, kernel};
use serde_json::Value;

const MIB: usize = 1 << 20;

fn run(sandbox: &Sandbox, flags: &[&str], bundle: &str, id: &str) {
    let mut args = vec![
        "run", "-d", "--stdin", "fifo", "--stderr", "null", "--stdout", "spill",
    ];
    args.extend_from_slice(flags);
    args.extend_from_slice(&["-b", bundle, id]);
    sandbox.run_ok(args);
}

/// Has a writer write so many bursts, and waits until it has.
fn write(sandbox: &Sandbox, dir: &Path, bursts: usize, kept: impl Fn(u64) -> bool) {
    let stdin = sandbox.open_writer(&dir.join("stdin"));
    sandbox.write_all(&stdin, &vec![b'x'; bursts]);
    sandbox.wait_until("the bytes to be in the spill", || kept(kept_in(dir)));
}

/// How many bytes a spill has that were not passed on.
fn kept_in(dir: &Path) -> u64 {
    let end = fs::metadata(dir.join("stdout.spill")).map_or(0, |meta| meta.len());
    end.saturating_sub(at(dir))
}

fn at(dir: &Path) -> u64 {
    let text = fs::read_to_string(dir.join("stdout.spill.at")).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// Lets a writer end, and waits until its shim has.
fn end(sandbox: &Sandbox, id: &str, dir: &Path) {
    end_as(sandbox, id, dir, 0);
}

/// As [`end`]: this is what is said of it.
fn end_as(sandbox: &Sandbox, id: &str, dir: &Path, code: i32) {
    sandbox.run_ok(["close-stdin", id]);
    assert_eq!(sandbox.run_ok(["wait", id]).trim(), code.to_string());
    sandbox.wait_done(dir);
}

/// What somebody finds who comes when everything is over: in the FIFO's file, and in the spill.
fn late(dir: &Path) -> Vec<u8> {
    let mut bytes = fs::read(dir.join("stdout.unread")).unwrap_or_default();
    let spill = fs::read(dir.join("stdout.spill")).unwrap();
    let begin = usize::try_from(at(dir)).unwrap();
    bytes.extend_from_slice(&spill[begin.min(spill.len())..]);
    bytes
}

fn take(sandbox: &Sandbox, fifo: &File, sequence: &mut Sequence, bytes: u64) {
    let mut buffer = vec![0; 64 << 10];
    let until = sequence.bytes() + bytes;
    while sequence.bytes() < until {
        let most = usize::try_from(until - sequence.bytes())
            .unwrap()
            .min(buffer.len());
        let count = sandbox.read_some(fifo, &mut buffer[..most]);
        assert!(count > 0, "ended at {}", sequence.bytes());
        sequence.take(&buffer[..count]);
    }
}

fn started(sandbox: &Sandbox, name: &str, flags: &[&str]) -> (Writer, String) {
    let writer = sandbox.writer(name, MIB);
    let id = sandbox.id(name);
    run(sandbox, flags, writer.bundle().arg(), &id);
    (writer, id)
}

#[test]
fn what_nobody_reads_waits_in_a_file_and_comes_in_order_whoever_comes_and_goes() {
    let sandbox = Sandbox::new("spill");
    let (writer, id) = started(&sandbox, "spill", &[]);
    let dir = sandbox.process_dir(&id, "init");
    write(&sandbox, &dir, 5, |kept| kept == 5 * MIB as u64);
    let mut sequence = Sequence::default();
    let reader = fifo::reader(&dir.join("stdout"));
    take(&sandbox, &reader, &mut sequence, 3 * MIB as u64 + 12_345);
    // It leaves what the FIFO holds, which goes back into the file, ahead of the rest and of what is new.
    drop(reader);
    write(&sandbox, &dir, 2, |kept| kept == 4 * MIB as u64 - 12_345);
    // The space of what was passed on is the disk's again.
    let spill = fs::metadata(dir.join("stdout.spill")).unwrap();
    assert!(
        spill.blocks() * 512 < 6 * MIB as u64,
        "{} blocks",
        spill.blocks()
    );
    let reader = fifo::reader(&dir.join("stdout"));
    take(&sandbox, &reader, &mut sequence, 4 * MIB as u64 - 12_345);
    sandbox.wait_until("the file to be empty", || {
        fs::metadata(dir.join("stdout.spill")).unwrap().len() == 0
    });
    // From FIFO to FIFO now; and at the end, to a reader who is there.
    let stdin = sandbox.open_writer(&dir.join("stdin"));
    sandbox.write_all(&stdin, b"xx");
    take(&sandbox, &reader, &mut sequence, MIB as u64);
    drop(stdin);
    sandbox.run_ok(["close-stdin", &id]);
    take(&sandbox, &reader, &mut sequence, MIB as u64);
    assert_eq!(sandbox.read_to_end(&reader), b"");
    sandbox.wait_done(&dir);
    let report = writer.report();
    assert_eq!(
        (report.bytes, sequence.bytes()),
        (9 * MIB as u64, 9 * MIB as u64)
    );
    assert_eq!(kept_in(&dir), 0);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn who_comes_when_all_is_over_finds_the_rest_whoever_has_read_the_beginning() {
    let sandbox = Sandbox::new("spill-late");
    let (_, id) = started(&sandbox, "late", &[]);
    let dir = sandbox.process_dir(&id, "init");
    write(&sandbox, &dir, 3, |kept| kept == 3 * MIB as u64);
    let mut sequence = Sequence::default();
    let reader = fifo::reader(&dir.join("stdout"));
    take(&sandbox, &reader, &mut sequence, 1_000_001);
    drop(reader);
    end(&sandbox, &id, &dir);
    sequence.take(&late(&dir));
    assert_eq!(sequence.bytes(), 3 * MIB as u64);
    // Also with the command.
    let (_, id) = started(&sandbox, "attach", &[]);
    let dir = sandbox.process_dir(&id, "init");
    write(&sandbox, &dir, 3, |kept| kept == 3 * MIB as u64);
    end(&sandbox, &id, &dir);
    let output = sandbox.output(["attach", "--no-stdin", &id]);
    let mut sequence = Sequence::default();
    sequence.take(&output.stdout);
    assert_eq!(sequence.bytes(), 3 * MIB as u64);
}

#[test]
fn a_reader_that_stands_still_at_the_end_is_not_waited_for_and_the_rest_stays() {
    let sandbox = Sandbox::new("spill-still");
    let (_, id) = started(&sandbox, "still", &[]);
    let dir = sandbox.process_dir(&id, "init");
    let reader = fifo::reader(&dir.join("stdout"));
    write(&sandbox, &dir, 1, |kept| kept > 0);
    end(&sandbox, &id, &dir);
    let mut sequence = Sequence::default();
    let mut read = sandbox.read_to_end(&reader);
    let unread = fs::read(dir.join("stdout.unread")).unwrap();
    assert!(read == unread && !read.is_empty());
    let rest = late(&dir);
    read.extend_from_slice(&rest[unread.len()..]);
    sequence.take(&read);
    assert_eq!(sequence.bytes(), MIB as u64);
}

#[test]
fn at_its_bound_a_spill_has_the_container_wait_and_loses_nothing() {
    let sandbox = Sandbox::new("spill-block");
    let (writer, id) = started(&sandbox, "block", &["--spill-max", "1M"]);
    let dir = sandbox.process_dir(&id, "init");
    write(&sandbox, &dir, 3, |kept| kept == MIB as u64);
    // Bounded: what does not fit waits in the container.
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(kept_in(&dir), MIB as u64);
    let shim = sandbox.shim_of(&dir);
    let wake_ups = shim.wake_ups();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(shim.wake_ups() <= wake_ups + 1, "it wakes up for nothing");
    let mut sequence = Sequence::default();
    let reader = fifo::reader(&dir.join("stdout"));
    take(&sandbox, &reader, &mut sequence, 3 * MIB as u64);
    end(&sandbox, &id, &dir);
    assert_eq!(writer.report().bytes, sequence.bytes());
    assert_eq!(sandbox.exit_json(&id, "init")["dropped"], Value::Null);
}

#[test]
fn at_its_bound_a_spill_may_lose_the_oldest_and_says_how_much() {
    let sandbox = Sandbox::new("spill-drop");
    let flags = ["--spill-max", "1M", "--spill-full", "drop-oldest"];
    let (writer, id) = started(&sandbox, "drop", &flags);
    let dir = sandbox.process_dir(&id, "init");
    write(&sandbox, &dir, 7, |_| true);
    end(&sandbox, &id, &dir);
    assert_eq!(writer.report().frozen, 0);
    // The last are there.
    let read = late(&dir);
    let all: Vec<u8> = (0..7 * MIB as u64 / 8).flat_map(u64::to_le_bytes).collect();
    assert!(
        all.ends_with(&read) && read.len() <= MIB + (256 << 10),
        "{}",
        read.len()
    );
    let dropped = sandbox.exit_json(&id, "init")["dropped"]["stdout"].as_u64();
    assert_eq!(dropped, Some((all.len() - read.len()) as u64));
    let log = fs::read_to_string(dir.join("shim-log.json")).unwrap();
    assert_eq!(log.matches("the oldest are dropped").count(), 1, "{log}");
}

#[test]
fn on_a_full_disk_the_container_waits_until_there_is_room() {
    let sandbox = Sandbox::new("spill-disk");
    disk::mount(&sandbox.root(), "size=4m,mode=700");
    let (writer, id) = started(&sandbox, "disk", &[]);
    let dir = sandbox.process_dir(&id, "init");
    // A first line, so that a block of the disk is the log's.
    fs::write(dir.join("control"), "nonsense\n").unwrap();
    sandbox.wait_file(&dir.join("shim-log.json"));
    let filler = sandbox.root().join("filler");
    fs::write(&filler, vec![0; 2 * MIB]).unwrap();
    let log = || fs::read_to_string(dir.join("shim-log.json")).unwrap_or_default();
    write(&sandbox, &dir, 4, |_| {
        log().contains("waits until there is room")
    });
    fs::remove_file(&filler).unwrap();
    sandbox.wait_until("it to go on by itself", || {
        log().contains("there is room again")
    });
    // More than the disk has: the rest comes when a reader has made room.
    let mut sequence = Sequence::default();
    let reader = fifo::reader(&dir.join("stdout"));
    take(&sandbox, &reader, &mut sequence, 4 * MIB as u64);
    end(&sandbox, &id, &dir);
    assert_eq!(writer.report().bytes, sequence.bytes());
    drop(reader);
    sandbox.run_ok(["delete", &id]);
}

#[test]
fn a_shim_that_is_killed_costs_a_spill_nothing() {
    const KILLS: usize = 16;
    let sandbox = Sandbox::new("spill-killed");
    let (writer, id) = started(&sandbox, "killed", &["--spill-max", "1G"]);
    let dir = sandbox.process_dir(&id, "init");
    let stdin = sandbox.open_writer(&dir.join("stdin"));
    let mut sequence = Sequence::default();
    for kill in 0..KILLS {
        sandbox.write_all(&stdin, b"xx");
        let written = ((kill + 1) * 2 * MIB) as u64;
        if kill % 3 == 0 {
            // What the last reader has left is taken back: until it is, it dies with the shim.
            let left = written - sequence.bytes();
            sandbox.wait_until("the file to have it all", || kept_in(&dir) == left);
        }
        // While nobody reads; while somebody catches up; and while bytes go straight through.
        let reader = (kill % 3 > 0).then(|| fifo::reader(&dir.join("stdout")));
        if let Some(reader) = &reader {
            let backlog = written - (2 * MIB) as u64 - sequence.bytes();
            let much = if kill % 3 == 1 { backlog / 3 } else { backlog };
            take(&sandbox, reader, &mut sequence, much);
        }
        sandbox.kill_shim(&dir);
        assert!(sandbox.recovered(&id).starts_with("adopted"));
        if let Some(reader) = &reader {
            take(&sandbox, reader, &mut sequence, 100_003);
        }
    }
    drop(stdin);
    end_as(&sandbox, &id, &dir, kernel::adopted_code(0));
    sequence.take(&late(&dir));
    assert_eq!(sequence.bytes(), writer.report().bytes);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_terminals_output_is_spilled_too() {
    let sandbox = Sandbox::new("spill-tty");
    let gate = sandbox.gate();
    let script = format!("stty raw; seq 1 30000; {}; echo over", Gate::WAIT);
    let bundle = sandbox.sh(&script).terminal().bind(gate.dir());
    let id = sandbox.id("tty");
    sandbox.run_ok(["run", "-d", "--stdio", "spill", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    // It has written all of it: nothing waits.
    gate.open();
    sandbox.wait_done(&dir);
    let wanted: String = (1..=30000).map(|line| format!("{line}\n")).collect();
    assert_eq!(String::from_utf8(late(&dir)).unwrap(), wanted + "over\n");
    let mut nothing = String::new();
    fifo::reader(&dir.join("stdout"))
        .read_to_string(&mut nothing)
        .unwrap();
    assert_eq!(nothing, "");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}
