//! Descriptors sent over a socket (SCM_RIGHTS, unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// The most descriptors that the kernel sends with one message (`SCM_MAX_FD`).
const MOST_FDS: usize = 253;

/// Receives one message and the first descriptor in it; `None` when the message carries none. Further descriptors
/// are closed.
///
/// # Errors
/// recvmsg(2)'s; `WouldBlock` on a non-blocking socket with nothing in it.
pub fn receive_fd(socket: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    // A runtime sends the terminal's name along, which nobody needs.
    let (_, fds) = receive(socket, &mut [0; 256])?;
    Ok(fds.into_iter().next())
}

/// Receives what fits of one message, or of a stream up to its next descriptors; how many bytes, and all the descriptors
/// that came with them. No bytes at all mean that the peer is gone.
///
/// # Errors
/// recvmsg(2)'s; `WouldBlock` on a non-blocking socket with nothing in it; `ENOBUFS` when there is no room for the descriptors.
pub fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut parts = [IoSliceMut::new(bytes)];
    let mut space = nix::cmsg_space!([RawFd; MOST_FDS]);
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut received = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: the kernel has just installed these descriptors (close-on-exec) for us alone.
            received.extend(
                fds.into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    Ok((message.bytes, received))
}

/// Sends a message with a duplicate of a descriptor.
///
/// # Errors
/// sendmsg(2)'s; `WouldBlock` on a non-blocking socket that has no room; `EPIPE`, without a signal, when the peer is gone.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
    let fds = [fd.as_raw_fd()];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}
