//! A container's `events.log`: appending to it, as anybody may who has done something to the container, the shim among
//! them. Lines of [`EventRecord`], after one that names the log ([`Header`]). Reading it in order is the driver's.
//!
//! - A line is one write, by the holder of the file's lock; what a full disk cuts short is taken back. So a reader, who
//!   needs no lock, sees whole lines, and at worst one at the end that has only begun.
//! - A file that is full makes room by rename, under the same lock, and never disappears for an instant: a link keeps it as
//!   `events.log.1`, then its successor, with its first line in it, takes its name.
//! - Nobody waits long for the lock: a holder who was stopped must not stop a shim. The line is then written without it,
//!   which O_APPEND allows; only making room waits for the next.
//!
//! | module | its one idea |
//! |---|---|
//! | [`header`] | which log this is, and which of its files |
//! | [`file`] | the present file: opened, locked, added to, succeeded by the next |
//! | [`lines`] | going through the lines of its files |
//! | [`search`] | what is told already |

mod file;
mod header;
mod lines;
mod search;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::event_record::EventRecord;
use crate::layout;
use crate::state_file::{Cause, StateFileError};

pub use file::{open_to_read, previous};
pub use header::Header;

use file::Open;

/// How long a file may grow, bytes; there are two of them.
pub const FULL: u64 = 1 << 20;
/// How far beyond that, when no successor can be made.
const OVERFULL: u64 = 2 * FULL;

/// One container's log.
#[derive(Debug, Clone)]
pub struct EventLog {
    path: PathBuf,
}

impl EventLog {
    /// The log of the container that has this directory; it need not exist.
    pub fn of(container_dir: &Path) -> Self {
        Self {
            path: container_dir.join(layout::EVENTS_FILE),
        }
    }

    /// Makes it, while nobody else knows of the directory yet.
    ///
    /// # Errors
    /// The system's.
    pub fn make(&self) -> Result<(), StateFileError> {
        let make = || file::create_new(&self.path)?.write_all(&Header::fresh().encode());
        make().map_err(|e| self.failed(e))
    }

    /// Adds an event; where it begins.
    ///
    /// # Errors
    /// The system's; nothing was added then.
    pub fn append(&self, event: &EventRecord) -> Result<Place, StateFileError> {
        let append = || {
            let mut open = Open::new(&self.path)?;
            let place = open.place();
            open.add(&event.encode())?;
            Ok(place)
        };
        append().map_err(|e| self.failed(e))
    }

    /// Adds an event that happens once, unless somebody was quicker; whether it was added.
    ///
    /// # Errors
    /// The system's; nothing was added then.
    pub fn append_once(&self, event: &EventRecord) -> Result<bool, StateFileError> {
        Ok(self.append_missing(std::slice::from_ref(event), None, |_| true)? > 0)
    }

    /// Adds an event that may come often, and before it one that comes before it once, if that is not told yet: who has told of the first
    /// has told of the other before.
    ///
    /// # Errors
    /// The system's; the event was not added then.
    pub fn append_after(
        &self,
        once: &EventRecord,
        event: &EventRecord,
    ) -> Result<(), StateFileError> {
        let append = || {
            let mut open = Open::new(&self.path)?;
            let told = open.tells_lately(&[once.clone(), event.clone()])?;
            if told {
                open.add(&event.encode())?;
            }
            Ok(told)
        };
        if !append().map_err(|e| self.failed(e))? {
            self.append_once(once)?;
            self.append(event)?;
        }
        Ok(())
    }

    /// Adds those of some events, which happen once each, that are not told yet, in their order; how many. Where that cannot be
    /// told any more, because older lines were dropped, a beginning was told long ago, and an end was not. Of one that is not told, it is
    /// asked whether it `happened`. Nothing is told of them before `since`, where that is known.
    ///
    /// # Errors
    /// The system's; the rest was not added then.
    pub fn append_missing(
        &self,
        events: &[EventRecord],
        since: Option<Place>,
        happened: impl Fn(&EventRecord) -> bool,
    ) -> Result<usize, StateFileError> {
        let append = || {
            let mut open = Open::new(&self.path)?;
            let told = open.search(events, since)?;
            let mut added = 0;
            for (event, told) in events.iter().zip(told) {
                if told || event.word.begins() && open.is_forgetful() || !happened(event) {
                    continue;
                }
                if added > 0 {
                    open = Open::new(&self.path)?;
                }
                open.add(&event.encode())?;
                added += 1;
            }
            Ok(added)
        };
        append().map_err(|e| self.failed(e))
    }

    /// Goes through everything that it still says, oldest first. One that is not there says nothing.
    ///
    /// # Errors
    /// The system's.
    pub fn each(&self, mut each: impl FnMut(EventRecord)) -> Result<(), StateFileError> {
        let mut line = |line: &[u8]| EventRecord::decode(line).into_iter().for_each(&mut each);
        let mut read = || match open_to_read(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            file => lines::each_of_both(&self.path, &file?, &mut line),
        };
        read().map_err(|e| StateFileError {
            operation: "read",
            path: self.path.clone(),
            cause: Cause::Io(e),
        })
    }

    fn failed(&self, cause: io::Error) -> StateFileError {
        StateFileError {
            operation: "append to",
            path: self.path.clone(),
            cause: Cause::Io(cause),
        }
    }
}

/// A place in a log, while the file that it is in is the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The file's inode.
    file: u64,
    /// Bytes from its beginning.
    at: u64,
}

#[cfg(test)]
mod tests;
