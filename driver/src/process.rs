//! One process of a container: its directory, its shim, its end.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use holdfast_common::control::Message;
use holdfast_common::exit_record::ExitRecord;
use holdfast_common::id::{ContainerId, ProcessId};
use holdfast_common::identity::Identity;
use holdfast_common::layout;
use holdfast_common::process_state::ProcessState;
use holdfast_common::shim_record::ShimRecord;
use holdfast_common::sys::{fifo, pidfd};

use crate::deadline::Deadline;
use crate::directory;
use crate::end::{End, Look, is_real_dir};
use crate::error::{Error, Result};
use crate::streams::{self, Early, Streams};

/// A process with a shim: a container's init, or an exec.
#[derive(Debug)]
pub struct Process {
    pub(crate) end: End,
    state: ProcessState,
    /// Read ends that were opened before it was launched.
    early: Mutex<Early>,
}

impl Process {
    /// Finds a process in its directory.
    pub(crate) fn open(container: &ContainerId, id: &ProcessId, dir: &Path) -> Result<Self> {
        if !is_real_dir(dir)? {
            return Err(Error::ProcessNotFound {
                id: container.clone(),
                process: id.clone(),
            });
        }
        let state = ProcessState::read(dir)?;
        let end = End::open(container.clone(), id.clone(), dir.to_owned())?;
        Ok(Self {
            end,
            state,
            early: Mutex::default(),
        })
    }

    /// A process that has just been launched: it may have ended, and its directory be gone, already.
    pub(crate) fn launched(
        end: End,
        state: ProcessState,
        identity: Identity,
        early: Early,
    ) -> Self {
        end.set_identity(identity);
        Self {
            end,
            state,
            early: Mutex::new(early),
        }
    }

    /// Its id inside the container.
    pub fn id(&self) -> &ProcessId {
        &self.end.process
    }

    /// The container's id.
    pub fn container_id(&self) -> &ContainerId {
        &self.end.container
    }

    /// The process directory.
    pub fn dir(&self) -> &Path {
        &self.end.dir
    }

    /// Whether this is an exec, not the container's init.
    pub fn is_exec(&self) -> bool {
        self.state.exec
    }

    /// Whether it has a terminal.
    pub fn terminal(&self) -> bool {
        self.state.terminal
    }

    /// Whether it had a terminal that is no more: it went with a shim that was killed.
    pub fn terminal_was_lost(&self) -> bool {
        self.dir().join(layout::TERMINAL_LOST_FILE).exists()
    }

    /// What its process.json says.
    pub fn process_state(&self) -> &ProcessState {
        &self.state
    }

    /// The OCI process.
    ///
    /// # Errors
    /// Its keys are not of the types that the specification gives them.
    pub fn spec(&self) -> Result<oci_spec::runtime::Process> {
        self.state.oci_process().map_err(|e| Error::BadProcess {
            path: self.dir().join(layout::PROCESS_FILE),
            cause: e.to_string(),
        })
    }

    /// Its pid and start time; `None` while it is being created.
    ///
    /// # Errors
    /// `pid` or `starttime` cannot be understood.
    pub fn identity(&self) -> Result<Option<Identity>> {
        self.end.identity()
    }

    /// Its pid and start time, while this very process runs.
    pub(crate) fn alive(&self) -> Result<Option<Identity>> {
        Ok(self.identity()?.filter(Identity::is_alive))
    }

    /// Its shim, dead or alive; `None` when none has said its name yet.
    ///
    /// # Errors
    /// `shim.json` cannot be understood.
    pub fn shim(&self) -> Result<Option<ShimRecord>> {
        match ShimRecord::read(self.dir()) {
            Ok(shim) => Ok(Some(shim)),
            Err(e) if e.is_absent() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The pid of its shim, while that very process runs.
    pub(crate) fn living_shim(&self) -> Result<Option<i32>> {
        let identity = self.shim()?.map(|shim| Identity {
            pid: shim.pid,
            start_time: shim.start_time,
        });
        let alive = identity.filter(Identity::is_alive);
        Ok(alive.map(|identity| identity.pid))
    }

    /// Whether its shim lives: whether `shim.lock` is held.
    ///
    /// # Errors
    /// The lock cannot be tested.
    pub fn shim_lives(&self) -> Result<bool> {
        self.end.shim_lives()
    }

    /// Whether this descriptor will hang up, and so is worth polling for that, while [`Process::shim_lives`]: a shim that is being killed
    /// closes `exit` an instant before its lock is free, and who opens `exit` in that instant would wait for ever. If not, look
    /// again in a moment.
    ///
    /// # Errors
    /// The system's.
    pub fn will_hang_up(&self) -> Result<bool> {
        self.end.will_hang_up()
    }

    /// Sends a signal to this very process, whoever may have its pid by now.
    ///
    /// # Errors
    /// [`Error::ContainerExited`] or [`Error::ProcessExited`]; [`Error::ContainerNotStarted`] while it does not exist;
    /// the system's.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let failed = |e| Error::io("signal", self.dir())(e);
        let Some(identity) = self.identity()? else {
            return Err(self.without_pid()?);
        };
        // A zombie takes every signal and obeys none.
        let fd = match identity.open().map_err(failed)? {
            Some(fd) if identity.is_alive() => fd,
            _ => return Err(self.exited()),
        };
        match pidfd::send_signal(fd.as_fd(), signal) {
            Ok(()) => Ok(()),
            Err(e) if e.raw_os_error() == Some(nix::libc::ESRCH) => Err(self.exited()),
            Err(e) => Err(failed(e)),
        }
    }

    /// Gives its terminal a size.
    ///
    /// # Errors
    /// [`Error::NoTerminal`], [`Error::TerminalLost`]; it has exited, or its shim is gone or stuck.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        if !self.terminal() {
            return Err(Error::NoTerminal {
                id: self.container_id().clone(),
                process: self.id().clone(),
            });
        }
        if self.terminal_was_lost() {
            return Err(Error::TerminalLost {
                id: self.container_id().clone(),
                process: self.id().clone(),
            });
        }
        self.send(Message::Resize { columns, rows })
    }

    /// Lets it see end of file on stdin, after what was written already, and once everybody else who holds its stdin
    /// open for writing has let go too.
    ///
    /// # Errors
    /// It has exited, or its shim is gone or stuck.
    pub fn close_stdin(&self) -> Result<()> {
        self.send(Message::CloseStdin)
    }

    pub(crate) fn send(&self, message: Message) -> Result<()> {
        match self.end.look()? {
            Look::Waiting => (),
            Look::Recorded(_) => return Err(self.exited()),
            Look::ShimGone => return Err(self.shim_gone()?),
        }
        let path = self.dir().join(layout::CONTROL_FIFO);
        // Both ends: the open never fails for want of a reader, and what was written stays while a shim is replaced.
        let control =
            fifo::open_read_write(&path).map_err(Error::io("open control fifo", &path))?;
        // One write of less than PIPE_BUF bytes: all of it or nothing (pipe(7)).
        let mut control = std::fs::File::from(control);
        match control.write(message.encode().as_bytes()) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(Error::ControlFull { path }),
            Err(e) => Err(Error::io("write control fifo", &path)(e)),
        }
    }

    /// Waits until its exit status is on record.
    ///
    /// # Errors
    /// [`Error::WaitTimeout`]; [`Error::ShimGone`] when nobody will ever record it.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<ExitRecord> {
        let deadline = Deadline::after(timeout);
        let mut look = self.end.look_before_waiting()?;
        loop {
            match look {
                Look::Recorded(record) => return Ok(record),
                Look::ShimGone => return Err(self.shim_gone()?),
                Look::Waiting if deadline.has_passed() => {
                    return Err(Error::WaitTimeout {
                        id: self.container_id().clone(),
                        process: self.id().clone(),
                        timeout: timeout.unwrap_or_default(),
                    });
                }
                Look::Waiting => self.end.wait(deadline)?,
            }
            look = self.end.look()?;
        }
    }

    /// Waits until its shim has finished everything: output drained, the runtime's state deleted.
    ///
    /// # Errors
    /// [`Error::ShimBusy`] when that takes longer than it may.
    pub fn wait_gone(&self, timeout: Option<Duration>) -> Result<()> {
        if self.end.wait_for_shim(Deadline::after(timeout))? {
            return Ok(());
        }
        Err(Error::ShimBusy {
            id: self.container_id().clone(),
            process: self.id().clone(),
            timeout: timeout.unwrap_or_default(),
        })
    }

    /// How it ended; `None` while it has not. Where only a number is left of it (`exitStatus` of a containerd 0.2 shim, the line
    /// in `exit` when the directory is gone), a signal shows as the code 128 + signal.
    ///
    /// # Errors
    /// The record cannot be understood.
    pub fn exit_record(&self) -> Result<Option<ExitRecord>> {
        self.end.record()
    }

    /// How it ended, as one number: the code, 128 + signal, or 255 when unknown.
    ///
    /// # Errors
    /// [`Error::ProcessNotExited`] while it has not; the record cannot be understood.
    pub fn exit_status(&self) -> Result<u8> {
        match self.exit_record()? {
            Some(record) => Ok(record.status.number()),
            None => Err(Error::ProcessNotExited {
                id: self.container_id().clone(),
                process: self.id().clone(),
            }),
        }
    }

    /// Opens its FIFOs, to attach: its stdin as the only writer that asks, its stdout and stderr as their only reader. What a
    /// launch returned has its output even when it has ended, and its directory is gone, by the time of the first call. A stream
    /// that is logged is no FIFO: see [`Process::logs`].
    ///
    /// # Errors
    /// [`Error::StreamTaken`] when somebody else has one of them.
    pub fn stdio(&self) -> Result<Streams> {
        self.open_streams(true)
    }

    /// As [`Process::stdio`], without stdin, which is left to others.
    ///
    /// # Errors
    /// [`Error::StreamTaken`] when somebody else reads one of them.
    pub fn output(&self) -> Result<Streams> {
        self.open_streams(false)
    }

    fn open_streams(&self, stdin: bool) -> Result<Streams> {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        let early = early.take_streams();
        streams::open(self.dir(), &self.state, early, stdin)
    }

    /// Its log as it was opened before it was launched: its directory may be gone by now. Once, because a file that is kept open
    /// is kept from the disk when it has been rotated away.
    pub(crate) fn early_log(&self) -> Option<std::fs::File> {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        early.log.take()
    }

    /// Removes the directory of an exec that has ended, once its shim is gone.
    ///
    /// # Errors
    /// [`Error::ProcessNotExited`]; [`Error::InitStays`]; [`Error::ShimBusy`]; the system's.
    pub fn delete(&self) -> Result<()> {
        let id = self.container_id().clone();
        if self.id().is_init() {
            return Err(Error::InitStays { id });
        }
        if matches!(self.end.look()?, Look::Waiting) || self.alive()?.is_some() {
            return Err(Error::ProcessNotExited {
                id,
                process: self.id().clone(),
            });
        }
        self.wait_gone(Some(directory::PATIENCE))?;
        directory::remove(self.dir())
    }

    /// The error that says that it has ended.
    pub(crate) fn exited(&self) -> Error {
        let id = self.container_id().clone();
        if self.id().is_init() {
            return Error::ContainerExited { id };
        }
        Error::ProcessExited {
            id,
            process: self.id().clone(),
        }
    }

    pub(crate) fn shim_gone(&self) -> Result<Error> {
        Ok(Error::ShimGone {
            id: self.container_id().clone(),
            process: self.id().clone(),
            alive: self.alive()?.is_some(),
        })
    }

    /// Why there is no pid.
    pub(crate) fn without_pid(&self) -> Result<Error> {
        Ok(match self.end.look()? {
            Look::Waiting => Error::ContainerNotStarted {
                id: self.container_id().clone(),
            },
            Look::Recorded(_) => self.exited(),
            Look::ShimGone => self.shim_gone()?,
        })
    }
}

/// The exit FIFO: readable when the status is on record, hung up when the shim is gone. Look at
/// [`Process::exit_record`] and [`Process::shim_lives`] before polling it.
impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}
