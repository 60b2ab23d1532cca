//! *Launch*: from a request to a process that the runtime has created. Nothing here knows what comes after; nothing in
//! [`hold`](crate::hold) knows which front door was used.
//!
//! The steps, as numbered in docs/architecture.md:
//! 2. leave the launcher: signals, descriptors, a session of one's own;
//! 3. lock, exit, control, then the commit;
//! 4. shim.json, stdio, the runtime;
//! 5. pid, starttime, created, what counts its memory, a line in the event log, the report;
//! 6. become *hold*.
//!
//! A failure undoes what was done, so that a launch whose launcher is gone leaves nothing either.

mod cgroup;
mod console;
mod create;
mod half_restored;
pub mod listener;
mod process;
mod restore;
mod stdio;
mod strays;
mod undo;

use std::cell::LazyCell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;

use holdfast_common::process_state::{Extension, ProcessState};
use holdfast_common::ready::Report;
use holdfast_common::request::{Isolation, Launch, Wire};
use holdfast_common::sys::{fd, rename, signal};

use crate::claim::Claim;
use crate::error::Error;
use crate::handover::Holding;
use crate::launcher::Launcher;
use crate::notify::{self, Relay};
use crate::output::Output;
use crate::seccomp::Store;
use crate::{bundle, events, hold, isolation, log as shim_log, memory, record};

pub use process::kind;
pub use undo::undo_cut_off;

/// Launches, then holds; the exit code is the shim's, not the container's. Not inlined: its locals would be part of the stack of
/// every shim that holds.
#[inline(never)]
pub fn run(wire: Wire, ours: Option<Launch>) -> ExitCode {
    let launcher = match Launcher::new(ours.as_ref().map(|ours| ours.ready)) {
        Ok(launcher) => launcher,
        Err(e) => {
            // Without the pipe, this is all there is to say it with.
            eprintln!("holdfast-shim: {e}");
            return ExitCode::FAILURE;
        }
    };
    let mut launching = Launching {
        wire,
        launcher,
        ours,
        done: undo::Done::default(),
    };
    match launching.launch() {
        Ok(holding) => {
            drop(launching);
            hold::begin_new(holding)
        }
        Err(e) => launching.fail(&e),
    }
}

/// What must be known about a container once its runtime has ended, and can be before.
struct Facts {
    /// Whether it has a pid namespace of its own.
    private_pids: bool,
    /// Where its memory may be counted.
    counted: Option<memory::Counted>,
}

impl Facts {
    fn find(bundle: &Path) -> Self {
        Self {
            private_pids: bundle::has_private_pids(bundle),
            counted: memory::counted(),
        }
    }
}

/// A launch under way.
struct Launching {
    wire: Wire,
    launcher: Launcher,
    /// Our driver's words.
    ours: Option<Launch>,
    /// What a failure has to undo.
    done: undo::Done,
}

impl Launching {
    /// Step 2. Returns what is to be launched, and the descriptors from 3 on that go to the container.
    fn leave_launcher(&self) -> Result<(ProcessState, Vec<OwnedFd>), Error> {
        self.launcher.detach()?;
        let state = ProcessState::read(Path::new("."))?;
        let ours = state.holdfast.as_ref();
        let preserve = ours.map_or(0, Extension::descriptors);
        let preserve = 3..3 + i32::try_from(preserve).unwrap_or(0);
        Ok((state, self.launcher.leave(preserve)?))
    }

    fn isolation(&self) -> Option<&Isolation> {
        self.ours.as_ref().map(|ours| &ours.isolation)
    }

    /// Steps 2 to 5.
    fn launch(&mut self) -> Result<Holding, Error> {
        let (state, preserved) = self.leave_launcher()?;
        let signals = signal::open_signalfd().map_err(Error::io("open signalfd in", "."))?;
        if let Some(cgroup) = self.isolation().and_then(|ours| ours.cgroup.as_ref()) {
            isolation::enter_cgroup(cgroup)?;
        }
        let claim = Claim::take()?;
        self.commit()?;
        let dir = std::env::current_dir().map_err(Error::io("find the path of", "."))?;
        let executable = record::write_for_this_executable()?;

        // It must be there before the runtime, which connects to it.
        let mut seccomp = Store::open(&self.wire, &state, &dir)?;
        // Its ends must be there before the process's.
        let mut output = Output::open(&self.wire.id.to_string_lossy(), &state)?;
        if let Some(output) = &mut output {
            output.begin();
        }
        let stdio = stdio::open(&state)?;
        let restore = restore::Restore::prepare(&state, &dir)?;
        let stdin_was_closed = restore
            .as_ref()
            .is_some_and(|restore| restore.stdin_was_closed());
        // The launcher waits for what comes after the runtime, and for nothing that is done beside it.
        let facts = LazyCell::new(|| (!state.exec).then(|| Facts::find(&self.wire.bundle)));
        let create = create::Create {
            wire: &self.wire,
            state: &state,
            dir: &dir,
            signals: &signals,
            restore,
            timeout: self.ours.as_ref().map(|ours| ours.timeout),
            meanwhile: &|| {
                LazyCell::force(&facts);
            },
        };
        let said = output.as_deref();
        let mut stdio = create.run(stdio, said, preserved, &mut seccomp, &mut self.done)?;
        if stdin_was_closed {
            hold::close_stdin(&mut stdio);
        }
        if let Some(score) = self.isolation().and_then(|ours| ours.oom_score_adj) {
            isolation::set_oom_score_adj(score);
        }

        let identity = process::record(&dir, &state)?;
        let restored = !state.checkpoint.is_empty();
        let counted = facts.as_ref().and_then(|facts| facts.counted.as_ref());
        let memory = counted.and_then(|counted| memory::begin(counted, identity.pid, restored));
        let relay = Relay::begin(&state, &self.wire, identity.pid)?;
        let kind = kind(&state, || {
            facts.as_ref().is_some_and(|facts| facts.private_pids)
        });
        let told = events::tell_launch(kind, identity);
        if let Some(notify) = notify::asked(&state) {
            // Before the launcher, which may be what the service manager takes for the main process now, can go.
            notify::tell_main(notify);
        }
        // The launcher's stdio is the launcher's.
        fd::null_stdio().map_err(Error::io("open", "/dev/null"))?;
        self.launcher.report(&Report::ready(identity));
        Ok(Holding {
            kind,
            runtime_args: state.runtime_args.iter().map(Into::into).collect(),
            wire: self.wire.clone(),
            executable,
            pid: identity.pid,
            pidfd: None,
            claim,
            reader: Default::default(),
            stdio,
            output,
            memory,
            seccomp,
            relay,
            mounts: None,
            told,
            asked: 0,
            again: false,
        })
    }

    /// The commit point: from here on the directory has its final name, and a shim that is responsible for it.
    fn commit(&mut self) -> Result<(), Error> {
        let Some(Launch {
            from, to, replace, ..
        }) = &self.ours
        else {
            return Ok(());
        };
        if self.launcher.is_gone() {
            return Err(Error::LauncherGone);
        }
        let renamed = if *replace {
            // What is replaced takes the staging directory's name; whoever asked removes it.
            rename::exchange(from, to)
        } else {
            rename::rename_new(from, to)
        };
        match renamed {
            Ok(()) => {
                self.done.committed = true;
                Ok(())
            }
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Err(Error::Exists(to.clone()))
            }
            Err(cause) => Err(Error::Io {
                operation: "create",
                path: to.clone(),
                cause,
            }),
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
            Some(launch) => {
                self.done.undo(&self.wire, launch, error);
                self.launcher
                    .report(&Report::failed(error.cause(), error.to_string()));
                ExitCode::FAILURE
            }
        }
    }
}
