//! *Launch*: from a request to a process that the runtime has created. Nothing here knows what comes after; nothing in
//! [`hold`](crate::hold) knows which front door was used.
//!
//! The steps, as numbered in docs/architecture.md:
//! 2. leave the launcher: signals, descriptors, a session of one's own;
//! 3. lock, exit, control, then the commit;
//! 4. shim.json, stdio, the runtime;
//! 5. pid, starttime, created, the report;
//! 6. become *hold*.
//!
//! A failure undoes what was done, so that a launch whose launcher is gone leaves nothing either.

mod console;
mod create;
mod process;
mod stdio;
mod undo;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use holdfast_common::layout;
use holdfast_common::process_state::ProcessState;
use holdfast_common::ready::Report;
use holdfast_common::request::{Launch, Wire};
use holdfast_common::sys::flock::Lock;
use holdfast_common::sys::{fd, fifo, process as sys_process, signal};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::Error;
use crate::handover::Holding;
use crate::{hold, log as shim_log, record};

/// Launches, then holds; the exit code is the shim's, not the container's.
pub fn run(wire: Wire, ours: Option<Launch>) -> ExitCode {
    let ours = match ours.map(Ours::take).transpose() {
        Ok(ours) => ours,
        Err(e) => {
            // Without the pipe, this is all there is to say it with.
            eprintln!("holdfast-shim: {e}");
            return ExitCode::FAILURE;
        }
    };
    let mut launching = Launching {
        wire,
        ours,
        done: undo::Done::default(),
    };
    match launching
        .leave_launcher()
        .and_then(|request| launching.launch(request))
    {
        Ok(holding) => {
            let error = holding.replace_self();
            // The executable is gone, perhaps: a bigger shim is better than none.
            log::warn!("going on without a fresh start: {error}");
            hold::run(holding)
        }
        Err(e) => launching.fail(&e),
    }
}

/// A launch under way.
struct Launching {
    wire: Wire,
    ours: Option<Ours>,
    /// What a failure has to undo.
    done: undo::Done,
}

/// Our driver's side of it.
struct Ours {
    launch: Launch,
    ready: File,
}

/// What is to be launched.
struct Request {
    state: ProcessState,
    /// Descriptors from 3 on that go to the container.
    preserved: Vec<OwnedFd>,
}

impl Ours {
    fn take(launch: Launch) -> Result<Self, Error> {
        let ready = fd::take(launch.ready).map_err(Error::io("take over ready pipe", "."))?;
        Ok(Self {
            launch,
            ready: ready.into(),
        })
    }
}

impl Launching {
    /// Step 2.
    fn leave_launcher(&self) -> Result<Request, Error> {
        // Before the first descriptor is opened: what a launcher left open by mistake ends here.
        let state = ProcessState::read(Path::new("."))?;
        let preserve = state.holdfast.as_ref().map_or(0, |ours| ours.preserve_fds);
        let preserve = 3..3 + i32::try_from(preserve).unwrap_or(0);
        let ready = self.ours.as_ref().map(|ours| ours.ready.as_raw_fd());
        let keep: Vec<i32> = preserve.clone().chain(ready).collect();
        fd::close_all_but(&keep).map_err(Error::io("close inherited descriptors in", "."))?;
        signal::block_all().map_err(Error::io("block signals in", "."))?;
        signal::reset_dispositions();
        if self.ours.is_some() {
            // containerd 0.2 waits for its shim, and so wants it as its child.
            sys_process::detach().map_err(Error::io("fork in", "."))?;
        }
        let preserved = preserve.map(fd::take).collect::<Result<_, _>>();
        let preserved = preserved.map_err(Error::io("take over preserved descriptors in", "."))?;
        sys_process::become_subreaper().map_err(Error::io("become subreaper in", "."))?;
        shim_log::open().map_err(Error::io("open", layout::SHIM_LOG_FILE))?;
        Ok(Request { state, preserved })
    }

    /// Steps 3 to 5.
    fn launch(&mut self, request: Request) -> Result<Holding, Error> {
        let Request { state, preserved } = request;
        let signals = signal::open_signalfd().map_err(Error::io("open signalfd in", "."))?;
        let (lock, exit, control) = open_protocol_files()?;
        self.commit()?;
        let dir = std::env::current_dir().map_err(Error::io("find the path of", "."))?;
        let executable =
            std::env::current_exe().map_err(Error::io("find the path of", "/proc/self/exe"))?;
        record::write(&executable)?;

        let stdio = stdio::open(&state)?;
        let create = create::Create {
            wire: &self.wire,
            state: &state,
            dir: &dir,
            signals: &signals,
            timeout: self.ours.as_ref().map(|ours| ours.launch.timeout),
        };
        let stdio = create.run(stdio, preserved, &mut self.done)?;

        let identity = process::record(&dir, &state)?;
        let holding = Holding {
            kind: process::kind(&self.wire, &state),
            runtime_args: state.runtime_args.iter().map(Into::into).collect(),
            wire: self.wire.clone(),
            executable,
            pid: identity.pid,
            lock: lock.into_file().into(),
            exit,
            control,
            reader: Default::default(),
            stdio,
            again: false,
        };
        // The launcher's stdio is the launcher's.
        fd::null_stdio().map_err(Error::io("open", "/dev/null"))?;
        self.report(&Report::ready(identity));
        Ok(holding)
    }

    /// The commit point: from here on the directory has its final name, and a shim that is responsible for it.
    fn commit(&mut self) -> Result<(), Error> {
        let Some(ours) = &self.ours else {
            return Ok(());
        };
        if hung_up(ours.ready.as_fd()) {
            return Err(Error::LauncherGone);
        }
        let Launch { from, to, .. } = &ours.launch;
        match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
            Ok(()) => {
                self.done.committed = true;
                Ok(())
            }
            Err(nix::Error::EEXIST | nix::Error::ENOTEMPTY) => Err(Error::Exists(to.clone())),
            Err(e) => Err(Error::Io {
                operation: "create",
                path: to.clone(),
                cause: e.into(),
            }),
        }
    }

    /// Tells the launcher, if it still listens.
    fn report(&mut self, report: &Report) {
        if let Some(ours) = &mut self.ours {
            // It fits into the pipe. A launcher that is gone finds the state directory.
            let _ = ours.ready.write_all(&report.encode());
        }
    }

    /// Undoes and tells. Under containerd 0.2, what the runtime said stays in log.json alone, and the shim has done its
    /// part; what the shim itself could not do goes into shim-log.json.
    fn fail(&mut self, error: &Error) -> ExitCode {
        match &self.ours {
            None if matches!(error, Error::Runtime(_)) => ExitCode::SUCCESS,
            None => {
                // What failed may have come before the log, and without one the daemon learns of nothing.
                let _ = shim_log::open();
                log::error!("{error}");
                ExitCode::FAILURE
            }
            Some(Ours { launch, .. }) => {
                self.done.undo(&self.wire, launch);
                self.report(&Report::Failed {
                    cause: error.cause(),
                    message: error.to_string(),
                });
                ExitCode::FAILURE
            }
        }
    }
}

/// The lock that says that a shim lives, the write end of `exit`, both ends of `control`.
fn open_protocol_files() -> Result<(Lock, OwnedFd, OwnedFd), Error> {
    let lock = Lock::try_take(Path::new(layout::SHIM_LOCK_FILE))
        .map_err(Error::io("lock", layout::SHIM_LOCK_FILE))?;
    let lock = lock.ok_or_else(|| Error::Locked(std::env::current_dir().unwrap_or_default()))?;
    let open = |name, how: fn(&Path) -> std::io::Result<OwnedFd>| {
        how(Path::new(name)).map_err(Error::io("open fifo", name))
    };
    let exit = open(layout::EXIT_FIFO, fifo::open_write_without_reader)?;
    // Both ends: the loop then never sees a hang-up when a client leaves.
    let control = open(layout::CONTROL_FIFO, fifo::open_read_write)?;
    Ok((lock, exit, control))
}

/// Whether the reader of a pipe is gone.
fn hung_up(write_end: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(write_end, PollFlags::empty())];
    let polled = poll(&mut fds, PollTimeout::ZERO);
    polled.is_ok_and(|n| n > 0) && fds[0].any().unwrap_or(false)
}
