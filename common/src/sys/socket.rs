//! Unix sockets that never block (unix(7)): what std has of them lacks the kind that keeps messages apart, and the mode that
//! a new one has from its first moment.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, getsockopt,
    listen, socket,
};
use nix::sys::stat::{Mode, fchmod};

/// How bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As a stream.
    Stream,
    /// In messages, each of which arrives whole (`SOCK_SEQPACKET`).
    Messages,
}

fn new(kind: Kind) -> io::Result<OwnedFd> {
    let kind = match kind {
        Kind::Stream => SockType::Stream,
        Kind::Messages => SockType::SeqPacket,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Unix, kind, flags, None)?)
}

/// Makes a socket that others of this user connect to. One of this name that nobody listens at any more is replaced.
///
/// # Errors
/// `EADDRINUSE` when somebody listens there, or it is no socket; a path of more than 107 bytes.
pub fn listen_at(path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    let fd = new(kind)?;
    // The mode of a socket's file is its descriptor's, less the mask: so there is no moment in which it is another.
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let address = UnixAddr::new(path)?;
    match bind(fd.as_raw_fd(), &address) {
        Err(Errno::EADDRINUSE) if is_stale(path, kind) => {
            std::fs::remove_file(path)?;
            bind(fd.as_raw_fd(), &address)?;
        }
        bound => bound?,
    }
    listen(&fd, Backlog::new(64)?)?;
    Ok(fd)
}

/// Whether a path is a socket that nobody listens at: whoever made it is gone.
pub fn is_stale(path: &Path, kind: Kind) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
        && connect_to(path, kind).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}

/// Connects to a socket.
///
/// # Errors
/// connect(2)'s; `WouldBlock` when too many wait there already.
pub fn connect_to(path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    let fd = new(kind)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

/// The next connection.
///
/// # Errors
/// accept(2)'s; `WouldBlock` when there is none.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let number = accept4(listener.as_raw_fd(), flags)?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Who connected: pid and uid, as the kernel noted them then (`SO_PEERCRED`).
///
/// # Errors
/// getsockopt(2)'s.
pub fn peer(connection: BorrowedFd<'_>) -> io::Result<(i32, u32)> {
    let credentials = getsockopt(&connection, PeerCredentials)?;
    Ok((credentials.pid(), credentials.uid()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::comes_true;
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_stale_socket_is_replaced_and_nothing_else() {
        let dir = std::env::temp_dir().join(format!("holdfast-socket-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("socket");
        let first = listen_at(&path, Kind::Messages).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let taken = listen_at(&path, Kind::Messages).unwrap_err();
        assert_eq!(taken.raw_os_error(), Some(libc::EADDRINUSE));
        drop(first);
        comes_true(|| connect_to(&path, Kind::Messages).is_err());
        let second = listen_at(&path, Kind::Messages).unwrap();
        // Somebody looked, and went away again.
        let looked = connect_to(&path, Kind::Messages).unwrap();
        let connection = accept(second.as_fd()).unwrap();
        let (pid, uid) = peer(connection.as_fd()).unwrap();
        assert_eq!(u32::try_from(pid), Ok(std::process::id()));
        assert_eq!(uid, nix::unistd::geteuid().as_raw());
        drop(looked);
        std::fs::write(dir.join("file"), "").unwrap();
        assert!(listen_at(&dir.join("file"), Kind::Stream).is_err());
        assert!(dir.join("file").exists());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
