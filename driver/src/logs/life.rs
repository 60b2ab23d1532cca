//! Whether more may come: a log is over when its process has ended and its shim has put everything into it, and gone. A shim that
//! was killed is none that has gone: while the process lives, another may come for it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use holdfast_common::id::{ContainerId, ProcessId};
use holdfast_common::process_state::ProcessState;

use crate::deadline::Deadline;
use crate::end::{End, Look, is_real_dir};
use crate::error::{Error, Result};

/// How long a shim that is killed may take from closing `exit` to releasing its lock.
const TURN: Duration = Duration::from_secs(1);

/// How far the end of a process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It runs, or is going to.
    Runs,
    /// It has ended; its shim may have something left to write.
    Ends,
    /// It runs, and has no shim.
    Orphaned,
    /// Nothing will be written for it any more.
    Over,
}

/// What is seen of a process.
enum Seen {
    /// It has no pid yet.
    Never,
    Alive,
    Dead,
}

/// A process and its shim.
#[derive(Debug)]
pub(super) struct Life {
    end: End,
    stage: Stage,
    /// While it runs: tells of its end what a shim that is stopped does not.
    pidfd: Option<OwnedFd>,
}

/// What to wait for.
pub(super) struct Waits<'a> {
    /// `exit`: for its content too, or for the hang-up alone.
    pub exit: Option<(BorrowedFd<'a>, bool)>,
    /// The process's end.
    pub pidfd: Option<BorrowedFd<'a>>,
}

impl Life {
    pub fn new(end: End) -> Self {
        Self {
            end,
            stage: Stage::Runs,
            pidfd: None,
        }
    }

    /// The process directory.
    pub fn dir(&self) -> &Path {
        &self.end.dir
    }

    /// Its container and its name there.
    pub fn names(&self) -> (&ContainerId, &ProcessId) {
        (&self.end.container, &self.end.process)
    }

    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Looks at what is on record and at who lives.
    pub fn look(&mut self) -> Result<Stage> {
        self.stage = match self.end.look_before_waiting()? {
            Look::Recorded(_) => self.after_record()?,
            Look::Waiting => match self.process()? {
                Seen::Never | Seen::Alive => Stage::Runs,
                Seen::Dead => Stage::Ends,
            },
            Look::ShimGone => match self.process()? {
                Seen::Alive => Stage::Orphaned,
                Seen::Never | Seen::Dead => Stage::Over,
            },
        };
        Ok(self.stage)
    }

    fn after_record(&self) -> Result<Stage> {
        let gone = if self.end.will_hang_up()? {
            !self.end.shim_lives()?
        } else {
            self.end.wait_for_shim(Deadline::after(Some(TURN)))?
        };
        Ok(if gone { Stage::Over } else { Stage::Ends })
    }

    /// Looks at the process itself; keeps something that tells of its end.
    fn process(&mut self) -> Result<Seen> {
        let Some(identity) = self.end.identity()? else {
            return Ok(Seen::Never);
        };
        if !identity.is_alive() {
            self.pidfd = None;
            return Ok(Seen::Dead);
        }
        if self.pidfd.is_none() {
            let open = identity.open();
            self.pidfd = open.map_err(Error::io("open pidfd of", &self.end.dir))?;
        }
        Ok(Seen::Alive)
    }

    /// What to wait for until the next look.
    pub fn waits(&self) -> Waits<'_> {
        let pidfd = self.pidfd.as_ref().map(AsFd::as_fd);
        match self.stage {
            Stage::Runs => Waits {
                exit: Some((self.end.as_fd(), true)),
                pidfd,
            },
            Stage::Ends => Waits {
                exit: Some((self.end.as_fd(), false)),
                pidfd: None,
            },
            Stage::Orphaned => Waits { exit: None, pidfd },
            Stage::Over => Waits {
                exit: None,
                pidfd: None,
            },
        }
    }

    /// `exit`, whether or not it is waited for.
    pub fn exit(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// The error that says that its shim is not done.
    pub fn is_stuck(&self, timeout: Duration) -> Error {
        Error::ShimBusy {
            id: self.end.container.clone(),
            process: self.end.process.clone(),
            timeout,
        }
    }

    /// Takes what strangers have written into `exit`, or everybody would spin on it.
    pub fn discard_noise(&self) -> Result<()> {
        self.end.discard_noise()
    }

    /// Whether another process has taken its directory's name, and its end; `None` while it has not.
    pub fn successor(&self) -> Result<Option<(Self, ProcessState)>> {
        if self.end.is_in_place()? || !is_real_dir(&self.end.dir)? {
            return Ok(None);
        }
        let state = match ProcessState::read(&self.end.dir) {
            Ok(state) => state,
            // Removed since.
            Err(e) if e.is_absent() => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let (container, process) = (self.end.container.clone(), self.end.process.clone());
        let end = End::open(container, process, self.end.dir.clone())?;
        Ok(Some((Self::new(end), state)))
    }
}
