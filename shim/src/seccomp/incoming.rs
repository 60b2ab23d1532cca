//! What a runtime sends: one JSON object, with a listener beside it. Taken as soon as it is whole, since some runtimes keep the
//! connection until they are done; bounded; and nothing of it is believed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use holdfast_common::seccomp::{ContainerProcessState, MESSAGE_LIMIT};
use holdfast_common::sys::{errno_text, scm, seccomp};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::Held;

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
    pub fn read(&mut self, id: &[u8], init: Option<i32>) -> Result<Option<Held>, String> {
        let mut piece = [0; 4096];
        loop {
            let (length, fds) = match scm::receive(self.socket.as_fd(), &mut piece) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                received => received.map_err(|e| errno_text(&e))?,
            };
            self.message.extend_from_slice(&piece[..length]);
            self.fds.extend(fds);
            if self.message.len() > MESSAGE_LIMIT || self.fds.len() > 16 {
                return Err(format!(
                    "more than {MESSAGE_LIMIT} bytes, or 16 descriptors"
                ));
            }
            match serde_json::from_slice::<ContainerProcessState>(&self.message) {
                Ok(state) => return self.check(&state, id, init).map(Some),
                Err(e) if e.is_eof() && length > 0 => (),
                Err(_) if self.is_empty() => return Err("nothing at all".to_owned()),
                Err(e) => return Err(format!("no container process state: {e}")),
            }
        }
    }

    fn check(
        &mut self,
        state: &ContainerProcessState,
        id: &[u8],
        init: Option<i32>,
    ) -> Result<Held, String> {
        let n = state.check(id, init, self.fds.len());
        let n = n.map_err(|mismatch| format!("a state {mismatch}"))?;
        // It may have ended again, but not long ago: a zombie is still there.
        if kill(Pid::from_raw(state.pid), None) == Err(nix::Error::ESRCH) {
            return Err(format!("a state of process {}, which is none", state.pid));
        }
        let listener = self.fds.swap_remove(n);
        if !seccomp::is_listener(listener.as_fd()) {
            return Err("a descriptor that is no seccomp listener".to_owned());
        }
        let message = std::mem::take(&mut self.message);
        Ok(Held::new(message, state.pid, listener))
    }
}
