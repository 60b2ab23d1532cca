//! A process's log, read back: what is there, and what comes, until nothing will.
//!
//! | file | its one idea |
//! |---|---|
//! | `source` | where the log is, or why there is none |
//! | `format` | what a line of it means |
//! | `file` | one file, by lines |
//! | `chain` | all its files as one, over rotations |
//! | `tail` | where the last so many lines begin |
//! | `cursor` | how far it was read |
//! | `select` | which entries are wanted; pieces as lines |
//! | `watch` | what says that there may be more |
//! | `life` | whether there may be more |
//! | `follow` | waiting for the one or the other |
//!
//! A log is a file that others write: reading takes nothing from anybody, and nobody waits for a reader. Any number of them read at
//! once; one that stops holds open what it has not read yet, up to as many files as are kept, and misses what comes after that.

mod chain;
mod cursor;
mod file;
mod follow;
mod format;
mod life;
mod select;
mod source;
mod tail;
#[cfg(test)]
mod tests;
mod watch;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use holdfast_common::layout::Stream;
use holdfast_common::log_entry::Entry;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::process::Process;
use chain::{Chain, Place};
pub use cursor::{BadLogCursor, LogCursor};
use follow::{Follow, Outlook};
use select::{Join, Select};
use tail::{Beginning, STREAMS, index};

/// One line of a log, or a piece of one.
pub type LogEntry = Entry<'static>;

/// So much is read, bytes, before new files are looked for: those that there are may be rotated away meanwhile.
const STRIDE: usize = 256 << 10;

/// What is wanted of a log; by default everything that is there, piece by piece.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// One stream alone.
    pub stream: Option<Stream>,
    /// The last so many lines, of the streams that are wanted.
    pub tail: Option<u64>,
    /// What comes after a place that was reached before ([`Logs::cursor`]); `tail` does not count then. If its file was rotated
    /// away, everything that is there comes after it, and [`Logs::missing`] says so; so it is, but for the saying, in a file that is
    /// shorter now, because somebody has emptied it.
    pub after: Option<LogCursor>,
    /// Lines that began then or later.
    pub since: Option<SystemTime>,
    /// Lines that began earlier.
    pub until: Option<SystemTime>,
    /// Lines rather than pieces: what has no end yet waits for it. One of more than 16 MiB comes in pieces all the same.
    pub join: bool,
    /// What comes, too, until nothing will.
    pub follow: bool,
    /// How long a shim may take to write what is left, once the process has ended (default: 45 seconds, which is more than it takes).
    pub shim_timeout: Option<Duration>,
}

/// What cannot be had any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Missing {
    /// So many files were rotated away before they were read.
    pub files: u64,
    /// There may have been more than that.
    pub or_more: bool,
}

impl Missing {
    /// Whether nothing is.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A log that is being read. Its descriptor is readable when there may be something to take: call [`Logs::next`] until it
/// returns `None` before polling it. It stays readable once the log is over.
#[derive(Debug)]
pub struct Logs {
    chain: Chain,
    select: Select,
    join: Option<Join>,
    /// None when only what is there is wanted.
    follow: Option<Follow>,
    /// Nobody writes any more; what there is has not been read again since that is known.
    ended: bool,
    over: bool,
    /// Readable while there may be something to take without waiting.
    known: EventFd,
    is_known: bool,
    missing: Missing,
    /// Bytes that were read since new files were looked for.
    read: usize,
}

impl Process {
    /// Reads its log. A follower ends with the process: when that has ended, and its shim has put everything into the log.
    ///
    /// # Errors
    /// [`Error::NotLogged`], [`Error::LogInJournal`]; the system's.
    pub fn logs(&self, query: &LogQuery) -> Result<Logs> {
        let (id, process) = (self.container_id(), self.id());
        let source = source::find(id, process, self.dir(), self.process_state(), query.stream)?;
        let path = source.path.clone();
        let failed = |e| Error::io("read", &path)(e);
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let known = EventFd::from_value_and_flags(1, flags).map_err(|e| failed(e.into()))?;
        let mut chain = Chain::new(source);
        let is_past = query.until.is_some_and(|until| until <= SystemTime::now());
        // Watched first, or what happens between the two would be seen by neither.
        let follow = match query.follow && !is_past {
            true => Some(Follow::new(self.end.try_clone()?, &path, query, &known)?),
            false => None,
        };
        if let Some(file) = self.early_log() {
            chain.begin_with(file).map_err(failed)?;
        }
        chain.extend().map_err(failed)?;
        if follow.is_none() {
            chain.stop_here().map_err(failed)?;
        }
        let mut select = Select::new(query.stream, query.since, query.until);
        let mut missing = Missing::default();
        let beginning = match (query.after, query.tail) {
            (Some(cursor), _) => resume(&chain, &cursor, &mut missing),
            (None, Some(lines)) => tail::find(&chain, lines, |stream| select.has(stream)),
            (None, None) => Ok(Beginning::ALL),
        };
        select.beginning = beginning.map_err(failed)?;
        chain.skip_to(select.beginning.first());
        Ok(Logs {
            chain,
            select,
            join: query.join.then(Join::default),
            // Who does not follow has nothing to wait for.
            ended: follow.is_none(),
            follow,
            over: false,
            known,
            is_known: true,
            missing,
            read: 0,
        })
    }
}

/// Where each stream goes on after a place that was reached before.
fn resume(chain: &Chain, cursor: &LogCursor, missing: &mut Missing) -> io::Result<Beginning> {
    let mut place = |spot| -> io::Result<Place> {
        let found = chain.find(spot)?;
        missing.or_more |= found.is_none();
        Ok(found.unwrap_or_default())
    };
    Ok(Beginning([
        place(cursor.of(Stream::Stdout))?,
        place(cursor.of(Stream::Stderr))?,
    ]))
}

impl Logs {
    /// The next entry; `None` when there was none in time, or none will come ([`Logs::is_over`]). No timeout: waits for ever.
    ///
    /// # Errors
    /// [`Error::ShimBusy`], once, when the process has ended and its shim, which may have something left to write, is stuck;
    /// the system's.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<LogEntry>> {
        let deadline = Deadline::after(timeout);
        loop {
            if let Some(entry) = self.read()? {
                self.say_known(true);
                return Ok(Some(entry));
            }
            if self.ended && !self.over {
                if let Some(rest) = self.join.as_mut().and_then(Join::rest) {
                    return Ok(Some(rest));
                }
                self.over = true;
            }
            let (false, Some(follow)) = (self.over, &mut self.follow) else {
                self.say_known(true);
                return Ok(None);
            };
            match follow.look(&mut self.chain, &mut self.missing) {
                Ok(Outlook::Read) => continue,
                Ok(Outlook::Ended) => {
                    self.ended = true;
                    continue;
                }
                Ok(Outlook::Quiet) => {}
                Err(e) => {
                    self.over = matches!(e, Error::ShimBusy { .. });
                    return Err(e);
                }
            }
            // Whatever it was written to for is taken: who polls is not to be woken for it again.
            self.say_known(false);
            let woken = match &self.follow {
                Some(follow) => follow.wait(deadline)?,
                None => false,
            };
            if !woken {
                return Ok(None);
            }
        }
    }

    /// Whether nothing will come any more.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Once it is over: goes on with the container's next process, and [`Logs::next`] waits for a restart. It returns `None`
    /// when something has happened to the container that may mean that there will be none; whoever knows better asks again.
    pub fn expect_restart(&mut self) {
        if let (true, Some(follow)) = (self.over, &mut self.follow) {
            follow.expect_restart();
            self.over = false;
            self.ended = false;
        }
    }

    /// How many lines were none of a log's, or have no end, and were passed over.
    pub fn skipped(&self) -> u64 {
        // What is torn of a log that somebody still writes may be whole by now.
        let torn = self.over && self.follow.is_some() && self.chain.is_torn();
        self.chain.skipped + u64::from(torn)
    }

    /// What was rotated away before it was read.
    pub fn missing(&self) -> Missing {
        self.missing
    }

    /// Where this has got to: whoever asks for what comes [`LogQuery::after`] it goes on after the last entry that was returned.
    /// `None` while there is no log.
    pub fn cursor(&self) -> Option<LogCursor> {
        let here = self.chain.here()?;
        let begun = self.join.as_ref().map(Join::begun).unwrap_or_default();
        let apart = |stream| {
            let unread = self.select.beginning.of(stream);
            let unread = (here < unread).then(|| self.chain.spot(unread)).flatten();
            begun[index(stream)].or(unread)
        };
        Some(LogCursor {
            here: self.chain.spot(here)?,
            apart: STREAMS.map(apart),
        })
    }

    /// The file that is written to.
    pub fn path(&self) -> &Path {
        self.chain.path()
    }

    /// Takes the next entry that is wanted.
    fn read(&mut self) -> Result<Option<LogEntry>> {
        loop {
            if self.read >= STRIDE {
                self.read = 0;
                if let Some(follow) = &mut self.follow {
                    follow.look_ahead(&mut self.chain, &mut self.missing)?;
                }
            }
            let next = self.chain.next(self.ended);
            let next = next.map_err(Error::io("read", self.chain.path()))?;
            let Some((place, spot, entry)) = next else {
                return Ok(None);
            };
            self.read += entry.bytes.len();
            if !self.select.takes(place, &entry) {
                continue;
            }
            match &mut self.join {
                None => return Ok(Some(entry)),
                Some(join) => {
                    if let Some(line) = join.push(spot, entry) {
                        return Ok(Some(line));
                    }
                }
            }
        }
    }

    /// Says to whoever polls whether there may be something to take without waiting.
    fn say_known(&mut self, known: bool) {
        if known == self.is_known {
            return;
        }
        // It counts from 0 to 1 and back: neither can fail.
        let _ = match known {
            true => self.known.write(1).map(drop),
            false => self.known.read().map(drop),
        };
        self.is_known = known;
    }
}

impl AsFd for Logs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.follow {
            Some(follow) => follow.as_fd(),
            None => self.known.as_fd(),
        }
    }
}
