//! Output that is logged, as one direction of a session: entries of a log that is followed, each to our stream of its name. As any
//! pump it never blocks, and takes no more than it can pass on: a reader of ours that stops is felt by nobody, and costs what
//! [`Logs`] says.

use std::os::fd::AsFd;
use std::time::Duration;

use holdfast::{LogEntry, Logs, Stream};

use super::end::End;
use super::pump::{Turn, Wants};

/// Bytes that are written at once.
const BATCH: usize = 64 << 10;
/// Rounds before the other directions get their turn.
const ROUNDS: usize = 16;

/// Both streams of a log.
#[derive(Debug)]
pub struct LogPump {
    logs: Logs,
    stdout: End,
    stderr: End,
    /// What was taken and not passed on: of one stream.
    pending: Vec<u8>,
    stream: Stream,
    /// What is in `pending` before this has been passed on.
    passed: usize,
    /// Of the other stream, what comes after it.
    next: Option<LogEntry>,
    /// Whether nothing will come any more.
    over: bool,
}

impl LogPump {
    /// A direction from a log to ours.
    pub fn new(logs: Logs, stdout: End, stderr: End) -> Self {
        Self {
            logs,
            stdout,
            stderr,
            pending: Vec::new(),
            stream: Stream::Stdout,
            passed: 0,
            next: None,
            over: false,
        }
    }

    /// The stream that it passes on just now.
    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// What to wait for before the next [`LogPump::turn`].
    pub fn wants(&self) -> Wants<'_> {
        if self.passed < self.pending.len() {
            return Wants::Sink(self.sink().as_fd());
        }
        match (&self.next, self.over) {
            (Some(_), _) => Wants::Turn,
            (None, false) => Wants::Source(self.logs.as_fd()),
            (None, true) => Wants::Nothing,
        }
    }

    /// Whether nothing will ever come any more.
    pub fn is_done(&self) -> bool {
        matches!(self.wants(), Wants::Nothing)
    }

    /// What could not be had, in words.
    pub fn regrets(&self) -> Option<String> {
        let missing = self.logs.missing();
        (!missing.is_none()).then(|| super::super::logs::said(missing))
    }

    fn sink(&self) -> &End {
        match self.stream {
            Stream::Stderr => &self.stderr,
            Stream::Stdin | Stream::Stdout => &self.stdout,
        }
    }

    /// Passes on what can be passed on.
    pub fn turn(&mut self) -> Turn {
        for _ in 0..ROUNDS {
            while self.passed < self.pending.len() {
                let sink = match self.stream {
                    Stream::Stderr => &mut self.stderr,
                    Stream::Stdin | Stream::Stdout => &mut self.stdout,
                };
                match sink.write(&self.pending[self.passed..]) {
                    Ok(written) => self.passed += written,
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Turn::Open,
                    Err(e) => {
                        self.close();
                        return Turn::Broken(e);
                    }
                }
                if sink.is_cautious() {
                    return Turn::Open;
                }
            }
            if !self.fill() {
                return match self.is_done() {
                    true => Turn::Done,
                    false => Turn::Open,
                };
            }
        }
        Turn::Open
    }

    /// Takes what comes next, of one stream; whether there was anything.
    fn fill(&mut self) -> bool {
        self.pending.clear();
        self.passed = 0;
        if let Some(entry) = self.next.take() {
            self.stream = entry.stream;
            entry.append_to(&mut self.pending);
        }
        while !self.over && self.pending.len() < BATCH {
            match self.logs.next(Some(Duration::ZERO)) {
                Ok(Some(entry)) if self.pending.is_empty() || entry.stream == self.stream => {
                    self.stream = entry.stream;
                    entry.append_to(&mut self.pending);
                }
                Ok(Some(entry)) => {
                    self.next = Some(entry);
                    break;
                }
                Ok(None) => {
                    self.over = self.logs.is_over();
                    break;
                }
                Err(e) => {
                    log::warn!("{e}");
                    self.over = true;
                }
            }
        }
        !self.pending.is_empty()
    }

    /// Lets go of everything.
    fn close(&mut self) {
        self.pending.clear();
        self.passed = 0;
        self.next = None;
        self.over = true;
    }
}
