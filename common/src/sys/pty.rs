//! Terminals: their size, and the character that ends input (ioctl_tty(2), termios(3)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::termios::{LocalFlags, SpecialCharacterIndices, tcgetattr};

nix::ioctl_write_ptr_bad!(
    /// TIOCSWINSZ.
    tiocswinsz,
    libc::TIOCSWINSZ,
    libc::winsize
);
nix::ioctl_read_bad!(
    /// TIOCGWINSZ.
    tiocgwinsz,
    libc::TIOCGWINSZ,
    libc::winsize
);

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Width.
    pub columns: u16,
    /// Height.
    pub rows: u16,
}

/// Sets a terminal's size; its foreground process group gets SIGWINCH.
///
/// # Errors
/// `ENOTTY` when it is no terminal.
pub fn set_size(fd: BorrowedFd<'_>, size: Size) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel reads one winsize, which lives on this stack.
    unsafe { tiocswinsz(fd.as_raw_fd(), &raw const size) }?;
    Ok(())
}

/// A terminal's size.
///
/// # Errors
/// `ENOTTY` when it is no terminal.
pub fn size(fd: BorrowedFd<'_>) -> io::Result<Size> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel writes one winsize, which is exclusively borrowed.
    unsafe { tiocgwinsz(fd.as_raw_fd(), &raw mut size) }?;
    Ok(Size {
        columns: size.ws_col,
        rows: size.ws_row,
    })
}

/// The character that makes a reader of this terminal see end of file (VEOF, usually Ctrl-D); `None` when the terminal
/// does not read by lines, so that no character does.
///
/// # Errors
/// `ENOTTY` when it is no terminal.
pub fn end_of_file(fd: BorrowedFd<'_>) -> io::Result<Option<u8>> {
    let modes = tcgetattr(fd)?;
    let by_lines = modes.local_flags.contains(LocalFlags::ICANON);
    Ok(by_lines.then(|| modes.control_chars[SpecialCharacterIndices::VEOF as usize]))
}
