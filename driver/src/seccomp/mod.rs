//! Seccomp agents that may be killed and replaced: the container's shim keeps the listeners, and hands a duplicate of each to
//! whoever connects, one agent at a time.
//!
//! A call that an agent had taken and not answered when it was killed is lost to the kernel: it waits, and no listener tells of
//! it again. So whoever receives a listener has such calls begin anew ([`restart`]): an agent must take it for possible that
//! what it is asked to do was done, in whole or in part, by one before it.

mod restart;

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_common::layout;
use holdfast_common::oci::ContainerProcessState;
use holdfast_common::seccomp::MESSAGE_LIMIT;
use holdfast_common::sys::scm;
use holdfast_common::sys::seccomp::{self, Answer, Notification};
use holdfast_common::sys::socket::{self, Kind};
use nix::libc;
use nix::poll::PollFlags;

use crate::container::Container;
use crate::deadline::Deadline;
use crate::error::{Error, Result};

/// A connection to a container's store of seccomp listeners. As long as it is open, no other agent is served; who connects
/// meanwhile waits for the first listener. Readable (`AsFd`) when there is a listener to receive, or the store is gone.
#[derive(Debug)]
pub struct SeccompStore {
    socket: OwnedFd,
    path: PathBuf,
}

/// A seccomp listener of a process of the container, and of all its descendants: their system calls that the filter has wait
/// for an answer. Readable (`AsFd`, `POLLIN`) when one does; hung up when none of these processes is left.
#[derive(Debug)]
pub struct SeccompListener {
    fd: OwnedFd,
    state: ContainerProcessState,
    restarted: usize,
    path: PathBuf,
}

impl Container {
    /// Connects to its store of seccomp listeners.
    ///
    /// # Errors
    /// [`Error::NoSeccompStore`]; [`Error::ContainerExited`]; [`Error::ShimGone`]; the system's (`EAGAIN` when too many agents
    /// wait already).
    pub fn seccomp(&self) -> Result<SeccompStore> {
        let init = self.init()?;
        let path = init.dir().join(layout::SECCOMP_SOCKET);
        let socket = connect(init.dir()).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                match (init.exit_record(), init.shim_lives()) {
                    (Ok(Some(_)), _) => init.exited(),
                    (_, Ok(false)) => init.shim_gone().unwrap_or_else(|e| e),
                    _ => Error::NoSeccompStore {
                        id: self.id().clone(),
                    },
                }
            }
            _ => Error::io("connect to", &path)(e),
        })?;
        Ok(SeccompStore { socket, path })
    }

    /// Whether listeners went with a shim that was killed: calls that the filter has wait then fail with `ENOSYS`, unless
    /// an agent that was connected is left with its duplicate. The kernel gives nobody another.
    pub fn seccomp_was_lost(&self) -> bool {
        let init = self.dir().join(layout::INIT);
        init.join(layout::SECCOMP_LOST_FILE).exists()
    }
}

/// By a path that is short whatever the directory's is: a socket's has at most 107 bytes (unix(7)).
fn connect(dir: &Path) -> io::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    let dir = options
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(dir)?;
    let path = format!(
        "/proc/self/fd/{}/{}",
        dir.as_raw_fd(),
        layout::SECCOMP_SOCKET
    );
    socket::connect_to(Path::new(&path), Kind::Messages)
}

impl SeccompStore {
    /// The next listener, of those that the container has and of each that an exec brings; `None` when the store is gone (the
    /// container has ended, or its shim was killed), or will not have this agent (another user's; the shim's log says so).
    ///
    /// Calls that another agent had taken from it and not answered are told of anew.
    ///
    /// # Errors
    /// [`Error::Io`] of kind `WouldBlock` when none came in time; [`Error::BadListener`].
    pub fn receive(&self, timeout: Option<Duration>) -> Result<Option<SeccompListener>> {
        let failed = |e| Error::io("receive from", &self.path)(e);
        let deadline = Deadline::after(timeout);
        let mut message = vec![0; MESSAGE_LIMIT];
        let (length, fds) = loop {
            match scm::receive(self.socket.as_fd(), &mut message) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && !deadline.has_passed() => {
                    deadline
                        .poll(self.socket.as_fd(), PollFlags::POLLIN)
                        .map_err(failed)?;
                }
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                received => break received.map_err(failed)?,
            }
        };
        if length == 0 {
            return Ok(None);
        }
        let bad = |what| Error::BadListener {
            path: self.path.clone(),
            what,
        };
        let state: ContainerProcessState =
            serde_json::from_slice(&message[..length]).map_err(|e| bad(e.to_string()))?;
        let fd = fds.into_iter().next();
        let fd = fd.filter(|fd| seccomp::is_listener(fd.as_fd()));
        let fd = fd.ok_or_else(|| bad("sent no seccomp listener".to_owned()))?;
        let mut listener = SeccompListener {
            fd,
            state,
            restarted: 0,
            path: self.path.clone(),
        };
        if listener.has_unanswered()? {
            listener.restarted =
                restart::waiting_calls(&[listener.state.pid, listener.state.state.pid]);
        }
        Ok(Some(listener))
    }
}

impl AsFd for SeccompStore {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl SeccompListener {
    /// What the runtime said of it: of which process of which container it is.
    pub fn state(&self) -> &ContainerProcessState {
        &self.state
    }

    /// How many threads were waiting for an agent that is no more when this one received the listener, and had their calls begun
    /// anew. 0 although [`SeccompListener::has_unanswered`]: this process may not trace them (ptrace(2)).
    pub fn restarted(&self) -> usize {
        self.restarted
    }

    /// The next system call that waits for an answer; `None` when there is none in time, or none will come any more. The answer
    /// is [`SeccompListener::answer`]: without one it waits until its thread is killed.
    ///
    /// # Errors
    /// The system's.
    pub fn next(&self, timeout: Option<Duration>) -> Result<Option<Notification>> {
        let failed = |e| Error::io("receive a system call from", &self.path)(e);
        let deadline = Deadline::after(timeout);
        loop {
            let events = deadline.poll(self.fd.as_fd(), PollFlags::POLLIN);
            let events = events.map_err(failed)?;
            if events.contains(PollFlags::POLLIN) {
                // Between the two, it may have gone.
                if let Some(call) = seccomp::receive(self.fd.as_fd()).map_err(failed)? {
                    return Ok(Some(call));
                }
            } else if !events.is_empty() || deadline.has_passed() {
                return Ok(None);
            }
        }
    }

    /// Answers a call; whether it still waited: not when it was interrupted, killed, or answered already.
    ///
    /// # Errors
    /// `EINVAL` for a value that no system call can return; the system's.
    pub fn answer(&self, id: u64, answer: Answer) -> Result<bool> {
        seccomp::answer(self.fd.as_fd(), id, answer)
            .map_err(Error::io("answer through", &self.path))
    }

    /// Whether a call still waits for its answer. What was read of its thread, by the thread's number, before this said yes was the
    /// right thread's; what is read after it may not be (seccomp_unotify(2)).
    ///
    /// # Errors
    /// The system's.
    pub fn is_waiting(&self, id: u64) -> Result<bool> {
        seccomp::is_waiting(self.fd.as_fd(), id).map_err(Error::io("ask", &self.path))
    }

    /// Whether there are calls that were taken, by this agent or another, and not answered.
    ///
    /// # Errors
    /// The system's.
    pub fn has_unanswered(&self) -> Result<bool> {
        let now = Deadline::after(Some(Duration::ZERO));
        let events = now.poll(self.fd.as_fd(), PollFlags::POLLOUT);
        let events = events.map_err(Error::io("ask", &self.path))?;
        Ok(events.contains(PollFlags::POLLOUT))
    }
}

impl AsFd for SeccompListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
