//! FIFOs without rendezvous: no call here ever waits for the other side (fifo(7)).

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How much a FIFO may be made to hold without privileges, in bytes (/proc/sys/fs/pipe-max-size's default).
pub const MAX_CAPACITY: i32 = 1 << 20;

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<OwnedFd> {
    let file = options
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY)
        .open(path)?;
    Ok(file.into())
}

/// Opens the read end, non-blocking; succeeds without a writer.
///
/// # Errors
/// open(2)'s.
pub fn open_read(path: &Path) -> io::Result<OwnedFd> {
    open(path, OpenOptions::new().read(true))
}

/// Opens the write end, non-blocking; fails with `ENXIO` without a reader.
///
/// # Errors
/// open(2)'s.
pub fn open_write(path: &Path) -> io::Result<OwnedFd> {
    open(path, OpenOptions::new().write(true))
}

/// Opens both ends in one descriptor, non-blocking; never fails for want of a peer.
///
/// # Errors
/// open(2)'s.
pub fn open_read_write(path: &Path) -> io::Result<OwnedFd> {
    open(path, OpenOptions::new().read(true).write(true))
}

/// Opens the write end, non-blocking, whether or not there is a reader yet.
///
/// # Errors
/// open(2)'s.
pub fn open_write_without_reader(path: &Path) -> io::Result<OwnedFd> {
    let _reader = open_read(path)?;
    open_write(path)
}

/// Sets how many bytes a FIFO can hold; less than what is in it fails with `EBUSY`.
///
/// # Errors
/// fcntl(2) F_SETPIPE_SZ's.
pub fn set_capacity(fd: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETPIPE_SZ(bytes))?;
    Ok(())
}

nix::ioctl_read_bad!(
    /// `FIONREAD` (ioctl_tty(2), pipe(7)).
    fionread,
    libc::FIONREAD,
    libc::c_int
);

/// How many bytes wait in a FIFO.
///
/// # Errors
/// ioctl(2)'s.
pub fn waiting(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut bytes = 0;
    // SAFETY: the kernel writes one int, which is exclusively borrowed.
    unsafe { fionread(fd.as_raw_fd(), &raw mut bytes) }?;
    Ok(u64::try_from(bytes).unwrap_or_default())
}

/// A copy of what waits in a FIFO, which is left as it is (tee(2)).
///
/// # Errors
/// tee(2)'s, pipe(2)'s; `PermissionDenied` to a user whose pipes have so many pages already that there are none for a copy of this
/// (pipe(7), `pipe-user-pages-soft`).
pub fn peek(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    // tee shares whole pages: with as many slots as the source has, one call takes everything.
    let capacity = fcntl(fd, FcntlArg::F_GETPIPE_SZ)?;
    // Refused, there is still room for a little.
    let enlarged = set_capacity(write.as_fd(), capacity);
    // SAFETY: takes two open descriptors and integers and touches no memory of ours.
    let copied = unsafe {
        libc::tee(
            fd.as_raw_fd(),
            write.as_raw_fd(),
            i32::MAX as usize,
            libc::SPLICE_F_NONBLOCK,
        )
    };
    let Ok(copied) = u64::try_from(copied) else {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock {
            Ok(Vec::new())
        } else {
            Err(error)
        };
    };
    let mut bytes = Vec::new();
    // Not up to the end: a program that another thread starts just now has the write end too, until it is executed.
    File::from(read).take(copied).read_to_end(&mut bytes)?;
    match enlarged {
        // Half of it is not what waits.
        Err(e) if waiting(fd)? > bytes.len() as u64 => Err(e),
        _ => Ok(bytes),
    }
}

/// Takes what waits in a FIFO, through a descriptor that does not block.
///
/// # Errors
/// read(2)'s.
pub fn take(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::from(fd.try_clone_to_owned()?).read_to_end(&mut bytes) {
        Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
        // What was read before there was no more is there.
        _ => Ok(bytes),
    }
}

/// What a reader of a FIFO would meet now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// There is something to read.
    Bytes,
    /// There is nothing, but somebody could write.
    Quiet,
    /// There is nothing, and nobody could write.
    End,
}

/// What a reader would meet, found out without reading. Unlike poll(2), it tells the end even to a descriptor that was
/// opened after the last writer had left.
///
/// # Errors
/// tee(2)'s, pipe(2)'s.
pub fn outlook(fd: BorrowedFd<'_>) -> io::Result<Outlook> {
    let (_read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    // SAFETY: takes two open descriptors and integers and touches no memory of ours.
    match unsafe {
        libc::tee(
            fd.as_raw_fd(),
            write.as_raw_fd(),
            1,
            libc::SPLICE_F_NONBLOCK,
        )
    } {
        0 => Ok(Outlook::End),
        copied if copied > 0 => Ok(Outlook::Bytes),
        _ => match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::WouldBlock => Ok(Outlook::Quiet),
            e => Err(e),
        },
    }
}

/// Whether anybody holds a write end of the FIFO that a descriptor reads from; if so, the descriptor is sure to hang up when the last
/// of them lets go. Tells the two apart where [`outlook`] cannot: there are bytes, and the descriptor may have been opened after
/// the last writer had left, which poll(2) alone never says.
///
/// # Errors
/// open(2)'s, poll(2)'s.
pub fn has_writer(reader: BorrowedFd<'_>) -> io::Result<bool> {
    // A writer that comes and goes: with nobody else there, its going is a hang-up. By descriptor, as the name may be gone.
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    drop(open_write(Path::new(&path))?);
    let mut fds = [PollFd::new(reader, PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO)?;
    let happened = fds[0].revents().unwrap_or(PollFlags::empty());
    Ok(!happened.contains(PollFlags::POLLHUP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::comes_true;
    use std::io::Write;

    fn with_fifo(name: &str, check: impl FnOnce(&Path)) {
        let path =
            std::env::temp_dir().join(format!("holdfast-fifo-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        check(&path);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_write_end_needs_no_reader() {
        with_fifo("write-end", |path| {
            assert_eq!(
                open_write(path).unwrap_err().raw_os_error(),
                Some(libc::ENXIO)
            );
            let writer = open_write_without_reader(path).unwrap();
            assert_eq!(waiting(writer.as_fd()).unwrap(), 0);
        });
    }

    #[test]
    fn peeking_takes_nothing_away_even_from_a_full_fifo() {
        with_fifo("peek", |path| {
            let fd = open_read_write(path).unwrap();
            assert!(peek(fd.as_fd()).unwrap().is_empty());
            let written: Vec<u8> = (0..=255u8).cycle().take(1 << 16).collect();
            let mut file = File::from(fd);
            // In uneven pieces, so that pages are partly filled.
            for piece in written.chunks(4096) {
                file.write_all(piece).unwrap();
            }
            assert!(peek(file.as_fd()).unwrap() == written);
            assert_eq!(waiting(file.as_fd()).unwrap(), written.len() as u64);
            let mut read = vec![0; written.len()];
            file.read_exact(&mut read).unwrap();
            assert!(read == written);
        });
    }

    #[test]
    fn one_may_peek_while_another_thread_starts_programs() {
        with_fifo("spawn", |path| {
            let mut file = File::from(open_read_write(path).unwrap());
            file.write_all(b"0\n").unwrap();
            let done = std::sync::atomic::AtomicBool::new(false);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        for _ in 0..50 {
                            let status = std::process::Command::new("true").status();
                            assert!(status.unwrap().success());
                        }
                        done.store(true, std::sync::atomic::Ordering::Relaxed);
                    });
                }
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    assert_eq!(peek(file.as_fd()).unwrap(), b"0\n");
                }
            });
        });
    }

    #[test]
    fn the_outlook_takes_nothing_and_tells_a_latecomer_of_the_end() {
        with_fifo("outlook", |path| {
            let early = open_read(path).unwrap();
            assert_eq!(outlook(early.as_fd()).unwrap(), Outlook::End);
            let mut writer = File::from(open_write(path).unwrap());
            assert_eq!(outlook(early.as_fd()).unwrap(), Outlook::Quiet);
            writer.write_all(b"0\n").unwrap();
            for _ in 0..2 {
                assert_eq!(outlook(early.as_fd()).unwrap(), Outlook::Bytes);
            }
            assert_eq!(peek(early.as_fd()).unwrap(), b"0\n");
            drop((early, writer));
            comes_true(|| {
                let late = open_read(path).unwrap();
                outlook(late.as_fd()).unwrap() == Outlook::End
            });
        });
    }

    #[test]
    fn a_latecomer_is_told_whether_anybody_will_hang_up() {
        with_fifo("writer", |path| {
            let early = open_read(path).unwrap();
            assert!(!has_writer(early.as_fd()).unwrap());
            let mut writer = File::from(open_write(path).unwrap());
            let late = open_read(path).unwrap();
            writer.write_all(b"0\n").unwrap();
            for reader in [&early, &late] {
                assert!(has_writer(reader.as_fd()).unwrap());
            }
            drop(writer);
            // The bytes are still there, for as long as somebody reads.
            let later = open_read(path).unwrap();
            std::fs::remove_file(path).unwrap();
            assert_eq!(outlook(later.as_fd()).unwrap(), Outlook::Bytes);
            for reader in [&early, &late, &later] {
                comes_true(|| !has_writer(reader.as_fd()).unwrap());
            }
            std::fs::write(path, "").unwrap();
        });
    }
}
