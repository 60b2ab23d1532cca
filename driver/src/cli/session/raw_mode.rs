//! Our terminal in raw mode, for as long as a [`RawMode`] lives. Whatever ends the session, a panic or an early error
//! too, drops it, and the modes are what they were.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::termios::{self, SetArg, Termios};

/// A terminal whose modes are restored on drop.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Makes a terminal raw: every byte goes through, both ways, as it is.
    ///
    /// # Errors
    /// tcsetattr(3)'s; `ENOTTY` when it is no terminal.
    pub fn enter(terminal: impl AsFd) -> io::Result<Self> {
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        let before = termios::tcgetattr(&terminal)?;
        let guard = Self { terminal, before };
        guard.again()?;
        Ok(guard)
    }

    /// Makes it raw once more: after a stop, the shell has given it modes of its own.
    ///
    /// # Errors
    /// tcsetattr(3)'s.
    pub fn again(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        termios::cfmakeraw(&mut raw);
        // What was typed before stays: it is meant for the container.
        termios::tcsetattr(&self.terminal, SetArg::TCSADRAIN, &raw)?;
        Ok(())
    }

    /// Whether the terminal is gone.
    pub fn is_hung_up(&self) -> bool {
        termios::tcgetattr(&self.terminal).is_err()
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Now, not once the output has drained: it never does on a terminal stopped with Ctrl-S. A terminal that is
        // gone has no modes to restore, and there is nobody to tell.
        let _ = termios::tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before);
    }
}
