//! Output whose bytes the shim moves: out of the FIFO that the process holds, into a log, or into the reader's FIFO with a file
//! behind it. A terminal's output, which [`hold`](crate::hold) reads, goes the same ways.
//!
//! - [`places`]: a log, to several places at once: [`lines`] in a [`file`], the [`journal`], a recording ([`cast`]); [`health`]: what
//!   is dropped;
//! - [`outlet`]: the FIFO of a reader's; [`spill`], [`spill_at`]: what it has no room for, on a disk that may be full ([`full_disk`]);
//! - [`scratch`]: the memory for all of it, which is given back;
//! - [`words`]: all of it through `execve`.
//!
//! Invariants: the process waits for nobody but the disk, and where it was asked to; nothing that fails here stops it, or the shim;
//! nothing is kept in this program between two turns, so that a shim that is killed takes no more along than one read's worth.

mod cast;
mod file;
mod full_disk;
mod health;
mod journal;
mod lines;
mod outlet;
mod places;
mod scratch;
mod spill;
mod spill_at;
mod words;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use holdfast_common::layout::Stream;
use holdfast_common::output::Moved;
use holdfast_common::process_state::ProcessState;
use holdfast_common::state_file;
use holdfast_common::sys::pty::Size;
use holdfast_common::sys::{errno_text, fifo};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::unistd::read;
use serde::Serialize;

use crate::error::Error;
use crate::hold::unread;
use places::{Log, Names};
use scratch::Scratch;
use spill::Spill;
pub use words::OutputWords;

/// Reads, or pieces, of one turn and stream; then signals and control have their turn.
const PIECES_A_TURN: usize = 16;
/// The most pieces that are taken at the end: more than a FIFO holds, and no end to what is left of a process can go on writing.
const LAST_PIECES: usize = 64;

/// How long small pieces may gather.
const PAUSE: Duration = Duration::from_micros(250);
/// What is no small piece, bytes: half of what such a FIFO holds.
const ENOUGH: usize = 128 << 10;
/// What the FIFO holds that the process writes to, bytes: more than others, for the time that this program is at something else.
const INNER_CAPACITY: i32 = 256 << 10;

/// What the shim moves of one process's output.
#[derive(Debug)]
pub struct Output {
    /// What is logged, and what records a terminal.
    log: Option<Log>,
    moving: Vec<Moving>,
    scratch: Scratch,
}

/// One stream of it.
#[derive(Debug)]
struct Moving {
    stream: Stream,
    /// The read end of what the process holds; none of a terminal.
    inner: Option<OwnedFd>,
    to: To,
}

#[derive(Debug)]
enum To {
    Log,
    Spill(Box<Spill>),
}

/// What a descriptor tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tells {
    /// There is output.
    Bytes,
    /// A reader has taken some, or is gone.
    Room,
    /// Somebody opens a FIFO.
    Opened,
}

/// What a person is shown of it.
#[derive(Debug, Serialize)]
pub struct OutputView {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    log: Vec<PlaceView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    spill: Vec<SpillView>,
}

#[derive(Debug, Serialize)]
struct PlaceView {
    driver: &'static str,
    dropped: u64,
    /// Whether it cannot be written just now.
    failing: bool,
}

#[derive(Debug, Serialize)]
struct SpillView {
    stream: Stream,
    /// Bytes in its file.
    kept: u64,
    dropped: u64,
    /// Whether somebody reads.
    reader: bool,
}

impl Output {
    /// Opens what process.json asks for, in the working directory; `None` where it asks for nothing. A log that cannot be
    /// opened is tried again later; a FIFO must be there.
    pub fn open(id: &str, state: &ProcessState) -> Result<Option<Box<Self>>, Error> {
        let Some(options) = state.output() else {
            return Ok(None);
        };
        let mut moving = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let Some(moved) = options.moved(stream) else {
                continue;
            };
            let inner = match state.terminal {
                true => None,
                false => {
                    let path = stream.inner_fifo();
                    let inner = fifo::open_read(Path::new(&path));
                    let inner = inner.map_err(Error::io("open fifo", path))?;
                    // Refused (with too many big pipes about), the ordinary size has to do.
                    let _ = fifo::set_capacity(inner.as_fd(), INNER_CAPACITY);
                    Some(inner)
                }
            };
            let to = match moved {
                Moved::Log => To::Log,
                Moved::Spill => {
                    let path = Path::new(state.stdio(stream));
                    let options = options.spill.unwrap_or_default();
                    let spill = Spill::open(stream, path, options);
                    To::Spill(Box::new(spill.map_err(Error::io("open spill of", path))?))
                }
            };
            moving.push(Moving { stream, inner, to });
        }
        let log = options.log.clone().map(|options| {
            let mut log = Log::new(options, Names::of(id, state));
            log.open();
            log
        });
        if log.is_none() && moving.is_empty() {
            return Ok(None);
        }
        Ok(Some(Box::new(Self {
            log,
            moving,
            scratch: Scratch::default(),
        })))
    }

    /// Calls `each` for every descriptor to poll.
    pub fn pollable(&self, mut each: impl FnMut(RawFd, Tells) -> io::Result<()>) -> io::Result<()> {
        for Moving { inner, to, .. } in &self.moving {
            if let Some(inner) = inner {
                each(inner.as_raw_fd(), Tells::Bytes)?;
            }
            if let To::Spill(spill) = to {
                each(spill.outlet().fifo().as_raw_fd(), Tells::Room)?;
                if let Some(watch) = spill.outlet().watch() {
                    each(watch.as_fd().as_raw_fd(), Tells::Opened)?;
                }
            }
        }
        Ok(())
    }

    /// What to poll where there is no more to wait for than output: the FIFOs that there is room for the content of.
    pub fn poll_fds(&self) -> Vec<PollFd<'_>> {
        let open = self.moving.iter().filter_map(|moving| match &moving.to {
            To::Spill(spill) if !spill.has_room() => None,
            To::Spill(_) | To::Log => moving.inner.as_ref(),
        });
        open.map(|inner| PollFd::new(inner.as_fd(), PollFlags::POLLIN))
            .collect()
    }

    /// When there is something to do, whatever the descriptors tell.
    pub fn due(&self) -> Option<Instant> {
        let retries = self.spills().filter_map(Spill::due);
        retries.chain(self.scratch.due()).min()
    }

    /// How long to let output gather that comes in small pieces, after a turn that has moved some. A process that writes line by line
    /// would wake this one for each, and pay for it; what fills its FIFO in that time is not waited for.
    pub fn pause(&mut self) -> Option<Duration> {
        let moved = self.scratch.take_moved();
        (1..ENOUGH).contains(&moved).then_some(PAUSE)
    }

    /// Moves what can be moved, for one turn; whether there may be more.
    pub fn turn(&mut self) -> bool {
        let mut more = false;
        self.scratch.begin();
        for moving in &mut self.moving {
            more |= match &mut moving.to {
                To::Spill(spill) => {
                    spill.turn(moving.inner.as_ref(), PIECES_A_TURN, &mut self.scratch)
                }
                To::Log => match (&moving.inner, &mut self.log) {
                    (Some(inner), Some(log)) => {
                        log_from(inner, moving.stream, log, PIECES_A_TURN, &mut self.scratch)
                    }
                    _ => false,
                },
            };
        }
        if !more {
            self.scratch.give_back_if_due();
        }
        more
    }

    /// Somebody has opened a FIFO.
    pub fn see_opens(&self) {
        self.spills().for_each(|spill| spill.outlet().see_opens());
    }

    /// Whether a terminal's output goes here, and not to a FIFO of the terminal's.
    pub fn takes_terminal(&self) -> bool {
        self.moving.iter().any(|it| it.stream == Stream::Stdout)
    }

    /// Takes what was read of a terminal: into the log, if there is one. To be followed by [`Output::take`].
    pub fn see_terminal(&mut self, bytes: &[u8]) {
        if let Some(log) = &mut self.log {
            log.take(Stream::Stdout, bytes, self.scratch.entries());
        }
    }

    /// Takes what was read of a terminal, or the rest of it, where it is to go besides the log; returns how many bytes.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        let mut spills = self.moving.iter_mut().filter_map(|it| match &mut it.to {
            To::Spill(spill) => Some(spill),
            To::Log => None,
        });
        match spills.next() {
            Some(spill) => spill.take(bytes, &mut self.scratch),
            None => bytes.len(),
        }
    }

    /// A terminal has this size, from the beginning or from now on.
    pub fn resize(&mut self, size: Size) {
        if let Some(log) = &mut self.log {
            log.resize(size);
        }
    }

    /// Control type 2: opens the log's files again, by their names.
    pub fn reopen(&mut self) {
        if let Some(log) = &mut self.log {
            log.open();
        }
    }

    /// The process has ended: nothing that it wrote is to wait for room any more.
    pub fn unbind(&mut self) {
        for moving in &mut self.moving {
            if let To::Spill(spill) = &mut moving.to {
                spill.unbind();
            }
        }
    }

    /// The process has ended, and its terminal is empty: takes the rest, passes on what a reader takes, and keeps what the
    /// reader's FIFO holds beside it, for who comes later.
    pub fn finish(&mut self) {
        for moving in &mut self.moving {
            let (inner, scratch) = (moving.inner.as_ref(), &mut self.scratch);
            match (&mut moving.to, &mut self.log) {
                (To::Spill(spill), _) => {
                    spill.turn(inner, LAST_PIECES, scratch);
                    let lost = inner.and_then(|inner| fifo::waiting(inner.as_fd()).ok());
                    if let Some(lost @ 1..) = lost {
                        let name = moving.stream.name();
                        log::error!("{lost} bytes of {name} have no room, and are lost");
                        spill.lose(lost);
                    }
                    spill.finish(scratch);
                    keep_unread(spill);
                }
                (To::Log, Some(log)) => {
                    if let Some(inner) = inner {
                        log_from(inner, moving.stream, log, LAST_PIECES, scratch);
                    }
                }
                (To::Log, None) => (),
            }
        }
        if let Some(log) = &mut self.log {
            log.finish();
        }
    }

    /// Its process is a new one: what stands in its log already is another's.
    pub fn begin(&mut self) {
        if let Some(log) = &mut self.log {
            log.begin();
        }
    }

    /// The read end of what a process holds of a stream.
    pub fn inner(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        let moving = self.moving.iter().find(|it| it.stream == stream)?;
        moving.inner.as_ref().map(AsFd::as_fd)
    }

    /// How many bytes were dropped, by driver, and by stream where they were spilled; none that has dropped nothing.
    pub fn dropped(&self) -> BTreeMap<String, u64> {
        let mut dropped = BTreeMap::new();
        for (driver, bytes, _) in self.log.iter().flat_map(Log::places) {
            *dropped.entry(driver.to_owned()).or_insert(0) += bytes;
        }
        for spill in self.spills() {
            dropped.insert(spill.stream().name().to_owned(), spill.dropped());
        }
        dropped.retain(|_, bytes| *bytes > 0);
        dropped
    }

    /// For people.
    pub fn view(&self) -> OutputView {
        let places = self.log.iter().flat_map(Log::places);
        OutputView {
            log: places
                .map(|(driver, dropped, failing)| PlaceView {
                    driver,
                    dropped,
                    failing,
                })
                .collect(),
            spill: self
                .spills()
                .map(|spill| SpillView {
                    stream: spill.stream(),
                    kept: spill.kept(),
                    dropped: spill.dropped(),
                    reader: spill.outlet().has_reader(),
                })
                .collect(),
        }
    }

    fn spills(&self) -> impl Iterator<Item = &Spill> {
        self.moving.iter().filter_map(|it| match &it.to {
            To::Spill(spill) => Some(&**spill),
            To::Log => None,
        })
    }
}

/// Reads and logs; whether there may be more.
fn log_from(
    inner: &OwnedFd,
    stream: Stream,
    log: &mut Log,
    pieces: usize,
    scratch: &mut Scratch,
) -> bool {
    for _ in 0..pieces {
        let (piece, entries) = scratch.both();
        match read(inner, piece) {
            Ok(0) | Err(Errno::EAGAIN) => return false,
            Ok(count) => {
                log.take(stream, &piece[..count], entries);
                // A FIFO gives all that it has, as far as that is asked for.
                let drained = count < piece.len();
                scratch.touch();
                scratch.count(count);
                if drained {
                    return false;
                }
            }
            Err(Errno::EINTR) => (),
            Err(e) => {
                log::warn!("read {}: {}", stream.name(), e.desc());
                return false;
            }
        }
    }
    true
}

/// What the reader's FIFO holds, for who comes when its reader, and the FIFO's content with it, are gone.
fn keep_unread(spill: &Spill) {
    let stream = spill.stream();
    // The end is let go when the file is there: it may have a lock on it.
    let unread = spill
        .outlet()
        .open_read()
        .and_then(|end| Ok((unread::of(&end)?, end)));
    let written = match &unread {
        Ok((bytes, _)) if bytes.is_empty() => Ok(()),
        Ok((bytes, _)) => state_file::write_bytes(Path::new(&stream.unread_file()), bytes)
            .map_err(|e| e.to_string()),
        Err(e) => Err(errno_text(e)),
    };
    if let Err(cause) = written {
        log::error!("keep what nobody read of {}: {cause}", stream.name());
    }
}
