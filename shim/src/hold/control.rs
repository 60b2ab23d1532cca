//! The control FIFO: requests in, in their order, whatever else is written there. Bounded in time (so much a turn), in space (one
//! line) and in what it makes the log say.

use std::io;
use std::os::fd::AsFd;

use holdfast_common::control::{BadLine, LineReader, Message};
use holdfast_common::sys::pty::Size;
use nix::errno::Errno;
use nix::unistd::read;

/// Reads of one turn; a writer that never stops does not keep the loop from the rest.
const READS_A_TURN: usize = 4;
/// Bad lines that are logged one by one.
const BAD_LINES_LOGGED: u64 = 16;

/// What a message asks for.
pub enum Request {
    /// Let the process see the end of its stdin.
    CloseStdin,
    /// Give its terminal this size.
    Resize(Size),
    /// Open the log's files again, by their names.
    ReopenLogs,
    /// Execute the shim's executable again.
    Reexec,
    /// Look at the moment on record at which the process's time is over.
    Deadline,
}

/// The reading side of the FIFO.
pub struct Control {
    reader: LineReader,
    bad_lines: u64,
}

impl Control {
    /// Goes on where a line had begun.
    pub fn new(reader: LineReader) -> Self {
        Self {
            reader,
            bad_lines: 0,
        }
    }

    /// A line that has only begun.
    pub fn reader(&self) -> LineReader {
        self.reader.clone()
    }

    /// How many lines were skipped so far.
    pub fn bad_lines(&self) -> u64 {
        self.bad_lines
    }

    /// Takes what is there, for one turn; whether there may be more.
    pub fn take(&mut self, fifo: impl AsFd, mut each: impl FnMut(Request)) -> io::Result<bool> {
        let mut piece = [0; 1024];
        for _ in 0..READS_A_TURN {
            match read(&fifo, &mut piece) {
                Ok(length) => {
                    let bad_lines = &mut self.bad_lines;
                    self.reader.push(&piece[..length], |line| match line {
                        Ok(Message::CloseStdin) => each(Request::CloseStdin),
                        Ok(Message::Resize { columns, rows }) => {
                            each(Request::Resize(Size { columns, rows }))
                        }
                        Ok(Message::ReopenLogs) => each(Request::ReopenLogs),
                        Ok(Message::Reexec) => each(Request::Reexec),
                        Ok(Message::Deadline) => each(Request::Deadline),
                        Err(bad) => skip(bad_lines, &bad),
                    });
                }
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => (),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(true)
    }
}

fn skip(bad_lines: &mut u64, bad: &BadLine) {
    *bad_lines += 1;
    if *bad_lines <= BAD_LINES_LOGGED {
        log::warn!("control: skipped {bad}");
        if *bad_lines == BAD_LINES_LOGGED {
            log::warn!("control: further bad lines are skipped without a word");
        }
    }
}
