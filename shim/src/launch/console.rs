//! The socket on which a runtime hands over a terminal's master (`--console-socket`).
//!
//! A socket's path has at most 107 bytes (unix(7)), a process directory's may have more: it is bound by its relative name, and
//! the runtime is told a path through /proc, which is short.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use holdfast_common::layout;
use holdfast_common::sys::{fd, scm};

use crate::error::Error;

/// A socket that waits for a terminal; its file goes when this does.
pub struct ConsoleSocket(UnixListener);

impl ConsoleSocket {
    /// Binds the socket in the working directory.
    pub fn bind() -> Result<Self, Error> {
        let bind = || {
            let _ = std::fs::remove_file(layout::CONSOLE_SOCKET);
            let listener = UnixListener::bind(layout::CONSOLE_SOCKET)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        bind()
            .map(Self)
            .map_err(Error::io("bind", layout::CONSOLE_SOCKET))
    }

    /// The path to give to the runtime.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/cwd/{}",
            std::process::id(),
            layout::CONSOLE_SOCKET
        ))
    }

    /// The terminal's master, non-blocking. A runtime that has ended successfully has sent it: connection and message
    /// wait in the socket's queue, so there is nothing to wait for here.
    pub fn receive(&self) -> Result<OwnedFd, Error> {
        let received = || -> io::Result<Option<OwnedFd>> {
            let (connection, _) = match self.0.accept() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                accepted => accepted?,
            };
            connection.set_nonblocking(true)?;
            let master = match scm::receive_fd(connection.as_fd()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
                received => received?,
            };
            if let Some(master) = &master {
                fd::set_nonblocking(master.as_fd(), true)?;
            }
            Ok(master)
        };
        received()
            .map_err(Error::io(
                "receive the terminal from",
                layout::CONSOLE_SOCKET,
            ))?
            .ok_or(Error::NoTerminal)
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(layout::CONSOLE_SOCKET);
    }
}
