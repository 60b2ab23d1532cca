//! What a container has to say to its launcher's service manager (sd_notify(3)). It gets a socket as the runtimes give it one: when
//! they find `NOTIFY_SOCKET` as they create it, they show it a directory of their own ([`place`]), and name a socket in there to it. The
//! runtime's `start` would listen there, and would not be done before the container is ready. So `start` does not find the variable,
//! and the shim listens, for as long as the container lives.
//!
//! What comes is never trusted and never kept: one message at a time is read, put together again from what a container may say, and sent
//! on. While the service manager has no room for it, nothing more is read, and the container waits, as it would without us. So many
//! messages a second, no more. Descriptors that come along are closed by a child, which may have to wait for that; while there is one,
//! nothing is read either.

mod place;
mod words;

use std::io;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use holdfast_common::layout;
use holdfast_common::notify::{LONGEST_MESSAGE, Notify, Ready, allowed, says_ready};
use holdfast_common::process_state::ProcessState;
use holdfast_common::request::Wire;
use holdfast_common::sys::{datagram, errno_text, fd, pidfd, scm};
use mio::Interest;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fchmod, fstat};

use crate::error::Error;
pub use words::RelayWords;

/// What is put into the environment of a runtime that creates: crun takes it for the directory in the container, runc for anything.
pub const FOR_RUNTIMES: &str = "/run/notify";
/// What runtimes call the socket: runc, crun.
const NAMES: [&str; 2] = ["notify.sock", "notify"];

/// Messages that are read in a turn; then others have theirs.
const MESSAGES_A_TURN: usize = 16;
/// Messages that are read in a second.
const MESSAGES_A_SECOND: u32 = 64;
/// How long the service manager may be out of reach before that is said once more.
const SILENCE: Duration = Duration::from_secs(3600);

/// A container's socket, and whom its words are for.
#[derive(Debug)]
pub struct Relay {
    /// The container's.
    socket: OwnedFd,
    /// The service manager's address.
    to: String,
    /// Whether readiness is told with our pid as the main process's.
    main: bool,
    /// A socket that sends there; none before the first message, and when nobody was there.
    manager: Option<OwnedFd>,
    /// A message that it had no room for.
    pending: Vec<u8>,
    /// Since when messages are counted, and how many there were.
    since: Option<Instant>,
    read: u32,
    /// A pidfd of the child that closes what came with a message.
    closing: Option<OwnedFd>,
    /// When it was last said that nobody is there.
    complained: Option<Instant>,
    /// Whether the loop knows the sockets and the child.
    watched: [bool; 3],
}

/// What became of a message.
enum Sent {
    /// It has arrived, or never will.
    Done,
    /// There is no room for it.
    Waits,
}

/// Says to a service manager that we are the main process of its service; whoever says so has to live on, or it is not believed.
pub fn tell_main(notify: &Notify) {
    if !notify.main {
        return;
    }
    let told = datagram::connect_to(&notify.socket).and_then(|manager| {
        let message = format!("MAINPID={}", std::process::id());
        datagram::send(manager.as_fd(), message.as_bytes())
    });
    if let Err(e) = told {
        log::warn!("notify {}: {}", notify.socket, errno_text(&e));
    }
}

/// What process.json asks for.
pub fn asked(state: &ProcessState) -> Option<&Notify> {
    state.holdfast.as_ref()?.notify.as_ref()
}

/// Whether a container is to speak for itself.
pub fn is_relayed(state: &ProcessState) -> bool {
    asked(state).is_some_and(|notify| notify.ready == Ready::Container)
}

impl Relay {
    /// Listens in the directory that the runtime has shown to the container, and notes which that is.
    ///
    /// # Errors
    /// There is none: the runtime does not know `NOTIFY_SOCKET`. The system's.
    pub fn begin(state: &ProcessState, wire: &Wire, pid: i32) -> Result<Option<Box<Self>>, Error> {
        let Some(notify) = asked(state).filter(|_| is_relayed(state)) else {
            return Ok(None);
        };
        let dir = place::find(&wire.id, pid);
        let dir = dir.ok_or_else(|| Error::NoNotifySocket((&wire.runtime).into()))?;
        let note = Path::new(layout::NOTIFY_LINK);
        std::os::unix::fs::symlink(&dir, note).map_err(Error::io("make link", note))?;
        Self::listen(&dir, notify).map(Some)
    }

    /// The same for a container whose shim was killed, by the name of the directory.
    ///
    /// # Errors
    /// As for [`Relay::begin`].
    pub fn again(state: &ProcessState) -> Result<Option<Box<Self>>, Error> {
        let Some(notify) = asked(state).filter(|_| is_relayed(state)) else {
            return Ok(None);
        };
        let note = Path::new(layout::NOTIFY_LINK);
        let dir = std::fs::read_link(note).map_err(Error::io("read link", note))?;
        Self::listen(&dir, notify).map(Some)
    }

    fn listen(dir: &Path, notify: &Notify) -> Result<Box<Self>, Error> {
        let listen = || -> io::Result<OwnedFd> {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let opened = open(dir, flags, Mode::empty())?;
            let mode = Mode::from_bits_truncate(fstat(&opened)?.st_mode);
            let everybody = Mode::from_bits_truncate(0o555);
            if !mode.contains(everybody) {
                // crun's is for root alone, and not everybody in a container is root.
                fchmod(&opened, mode | everybody)?;
            }
            datagram::bind_in(opened.as_fd(), &NAMES)
        };
        let socket = listen().map_err(Error::io("listen in", dir))?;
        Ok(Box::new(Self::taken_over(
            socket,
            notify.socket.clone(),
            notify.main,
        )))
    }

    /// A relay over a socket that is there.
    pub fn taken_over(socket: OwnedFd, to: String, main: bool) -> Self {
        Self {
            socket,
            to,
            main,
            manager: None,
            pending: Vec::new(),
            since: None,
            read: 0,
            closing: None,
            complained: None,
            watched: [false; 3],
        }
    }

    /// Takes what is there and passes it on, as far as that goes; whether there may be more to do at once. Not inlined: a message's
    /// room would be part of the stack of every shim.
    #[inline(never)]
    pub fn turn(&mut self) -> bool {
        for _ in 0..MESSAGES_A_TURN {
            if !self.pending.is_empty() {
                let message = std::mem::take(&mut self.pending);
                if let Sent::Waits = self.send(&message) {
                    self.pending = message;
                    return false;
                }
            }
            if self.is_closing() || self.is_enough() {
                return false;
            }
            match self.receive() {
                Ok(Some(message)) => self.pending = message,
                Ok(None) => (),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
                Err(e) => {
                    if e.kind() != io::ErrorKind::WouldBlock {
                        log::warn!("read the container's notify socket: {}", errno_text(&e));
                    }
                    return false;
                }
            }
        }
        true
    }

    /// When to take a turn again, if nothing happens before: what is left in the socket gives no other sign.
    pub fn due(&self) -> Option<Duration> {
        let waits =
            self.read >= MESSAGES_A_SECOND && self.pending.is_empty() && self.closing.is_none();
        let passed = self.since.map(|since| since.elapsed());
        let left = Duration::from_secs(1).saturating_sub(passed.unwrap_or_default());
        waits.then_some(left)
    }

    /// Whether a child still closes what came with the last message.
    fn is_closing(&mut self) -> bool {
        let goes_on = |child: &OwnedFd| !pidfd::has_ended(child.as_fd()).unwrap_or(true);
        self.closing = self.closing.take().filter(goes_on);
        self.closing.is_some()
    }

    /// Whether as many messages as may be were read in this second.
    fn is_enough(&mut self) -> bool {
        let second = Duration::from_secs(1);
        if self.since.is_none_or(|since| since.elapsed() >= second) {
            self.since = Some(Instant::now());
            self.read = 0;
        }
        self.read >= MESSAGES_A_SECOND
    }

    /// One message, as it is to be passed on; `None` for one of which nothing is.
    fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        // One byte more, to tell one that is too long.
        let mut bytes = [0; LONGEST_MESSAGE + 1];
        let (length, descriptors) = scm::receive(self.socket.as_fd(), &mut bytes)?;
        self.read += 1;
        self.closing = fd::let_go(descriptors);
        self.watched[2] = false;
        Ok(allowed(&bytes[..length]).map(|message| {
            if self.main && says_ready(&message) {
                // A shim that has taken over from another is not the one that was named at the beginning.
                return format!("MAINPID={}\n{message}", std::process::id()).into_bytes();
            }
            message.into_bytes()
        }))
    }

    fn send(&mut self, message: &[u8]) -> Sent {
        // Once more if that is not where it was: a service manager that was started again has another socket of the same name.
        for _ in 0..2 {
            let manager = match self.manager.take() {
                Some(manager) => manager,
                None => match datagram::connect_to(&self.to) {
                    Ok(manager) => {
                        self.watched[1] = false;
                        manager
                    }
                    Err(e) => {
                        self.complain(&e);
                        return Sent::Done;
                    }
                },
            };
            match datagram::send(manager.as_fd(), message) {
                Ok(()) => {
                    self.manager = Some(manager);
                    return Sent::Done;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.manager = Some(manager);
                    return Sent::Waits;
                }
                Err(e) if is_gone(&e) => (),
                Err(e) => {
                    self.manager = Some(manager);
                    self.complain(&e);
                    return Sent::Done;
                }
            }
        }
        self.complain(&io::ErrorKind::ConnectionRefused.into());
        Sent::Done
    }

    fn complain(&mut self, e: &io::Error) {
        if self.complained.is_none_or(|when| when.elapsed() >= SILENCE) {
            self.complained = Some(Instant::now());
            log::warn!(
                "notify {}: {}; what the container says is dropped",
                self.to,
                errno_text(e)
            );
        }
    }

    /// Has the loop told of everything that it does not know yet: of words that come, of room for them, of the end of a child.
    pub fn watch(&mut self, add: impl Fn(RawFd, Interest) -> io::Result<()>) -> io::Result<()> {
        if !std::mem::replace(&mut self.watched[0], true) {
            add(self.socket.as_raw_fd(), Interest::READABLE)?;
        }
        if let Some(manager) = &self.manager
            && !std::mem::replace(&mut self.watched[1], true)
        {
            add(manager.as_raw_fd(), Interest::WRITABLE)?;
        }
        if let Some(child) = &self.closing
            && !std::mem::replace(&mut self.watched[2], true)
        {
            add(child.as_raw_fd(), Interest::READABLE)?;
        }
        Ok(())
    }

    /// What is listened at, and how many bytes wait for room, for whoever looks.
    pub fn seen(&self) -> (RawFd, usize) {
        (self.socket.as_raw_fd(), self.pending.len())
    }

    /// Leaves the socket open until the shim's own end: what is still in it may have descriptors with it, and only a process that
    /// ends closes those without waiting.
    pub fn leave(self) {
        let _ = self.socket.into_raw_fd();
    }
}

/// Whether nobody is at the other end any more.
fn is_gone(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, NotConnected};
    matches!(e.kind(), ConnectionRefused | ConnectionReset | NotConnected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    #[test]
    fn nothing_is_read_while_a_child_closes_what_came_before() {
        let (speaker, socket) = UnixDatagram::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let nobody = format!("@holdfast-nobody-{}", std::process::id());
        let mut relay = Relay::taken_over(socket.into(), nobody, false);
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        relay.closing = Some(pidfd::open(pid).unwrap());
        speaker.send(b"STATUS=one").unwrap();
        assert!(!relay.turn());
        assert_eq!((relay.read, relay.due()), (0, None));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!relay.turn());
        assert_eq!(relay.read, 1);
    }
}
