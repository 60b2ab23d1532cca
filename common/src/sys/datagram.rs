//! Datagram sockets that never block (unix(7)): where words to a service manager come in, and where they go out.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, send as send_to, socket,
};
use nix::sys::stat::{Mode, fchmod, umask};
use nix::unistd::{LinkatFlags, UnlinkatFlags, linkat, unlinkat};

fn new() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(
        AddressFamily::Unix,
        SockType::Datagram,
        flags,
        None,
    )?)
}

/// Makes a socket that everybody who gets to its directory may send to, under several names. Whatever bears one of them is
/// replaced. No link is followed: others may be able to write to the directory. Only for a process with one thread, because its
/// umask is changed for a moment.
///
/// # Errors
/// The system's.
pub fn bind_in(dir: BorrowedFd<'_>, names: &[&str]) -> io::Result<OwnedFd> {
    let fd = new()?;
    // The mode of a socket's file is its descriptor's, less the mask. chmod(2) would follow a link that somebody put in its place.
    fchmod(&fd, Mode::from_bits_truncate(0o666))?;
    for name in names {
        match unlinkat(dir, *name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => (),
            Err(e) => return Err(e.into()),
        }
    }
    let Some((first, others)) = names.split_first() else {
        return Ok(fd);
    };
    // A path of any length is short so.
    let path: PathBuf = format!("/proc/self/fd/{}/{first}", dir.as_raw_fd()).into();
    let address = UnixAddr::new(&path)?;
    let mask = umask(Mode::empty());
    let bound = bind(fd.as_raw_fd(), &address);
    umask(mask);
    bound?;
    for name in others {
        linkat(dir, *first, dir, *name, LinkatFlags::empty())?;
    }
    Ok(fd)
}

/// A socket that sends to an address, as [`check_address`](crate::notify::check_address) knows them.
///
/// # Errors
/// connect(2)'s; an address that is too long.
pub fn connect_to(address: &str) -> io::Result<OwnedFd> {
    let fd = new()?;
    let address = match address.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes())?,
        None => UnixAddr::new(address)?,
    };
    connect(fd.as_raw_fd(), &address)?;
    Ok(fd)
}

/// Sends a message.
///
/// # Errors
/// `WouldBlock` when its receiver has too many already: who connected is told by poll(2) when there is room. `ECONNREFUSED`, and then `ENOTCONN`, when
/// nobody receives there any more.
pub fn send(socket: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    send_to(socket.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::scm;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn a_socket_has_each_name_and_replaces_what_has_it() {
        let dir = std::env::temp_dir().join(format!("holdfast-datagram-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let victim = dir.join("victim");
        std::fs::write(&victim, "").unwrap();
        std::fs::set_permissions(&victim, std::fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&victim, dir.join("one")).unwrap();
        let opened = File::open(&dir).unwrap();
        for _ in 0..2 {
            let socket = bind_in(opened.as_fd(), &["one", "two"]).unwrap();
            for name in ["one", "two"] {
                let path = dir.join(name);
                let mode = std::fs::symlink_metadata(&path).unwrap().mode();
                assert_eq!(mode & 0o777, 0o666);
                let sender = connect_to(path.to_str().unwrap()).unwrap();
                send(sender.as_fd(), name.as_bytes()).unwrap();
                let mut bytes = [0; 16];
                let (length, _) = scm::receive(socket.as_fd(), &mut bytes).unwrap();
                assert_eq!(&bytes[..length], name.as_bytes());
            }
        }
        let mode = std::fs::metadata(&victim).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn an_abstract_name_is_an_address() {
        let name = format!("holdfast-datagram-{}", std::process::id());
        let socket = new().unwrap();
        let address = UnixAddr::new_abstract(name.as_bytes()).unwrap();
        bind(socket.as_raw_fd(), &address).unwrap();
        let sender = connect_to(&format!("@{name}")).unwrap();
        // As many as there is room for, and then it says so.
        let full = (0..10_000).find_map(|_| send(sender.as_fd(), b"x").err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(socket);
        // A child that another test has just forked has it too, until it executes.
        let refused = std::iter::repeat_with(|| send(sender.as_fd(), b"x").unwrap_err().kind());
        let gone = refused.into_iter().find(|kind| {
            std::thread::yield_now();
            *kind != io::ErrorKind::WouldBlock
        });
        assert_eq!(gone, Some(io::ErrorKind::ConnectionRefused));
    }
}
