//! What is held of a process's stdio, and its words through `execve`: one function encodes, one decodes. The round trip is tested
//! with the rest of what a shim hands over.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};

use super::words::{Words, descriptor, pending};
use crate::error::Error;

/// What is held of a process's stdio.
#[derive(Debug)]
pub enum Stdio {
    /// The process holds the FIFOs itself; these are the other ends.
    Direct(Direct),
    /// The process has a terminal, whose master this is.
    Terminal(Terminal),
}

/// The shim's ends of the FIFOs that a process holds itself.
#[derive(Debug, Default)]
pub struct Direct {
    /// A write end of stdin: without it the process would see end of file when the first writer leaves.
    pub stdin: Option<OwnedFd>,
    /// A read end of stdout, never read: it keeps what nobody has read yet.
    pub stdout: Option<OwnedFd>,
    /// Likewise of stderr.
    pub stderr: Option<OwnedFd>,
}

/// A terminal's master and the FIFOs it is connected to.
#[derive(Debug)]
pub struct Terminal {
    /// Non-blocking.
    pub master: OwnedFd,
    /// Where input comes from; none for /dev/null, or after its end.
    pub input: Option<OwnedFd>,
    /// A write end of the input FIFO, until *close stdin*.
    pub input_hold: Option<OwnedFd>,
    /// Where output goes: a FIFO or a file; none where [`Holding::output`](super::Holding::output) takes it.
    pub output: Option<OwnedFd>,
    /// A read end of the output FIFO; none for a file.
    pub output_hold: Option<OwnedFd>,
    /// Input that was read from the FIFO and not yet taken by the terminal.
    pub pending_input: Vec<u8>,
    /// Output that was read from the terminal and not yet taken by the FIFO.
    pub pending_output: Vec<u8>,
    /// Whether input stands in the middle of a line, where one end-of-file character does not end it.
    pub mid_line: bool,
}

impl Stdio {
    /// The words, and the descriptors that they name.
    pub(super) fn encode<'a>(&'a self, out: &mut Words<'a>) {
        match self {
            Stdio::Direct(held) => {
                out.maybe_fd("stdin", held.stdin.as_ref());
                out.maybe_fd("stdout", held.stdout.as_ref());
                out.maybe_fd("stderr", held.stderr.as_ref());
            }
            Stdio::Terminal(held) => {
                out.fd("master", held.master.as_fd());
                out.maybe_fd("input", held.input.as_ref());
                out.maybe_fd("input-hold", held.input_hold.as_ref());
                out.maybe_fd("output", held.output.as_ref());
                out.maybe_fd("output-hold", held.output_hold.as_ref());
                out.bytes("pending-input", &held.pending_input);
                out.bytes("pending-output", &held.pending_output);
                if held.mid_line {
                    out.words.push("mid-line".into());
                }
            }
        }
    }
}

/// The words on their way in.
#[derive(Default)]
pub(super) struct StdioWords {
    direct: Direct,
    master: Option<OwnedFd>,
    input: Option<OwnedFd>,
    input_hold: Option<OwnedFd>,
    output: Option<OwnedFd>,
    output_hold: Option<OwnedFd>,
    pending_input: Vec<u8>,
    pending_output: Vec<u8>,
    pub mid_line: bool,
}

impl StdioWords {
    /// Takes one word; whether it is one of these.
    pub fn take(&mut self, key: &str, value: &OsStr, word: &OsStr) -> Result<bool, Error> {
        let place = match key {
            "stdin" => &mut self.direct.stdin,
            "stdout" => &mut self.direct.stdout,
            "stderr" => &mut self.direct.stderr,
            "master" => &mut self.master,
            "input" => &mut self.input,
            "input-hold" => &mut self.input_hold,
            "output" => &mut self.output,
            "output-hold" => &mut self.output_hold,
            "pending-input" | "pending-output" => {
                let bytes = pending(word, value)?;
                if key == "pending-input" {
                    self.pending_input = bytes;
                } else {
                    self.pending_output = bytes;
                }
                return Ok(true);
            }
            _ => return Ok(false),
        };
        *place = Some(descriptor(word, value)?);
        Ok(true)
    }

    /// What they speak of.
    pub fn stdio(self) -> Stdio {
        let Some(master) = self.master else {
            return Stdio::Direct(self.direct);
        };
        Stdio::Terminal(Terminal {
            master,
            input: self.input,
            input_hold: self.input_hold,
            output: self.output,
            output_hold: self.output_hold,
            pending_input: self.pending_input,
            pending_output: self.pending_output,
            mid_line: self.mid_line,
        })
    }
}
