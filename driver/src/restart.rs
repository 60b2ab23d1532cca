//! Restarting a container that has ended: another process from its bundle, under the same id, with the same streams, labels
//! and runtime. Whether and when is for whoever supervises it; what must be remembered stands in its files, so that a
//! supervisor may be killed at any moment:
//!
//! - the policy, in state.json, written once;
//! - how often it was restarted, and by whom, in the new process.json: it takes effect with the one rename that puts the new
//!   process directory in the old one's place, so no restart is counted that was not made, and none is made uncounted;
//! - that somebody stopped it on purpose, in the file `stopped`, which needs no lock, whoever writes it.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use holdfast_common::identity::Identity;
use holdfast_common::layout::{self, Stream};
use holdfast_common::output::{LogOptions, Moved};
use holdfast_common::process_state::{Extension, ProcessState};
use holdfast_common::request::Wire;
use holdfast_common::restart::{RestartPolicy, Restarts};
use holdfast_common::sys::flock::Lock;

use crate::bundle::Bundle;
use crate::checkpoint::{Restorable, RestoreOptions};
use crate::container::Container;
use crate::directory::PATIENCE;
use crate::error::{Error, Result};
use crate::launch::Launch;
use crate::options::CreateOptions;
use crate::process::Process;
use crate::spec::ProcessSpec;
use crate::stdio::{Plan, Policy, Stdio};

/// Why a container that tells a service manager of itself is nobody else's to restart.
const OTHERS_SERVICE: &str = "its creator's service manager looks after it";

impl Container {
    /// When a supervisor restarts it.
    pub fn restart_policy(&self) -> RestartPolicy {
        let ours = self.container_state().holdfast.as_ref();
        ours.map(|ours| ours.restart_policy).unwrap_or_default()
    }

    /// Notes that it is being stopped on purpose: [`RestartPolicy::UnlessStopped`] does not restart it from now on. To be
    /// called before the signal, so that nobody sees its end first.
    ///
    /// # Errors
    /// The system's.
    pub fn mark_stopped(&self) -> Result<()> {
        let path = self.dir().join(layout::STOPPED_FILE);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let made = options.open(&path);
        made.map(drop).map_err(Error::io("make", path))
    }

    /// Whether [`Container::mark_stopped`] was called, by anybody.
    pub fn is_marked_stopped(&self) -> bool {
        self.dir().join(layout::STOPPED_FILE).exists()
    }

    /// Creates its process anew, from its bundle as it is now, once the last has ended and its shim is gone. The new one
    /// waits for [`Container::start`]; should the caller be killed before that, a supervisor starts it.
    ///
    /// # Errors
    /// [`Error::Busy`] while somebody else changes it; [`Error::NotStopped`]; [`Error::ShimBusy`]; the runtime's own message, and
    /// the attempt is on record as an end that is unknown, with `restarts`.
    pub fn restart(&self, restarts: Restarts) -> Result<Process> {
        let _lock = self.try_lock()?;
        let last = self.init()?;
        if last.exit_record()?.is_none() {
            return Err(Error::NotStopped {
                id: self.id().clone(),
                status: self.status()?,
            });
        }
        last.wait_gone(Some(PATIENCE))?;
        self.relaunch(&last, restarts, None)
    }

    /// Takes the lock of whoever changes this container, without waiting for it.
    pub(crate) fn try_lock(&self) -> Result<Lock> {
        let taken = self.lock(|path| {
            let lock = Lock::try_take(path)?;
            lock.ok_or_else(|| io::ErrorKind::WouldBlock.into())
        });
        match taken {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => {
                Err(Error::Busy {
                    id: self.id().clone(),
                })
            }
            taken => taken,
        }
    }

    /// Launches another process in the place of the last: from its bundle, or from a checkpoint.
    pub(crate) fn relaunch(
        &self,
        last: &Process,
        restarts: Restarts,
        from: Option<(&Restorable, &RestoreOptions)>,
    ) -> Result<Process> {
        let bundle = Bundle::read(self.bundle())?;
        let old = last.process_state();
        let mut state = ProcessSpec::new(bundle.process).to_state();
        let ours = old.holdfast.clone().unwrap_or_default();
        if from.is_none() && ours.descriptors() > 0 {
            return Err(Error::CannotRestart {
                policy: self.restart_policy(),
                why: "it has descriptors of its creator's",
            });
        }
        if from.is_none() && ours.notify.is_some() {
            return Err(Error::CannotRestart {
                policy: self.restart_policy(),
                why: OTHERS_SERVICE,
            });
        }
        let console = ours.console_socket.is_some();
        let dir = last.dir();
        // Who restores it has streams of its own; who restarts it has not.
        let inherited = from.map_or(Policy::Null, |_| Policy::Inherit);
        let stdio = same_stdio(old, dir, &inherited);
        let plan = Plan::new(&stdio, state.terminal, console, dir)?;
        plan.tell(&mut state);
        state.runtime_args.clone_from(&old.runtime_args);
        state.no_pivot_root = old.no_pivot_root;
        state.root_uid = bundle.root_uid;
        state.root_gid = bundle.root_gid;
        state.holdfast = Some(Extension {
            output: plan.output.clone(),
            launcher: this_process().filter(|_| from.is_none()),
            restarts,
            restore: None,
            // Where it was created it was a service, perhaps.
            notify: None,
            ..ours
        });
        if let Some((checkpoint, options)) = from {
            checkpoint.tell(&mut state, &plan, options)?;
            state.runtime_args = self.criu_args();
        }
        let launch = Launch {
            container: self.id().clone(),
            process: last.id().clone(),
            shim: self.driver().shim()?,
            wire: Wire {
                id: self.id().as_str().into(),
                bundle: self.bundle().to_owned(),
                runtime: self.runtime(dir).program.into(),
            },
            timeout: self.driver().start_timeout(),
            place: self.dir().to_owned(),
            container_state: None,
            process_state: state,
            plan,
            preserve_fds: 0,
            replace: true,
            isolation: self.driver().isolation().clone(),
        };
        launch.run()
    }
}

impl Process {
    /// How often its container was restarted, up to and with this process.
    pub fn restarts(&self) -> Restarts {
        let ours = self.process_state().holdfast.as_ref();
        ours.map(|ours| ours.restarts).unwrap_or_default()
    }

    /// When it was created, by the time of its first record; `None` before that.
    pub fn created_at(&self) -> Option<SystemTime> {
        let file = self.dir().join(layout::START_TIME_FILE);
        std::fs::metadata(file).ok()?.modified().ok()
    }

    /// Who was going to start it right after creating it.
    pub fn launcher(&self) -> Option<Identity> {
        self.process_state().holdfast.as_ref()?.launcher
    }
}

/// Makes sure that what is asked for can be had again by whoever restarts the container: its creator may be long gone.
pub(crate) fn check(options: &CreateOptions) -> Result<()> {
    let stdio = &options.stdio;
    let inherits = [&stdio.stdin, &stdio.stdout, &stdio.stderr].contains(&&Policy::Inherit);
    let why = match () {
        () if options.restart.is_no() => return Ok(()),
        () if options.auto_remove => "it is to be removed when it ends",
        () if options.preserve_fds > 0 => "it has descriptors of its creator's",
        () if !options.listen_fds.is_none() => "it has sockets of its creator's",
        () if options.notify.is_some() => OTHERS_SERVICE,
        () if inherits => "it has its creator's own streams",
        () if options.checkpoint.is_some() => "it comes from a checkpoint",
        () => return Ok(()),
    };
    Err(Error::CannotRestart {
        policy: options.restart,
        why,
    })
}

/// This process, for [`Process::launcher`].
pub(crate) fn this_process() -> Option<Identity> {
    let pid = i32::try_from(std::process::id()).ok()?;
    Identity::of(pid).ok()
}

/// The policies that lead to the streams that a process had; to `inherited` for those that were its launcher's.
fn same_stdio(state: &ProcessState, dir: &Path, inherited: &Policy) -> Stdio {
    let output = state.output().cloned().unwrap_or_default();
    let policy = |stream: Stream, path: &str| {
        match output.moved(stream) {
            Some(Moved::Log) => return Policy::Log,
            Some(Moved::Spill) => return Policy::Spill,
            None => (),
        }
        if state.inherits(stream) {
            return inherited.clone();
        }
        if path.is_empty() {
            return Policy::Null;
        }
        let path = PathBuf::from(path);
        match stream {
            _ if path == dir.join(stream.name()) => Policy::Fifo,
            // As it was then: a log that was moved away is made anew.
            Stream::Stdout | Stream::Stderr if !path.exists() => Policy::File(path),
            _ => Policy::Path(path),
        }
    };
    Stdio {
        stdin: policy(Stream::Stdin, &state.stdin),
        stdout: policy(Stream::Stdout, &state.stdout),
        stderr: policy(Stream::Stderr, &state.stderr),
        merge_stderr: output.merge_stderr,
        record: output.record().map(Path::to_owned),
        log: output.log.and_then(LogOptions::without_record),
        spill: output.spill,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_common::output::SpillOptions;

    #[test]
    fn streams_go_where_they_went() {
        let dir = Path::new("/r/web/init");
        let scratch = crate::testing::scratch("restart-streams");
        let mixed = Stdio {
            stdout: Policy::Spill,
            stderr: Policy::Log,
            log: Some(LogOptions {
                max_size: 7,
                ..LogOptions::default()
            }),
            spill: Some(SpillOptions {
                max: 9,
                ..SpillOptions::default()
            }),
            ..Stdio::default()
        };
        let recorded = Stdio {
            record: Some(scratch.join("cast")),
            ..Stdio::default()
        };
        for (stdio, terminal) in [
            (Stdio::default(), false),
            (Stdio::default(), true),
            (Stdio::all(Policy::Null), false),
            (Stdio::all(Policy::Path("/dev/zero".into())), false),
            (Stdio::all(Policy::Log), false),
            (Stdio::all(Policy::Log), true),
            (Stdio::all(Policy::Spill), false),
            (mixed, false),
            (recorded, true),
        ] {
            let plan = Plan::new(&stdio, terminal, false, dir).unwrap();
            let mut state = ProcessState {
                terminal,
                ..ProcessState::default()
            };
            plan.tell(&mut state);
            state.holdfast = Some(Extension {
                output: plan.output.clone(),
                ..Extension::default()
            });
            let stdio = same_stdio(&state, dir, &Policy::Null);
            let again = Plan::new(&stdio, terminal, false, dir).unwrap();
            assert_eq!(again, plan);
        }
    }

    #[test]
    fn what_only_its_creator_has_cannot_be_had_again() {
        let always = CreateOptions {
            restart: RestartPolicy::Always,
            ..CreateOptions::default()
        };
        assert!(check(&always).is_ok());
        for options in [
            CreateOptions {
                auto_remove: true,
                ..always.clone()
            },
            CreateOptions {
                preserve_fds: 1,
                ..always.clone()
            },
            CreateOptions {
                stdio: Stdio {
                    stderr: Policy::Inherit,
                    ..Stdio::default()
                },
                ..always.clone()
            },
        ] {
            let error = check(&options).unwrap_err();
            assert!(
                error.to_string().starts_with("restart policy always:"),
                "{error}"
            );
            let restart = RestartPolicy::No;
            assert!(check(&CreateOptions { restart, ..options }).is_ok());
        }
    }
}
