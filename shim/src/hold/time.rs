//! The time that a process may run (`timeLimit` in process.json), once it has begun: the moment at which it is over stands in
//! `deadline`, where every shim of the process finds it, so that a new one goes on where the last one was. When it is over, that is
//! put on record first; then the process is sent its signal, and SIGKILL when that has not ended it in time.

use std::path::Path;
use std::time::Duration;

use holdfast_common::process_state::ProcessState;
use holdfast_common::state_file::StateFileError;
use holdfast_common::sys::errno_text;
use holdfast_common::time_limit::{Deadline, TimeLimit};
use nix::libc::SIGKILL;

use super::process::Process;

/// How long to wait before a moment that could not be put on record is put there again.
const RETRY: Duration = Duration::from_secs(1);

/// A process's time.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    limit: TimeLimit,
    deadline: Deadline,
    next: Next,
    /// Whether it is an exec, whose whole group is meant: with a container's own process the kernel ends all others.
    exec: bool,
}

/// What there is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// To say that its time is over, once it is, and to signal it.
    Signal,
    /// To say so: it could not be said the last time.
    SignalAfterRetry,
    /// To kill it.
    Kill,
    /// Nothing: it is as good as dead.
    Nothing,
}

impl Time {
    /// That of the process whose directory this is; none while it has not begun, or if it has no limit.
    pub fn begun() -> Option<Self> {
        let here = Path::new(".");
        let warn = |e: StateFileError| log::warn!("{e}");
        let deadline = Deadline::read(here).map_err(warn).ok()??;
        let state = ProcessState::read(here).map_err(warn).ok()?;
        Some(Self {
            limit: state.holdfast?.time_limit?,
            deadline,
            // One that was signalled by a shim that is gone is signalled once more.
            next: Next::Signal,
            exec: state.exec,
        })
    }

    /// Whether it is over, and the process is being ended for it.
    pub fn is_over(&self) -> bool {
        self.deadline.over.is_some()
    }

    /// How long it is until there is something to do.
    pub fn due(&self) -> Option<Duration> {
        match self.next {
            Next::Signal => Some(self.deadline.left()),
            Next::SignalAfterRetry => Some(RETRY),
            Next::Kill => self.deadline.grace_left(self.limit.grace),
            Next::Nothing => None,
        }
    }

    /// Does what there is to do now.
    pub fn tick(&mut self, process: &Process<'_>) {
        let signal = match self.next {
            Next::Signal | Next::SignalAfterRetry if self.deadline.left().is_zero() => {
                self.limit.signal
            }
            Next::Kill if self.due() == Some(Duration::ZERO) => SIGKILL,
            _ => return,
        };
        if process.has_ended() {
            // In time, though nobody has reaped it yet.
            self.next = Next::Nothing;
            return;
        }
        if signal == SIGKILL && self.next == Next::Kill {
            self.send(process, signal);
            self.next = Next::Nothing;
        } else if self.put_on_record() {
            self.next = Next::Kill;
            if self.limit.grace > 0 {
                self.send(process, signal);
            }
        }
    }

    /// Before the signal: whoever takes over from a shim that is killed in between must not take this for an end like any other.
    fn put_on_record(&mut self) -> bool {
        if self.is_over() {
            return true;
        }
        let over = self.deadline.over_now();
        match over.write(Path::new(".")) {
            // Somebody removed the directory: there is nothing to put it in.
            Err(e) if !e.is_absent() => {
                if self.next != Next::SignalAfterRetry {
                    log::error!("{e}; trying again until there is space");
                }
                self.next = Next::SignalAfterRetry;
                false
            }
            Ok(()) | Err(_) => {
                self.deadline = over;
                true
            }
        }
    }

    fn send(&self, process: &Process<'_>, signal: i32) {
        let seconds = self.limit.seconds;
        match process.signal(signal, self.exec) {
            Ok(()) => log::warn!("its {seconds} s are over: sent it signal {signal}"),
            Err(e) => log::warn!(
                "its {seconds} s are over: send it signal {signal}: {}",
                errno_text(&e)
            ),
        }
    }
}
