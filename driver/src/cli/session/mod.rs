//! A session: our standard streams and signals tied to a process, until it ends or we let go of it. One thread, one
//! poll(2), no timer; `run`, `exec` and `attach` share it.
//!
//! Output comes from the process's FIFOs, or from its log where it is logged.
//!
//! A session is over
//! 1. when both streams are at their end and the exit status is on record; or
//! 2. when the shim is gone and what it left in the streams has been passed on, whoever else may still hold them
//!    (background children of an exec); or
//! 3. when we let go: detach keys, a signal that ends us, output that nobody takes any more.
//!
//! If the shim dies without recording anything the session goes on, on the process's pidfd: the streams work without it.

mod end;
mod keys;
mod log_pump;
mod progress;
mod pump;
mod raw_mode;
mod signals;
mod window;

use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use holdfast::{ExitRecord, LogQuery, Process, Stream};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

pub use end::End;
use keys::Watch;
pub use keys::{DEFAULT as DEFAULT_DETACH_KEYS, DetachKeys};
use log_pump::LogPump;
use progress::Progress;
use pump::{Pump, Turn, Wants};
use raw_mode::RawMode;
pub use signals::{ENDING, Impatience, Signals};
pub use window::window;

use super::error::{Error, Result};

/// What a session does beside copying output.
#[derive(Debug)]
pub struct Options {
    /// Pass our standard input on.
    pub stdin: bool,
    /// Pass signals on to the process, rather than end by them.
    pub proxy: bool,
    /// What lets go, when our standard input and the process have a terminal.
    pub keys: DetachKeys,
    /// Of output that is logged, how many lines of what was there before; `None` for everything.
    pub tail: Option<u64>,
    /// Have the process draw its terminal anew.
    pub redraw: bool,
}

/// How a session ended.
#[derive(Debug)]
pub enum Outcome {
    /// The process has ended; `None` when how is not on record.
    Exited(Option<ExitRecord>),
    /// The detach keys were typed.
    Detached,
    /// This signal ends us.
    Signalled(i32),
    /// Nobody takes this stream from us any more.
    OutputGone(Stream, io::Error),
}

/// What can happen.
#[derive(Debug, Clone, Copy)]
enum Event {
    Signal,
    Exit,
    Stdout,
    Stderr,
    Log,
    Stdin,
}

/// A session that is open.
#[derive(Debug)]
pub struct Session<'a> {
    process: &'a Process,
    signals: Signals,
    proxy: bool,
    progress: Progress,
    /// Kept from the moment it is there: a container that removes itself takes its files along.
    record: Option<ExitRecord>,
    stdin: Pump,
    stdout: Pump,
    stderr: Pump,
    /// In the place of those of them that are logged.
    log: Option<LogPump>,
    // Last: whatever else a drop may do, it happens on a terminal that is still raw.
    raw_mode: Option<RawMode>,
}

impl<'a> Session<'a> {
    /// Opens the process's streams, makes our terminal raw if both have one, and gives the process our window's size.
    ///
    /// # Errors
    /// Somebody else reads the streams; our terminal cannot be made raw.
    pub fn open(process: &'a Process, signals: Signals, options: &Options) -> Result<Self> {
        // Who only looks on does not keep others from writing.
        let streams = match options.stdin {
            true => process.stdio()?,
            false => process.output()?,
        };
        let raw = process.terminal()
            && options.stdin
            && streams.stdin.is_some()
            && io::stdin().is_terminal();
        let stdin = match streams.stdin {
            Some(fifo) => {
                let own = own_end(
                    Stream::Stdin,
                    io::stdin().as_fd(),
                    OpenOptions::new().read(true),
                )?;
                let watch = raw.then(|| Watch::new(&options.keys));
                Pump::new(own, End::Ready(fifo.into()), watch)
            }
            None => Pump::none(),
        };
        let output = |reader, stream, fd: BorrowedFd<'_>| -> Result<Pump> {
            let Some(reader) = reader else {
                return Ok(Pump::none());
            };
            let own = own_end(stream, fd, OpenOptions::new().write(true))?;
            Ok(Pump::new(End::Container(reader), own, None))
        };
        let stdout = output(streams.stdout, Stream::Stdout, io::stdout().as_fd())?;
        let stderr = output(streams.stderr, Stream::Stderr, io::stderr().as_fd())?;
        let log = open_log(process, options.tail)?;
        let raw_mode = raw
            .then(|| RawMode::enter(io::stdin()))
            .transpose()
            .map_err(|e| Error::io("make terminal raw", "stdin", e))?;
        let mut session = Self {
            process,
            signals,
            proxy: options.proxy,
            progress: Progress::Runs,
            record: None,
            stdin,
            stdout,
            stderr,
            log,
            raw_mode,
        };
        if options.redraw {
            session.provoke_redraw();
        }
        session.follow_window();
        session.look_at_exit(Duration::ZERO)?;
        Ok(session)
    }

    /// Whether there is anything to copy.
    pub fn has_streams(&self) -> bool {
        let fifos = [&self.stdin, &self.stdout, &self.stderr];
        self.log.is_some() || !fifos.into_iter().all(Pump::is_done)
    }

    /// Whether a signal that ends a program has come already.
    pub fn interrupted(&mut self) -> Option<i32> {
        self.signals.ending()
    }

    /// Copies until the session is over.
    ///
    /// # Errors
    /// poll(2)'s, or the exit record cannot be understood.
    pub fn run(mut self) -> Result<Outcome> {
        while !self.is_over() {
            for event in self.wait()? {
                let outcome = match event {
                    Event::Signal => self.on_signals(),
                    Event::Exit => self.on_exit()?,
                    Event::Stdout => self.on_output(Stream::Stdout),
                    Event::Stderr => self.on_output(Stream::Stderr),
                    Event::Log => self.on_log(),
                    Event::Stdin => self.on_input(),
                };
                if let Some(outcome) = outcome {
                    return Ok(self.close(outcome));
                }
            }
        }
        let outcome = Outcome::Exited(self.record.take());
        Ok(self.close(outcome))
    }

    /// Says, on a terminal that is as it was, what could not be shown.
    fn close(self, outcome: Outcome) -> Outcome {
        drop(self.raw_mode);
        if let Some(regrets) = self.log.as_ref().and_then(LogPump::regrets) {
            log::warn!("{regrets}");
        }
        outcome
    }

    fn is_over(&self) -> bool {
        let ended = matches!(self.progress, Progress::Recorded | Progress::Gone);
        let logged = self.log.as_ref().is_none_or(LogPump::is_done);
        ended && logged && self.stdout.is_done() && self.stderr.is_done()
    }

    /// What has happened, in turn order: signals, exit, streams.
    fn wait(&self) -> Result<Vec<Event>> {
        let mut polled = vec![(Event::Signal, self.signals.as_fd(), PollFlags::POLLIN)];
        match &self.progress {
            Progress::Runs => polled.push((Event::Exit, self.process.as_fd(), PollFlags::POLLIN)),
            Progress::Orphaned(pidfd) => {
                polled.push((Event::Exit, pidfd.as_fd(), PollFlags::POLLIN))
            }
            // Still readable; only the hang-up, which is always reported, is news.
            Progress::Recorded => {
                polled.push((Event::Exit, self.process.as_fd(), PollFlags::empty()))
            }
            Progress::Gone => {}
        }
        let mut at_once = Vec::new();
        for (event, wants) in [
            (Event::Stdout, self.stdout.wants()),
            (Event::Stderr, self.stderr.wants()),
            (
                Event::Log,
                self.log.as_ref().map_or(Wants::Nothing, LogPump::wants),
            ),
            (Event::Stdin, self.stdin.wants()),
        ] {
            match wants {
                Wants::Source(fd) => polled.push((event, fd, PollFlags::POLLIN)),
                Wants::Sink(fd) => polled.push((event, fd, PollFlags::POLLOUT)),
                Wants::Turn => at_once.push(event),
                Wants::Nothing => {}
            }
        }
        let mut fds: Vec<PollFd<'_>> = polled
            .iter()
            .map(|&(_, fd, flags)| PollFd::new(fd, flags))
            .collect();
        let timeout = if at_once.is_empty() {
            PollTimeout::NONE
        } else {
            PollTimeout::ZERO
        };
        match poll(&mut fds, timeout) {
            // A signal: the next poll finds it in its pipe.
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(Error::io("poll", "the streams", e.into())),
        }
        let happened = polled
            .iter()
            .zip(&fds)
            .filter(|(_, fd)| fd.any() == Some(true))
            .map(|(&(event, ..), _)| event);
        Ok(happened.chain(at_once).collect())
    }

    fn on_signals(&mut self) -> Option<Outcome> {
        for signal in self.signals.take() {
            match signal {
                libc::SIGWINCH => {
                    self.follow_window();
                    continue;
                }
                libc::SIGCONT => self.resume(),
                _ => {}
            }
            if self.proxy {
                if let Err(e) = self.process.signal(signal) {
                    log::debug!("pass signal {signal} on: {e}");
                }
            } else if ENDING.contains(&signal) {
                return Some(Outcome::Signalled(signal));
            }
        }
        None
    }

    fn on_output(&mut self, stream: Stream) -> Option<Outcome> {
        let pump = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
            Stream::Stdin => return None,
        };
        match pump.turn() {
            Turn::Open | Turn::Done | Turn::Detach => None,
            Turn::Broken(e) => Some(Outcome::OutputGone(stream, e)),
        }
    }

    fn on_log(&mut self) -> Option<Outcome> {
        let log = self.log.as_mut()?;
        match log.turn() {
            Turn::Open | Turn::Done | Turn::Detach => None,
            Turn::Broken(e) => Some(Outcome::OutputGone(log.stream(), e)),
        }
    }

    fn on_input(&mut self) -> Option<Outcome> {
        match self.stdin.turn() {
            Turn::Open => None,
            Turn::Detach => Some(Outcome::Detached),
            // The process has closed its stdin; it does not want what we have.
            Turn::Broken(e) => {
                log::debug!("write to stdin of the container: {e}");
                None
            }
            Turn::Done => {
                // A terminal that hung up reads like an end of file, but nobody asked for one.
                let hung_up = self.raw_mode.as_ref().is_some_and(RawMode::is_hung_up);
                if !hung_up && let Err(e) = self.process.close_stdin() {
                    log::debug!("close stdin of the container: {e}");
                }
                None
            }
        }
    }
}

/// What is logged of a process's output; `None` where nothing is that can be read back.
fn open_log(process: &Process, tail: Option<u64>) -> Result<Option<LogPump>> {
    let query = LogQuery {
        tail,
        follow: true,
        ..LogQuery::default()
    };
    let logs = match process.logs(&query) {
        Ok(logs) => logs,
        Err(holdfast::Error::NotLogged { .. } | holdfast::Error::LogInJournal { .. }) => {
            return Ok(None);
        }
        Err(e) => return Err(e.into()),
    };
    let mut writes = OpenOptions::new();
    let writes = writes.write(true);
    let stdout = own_end(Stream::Stdout, io::stdout().as_fd(), writes)?;
    let stderr = own_end(Stream::Stderr, io::stderr().as_fd(), writes)?;
    Ok(Some(LogPump::new(logs, stdout, stderr)))
}

fn own_end(stream: Stream, fd: BorrowedFd<'_>, options: &mut OpenOptions) -> Result<End> {
    End::own(fd, options).map_err(|e| Error::io("open", stream.name(), e))
}
