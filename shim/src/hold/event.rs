//! What a shim waits for, and in which descriptors it shows. The poll is edge-triggered: a terminal that hangs up, or a FIFO whose
//! peer leaves, is one event and not a spin; in exchange every descriptor is read until it has no more, or, when that is too
//! much for one turn, again in the next.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::signalfd::SignalFd;

use crate::handover::{Holding, Stdio};
use crate::output::Tells;

/// What can happen to a shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A signal: a child has ended, or somebody wants attention.
    Signals,
    /// The process, which is not our child, has ended or been reaped.
    Process,
    /// The kernel kills in the container for want of memory.
    Memory,
    /// A line on the control FIFO.
    Control,
    /// The container has something to say to a service manager, or that has room for it again.
    Notify,
    /// A runtime or an agent at the store of seccomp listeners, or a listener's end.
    Seccomp,
    /// Somebody opens a FIFO that the shim writes to.
    Readers,
    /// There is output to be moved, or room for it.
    Output,
    /// The terminal or one of its FIFOs has data or space.
    Terminal,
}

impl Event {
    /// In the order in which a turn takes them.
    pub const ORDER: [Event; 9] = [
        Event::Signals,
        Event::Process,
        Event::Memory,
        Event::Control,
        Event::Notify,
        Event::Seccomp,
        Event::Readers,
        Event::Output,
        Event::Terminal,
    ];

    pub fn token(self) -> Token {
        Token(self as usize)
    }
}

/// Asks for all that a shim waits for from the beginning; listeners and relays come and go later.
///
/// # Errors
/// epoll_ctl(2)'s.
pub fn register(registry: &Registry, signals: &SignalFd, holding: &Holding) -> io::Result<()> {
    use Interest as I;
    let add = |fd: RawFd, event: Event, interest: Interest| {
        registry.register(&mut SourceFd(&fd), event.token(), interest)
    };
    // A regular file cannot be polled (`EPERM`, epoll_ctl(2)) and need not be: it is always ready.
    let add_if_pollable = |fd: RawFd, event, interest| match add(fd, event, interest) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    };
    add(signals.as_raw_fd(), Event::Signals, I::READABLE)?;
    let control = holding.claim.control.as_raw_fd();
    add(control, Event::Control, I::READABLE)?;
    if let Some(pidfd) = &holding.pidfd {
        add(pidfd.as_raw_fd(), Event::Process, I::READABLE)?;
    }
    if let Some(memory) = &holding.memory {
        let (fd, interest) = memory.pollable();
        add(fd, Event::Memory, interest)?;
    }
    if let Some(output) = &holding.output {
        output.pollable(|fd, tells| match tells {
            Tells::Bytes => add(fd, Event::Output, I::READABLE),
            Tells::Room => add(fd, Event::Output, I::WRITABLE),
            Tells::Opened => add(fd, Event::Readers, I::READABLE),
        })?;
    }
    if let Stdio::Terminal(terminal) = &holding.stdio {
        let master = terminal.master.as_raw_fd();
        add(master, Event::Terminal, I::READABLE | I::WRITABLE)?;
        if let Some(input) = &terminal.input {
            add_if_pollable(input.as_raw_fd(), Event::Terminal, I::READABLE)?;
        }
        if let Some(output) = &terminal.output {
            add_if_pollable(output.as_raw_fd(), Event::Terminal, I::WRITABLE)?;
        }
    }
    Ok(())
}
