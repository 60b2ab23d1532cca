//! Launching a process: a container's init, or an exec. As numbered in docs/architecture.md, the driver
//!
//! 1. stages everything that the shim needs ([`staging`]), its input having been checked;
//! 2. spawns the shim in the staged process directory, and collects what it forked from ([`spawn`]);
//!
//! and then waits for the shim's report. From the shim's commit on, the directory is not the driver's to clean up.

mod logs;
mod spawn;
mod staging;

use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_common::container_state::ContainerState;
use holdfast_common::event_log::EventLog;
use holdfast_common::id::{ContainerId, ProcessId};
use holdfast_common::identity::Identity;
use holdfast_common::layout::{self, Stream};
use holdfast_common::process_state::ProcessState;
use holdfast_common::ready::{Cause, Report};
use holdfast_common::request::{Isolation, LAUNCH, Launch as Words, Wire};
use holdfast_common::sys::{fd, fifo};

use crate::directory;
use crate::end::End;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::stdio::Plan;
use crate::streams::Early;
pub(crate) use spawn::Order;
use staging::{Staging, make_dir, make_fifo, make_stdio_fifo};

/// One launch, checked and complete.
#[derive(Debug)]
pub(crate) struct Launch {
    pub container: ContainerId,
    pub process: ProcessId,
    pub shim: PathBuf,
    pub wire: Wire,
    pub timeout: Duration,
    /// The directory to stage in, and to have the new directory in.
    pub place: PathBuf,
    /// The container's state.json; none for an exec.
    pub container_state: Option<ContainerState>,
    pub process_state: ProcessState,
    pub plan: Plan,
    pub preserve_fds: i32,
    /// Whether the new directory takes the place of one that is there.
    pub replace: bool,
    pub isolation: Isolation,
}

/// The directory that a launch makes, staged or final, has the process directory in it, or is it.
fn process_dir(launch: &Launch, dir: &Path) -> PathBuf {
    match launch.container_state {
        Some(_) => dir.join(layout::INIT),
        None => dir.to_owned(),
    }
}

/// Makes sure that the descriptors that a process is to get are the caller's: everything of ours, and of most programs, is
/// close-on-exec, and would otherwise leak into a container that was promised one descriptor too many.
pub(crate) fn check_preserved(preserve_fds: u32) -> Result<i32> {
    let count = i32::try_from(preserve_fds).unwrap_or(i32::MAX - 3);
    match (3..3 + count).find(|&number| !fd::is_inheritable(number)) {
        Some(number) => Err(Error::NotOpen { number }),
        None => Ok(count),
    }
}

impl Launch {
    /// Launches.
    ///
    /// # Errors
    /// The id is taken; the runtime's own message; … Nothing is left behind then.
    pub fn run(self) -> Result<Process> {
        let staging = Staging::make(&self.place)?;
        let launched = self.run_in(&staging);
        if launched.is_err() {
            staging.discard();
        }
        launched
    }

    fn run_in(&self, staging: &Staging) -> Result<Process> {
        let from = staging.dir();
        let to = match self.container_state {
            Some(_) => self.place.join(&self.container),
            None => self.place.join(&self.process),
        };
        let staged = self.stage(from)?;
        let words = |ready| {
            let words = Words {
                ready,
                from: from.to_owned(),
                to: to.clone(),
                timeout: whole_seconds(self.timeout),
                replace: self.replace,
                isolation: self.isolation.clone(),
            };
            [LAUNCH.into()].into_iter().chain(words.encode()).collect()
        };
        let order = Order {
            shim: &self.shim,
            wire: &self.wire,
            words: &words,
            process_dir: &process_dir(self, from),
            timeout: self.timeout,
            inherit: &self.plan.inherit,
            preserve_fds: self.preserve_fds,
        };
        let identity = self.identity(order.carry_out()?)?;
        if self.replace {
            // It bears the staging directory's name now; should that fail, it is swept.
            if let Err(e) = directory::remove(from) {
                log::warn!("{e}");
            }
        }
        if self.container_state.is_none() {
            // It has served; a container's goes on to be the container's.
            let _ = std::fs::remove_file(to.join(layout::LOCK_FILE));
        }
        let final_dir = process_dir(self, &to);
        let end = End::with(
            self.container.clone(),
            self.process.clone(),
            final_dir,
            staged.exit,
        );
        Ok(Process::launched(
            end,
            self.process_state.clone(),
            identity,
            staged.early,
        ))
    }

    /// Step 1: the staging directory's content. Its FIFOs are held open from here to the report, so that a message, the
    /// status and output are kept whatever happens in between.
    fn stage(&self, staging: &Path) -> Result<Staged> {
        let dir = process_dir(self, staging);
        if let Some(state) = &self.container_state {
            make_dir(&dir)?;
            state.write(staging)?;
            EventLog::of(staging).make()?;
        }
        for name in [layout::CONTROL_FIFO, layout::EXIT_FIFO] {
            make_fifo(&dir.join(name))?;
        }
        for stream in &self.plan.fifos {
            make_stdio_fifo(&dir.join(stream.name()))?;
        }
        for stream in &self.plan.inner {
            make_stdio_fifo(&dir.join(stream.inner_fifo()))?;
        }
        self.process_state.write(&dir)?;
        if self.replace {
            logs::carry(&self.place.join(&self.process), &dir);
        }
        let log = logs::make(&self.process_state, &dir)?;

        let open = |name: &str, how: fn(&Path) -> std::io::Result<_>| {
            let path = dir.join(name);
            how(&path).map_err(Error::io("open fifo", path))
        };
        let output = |stream: Stream| {
            let made = self.plan.fifos.contains(&stream);
            made.then(|| open(stream.name(), fifo::open_read))
                .transpose()
        };
        Ok(Staged {
            _control: open(layout::CONTROL_FIFO, fifo::open_read_write)?,
            exit: open(layout::EXIT_FIFO, fifo::open_read)?,
            early: Early {
                stdout: output(Stream::Stdout)?,
                stderr: output(Stream::Stderr)?,
                log,
            },
        })
    }

    fn identity(&self, report: Report) -> Result<Identity> {
        let (cause, message) = match report {
            Report::Ready { pid, start_time } => return Ok(Identity { pid, start_time }),
            // A launch does not end so.
            Report::Ended {} => (
                Cause::Shim,
                "the process was over before it began".to_owned(),
            ),
            Report::Failed { cause, message } => (cause, message),
        };
        Err(match cause {
            Cause::Runtime => Error::Runtime { message },
            Cause::Timeout => Error::StartTimeout {
                timeout: self.timeout,
            },
            Cause::Exists => self.exists(),
            Cause::Launcher | Cause::Shim => Error::Shim { message },
        })
    }

    /// The error that says that the name is taken.
    fn exists(&self) -> Error {
        let id = self.container.clone();
        match self.container_state {
            Some(_) => Error::AlreadyExists { id },
            None => Error::ProcessAlreadyExists {
                id,
                process: self.process.clone(),
            },
        }
    }
}

/// Descriptors of the staged FIFOs.
struct Staged {
    _control: std::os::fd::OwnedFd,
    exit: std::os::fd::OwnedFd,
    early: Early,
}

/// What can be said in whole seconds, rounded up: no time at all would be none to anybody.
fn whole_seconds(timeout: Duration) -> Duration {
    let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
    Duration::from_secs(seconds.clamp(1, u32::MAX.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_never_rounded_to_nothing() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (120_000, 120)] {
            let whole = whole_seconds(Duration::from_millis(millis));
            assert_eq!(whole, Duration::from_secs(seconds));
        }
        assert_eq!(
            whole_seconds(Duration::from_secs(u64::MAX)),
            Duration::from_secs(u32::MAX.into())
        );
    }
}
