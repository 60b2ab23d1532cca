//! What each event has the shim do.

use std::io;
use std::os::fd::AsFd;

use holdfast_common::exit_record::ExitRecord;
use holdfast_common::sys::pidfd;
use mio::unix::SourceFd;
use nix::libc::{SIGCHLD, SIGPIPE, SIGUSR1};

use super::control::Request;
use super::event::Event;
use super::time::Time;
use super::{Hold, process, terminal, view};
use crate::handover::{Holding, Stdio};
use crate::log as shim_log;

impl Hold {
    /// Does what there is to do; whether there is more.
    pub fn take(&mut self, event: Event, reexec: &mut bool) -> io::Result<bool> {
        match event {
            Event::Signals => self.take_signals(),
            Event::Process => self.look_at_process(),
            Event::Memory => Ok(self.look_at_memory()),
            Event::Control => self.take_requests(reexec),
            Event::Notify => self.relay(),
            Event::Seccomp => self.serve_seccomp(),
            Event::Readers => Ok(self.see_readers()),
            Event::Output => Ok(self.move_output()),
            Event::Terminal => Ok(self.move_bytes()),
        }
    }

    #[inline(never)]
    fn take_signals(&mut self) -> io::Result<bool> {
        let mut shown = false;
        while let Some(signal) = self.signals.read_signal()? {
            match i32::try_from(signal.ssi_signo) {
                // A reader was quicker to leave than we to see it.
                Ok(SIGCHLD | SIGPIPE) => (),
                Ok(SIGUSR1) => shown = true,
                Ok(_) if process::pass_on(&self.holding, &signal) => (),
                // A shim ends with its process and not before: whoever means the container signals the container.
                _ => log::info!(
                    "signal {} from pid {}: ignored",
                    signal.ssi_signo,
                    signal.ssi_pid
                ),
            }
        }
        if let Some(record) = self.watch.collect() {
            self.end(record);
        }
        if shown {
            let ended = self.ended.as_ref();
            shim_log::view(&view::line(&self.holding, &self.control, ended));
        }
        Ok(false)
    }

    fn look_at_process(&mut self) -> io::Result<bool> {
        self.look_at_program();
        // Asked first: an end that comes after the question wakes us, and one before it is looked at again until it can be told.
        // Asked afterwards, a process that was reaped in between would be waited for by nobody.
        let over = match &self.holding.pidfd {
            Some(pidfd) => pidfd::has_ended(pidfd.as_fd())?,
            None => false,
        };
        if let Some(record) = self.watch.look(self.holding.pidfd.as_ref())? {
            self.end(record);
        }
        self.ending = over && self.ended.is_none();
        Ok(false)
    }

    /// Whether it has executed a program by now: once it is reaped, nobody can tell.
    pub fn look_at_program(&mut self) {
        let now = || self.watch.stat().map(|stat| stat.has_executed());
        if self.seen.executed != Some(true) {
            self.seen.executed = now().or(self.seen.executed);
        }
    }

    fn end(&mut self, record: ExitRecord) {
        if self.ended.is_some() {
            return;
        }
        // Its cgroup is there until the runtime deletes it.
        let memory = self.holding.memory.as_mut();
        let oom_killed = memory.and_then(|memory| memory.at_end(&record.status));
        self.ended = Some(ExitRecord {
            oom_killed,
            timed_out: self.time.as_ref().is_some_and(Time::is_over),
            ..record
        });
    }

    fn look_at_memory(&mut self) -> bool {
        if let Some(memory) = &mut self.holding.memory {
            memory.woken(self.holding.pid);
        }
        false
    }

    #[inline(never)]
    fn take_requests(&mut self, reexec: &mut bool) -> io::Result<bool> {
        let Holding {
            claim,
            stdio,
            output,
            ..
        } = &mut self.holding;
        let time = &mut self.time;
        self.control.take(&claim.control, |request| match request {
            Request::CloseStdin => terminal::close_stdin(stdio),
            Request::Resize(size) => terminal::resize(stdio, size, output.as_deref_mut()),
            Request::ReopenLogs => terminal::reopen_logs(output.as_deref_mut()),
            Request::Reexec => *reexec = true,
            Request::Deadline => *time = Time::begun(),
        })
    }

    fn relay(&mut self) -> io::Result<bool> {
        let Some(relay) = &mut self.holding.relay else {
            return Ok(false);
        };
        let more = relay.turn();
        let registry = self.poll.registry();
        relay.watch(|fd, interest| {
            registry.register(&mut SourceFd(&fd), Event::Notify.token(), interest)
        })?;
        Ok(more)
    }

    fn serve_seccomp(&mut self) -> io::Result<bool> {
        let Holding {
            wire, pid, seccomp, ..
        } = &mut self.holding;
        let Some(store) = seccomp else {
            return Ok(false);
        };
        let more = store.turn(&wire.id, Some(*pid));
        let registry = self.poll.registry();
        store.watch(|fd, interest| {
            registry.register(&mut SourceFd(&fd), Event::Seccomp.token(), interest)
        })?;
        Ok(more)
    }

    /// Which is only a reason to look; there is then something to move, perhaps.
    fn see_readers(&mut self) -> bool {
        if let Some(output) = &self.holding.output {
            output.see_opens();
        }
        self.move_output()
    }

    fn move_output(&mut self) -> bool {
        let Some(output) = &mut self.holding.output else {
            return false;
        };
        let more = output.turn();
        // It may have waited for the room that there is now.
        let waits = output.takes_terminal();
        if waits {
            self.move_bytes() || more
        } else {
            more
        }
    }

    fn move_bytes(&mut self) -> bool {
        let Holding { stdio, output, .. } = &mut self.holding;
        match stdio {
            Stdio::Terminal(terminal) => terminal::pump(terminal, output.as_deref_mut()),
            Stdio::Direct(_) => false,
        }
    }
}
