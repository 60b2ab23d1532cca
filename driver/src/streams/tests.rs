//! Streams as whoever attaches has them; the other side is played by the test.

use super::*;
use crate::deadline::Deadline;
use crate::testing::{FakeShim, Scratch, scratch};
use holdfast_common::output::Output;
use holdfast_common::process_state::Extension;
use nix::poll::PollFlags;
use nix::sys::stat::Mode;
use std::fs::OpenOptions;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::Duration;

fn with_fifos(name: &str) -> (Scratch, ProcessState) {
    let dir = scratch(name);
    let path = |stream: Stream| {
        let path = dir.join(stream.name());
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let state = ProcessState {
        stdin: path(Stream::Stdin),
        stdout: path(Stream::Stdout),
        ..ProcessState::default()
    };
    (dir, state)
}

fn open_now(dir: &Path, state: &ProcessState) -> Result<Streams> {
    open(dir, state, Early::default(), true)
}

#[test]
fn a_second_reader_is_told_who_is_first() {
    let (dir, state) = with_fifos("streams-taken");
    let first = open_now(&dir, &state).unwrap();
    assert!(first.stdin.is_none() && first.stderr.is_none());
    let error = open_now(&dir, &state).unwrap_err();
    let me = i32::try_from(std::process::id()).ok();
    assert!(
        matches!(error, Error::StreamTaken { stream: Stream::Stdout, pid } if pid == me),
        "{error}"
    );
    drop(first);
    open_now(&dir, &state).unwrap();
}

#[test]
fn a_reader_gets_what_is_there_then_waits_then_sees_the_end() {
    let (dir, state) = with_fifos("streams-live");
    let mut reader = open_now(&dir, &state).unwrap().stdout.unwrap();
    let mut writer = File::from(fifo::open_write(Path::new(&state.stdout)).unwrap());
    writer.write_all(b"hello").unwrap();
    let mut buffer = [0; 64];
    assert_eq!(reader.read(&mut buffer).unwrap(), 5);
    let waits = reader.read(&mut buffer).unwrap_err();
    assert_eq!(waits.kind(), io::ErrorKind::WouldBlock);
    drop(writer);
    // What was kept is what this reader has just read.
    std::fs::write(dir.join("stdout.unread"), "hello").unwrap();
    assert_eq!(reader.read(&mut buffer).unwrap(), 0);
    assert_eq!(reader.read(&mut buffer).unwrap(), 0);
}

#[test]
fn a_late_reader_gets_what_was_kept() {
    let (dir, state) = with_fifos("streams-late");
    std::fs::write(dir.join("stdout.unread"), "hello").unwrap();
    let mut reader = open_now(&dir, &state).unwrap().stdout.unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn bytes_move_to_another_descriptor_and_the_end_follows_them() {
    let (dir, state) = with_fifos("streams-move");
    let mut reader = open_now(&dir, &state).unwrap().stdout.unwrap();
    let mut writer = File::from(fifo::open_write(Path::new(&state.stdout)).unwrap());
    let file = File::create(dir.join("file")).unwrap();
    let waits = reader.move_to(&file, 64).unwrap_err();
    assert_eq!(waits.kind(), io::ErrorKind::WouldBlock);
    writer.write_all(b"hello").unwrap();
    assert_eq!(reader.move_to(&file, 3).unwrap(), 3);
    assert_eq!(reader.move_to(&file, 64).unwrap(), 2);
    // A descriptor that takes bytes at its end only cannot be moved to; nothing is lost by trying.
    let end = OpenOptions::new()
        .append(true)
        .open(dir.join("file"))
        .unwrap();
    writer.write_all(b" you").unwrap();
    let cannot = reader.move_to(&end, 64).unwrap_err();
    assert_eq!(cannot.kind(), io::ErrorKind::InvalidInput);
    let mut buffer = [0; 4];
    assert_eq!(reader.read(&mut buffer).unwrap(), 4);
    drop(writer);
    // What was kept is what this reader has just moved.
    std::fs::write(dir.join("stdout.unread"), "hello you").unwrap();
    assert_eq!(reader.move_to(&file, 64).unwrap(), 0);
    assert_eq!(reader.read(&mut buffer).unwrap(), 0);
    assert_eq!(std::fs::read(dir.join("file")).unwrap(), b"hello");
}

#[test]
fn what_was_kept_is_read_where_it_cannot_be_moved() {
    let (dir, state) = with_fifos("streams-move-late");
    std::fs::write(dir.join("stdout.unread"), "hello").unwrap();
    let mut reader = open_now(&dir, &state).unwrap().stdout.unwrap();
    let file = File::create(dir.join("file")).unwrap();
    let cannot = reader.move_to(&file, 64).unwrap_err();
    assert_eq!(cannot.kind(), io::ErrorKind::InvalidInput);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn streams_that_are_no_fifos_are_nobodys_to_attach() {
    let dir = scratch("streams-none");
    std::fs::write(dir.join("file"), "").unwrap();
    let state = ProcessState {
        stdout: dir.join("file").to_str().unwrap().to_owned(),
        stderr: dir.join("absent").to_str().unwrap().to_owned(),
        ..ProcessState::default()
    };
    let streams = open_now(&dir, &state).unwrap();
    assert!(streams.stdin.is_none() && streams.stdout.is_none() && streams.stderr.is_none());
}

#[test]
fn what_the_fifo_had_no_room_for_comes_after_what_was_in_it() {
    let (dir, mut state) = with_fifos("streams-spill");
    state.holdfast = Some(Extension {
        output: Some(Output {
            stdout: Some(Moved::Spill),
            ..Output::default()
        }),
        ..Extension::default()
    });
    std::fs::write(dir.join("stdout.spill"), "gone, here").unwrap();
    std::fs::write(dir.join("stdout.spill.at"), "4").unwrap();
    // Who reads when the process ends: the FIFO, then the spill.
    let mut reader = open_now(&dir, &state).unwrap().stdout.unwrap();
    let mut writer = File::from(fifo::open_write(Path::new(&state.stdout)).unwrap());
    writer.write_all(b"first").unwrap();
    drop(writer);
    // That it was in the FIFO is this reader's knowledge.
    std::fs::write(dir.join("stdout.unread"), "first").unwrap();
    let file = File::create(dir.join("file")).unwrap();
    assert_eq!(reader.move_to(&file, 3).unwrap(), 3);
    assert_eq!(reader.move_to(&file, 64).unwrap(), 2);
    let cannot = reader.move_to(&file, 64).unwrap_err();
    assert_eq!(cannot.kind(), io::ErrorKind::InvalidInput);
    assert!(reader.is_at_kept() && reader.spills());
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, ", here");
    drop(reader);
    // Who comes later: what was kept of the FIFO, then the spill, and so does the one after that.
    for _ in 0..2 {
        let mut reader = open_now(&dir, &state).unwrap().stdout.unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "first, here");
    }
    // What was all passed on is nothing to read.
    std::fs::write(dir.join("stdout.spill.at"), "10").unwrap();
    std::fs::remove_file(dir.join("stdout.unread")).unwrap();
    let mut reader = open_now(&dir, &state).unwrap().stdout.unwrap();
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn stdin_has_one_writer_who_is_named_to_the_second() {
    let (dir, state) = with_fifos("streams-stdin");
    let _container = fifo::open_read(Path::new(&state.stdin)).unwrap();
    let first = open_now(&dir, &state).unwrap();
    drop(first.stdout);
    assert!(first.stdin.is_some());
    let error = open_now(&dir, &state).unwrap_err();
    let me = i32::try_from(std::process::id()).ok();
    assert!(
        matches!(error, Error::StreamTaken { stream: Stream::Stdin, pid } if pid == me),
        "{error}"
    );
    // Who wants none is not refused.
    let other = open(&dir, &state, Early::default(), false).unwrap();
    assert!(other.stdin.is_none() && other.stdout.is_some());
}

#[test]
fn a_fifo_that_spills_does_not_end_with_a_shim_that_was_killed() {
    let dir = scratch("streams-orphan");
    let mut shim = FakeShim::start(dir.join("web/init"));
    let path = shim.dir.join("stdout");
    nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let state = ProcessState {
        stdout: path.to_str().unwrap().to_owned(),
        holdfast: Some(Extension {
            output: Some(Output {
                stdout: Some(Moved::Spill),
                ..Output::default()
            }),
            ..Extension::default()
        }),
        ..ProcessState::default()
    };
    let mut reader = open_now(&shim.dir, &state).unwrap().stdout.unwrap();
    let open_writer = || File::from(fifo::open_write(&path).unwrap());
    let mut writer = open_writer();
    let mut buffer = [0; 16];
    let mut waits = |reader: &mut Reader, readable: bool| {
        let error = reader.read(&mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let now = Deadline::after(Some(Duration::ZERO));
        let told = now.poll(reader.as_fd(), PollFlags::POLLIN).unwrap();
        assert_eq!(!told.is_empty(), readable);
    };
    waits(&mut reader, false);
    writer.write_all(b"one").unwrap();
    assert_eq!(reader.read(&mut [0; 16]).unwrap(), 3);
    // The process runs; nobody is told of an end, and nobody spins.
    drop(writer);
    shim.leave();
    waits(&mut reader, false);
    let file = File::create(dir.join("file")).unwrap();
    let error = reader.move_to(&file, 16).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    // Another adopts it.
    shim.take_over();
    let mut writer = open_writer();
    let now = Deadline::after(Some(Duration::ZERO));
    assert!(
        !now.poll(reader.as_fd(), PollFlags::POLLIN)
            .unwrap()
            .is_empty()
    );
    waits(&mut reader, false);
    writer.write_all(b"two").unwrap();
    assert_eq!(reader.move_to(&file, 16).unwrap(), 3);
    waits(&mut reader, false);
    shim.record(0);
    drop(writer);
    assert_eq!(reader.read(&mut [0; 16]).unwrap(), 0);
}
