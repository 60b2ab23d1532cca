//! A store as words of argv and the descriptors that they name, through `execve`: one function encodes, one decodes. The round
//! trip is tested with the rest of what a shim hands over.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use holdfast_common::request::RequestError;

use super::{Agent, Held, Store};
use crate::error::Error;
use crate::handover::{Words, descriptor, number};

impl Store {
    /// The words, and the descriptors that they name.
    pub fn encode<'a>(&'a self, out: &mut Words<'a>) {
        out.fd("seccomp-agents", self.agents.as_fd());
        out.fd("seccomp-runtimes", self.runtimes.as_fd());
        if let Some(path) = &self.elsewhere {
            out.value("seccomp-elsewhere", path.as_os_str());
        }
        if let Some(agent) = &self.agent {
            out.fd("seccomp-agent", agent.socket.as_fd());
            out.value("seccomp-sent", OsStr::new(&agent.sent.to_string()));
        }
        for held in &self.held {
            out.fd("seccomp-listener", held.listener.as_fd());
            out.value("seccomp-pid", OsStr::new(&held.pid.to_string()));
            // JSON has no zero byte.
            out.value("seccomp-message", OsStr::from_bytes(&held.message));
        }
        for socket in self.silent() {
            out.fd("seccomp-incoming", socket.as_fd());
        }
    }
}

/// A store's words on their way in. Each listener's three come in this order: descriptor, pid, message.
#[derive(Default)]
pub struct StoreWords {
    agents: Option<OwnedFd>,
    runtimes: Option<OwnedFd>,
    elsewhere: Option<PathBuf>,
    agent: Option<OwnedFd>,
    sent: usize,
    listeners: Vec<OwnedFd>,
    pids: Vec<i32>,
    messages: Vec<Vec<u8>>,
    incoming: Vec<OwnedFd>,
}

impl StoreWords {
    /// Takes one word.
    pub fn take(&mut self, key: &str, value: &OsStr, word: &OsStr) -> Result<(), Error> {
        match key {
            "seccomp-agents" => self.agents = Some(descriptor(word, value)?),
            "seccomp-runtimes" => self.runtimes = Some(descriptor(word, value)?),
            "seccomp-elsewhere" => self.elsewhere = Some(PathBuf::from(value)),
            "seccomp-agent" => self.agent = Some(descriptor(word, value)?),
            "seccomp-sent" => self.sent = number(word, value)?,
            "seccomp-listener" => self.listeners.push(descriptor(word, value)?),
            "seccomp-pid" => self.pids.push(number(word, value)?),
            "seccomp-message" => self.messages.push(value.as_bytes().to_owned()),
            "seccomp-incoming" => self.incoming.push(descriptor(word, value)?),
            _ => return Err(RequestError::Unknown(word.to_owned()).into()),
        }
        Ok(())
    }

    /// The store that they speak of, if they speak of one.
    pub fn store(self) -> Result<Option<Box<Store>>, Error> {
        let Some(agents) = self.agents else {
            return Ok(None);
        };
        let missing = RequestError::Missing("seccomp-runtimes=");
        let mut store = Store::taken_over(agents, self.runtimes.ok_or(missing)?, self.elsewhere);
        if [self.pids.len(), self.messages.len()] != [self.listeners.len(); 2] {
            return Err(RequestError::Missing("seccomp-message=").into());
        }
        let listeners = self.messages.into_iter().zip(self.pids).zip(self.listeners);
        store.held = listeners
            .map(|((message, pid), listener)| Held::new(message, pid, listener))
            .collect();
        let sent = self.sent.min(store.held.len());
        store.agent = self.agent.map(|socket| Agent::new(socket, sent));
        self.incoming
            .into_iter()
            .for_each(|socket| store.resume(socket));
        Ok(Some(Box::new(store)))
    }
}
