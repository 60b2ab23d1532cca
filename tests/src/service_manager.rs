//! Plays a service manager: a socket that it is told things at (sd_notify(3)), and a launcher's environment that names it.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use holdfast_common::sys::scm;
use nix::poll::PollFlags;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::{Bundle, Sandbox, wait};

/// A service manager that listens.
#[derive(Debug)]
pub struct Manager<'a> {
    sandbox: &'a Sandbox,
    socket: UnixDatagram,
    /// What `NOTIFY_SOCKET` says.
    address: PathBuf,
}

impl Sandbox {
    /// A service manager.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn manager(&self) -> Manager<'_> {
        let address = self.path().join("manager");
        let socket = UnixDatagram::bind(&address).expect("bind the service manager's socket");
        Manager {
            sandbox: self,
            socket,
            address,
        }
    }

    /// One whose socket has an abstract name (unix(7)).
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn abstract_manager(&self) -> Manager<'_> {
        let name = self.path().join("manager");
        let bind = SocketAddr::from_abstract_name(name.as_os_str().as_encoded_bytes())
            .and_then(|name| UnixDatagram::bind_addr(&name));
        Manager {
            sandbox: self,
            socket: bind.expect("bind the service manager's socket"),
            address: format!("@{}", name.display()).into(),
        }
    }
}

impl Manager<'_> {
    /// `holdfast ARGS` as it would start it.
    #[must_use]
    pub fn holdfast<A: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = self.sandbox.holdfast(args);
        command.env("NOTIFY_SOCKET", &self.address);
        command
    }

    /// The next message, with what came beside it.
    ///
    /// # Panics
    /// When none comes before the deadline.
    #[track_caller]
    pub fn receive(&self) -> (String, Vec<OwnedFd>) {
        self.sandbox.wait_readable(&self.socket);
        let mut bytes = [0; 8192];
        let (length, fds) = scm::receive(self.socket.as_fd(), &mut bytes).expect("receive");
        (crate::command::text(&bytes[..length]), fds)
    }

    /// The next message that is no barrier; barriers are let through.
    ///
    /// # Panics
    /// As [`Manager::receive`], and when descriptors come with it.
    #[track_caller]
    pub fn next(&self) -> String {
        loop {
            let (message, fds) = self.receive();
            if message != "BARRIER=1" {
                assert!(fds.is_empty(), "{message}");
                return message;
            }
        }
    }

    /// Whether nothing was said within `patience`.
    pub fn is_quiet(&self, patience: Duration) -> bool {
        wait::events(&self.socket, PollFlags::POLLIN, patience).is_empty()
    }

    /// Goes away, and its socket's name with it.
    ///
    /// # Panics
    /// When its socket cannot be removed.
    pub fn leave(self) {
        std::fs::remove_file(&self.address).expect("remove the service manager's socket");
    }
}

/// Whoever speaks for a container: to the socket that it has, by the name that this has here.
#[derive(Debug)]
pub struct Speaker(UnixDatagram);

impl Speaker {
    /// One for the container `id`, connected.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn of(sandbox: &Sandbox, id: &str) -> Self {
        let socket = UnixDatagram::unbound().expect("make a socket");
        socket
            .connect(Self::path(sandbox, id))
            .expect("connect to the container's notify socket");
        Self(socket)
    }

    /// The socket's name here.
    #[must_use]
    pub fn path(sandbox: &Sandbox, id: &str) -> PathBuf {
        let note = sandbox.process_dir(id, "init").join("notify");
        let dir = std::fs::read_link(note).unwrap_or_default();
        dir.join("notify.sock")
    }

    /// Says something.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn say(&self, message: &str) {
        self.0.send(message.as_bytes()).expect("send a message");
    }

    /// Says something, with descriptors beside it.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn send_with(&self, message: &str, fds: &[RawFd]) {
        let rights = [ControlMessage::ScmRights(fds)];
        let part = [IoSlice::new(message.as_bytes())];
        let socket = self.0.as_raw_fd();
        let sent = sendmsg::<()>(socket, &part, &rights, MsgFlags::empty(), None);
        sent.expect("send a message with descriptors");
    }

    /// Waits until all that was said before was heard (sd_notify_barrier(3)).
    ///
    /// # Panics
    /// When the deadline passes.
    #[track_caller]
    pub fn wait_heard(&self, sandbox: &Sandbox) {
        let (seen, barrier) = std::io::pipe().expect("make a pipe");
        self.send_with("BARRIER=1", &[barrier.as_raw_fd()]);
        drop(barrier);
        sandbox.wait_hangup(&seen);
    }

    /// The socket itself.
    #[must_use]
    pub fn socket(&self) -> &UnixDatagram {
        &self.0
    }
}

/// In a container: what `say WORDS` there says is a message of these lines, the first of which means nothing. (busybox can send datagrams to
/// `/dev/log` alone.)
pub const SAY: &str =
    "ln -sf $NOTIFY_SOCKET /dev/log; say() { logger \"$(printf '\\n%b' \"$1\")\"; }";

/// A bundle that runs a script that may `say` things.
#[must_use]
pub fn talkative(sandbox: &Sandbox, script: &str) -> Bundle {
    sandbox.sh(&format!("{SAY}; {script}")).run()
}
