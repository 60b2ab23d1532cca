//! The store of seccomp listeners: a container whose system calls wait for an agent's answer keeps its listeners here, so that
//! the agent may be killed and replaced. Two sockets of the init's process directory:
//!
//! - `seccomp.runtime` (or the bundle's own `listenerPath`): the runtime sends a listener with each process that it starts, the
//!   container's own and every exec ([`incoming`]);
//! - `seccomp`: agents, one at a time, are sent a duplicate of each of them; who connects meanwhile waits in the kernel's queue.
//!
//! A listener is kept until the kernel says that no process is left whose calls it would tell of. Nothing here ever waits: each
//! turn takes what is there. What a peer says or leaves unsaid costs it its connection, and one line of the log.

mod incoming;
mod words;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use holdfast_common::layout;
use holdfast_common::process_state::ProcessState;
use holdfast_common::request::Wire;
use holdfast_common::sys::socket::{self, Kind};
use holdfast_common::sys::{errno_text, scm};
use mio::Interest;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::geteuid;

use crate::bundle;
use crate::error::Error;
use incoming::Incoming;
pub use words::StoreWords;

/// Peers of one turn; one who connects without end does not keep the loop from the rest.
const PEERS_A_TURN: usize = 16;
/// Listeners that are kept; a container has one a process that its runtime started.
const MOST_HELD: usize = 256;
/// Refusals that are logged one by one.
const REFUSALS_LOGGED: u32 = 16;

/// The store.
#[derive(Debug)]
pub struct Store {
    /// Where agents connect.
    pub agents: OwnedFd,
    /// Where runtimes connect.
    pub runtimes: OwnedFd,
    /// The path of the latter, if it is not in the process directory.
    pub elsewhere: Option<PathBuf>,
    /// The listeners.
    pub held: Vec<Held>,
    /// The agent that is connected.
    pub agent: Option<Agent>,
    incoming: Vec<Incoming>,
    refusals: u32,
    /// Whether the loop knows the sockets.
    watched: bool,
}

/// A listener, and what the runtime said of it.
#[derive(Debug)]
pub struct Held {
    /// The message, as it came.
    pub message: Vec<u8>,
    /// The process that it was made for.
    pub pid: i32,
    /// The listener.
    pub listener: OwnedFd,
    watched: bool,
}

/// A connected agent.
#[derive(Debug)]
pub struct Agent {
    /// The connection.
    pub socket: OwnedFd,
    /// How many of the listeners it has, the first so many.
    pub sent: usize,
    watched: bool,
}

impl Held {
    /// What was received, or handed over.
    pub fn new(message: Vec<u8>, pid: i32, listener: OwnedFd) -> Self {
        Self {
            message,
            pid,
            listener,
            watched: false,
        }
    }

    /// Whether no process is left whose calls it would tell of (Linux ≥ 5.9; before that, all are kept).
    fn is_over(&self) -> bool {
        events(self.listener.as_fd()).contains(PollFlags::POLLHUP)
    }
}

impl Agent {
    /// One that has connected, or was handed over.
    pub fn new(socket: OwnedFd, sent: usize) -> Self {
        Self {
            socket,
            sent,
            watched: false,
        }
    }
}

fn events(fd: BorrowedFd<'_>) -> PollFlags {
    let mut fds = [PollFd::new(fd, PollFlags::empty())];
    let polled = poll(&mut fds, PollTimeout::ZERO);
    let found = polled.ok().and_then(|_| fds[0].revents());
    found.unwrap_or(PollFlags::empty())
}

/// Whether a path names the runtimes' socket of this process directory, whatever links lead there.
fn is_ours(path: &Path, dir: &Path) -> bool {
    path.file_name() == Some(OsStr::new(layout::SECCOMP_RUNTIME_SOCKET))
        && path
            .parent()
            .and_then(|parent| fs::canonicalize(parent).ok())
            .is_some_and(|parent| parent == dir)
}

impl Store {
    /// A store, if the container is to have one: its bundle's `listenerPath` is our socket, or its launch asks for one that
    /// listens wherever that path is. An exec has none: its listener goes where its container's go.
    ///
    /// # Errors
    /// A socket cannot be made: somebody else listens there, perhaps.
    pub fn open(wire: &Wire, state: &ProcessState, dir: &Path) -> Result<Option<Box<Self>>, Error> {
        if state.exec {
            return Ok(None);
        }
        let asked = state.holdfast.as_ref();
        let asked = asked.is_some_and(|ours| ours.seccomp_agent_store);
        let Some(path) = bundle::listener_path(&wire.bundle) else {
            return Ok(None);
        };
        let elsewhere = match is_ours(&path, dir) {
            true => None,
            false if asked => Some(path),
            false => return Ok(None),
        };
        // By its relative name: a process directory's path may be longer than a socket's.
        let runtimes_path = match &elsewhere {
            Some(path) => path,
            None => Path::new(layout::SECCOMP_RUNTIME_SOCKET),
        };
        let bind =
            |path: &Path, kind| socket::listen_at(path, kind).map_err(Error::io("listen at", path));
        let runtimes = bind(runtimes_path, Kind::Stream)?;
        let store = Self::taken_over(
            bind(Path::new(layout::SECCOMP_SOCKET), Kind::Messages)?,
            runtimes,
            elsewhere,
        );
        Ok(Some(Box::new(store)))
    }

    /// A store of sockets that are there.
    pub fn taken_over(agents: OwnedFd, runtimes: OwnedFd, elsewhere: Option<PathBuf>) -> Self {
        Self {
            agents,
            runtimes,
            elsewhere,
            held: Vec::new(),
            agent: None,
            incoming: Vec::new(),
            refusals: 0,
            watched: false,
        }
    }

    /// A runtime's connection on which nothing has come yet, handed over.
    pub fn resume(&mut self, socket: OwnedFd) {
        self.incoming.push(Incoming::new(socket));
    }

    /// Those connections.
    pub fn silent(&self) -> impl Iterator<Item = &OwnedFd> {
        let silent = self.incoming.iter().filter(|incoming| incoming.is_empty());
        silent.map(|incoming| &incoming.socket)
    }

    /// Takes what is there, in this order: listeners that runtimes send, ends, agents. `init` is the container's own process, as
    /// soon as that is known. Whether there may be more.
    pub fn turn(&mut self, id: &OsStr, init: Option<i32>) -> bool {
        let mut more = self.take_runtimes();
        self.take_messages(id, init);
        self.drop_ended();
        more |= self.serve_agents();
        more
    }

    fn take_runtimes(&mut self) -> bool {
        for _ in 0..PEERS_A_TURN {
            match socket::accept(self.runtimes.as_fd()) {
                Ok(connection) => {
                    if self.may_connect("runtime", &connection) {
                        if self.incoming.len() == PEERS_A_TURN {
                            self.incoming.remove(0);
                            self.refuse("a runtime's connection: too many of them say nothing");
                        }
                        self.incoming.push(Incoming::new(connection));
                    }
                }
                Err(e) => return self.not_accepted(&e),
            }
        }
        true
    }

    fn take_messages(&mut self, id: &OsStr, init: Option<i32>) {
        let mut waiting = Vec::new();
        for mut incoming in std::mem::take(&mut self.incoming) {
            match incoming.read(id.as_bytes(), init) {
                Ok(None) => waiting.push(incoming),
                Ok(Some(held)) if self.held.len() < MOST_HELD => self.held.push(held),
                Ok(Some(held)) => self.refuse(&format!(
                    "the listener of process {}: too many are kept",
                    held.pid
                )),
                Err(why) => self.refuse(&format!("what came instead of a listener: {why}")),
            }
        }
        self.incoming = waiting;
    }

    fn drop_ended(&mut self) {
        let mut n = 0;
        while n < self.held.len() {
            if !self.held[n].is_over() {
                n += 1;
                continue;
            }
            self.held.remove(n);
            if let Some(agent) = &mut self.agent
                && n < agent.sent
            {
                agent.sent -= 1;
            }
        }
    }

    fn serve_agents(&mut self) -> bool {
        for _ in 0..PEERS_A_TURN {
            if let Some(why) = self.agent.as_ref().and_then(has_left) {
                self.agent = None;
                if let Some(why) = why {
                    self.refuse(&format!("an agent: {why}"));
                }
            }
            if self.agent.is_none() {
                match socket::accept(self.agents.as_fd()) {
                    Ok(connection) if self.may_connect("agent", &connection) => {
                        self.agent = Some(Agent::new(connection, 0));
                    }
                    Ok(_) => continue,
                    Err(e) => return self.not_accepted(&e),
                }
            }
            match self.send() {
                Ok(()) => return false,
                Err(e) => {
                    self.agent = None;
                    self.refuse(&format!("an agent: {}", errno_text(&e)));
                }
            }
        }
        true
    }

    /// Sends the agent what it does not have yet, as far as there is room.
    fn send(&mut self) -> io::Result<()> {
        let Some(agent) = &mut self.agent else {
            return Ok(());
        };
        for held in self.held.iter().skip(agent.sent) {
            match scm::send(agent.socket.as_fd(), &held.message, held.listener.as_fd()) {
                Ok(()) => agent.sent += 1,
                // It is told when there is room again.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Whether a peer is of this user, or root: all others are refused, however they came to the socket.
    fn may_connect(&mut self, what: &str, connection: &OwnedFd) -> bool {
        match socket::peer(connection.as_fd()) {
            Ok((_, uid)) if uid == 0 || uid == geteuid().as_raw() => true,
            Ok((pid, uid)) => {
                self.refuse(&format!("{what}: process {pid} of user {uid}"));
                false
            }
            Err(e) => {
                self.refuse(&format!("{what}: {}", errno_text(&e)));
                false
            }
        }
    }

    /// What became of an accept that brought nothing: there may be more only after a peer that was gone again.
    fn not_accepted(&mut self, e: &io::Error) -> bool {
        match e.kind() {
            io::ErrorKind::WouldBlock => false,
            io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => true,
            _ => {
                self.refuse(&format!("a connection: {}", errno_text(e)));
                false
            }
        }
    }

    fn refuse(&mut self, what: &str) {
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals <= REFUSALS_LOGGED {
            log::warn!("seccomp: refused {what}");
        }
        if self.refusals == REFUSALS_LOGGED {
            log::warn!("seccomp: more is refused without a word");
        }
    }

    /// Has the loop told of everything that it does not know yet. A listener is of interest for its end alone, and is waited on
    /// for something that it never reports, lest each call of the container wake the shim.
    pub fn watch(&mut self, add: impl Fn(RawFd, Interest) -> io::Result<()>) -> io::Result<()> {
        if !std::mem::replace(&mut self.watched, true) {
            add(self.agents.as_raw_fd(), Interest::READABLE)?;
            add(self.runtimes.as_raw_fd(), Interest::READABLE)?;
        }
        for incoming in &mut self.incoming {
            if !std::mem::replace(&mut incoming.watched, true) {
                add(incoming.socket.as_raw_fd(), Interest::READABLE)?;
            }
        }
        for held in &mut self.held {
            if !std::mem::replace(&mut held.watched, true) {
                add(held.listener.as_raw_fd(), Interest::PRIORITY)?;
            }
        }
        if let Some(agent) = &mut self.agent
            && !std::mem::replace(&mut agent.watched, true)
        {
            let both = Interest::READABLE | Interest::WRITABLE;
            add(agent.socket.as_raw_fd(), both)?;
        }
        Ok(())
    }

    /// The same for poll(2), while the runtime is waited for: what a turn would take, and nothing that it would leave.
    pub fn poll_fds(&self) -> Vec<PollFd<'_>> {
        let agents = match &self.agent {
            Some(agent) => agent.socket.as_fd(),
            None => self.agents.as_fd(),
        };
        let incoming = self.incoming.iter().map(|incoming| incoming.socket.as_fd());
        [agents, self.runtimes.as_fd()]
            .into_iter()
            .chain(incoming)
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect()
    }
}

/// Why an agent is no longer one: gone, without a reason to tell, or for what it did. It has nothing to say.
fn has_left(agent: &Agent) -> Option<Option<&'static str>> {
    match nix::unistd::read(&agent.socket, &mut [0; 64]) {
        Ok(0) => Some(None),
        Ok(_) => Some(Some("it wrote something")),
        Err(nix::Error::EAGAIN | nix::Error::EINTR) => None,
        Err(_) => Some(None),
    }
}

impl Drop for Store {
    /// Whoever comes from now on is to find nothing rather than a socket that nobody listens at. What does not end here, but
    /// goes on as another executable, is not dropped.
    fn drop(&mut self) {
        let _ = fs::remove_file(layout::SECCOMP_SOCKET);
        let _ = fs::remove_file(layout::SECCOMP_RUNTIME_SOCKET);
        // Somebody may have put another in its place, which would not be ours to remove.
        if let Some(path) = &self.elsewhere
            && nix::sys::socket::shutdown(
                self.runtimes.as_raw_fd(),
                nix::sys::socket::Shutdown::Both,
            )
            .is_ok()
            && socket::is_stale(path, Kind::Stream)
        {
            let _ = fs::remove_file(path);
        }
    }
}
