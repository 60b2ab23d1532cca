//! A relay as words of argv and the descriptor that they name, through `execve`: one function encodes, one decodes. The round trip is
//! tested with the rest of what a shim hands over.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};

use holdfast_common::request::RequestError;

use super::Relay;
use crate::error::Error;
use crate::handover::{Words, descriptor, pending};

impl Relay {
    /// The words, and the descriptor that they name. A connection to the service manager is made anew.
    pub fn encode<'a>(&'a self, out: &mut Words<'a>) {
        out.fd("notify", self.socket.as_fd());
        out.value("notify-to", OsStr::new(&self.to));
        out.bytes("notify-pending", &self.pending);
    }
}

#[cfg(test)]
impl Relay {
    /// One whose service manager had no room for the last message.
    pub fn with_pending(mut self, message: &[u8]) -> Self {
        self.pending = message.to_vec();
        self
    }
}

/// A relay's words on their way in.
#[derive(Default)]
pub struct RelayWords {
    socket: Option<OwnedFd>,
    to: Option<String>,
    pending: Vec<u8>,
}

impl RelayWords {
    /// Takes one word.
    pub fn take(&mut self, key: &str, value: &OsStr, word: &OsStr) -> Result<(), Error> {
        match key {
            "notify" => self.socket = Some(descriptor(word, value)?),
            "notify-to" => {
                let to = value.to_str().map(str::to_owned);
                self.to = Some(to.ok_or_else(|| RequestError::BadValue(word.to_owned()))?);
            }
            "notify-pending" => self.pending = pending(word, value)?,
            _ => return Err(RequestError::Unknown(word.to_owned()).into()),
        }
        Ok(())
    }

    /// The relay that they speak of, if they speak of one; `main` is whether the shim is the service's main process.
    pub fn relay(self, main: bool) -> Result<Option<Box<Relay>>, Error> {
        let Some(socket) = self.socket else {
            return Ok(None);
        };
        let to = self.to.ok_or(RequestError::Missing("notify-to="))?;
        let mut relay = Relay::taken_over(socket, to, main);
        relay.pending = self.pending;
        Ok(Some(Box::new(relay)))
    }
}
