//! What a runtime sends: one JSON object, with a listener beside it. Taken as soon as it is whole, since some runtimes keep the
//! connection until they are done; bounded; and nothing of it is believed.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use holdfast_common::oci::ContainerProcessState;
use holdfast_common::seccomp::{MESSAGE_LIMIT, Mismatch};
use holdfast_common::sys::{errno_text, scm, seccomp};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::Held;

/// The most descriptors that are taken beside one message.
const MOST_FDS: usize = 16;

/// Why what came is no listener of the container's.
#[derive(Debug)]
pub enum Refusal {
    /// It could not be read.
    Read(io::Error),
    /// It does not end.
    TooMuch,
    /// The connection ended before the first byte.
    Nothing,
    /// It is not what a runtime sends.
    Malformed(serde_json::Error),
    /// It is another's, or does not fit what came with it.
    Mismatch(Mismatch),
    /// It is of a process that is not there.
    NoProcess(i32),
    /// It says that it is a listener.
    NotAListener,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Read(e) => f.write_str(&errno_text(e)),
            Refusal::TooMuch => {
                write!(
                    f,
                    "more than {MESSAGE_LIMIT} bytes, or {MOST_FDS} descriptors"
                )
            }
            Refusal::Nothing => f.write_str("nothing at all"),
            Refusal::Malformed(e) => write!(f, "no container process state: {e}"),
            Refusal::Mismatch(mismatch) => write!(f, "a state {mismatch}"),
            Refusal::NoProcess(pid) => write!(f, "a state of process {pid}, which is none"),
            Refusal::NotAListener => f.write_str("a descriptor that is no seccomp listener"),
        }
    }
}

/// A connection on which a message is awaited.
#[derive(Debug)]
pub struct Incoming {
    pub socket: OwnedFd,
    /// Whether the loop knows it.
    pub watched: bool,
    message: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Incoming {
    /// Before the first byte.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            watched: false,
            message: Vec::new(),
            fds: Vec::new(),
        }
    }

    /// Whether nothing has come yet.
    pub fn is_empty(&self) -> bool {
        self.message.is_empty() && self.fds.is_empty()
    }

    /// Reads what is there: the listener once its message is whole.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn read(&mut self, id: &[u8], init: Option<i32>) -> Result<Option<Held>, Refusal> {
        let mut piece = [0; 4096];
        loop {
            let (length, fds) = match scm::receive(self.socket.as_fd(), &mut piece) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                received => received.map_err(Refusal::Read)?,
            };
            self.message.extend_from_slice(&piece[..length]);
            self.fds.extend(fds);
            if self.message.len() > MESSAGE_LIMIT || self.fds.len() > MOST_FDS {
                return Err(Refusal::TooMuch);
            }
            match serde_json::from_slice::<ContainerProcessState>(&self.message) {
                Ok(state) => return self.check(&state, id, init).map(Some),
                Err(e) if e.is_eof() && length > 0 => (),
                Err(_) if self.is_empty() => return Err(Refusal::Nothing),
                Err(e) => return Err(Refusal::Malformed(e)),
            }
        }
    }

    fn check(
        &mut self,
        state: &ContainerProcessState,
        id: &[u8],
        init: Option<i32>,
    ) -> Result<Held, Refusal> {
        let n = state.check(id, init, self.fds.len());
        let n = n.map_err(Refusal::Mismatch)?;
        // It may have ended again, but not long ago: a zombie is still there.
        if kill(Pid::from_raw(state.pid), None) == Err(nix::Error::ESRCH) {
            return Err(Refusal::NoProcess(state.pid));
        }
        let listener = self.fds.swap_remove(n);
        if !seccomp::is_listener(listener.as_fd()) {
            return Err(Refusal::NotAListener);
        }
        let message = std::mem::take(&mut self.message);
        Ok(Held::new(message, state.pid, listener))
    }
}
