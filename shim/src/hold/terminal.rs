//! Moving bytes between a terminal's master and its FIFOs; what the control messages do to stdio.
//!
//! A terminal that hangs up (nobody has it open any more) reads as `EIO`, and comes back when the container opens it
//! again: it is the process's end that ends the session, not the hang-up. Nothing is read that cannot be kept: while the
//! FIFO is full, the terminal waits, and the container with it. Where output goes to a log or is spilled, [`crate::output`] knows.

use std::os::fd::AsFd;
use std::path::Path;

use holdfast_common::layout;
use holdfast_common::state_file;
use holdfast_common::sys::errno_text;
use holdfast_common::sys::pty::{self, Size};
use nix::errno::Errno;
use nix::unistd::{read, write};

use crate::handover::{Stdio, Terminal};
use crate::output::Output;

/// Bytes moved at a time.
const PIECE: usize = 4096;
/// Pieces moved in one turn and direction; then signals and control have their turn.
const PIECES_A_TURN: usize = 64;

/// Control type 0. The shim's write end goes: the process sees the end when the FIFO is empty and no other writer is left.
pub fn close_stdin(stdio: &mut Stdio) {
    // For a shim that may have to take over from us.
    if let Err(e) = state_file::write_bytes(Path::new(layout::STDIN_CLOSED_FILE), b"closed\n") {
        log::warn!("{e}");
    }
    match stdio {
        Stdio::Direct(held) => held.stdin = None,
        Stdio::Terminal(terminal) => terminal.input_hold = None,
    }
}

/// Control type 1; means nothing to a process without a terminal.
pub fn resize(stdio: &Stdio, size: Size, output: Option<&mut Output>) {
    let Stdio::Terminal(terminal) = stdio else {
        return;
    };
    match pty::set_size(terminal.master.as_fd(), size) {
        Ok(()) => tell_size(stdio, output),
        Err(e) => log::warn!("resize the terminal: {}", errno_text(&e)),
    }
}

/// Tells who records the terminal what size it has.
pub fn tell_size(stdio: &Stdio, output: Option<&mut Output>) {
    if let (Stdio::Terminal(terminal), Some(output)) = (stdio, output)
        && let Ok(size) = pty::size(terminal.master.as_fd())
        && size.columns > 0
        && size.rows > 0
    {
        output.resize(size);
    }
}

/// Control type 2; means nothing to a process without a log.
pub fn reopen_logs(output: Option<&mut Output>) {
    if let Some(output) = output {
        output.reopen();
    }
}

/// Moves what can be moved, for one turn; whether there may be more. Not inlined: its buffers would be part of the frame of the
/// loop, and a page of every shim's stack.
#[inline(never)]
pub fn pump(terminal: &mut Terminal, output: Option<&mut Output>) -> bool {
    let more_input = pump_input(terminal);
    let more_output = pump_output(terminal, output);
    more_input || more_output
}

/// Container to FIFO, log or spill.
fn pump_output(terminal: &mut Terminal, mut output: Option<&mut Output>) -> bool {
    let mut piece = [0; PIECE];
    for _ in 0..PIECES_A_TURN {
        let pending = std::mem::take(&mut terminal.pending_output);
        if !pending.is_empty() {
            pass(terminal, &pending, output.as_deref_mut());
            if !terminal.pending_output.is_empty() {
                return false;
            }
        }
        match read(&terminal.master, &mut piece) {
            // EIO: nobody has the terminal open just now.
            Ok(0) | Err(Errno::EAGAIN | Errno::EIO) => return false,
            Ok(length) => {
                if let Some(output) = &mut output {
                    output.see_terminal(&piece[..length]);
                }
                pass(terminal, &piece[..length], output.as_deref_mut());
            }
            Err(Errno::EINTR) => (),
            Err(e) => {
                log::warn!("read the terminal: {}", e.desc());
                return false;
            }
        }
    }
    true
}

/// Passes bytes on that were read; what is not taken becomes pending.
fn pass(terminal: &mut Terminal, bytes: &[u8], output: Option<&mut Output>) {
    let pending = &mut terminal.pending_output;
    match (&terminal.output, output) {
        (Some(sink), _) => give(sink, bytes, pending, "output"),
        (None, Some(output)) => pending.extend_from_slice(&bytes[output.take(bytes)..]),
        (None, None) => (),
    }
}

/// FIFO to container.
fn pump_input(terminal: &mut Terminal) -> bool {
    let mut piece = [0; PIECE];
    for _ in 0..PIECES_A_TURN {
        if !flush(&terminal.master, &mut terminal.pending_input, "input") {
            return false;
        }
        let Some(input) = &terminal.input else {
            return false;
        };
        match read(input, &mut piece) {
            Ok(0) => {
                terminal.input = None;
                end_input(terminal);
            }
            Ok(length) => {
                terminal.mid_line = piece[length - 1] != b'\n';
                give(
                    &terminal.master,
                    &piece[..length],
                    &mut terminal.pending_input,
                    "input",
                );
            }
            Err(Errno::EAGAIN) => return false,
            Err(Errno::EINTR) => (),
            Err(e) => {
                log::warn!("read stdin: {}", e.desc());
                terminal.input = None;
            }
        }
    }
    true
}

/// What a person would type to end the input. In the middle of a line the first such character only ends the line.
fn end_input(terminal: &mut Terminal) {
    if let Ok(Some(character)) = pty::end_of_file(terminal.master.as_fd()) {
        let times = if terminal.mid_line { 2 } else { 1 };
        give(
            &terminal.master,
            &[character; 2][..times],
            &mut terminal.pending_input,
            "input",
        );
    }
}

/// At the process's end: everything that is still in the terminal, to where its output goes, as far as that takes it. The rest is
/// pending.
pub fn drain(terminal: &mut Terminal, mut output: Option<&mut Output>) {
    let pending = std::mem::take(&mut terminal.pending_output);
    pass(terminal, &pending, output.as_deref_mut());
    let mut piece = [0; PIECE];
    // Bounded by what a terminal can hold; an exec's background child may go on writing for ever.
    for _ in 0..PIECES_A_TURN {
        match read(&terminal.master, &mut piece) {
            Ok(0) => break,
            Ok(length) => {
                let bytes = &piece[..length];
                if let Some(output) = &mut output {
                    output.see_terminal(bytes);
                }
                if terminal.pending_output.is_empty() {
                    pass(terminal, bytes, output.as_deref_mut());
                } else {
                    terminal.pending_output.extend_from_slice(bytes);
                }
            }
            Err(Errno::EINTR) => (),
            // EIO: nobody has it open; EAGAIN: somebody has, and is silent.
            Err(_) => break,
        }
    }
}

/// Writes what is pending; whether nothing is pending any more.
fn flush(sink: &impl AsFd, pending: &mut Vec<u8>, what: &str) -> bool {
    if pending.is_empty() {
        return true;
    }
    let bytes = std::mem::take(pending);
    give(sink, &bytes, pending, what);
    pending.is_empty()
}

/// Writes bytes; what is not taken becomes pending. Bytes that never can be taken are dropped, with a word in the log.
fn give(sink: &impl AsFd, bytes: &[u8], pending: &mut Vec<u8>, what: &str) {
    let mut rest = bytes;
    while !rest.is_empty() {
        match write(sink, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::EAGAIN) => break,
            Err(Errno::EINTR) => (),
            Err(e) => {
                log::warn!("{} bytes of {what} dropped: {}", rest.len(), e.desc());
                return;
            }
        }
    }
    pending.extend_from_slice(rest);
}
