//! Descriptors sent over a socket (SCM_RIGHTS, unix(7)).

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// The most descriptors that the kernel sends with one message (`SCM_MAX_FD`).
const MOST_FDS: usize = 253;
/// Room for them, with what stands before them and after.
const CONTROL_WORDS: usize = (MOST_FDS * size_of::<RawFd>() + 64) / size_of::<u64>();

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
/// recvmsg(2)'s; `WouldBlock` on a non-blocking socket with nothing in it. Descriptors for which this process has no room are closed.
pub fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // Of a type that is aligned as the kernel wants it.
    let mut space = [0u64; CONTROL_WORDS];
    // SAFETY: a message of all zeros is one: no name, no parts, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = space.as_mut_ptr().cast();
    // A size_t to glibc, a socklen_t to musl.
    message.msg_controllen = size_of_val(&space) as _;
    // SAFETY: the kernel writes into `bytes` and `space`, which are exclusively borrowed and whose lengths are passed.
    let received =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    Ok((length, descriptors(&message)))
}

/// What came with a message. All of it, also when there was no room for more (`MSG_CTRUNC`): what is not taken over stays open for
/// ever.
fn descriptors(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut taken = Vec::new();
    // SAFETY: `msg_control` and `msg_controllen` are what recvmsg(2) left, over memory that is still there; the macros stay in it.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: not null, so it is within the control data; the kernel wrote it whole.
        let control = unsafe { &*header };
        if (control.cmsg_level, control.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: takes an integer.
            let before = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = (control.cmsg_len as usize).saturating_sub(before) / size_of::<RawFd>();
            // SAFETY: the data of this header: `count` numbers, perhaps not aligned. The kernel has just installed these descriptors
            // (close-on-exec) for us alone.
            taken.extend((0..count).map(|n| unsafe {
                let number = libc::CMSG_DATA(header)
                    .cast::<RawFd>()
                    .add(n)
                    .read_unaligned();
                OwnedFd::from_raw_fd(number)
            }));
        }
        // SAFETY: as for the first.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    taken
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn every_descriptor_is_taken_over_however_many_there_are() {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let numbers = [null.as_raw_fd(); MOST_FDS];
        for count in [0, 1, 2, MOST_FDS] {
            let rights = [ControlMessage::ScmRights(&numbers[..count])];
            let control = if count == 0 { &[][..] } else { &rights };
            let part = [IoSlice::new(b"x")];
            let flags = MsgFlags::empty();
            sendmsg::<()>(sender.as_raw_fd(), &part, control, flags, None).unwrap();
            let (length, fds) = receive(receiver.as_fd(), &mut [0; 16]).unwrap();
            assert_eq!((length, fds.len()), (1, count));
        }
        receiver.set_nonblocking(true).unwrap();
        let nothing = receive(receiver.as_fd(), &mut [0; 16]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }
}
