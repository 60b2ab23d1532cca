//! How a process's end is learned: from its record first, from its shim's lock second, and only then by waiting for
//! `exit` (docs/architecture.md, "Reattach, in this order"). A reader that opened `exit` after the shim had gone would
//! wait for ever; one that looks in this order never does.
//!
//! The directory may be removed, and another container of the same id may take its place, at any moment: what is
//! read counts only if the `exit` FIFO in the directory is still the one that is held open here. The status then still
//! stands in the FIFO itself.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use holdfast_common::exit_record::{ExitRecord, ExitStatus, Source, read_status_number};
use holdfast_common::id::{ContainerId, ProcessId};
use holdfast_common::identity::Identity;
use holdfast_common::layout;
use holdfast_common::sys::fifo::{self, Outlook};
use holdfast_common::sys::flock;
use nix::poll::PollFlags;
use nix::sys::stat::{FileStat, SFlag, fstat, lstat};

use crate::deadline::Deadline;
use crate::error::{Error, Result};

/// How long a shim may take from closing `exit` to releasing its lock, or from taking its lock to opening `exit`: it is
/// system calls, unless it was stopped in between.
const TURN: Duration = Duration::from_millis(1);
/// How many of those are waited for.
const TURNS: u32 = 1000;

/// What is known of a process's end.
#[derive(Debug)]
pub(crate) enum Look {
    /// It is on record.
    Recorded(ExitRecord),
    /// A shim lives that will record it.
    Waiting,
    /// No shim lives, and nothing is on record.
    ShimGone,
}

/// What a `shim.lock` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShimLock {
    /// There is none: no shim of ours was here yet, or the directory is gone.
    Absent,
    /// A shim lives.
    Held {
        /// It only waits to run the exit command.
        left: bool,
    },
    /// None lives.
    Free {
        /// It had nothing left to do.
        done: bool,
    },
}

impl ShimLock {
    fn read(path: &Path) -> io::Result<Self> {
        let Some((held, mut file)) = flock::test(path)? else {
            return Ok(Self::Absent);
        };
        // In this order: what a shim says last, it says with the lock held.
        let mut word = [0; layout::DONE.len()];
        let count = file.read(&mut word)?;
        let word = &word[..count];
        Ok(if held {
            let left = word == layout::LEFT;
            Self::Held { left }
        } else {
            let done = word == layout::DONE;
            Self::Free { done }
        })
    }
}

/// A file, whatever its name.
type Inode = (u64, u64);

/// Where a process's end will show.
#[derive(Debug)]
pub(crate) struct End {
    pub container: ContainerId,
    pub process: ProcessId,
    pub dir: PathBuf,
    exit: OwnedFd,
    /// Its device and inode.
    place: OnceLock<Inode>,
    identity: OnceLock<Identity>,
    /// Once read: the directory may go, what it said stays true.
    recorded: OnceLock<ExitRecord>,
}

impl End {
    /// Opens `exit` in a process directory.
    pub fn open(container: ContainerId, process: ProcessId, dir: PathBuf) -> Result<Self> {
        let path = dir.join(layout::EXIT_FIFO);
        let failed = |source| Error::io("open exit fifo", &path)(source);
        let exit = fifo::open_read(&path).map_err(failed)?;
        let found = fstat(&exit).map_err(|e| failed(e.into()))?;
        if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT != SFlag::S_IFIFO {
            return Err(Error::NotAFifo { path });
        }
        let end = Self::with(container, process, dir, exit);
        end.place.get_or_init(|| inode(&found));
        Ok(end)
    }

    /// As [`End::open`], with an `exit` that is open already.
    pub fn with(container: ContainerId, process: ProcessId, dir: PathBuf, exit: OwnedFd) -> Self {
        Self {
            container,
            process,
            dir,
            exit,
            place: OnceLock::new(),
            identity: OnceLock::new(),
            recorded: OnceLock::new(),
        }
    }

    /// Its pid and start time, from whoever has just been told.
    pub fn set_identity(&self, identity: Identity) {
        self.identity.get_or_init(|| identity);
    }

    /// Another handle of the same end.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self {
            container: self.container.clone(),
            process: self.process.clone(),
            dir: self.dir.clone(),
            exit: self.exit.try_clone().map_err(self.failed("duplicate"))?,
            place: self.place.clone(),
            identity: self.identity.clone(),
            recorded: self.recorded.clone(),
        })
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> Error {
        Error::io(operation, self.dir.join(layout::EXIT_FIFO))
    }

    /// Whether the directory is still this process's: neither removed nor replaced.
    pub fn is_in_place(&self) -> Result<bool> {
        let held = match self.place.get() {
            Some(place) => *place,
            None => {
                let held = fstat(&self.exit).map_err(|e| self.failed("look at")(e.into()))?;
                *self.place.get_or_init(|| inode(&held))
            }
        };
        match lstat(&self.dir.join(layout::EXIT_FIFO)) {
            Ok(there) => Ok(inode(&there) == held),
            // Nothing can have replaced a directory without bringing an `exit` of its own.
            Err(nix::Error::ENOENT) => Ok(self.dir.is_dir()),
            Err(e) => Err(self.failed("look at")(e.into())),
        }
    }

    /// Its pid and start time; `None` while it is being created.
    pub fn identity(&self) -> Result<Option<Identity>> {
        if let Some(identity) = self.identity.get() {
            return Ok(Some(*identity));
        }
        match Identity::recorded(&self.dir) {
            Ok(Some(identity)) => Ok(Some(*self.identity.get_or_init(|| identity))),
            Ok(None) => Ok(None),
            // The runtime has written `pid`, the shim not yet `starttime`.
            Err(e) if e.is_absent() && self.shim_lives()? => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// How the process ended; `None` while nothing is on record.
    pub fn record(&self) -> Result<Option<ExitRecord>> {
        if let Some(record) = self.recorded.get() {
            return Ok(Some(record.clone()));
        }
        let found = self.read_record();
        // In this order: the directory was in place while the record was read, if it is now.
        let found = if self.is_in_place()? {
            found?
        } else {
            self.read_line()?
        };
        Ok(found.map(|record| self.recorded.get_or_init(|| record).clone()))
    }

    fn read_record(&self) -> Result<Option<ExitRecord>> {
        if let Some(record) = ExitRecord::read(&self.dir)? {
            return Ok(Some(record));
        }
        // All that a containerd 0.2 shim leaves.
        let Some(number) = read_status_number(&self.dir)? else {
            return Ok(None);
        };
        // A shim of ours writes exit.json first: one that came between the two looks is there by now, and says more. Without this,
        // a signal would be told as a code, and an end that nobody knows as 255.
        if let Some(record) = ExitRecord::read(&self.dir)? {
            return Ok(Some(record));
        }
        let path = self.dir.join(layout::EXIT_STATUS_FILE);
        let written = std::fs::metadata(&path).and_then(|meta| meta.modified());
        let number = u8::try_from(number).map_err(|_| Error::NotAStatus { path, number })?;
        let identity = self.identity().ok().flatten();
        Ok(Some(ExitRecord {
            pid: identity.map_or(0, |identity| identity.pid),
            exited_at: written.unwrap_or_else(|_| SystemTime::now()),
            // 128 + signal, which cannot be told from a code.
            status: ExitStatus::Code(number),
            oom_killed: None,
            timed_out: false,
            dropped: Default::default(),
            source: Source::Reaped,
        }))
    }

    /// The status in `exit` itself, all that is left when the directory is gone.
    fn read_line(&self) -> Result<Option<ExitRecord>> {
        let line = fifo::peek(self.exit.as_fd()).map_err(self.failed("look into"))?;
        // The first line is the shim's; a second may be that of one that took up its unfinished work.
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        Ok(serde_json::from_slice(line).ok())
    }

    /// Whether a shim lives that looks after this process. One that only waits to run the exit command looks after it no more.
    pub fn shim_lives(&self) -> Result<bool> {
        let lock = self.shim_lock();
        if self.is_in_place()? {
            return Ok(matches!(lock?, ShimLock::Held { left: false }));
        }
        // The lock is gone with the directory, but the FIFO's writer is the shim.
        Ok(self.outlook()? == Outlook::Quiet)
    }

    /// What `shim.lock` tells.
    pub fn shim_lock(&self) -> Result<ShimLock> {
        let lock = self.dir.join(layout::SHIM_LOCK_FILE);
        ShimLock::read(&lock).map_err(Error::io("test lock", &lock))
    }

    fn outlook(&self) -> Result<Outlook> {
        fifo::outlook(self.exit.as_fd()).map_err(self.failed("look into"))
    }

    /// Whether `exit` will hang up; not any more if a shim is gone, or is being killed and has closed it already.
    pub fn will_hang_up(&self) -> Result<bool> {
        fifo::has_writer(self.exit.as_fd()).map_err(self.failed("look into"))
    }

    /// What is known now.
    pub fn look(&self) -> Result<Look> {
        if let Some(record) = self.record()? {
            return Ok(Look::Recorded(record));
        }
        if self.shim_lives()? {
            return Ok(Look::Waiting);
        }
        // It may have recorded and gone between the two looks.
        Ok(match self.record()? {
            Some(record) => Look::Recorded(record),
            None => Look::ShimGone,
        })
    }

    /// Whether `exit` is sure to become readable or to hang up, if a shim was just seen to live: it, or its successor, has it open.
    pub fn is_sure_to_tell(&self) -> Result<bool> {
        Ok(self.outlook()? == Outlook::Quiet)
    }

    /// What is known now; after [`Look::Waiting`], `exit` is sure to become readable or to hang up. A shim that is being
    /// killed closes `exit` an instant before its lock: who opens `exit` in that instant sees a shim that lives, and
    /// would never see it go.
    pub fn look_before_waiting(&self) -> Result<Look> {
        for _ in 0..TURNS {
            let look = self.look()?;
            if !matches!(look, Look::Waiting) || self.outlook()? != Outlook::End {
                return Ok(look);
            }
            // Nothing tells when a lock is released: the one place where time must pass.
            let turn = Deadline::after(Some(TURN));
            turn.poll(self.exit.as_fd(), PollFlags::POLLIN)
                .map_err(self.failed("wait for"))?;
        }
        self.look()
    }

    /// Waits until there is something to [look](End::look) at.
    pub fn wait(&self, deadline: Deadline) -> Result<()> {
        let seen = deadline.poll(self.exit.as_fd(), PollFlags::POLLIN);
        let seen = seen.map_err(self.failed("wait for"))?;
        if seen.contains(PollFlags::POLLIN) {
            self.discard_noise()?;
        }
        Ok(())
    }

    /// Takes what somebody other than the shim has written into `exit`, or everybody would spin on it: the shim writes
    /// only when the record is there.
    pub fn discard_noise(&self) -> Result<()> {
        if self.record()?.is_none() && self.is_in_place()? {
            let mut noise = [0; 4096];
            let mut exit = File::from(self.exit.try_clone().map_err(self.failed("duplicate"))?);
            match exit.read(&mut noise) {
                Ok(_) => (),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => (),
                Err(e) => return Err(self.failed("read")(e)),
            }
        }
        Ok(())
    }

    /// Waits until no shim looks after this process any more; false when the time is over first.
    pub fn wait_for_shim(&self, deadline: Deadline) -> Result<bool> {
        while self.shim_lives()? {
            if deadline.has_passed() {
                return Ok(false);
            }
            // As in look_before_waiting: no hang-up comes any more.
            let deadline = if self.will_hang_up()? {
                deadline
            } else {
                deadline.at_most(TURN)
            };
            // Hang-ups are always reported; the status, which may be there, is not waited for.
            deadline
                .poll(self.exit.as_fd(), PollFlags::empty())
                .map_err(self.failed("wait for"))?;
        }
        Ok(true)
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }
}

fn inode(stat: &FileStat) -> Inode {
    (stat.st_dev, stat.st_ino)
}

/// Whether a process directory is one: not a link, not a file.
pub(crate) fn is_real_dir(dir: &Path) -> Result<bool> {
    match std::fs::symlink_metadata(dir) {
        Ok(meta) => Ok(meta.is_dir()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("open", dir)(e)),
    }
}

#[cfg(test)]
mod tests;
