//! Logs that are written, rotated, emptied and damaged while they are read. The shim is played by the test.

mod at_random;
mod following;
mod life;
mod reading;

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
