//! The container's stdio before there is a container: its own ends, and the ends that the shim keeps (invariant 5).
//!
//! No open here waits for a peer: the shim opens the other end first, itself. The container's ends are blocking, as
//! programs expect.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use holdfast_common::layout::Stream;
use holdfast_common::process_state::ProcessState;
use holdfast_common::sys::{fd, fifo};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, fchown, geteuid};

use crate::error::Error;
use crate::handover::Direct;

/// What was opened for a process.
pub enum Opened {
    /// The process's own descriptors, and what the shim holds of them.
    Direct { process: [End; 3], held: Direct },
    /// A terminal's FIFOs.
    Terminal(TerminalEnds),
    /// The terminal goes to a socket of the caller's; the shim stays out of it.
    Elsewhere,
}

/// One of a process's descriptors.
pub enum End {
    /// This one.
    Opened(OwnedFd),
    /// The launcher's.
    Inherited,
}

/// The FIFOs (or files) that a terminal will be connected to.
pub struct TerminalEnds {
    /// As [`crate::handover::Terminal::input`].
    pub input: Option<OwnedFd>,
    /// As [`crate::handover::Terminal::input_hold`].
    pub input_hold: Option<OwnedFd>,
    /// As [`crate::handover::Terminal::output`].
    pub output: Option<OwnedFd>,
    /// As [`crate::handover::Terminal::output_hold`].
    pub output_hold: Option<OwnedFd>,
}

/// Opens what process.json asks for.
pub fn open(state: &ProcessState) -> Result<Opened, Error> {
    if state.terminal {
        if state
            .holdfast
            .as_ref()
            .is_some_and(|ours| ours.console_socket.is_some())
        {
            return Ok(Opened::Elsewhere);
        }
        if Stream::ALL.iter().any(|stream| state.inherits(*stream)) {
            return Err(Error::InheritedTerminal);
        }
        return open_terminal(state).map(Opened::Terminal);
    }
    let mut held = Direct::default();
    let stdin = open_end(state, Stream::Stdin, &mut held.stdin)?;
    let stdout = open_end(state, Stream::Stdout, &mut held.stdout)?;
    let stderr = if state.merges_stderr() {
        duplicate(&stdout).map_err(Error::io("duplicate", "stdout"))?
    } else {
        open_end(state, Stream::Stderr, &mut held.stderr)?
    };
    Ok(Opened::Direct {
        process: [stdin, stdout, stderr],
        held,
    })
}

fn open_end(
    state: &ProcessState,
    stream: Stream,
    held: &mut Option<OwnedFd>,
) -> Result<End, Error> {
    if state.inherits(stream) {
        return Ok(End::Inherited);
    }
    let moved = state.moved(stream).map(|_| stream.inner_fifo());
    let path = Path::new(moved.as_deref().unwrap_or(state.stdio(stream)));
    let input = stream == Stream::Stdin;
    let mut open = || -> io::Result<OwnedFd> {
        if !is_fifo(path)? {
            return if input {
                open_source(path)
            } else {
                open_sink(path)
            };
        }
        let end = if input {
            let end = fifo::open_read(path)?;
            *held = Some(fifo::open_write(path)?);
            end
        } else if moved.is_some() {
            // Whoever moves its bytes has the other end open already.
            fifo::open_read_write(path)?
        } else {
            *held = Some(fifo::open_read(path)?);
            fifo::open_read_write(path)?
        };
        // In a user namespace the container's root must be able to open /dev/stdout again.
        if (state.root_uid, state.root_gid) != (0, 0) {
            let owner = Uid::from_raw(state.root_uid);
            match fchown(&end, Some(owner), Some(Gid::from_raw(state.root_gid))) {
                // A user has no files of others, and has made one that anybody can open.
                Err(Errno::EPERM) if !geteuid().is_root() => (),
                changed => changed?,
            }
        }
        fd::set_nonblocking(end.as_fd(), false)?;
        Ok(end)
    };
    open()
        .map(End::Opened)
        .map_err(Error::io(operation(stream), path))
}

/// The same again, for another of the process's descriptors.
fn duplicate(end: &End) -> io::Result<End> {
    Ok(End::Opened(match end {
        End::Opened(fd) => fd.try_clone()?,
        End::Inherited => io::stdout().as_fd().try_clone_to_owned()?,
    }))
}

fn open_terminal(state: &ProcessState) -> Result<TerminalEnds, Error> {
    let source = Path::new(state.stdio(Stream::Stdin));
    let open_input = || -> io::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
        if is_fifo(source)? {
            let input = fifo::open_read(source)?;
            return Ok((Some(input), Some(fifo::open_write(source)?)));
        }
        // Nothing ever comes from /dev/null: no need to be told so by a terminal's end of file.
        Ok((
            if source == Path::new("/dev/null") {
                None
            } else {
                Some(open_source(source)?)
            },
            None,
        ))
    };
    let (input, input_hold) = open_input().map_err(Error::io(operation(Stream::Stdin), source))?;
    let sink = Path::new(state.stdio(Stream::Stdout));
    let open_output = || -> io::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
        if state.moved(Stream::Stdout).is_some() {
            return Ok((None, None));
        }
        if is_fifo(sink)? {
            let hold = fifo::open_read(sink)?;
            return Ok((Some(fifo::open_write(sink)?), Some(hold)));
        }
        Ok((Some(open_sink(sink)?), None))
    };
    let (output, output_hold) =
        open_output().map_err(Error::io(operation(Stream::Stdout), sink))?;
    Ok(TerminalEnds {
        input,
        input_hold,
        output,
        output_hold,
    })
}

fn operation(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdin => "open stdin",
        Stream::Stdout => "open stdout",
        Stream::Stderr => "open stderr",
    }
}

fn is_fifo(path: &Path) -> io::Result<bool> {
    Ok(std::fs::metadata(path)?.file_type().is_fifo())
}

fn open_source(path: &Path) -> io::Result<OwnedFd> {
    open_plain(path, OpenOptions::new().read(true))
}

fn open_sink(path: &Path) -> io::Result<OwnedFd> {
    // A missing file is not made here: it is as likely a FIFO whose name was mistyped.
    open_plain(path, OpenOptions::new().append(true))
}

fn open_plain(path: &Path, options: &mut OpenOptions) -> io::Result<OwnedFd> {
    // O_NONBLOCK for the open alone: a device may otherwise wait for its peer.
    let file: File = options.custom_flags(libc_flags()).open(path)?;
    fd::set_nonblocking(file.as_fd(), false)?;
    Ok(file.into())
}

fn libc_flags() -> i32 {
    use nix::fcntl::OFlag;
    (OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).bits()
}
