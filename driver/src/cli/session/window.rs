//! Our terminal's size and modes, and the process's terminal, which follows them.

use std::io;
use std::os::fd::AsFd;

use holdfast_common::sys::pty;

use super::Session;

impl Session<'_> {
    /// Back from a stop: the shell may have set our terminal's modes, and its window may have another size.
    pub(super) fn resume(&mut self) {
        if let Some(raw_mode) = &self.raw_mode
            && let Err(e) = raw_mode.again()
        {
            log::debug!("make terminal raw again: {e}");
        }
        self.follow_window();
    }

    /// As docker's clients do: a program that is told of another size draws its screen, also when it is the size of before in the
    /// end.
    pub(super) fn provoke_redraw(&self) {
        if self.process.terminal()
            && self.has_streams()
            && let Some((columns, rows)) = window()
        {
            let larger = |size: u16| size.saturating_add(1);
            if let Err(e) = self.process.resize(larger(columns), larger(rows)) {
                log::debug!("resize terminal: {e}");
            }
        }
    }

    pub(super) fn follow_window(&self) {
        // With a console socket the terminal is its holder's to resize.
        if !self.process.terminal() || !self.has_streams() {
            return;
        }
        // Without a terminal of ours, the process's keeps its size.
        if let Some((columns, rows)) = window()
            && let Err(e) = self.process.resize(columns, rows)
        {
            log::debug!("resize terminal: {e}");
        }
    }
}

/// Columns and rows of the terminal that we are on. A size of 0 is one that nobody knows.
pub fn window() -> Option<(u16, u16)> {
    let size = pty::size(io::stdin().as_fd()).or_else(|_| pty::size(io::stdout().as_fd()));
    let size = size.ok()?;
    (size.columns > 0 && size.rows > 0).then_some((size.columns, size.rows))
}
