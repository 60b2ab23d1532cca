//! A terminal that one text after the other is drawn on: on its *alternate screen*, so that what was there before is there
//! again afterwards (xterm's control sequences, "DEC Private Mode Set").

use std::io::{self, Write};

use terminal_size::{Height, terminal_size};

/// Alternate screen, no cursor, no wrapping of lines that are too long.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
/// The same undone, in the opposite order.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// To the upper left corner.
const HOME: &str = "\x1b[H";
/// Erases the rest of the line.
const REST_OF_LINE: &str = "\x1b[K";
/// Erases what is below.
const BELOW: &str = "\x1b[J";

/// While it lives, our terminal shows what is drawn; then what it showed before.
#[derive(Debug)]
pub struct Screen(());

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// write(2)'s.
    pub fn enter() -> io::Result<Self> {
        let screen = Self(());
        write(ENTER)?;
        Ok(screen)
    }

    /// Draws a text over the last one, as far as it fits. One write, and nothing is erased that is drawn again: it does
    /// not flicker.
    ///
    /// # Errors
    /// write(2)'s.
    pub fn draw(&self, text: &str) -> io::Result<()> {
        let rows = terminal_size().map_or(usize::MAX, |(_, Height(rows))| usize::from(rows));
        write(&frame(text, rows))
    }
}

/// Lines are parted, not ended: an end in the last row would scroll the first one away.
fn frame(text: &str, rows: usize) -> String {
    let lines: Vec<String> = text
        .lines()
        .take(rows)
        .map(|line| format!("{line}{REST_OF_LINE}"))
        .collect();
    format!("{HOME}{}{BELOW}", lines.join("\r\n"))
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody is left to be told if this fails.
        let _ = write(LEAVE);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_lines_are_drawn_than_there_are_rows() {
        assert_eq!(frame("a\nb\nc\n", 2), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
        assert_eq!(frame("a\n", 24), "\x1b[Ha\x1b[K\x1b[J");
    }
}
