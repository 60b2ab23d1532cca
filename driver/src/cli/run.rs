//! `run`: create, attach, start, copy, collect, remove.

use std::io;

use clap::Args;
use holdfast::{Container, CreateOptions, ExitStatus, Process};
use holdfast_common::output::Moved;

use super::checkpoint::NameOrPath;
use super::error::{Error, Result};
use super::globals::Globals;
use super::launch::{LaunchArgs, Reader, undo_unless};
use super::logging::Reporter;
use super::progress::Progress;
use super::session::{DetachKeys, Impatience, Options, Outcome, Session, Signals, window};

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    launch: LaunchArgs,
    /// Leave the container to its shim, and do not wait
    #[arg(short, long)]
    detach: bool,
    /// Insist on a terminal; whether there is one is said in the bundle's config.json
    #[arg(short, long)]
    tty: bool,
    /// Accepted for runc's and docker's sake: in the foreground stdin is always passed on
    #[arg(short, long)]
    interactive: bool,
    /// Have the shim remove the container at its end, also when nobody is attached any more
    #[arg(long, conflicts_with = "keep")]
    rm: bool,
    /// Do not remove the container at its end, as is done in the foreground
    #[arg(long)]
    keep: bool,
    /// Accepted for runc's sake: the shim is the subreaper
    #[arg(long)]
    no_subreaper: bool,
    /// Go on where this checkpoint was made: a name in the bundle, or a path with a slash in it
    #[arg(long, value_name = "NAME|PATH")]
    checkpoint: Option<NameOrPath>,
    /// Keys that detach from a terminal
    #[arg(long, value_name = "KEYS", default_value = super::session::DEFAULT_DETACH_KEYS)]
    detach_keys: DetachKeys,
}

/// Runs a container.
///
/// # Errors
/// The library's; our streams cannot be used.
pub fn run(args: &RunArgs, globals: &Globals, reporter: Reporter) -> Result<u8> {
    let driver = globals.driver()?;
    if args.tty {
        args.launch.require_terminal()?;
    }
    let checkpoint = args.checkpoint.as_ref();
    let options = CreateOptions {
        auto_remove: args.rm,
        notify: args.launch.notify(args.detach)?,
        starts: checkpoint.is_none(),
        checkpoint: checkpoint
            .map(|checkpoint| checkpoint.path(args.launch.bundle(), None))
            .transpose()?,
        ..CreateOptions::default()
    };
    let shown = checkpoint.map(|_| format!("restore {}", args.launch.id()));
    let run = Run {
        create: &|options| {
            let _progress = shown.clone().map(Progress::begin);
            args.launch
                .create(&driver, options, Reader::when(args.detach))
        },
        stays: false,
    };
    let foreground = match (args.detach, args.launch.has_restart_policy()) {
        (true, _) => None,
        // Its end would be ours, and our output nobody's after the first.
        (false, true) => return Err(Error::RestartInForeground),
        (false, false) => Some(Foreground {
            keys: args.detach_keys.clone(),
            keep: args.keep,
        }),
    };
    run.run(&options, foreground, reporter)
}

/// A container that is about to come, however it does.
pub struct Run<'a> {
    /// What makes it.
    pub create: &'a dyn Fn(CreateOptions) -> Result<Container>,
    /// It was there before, and stays whatever becomes of us.
    pub stays: bool,
}

/// How to attend to a container.
pub struct Foreground {
    /// What detaches from a terminal.
    pub keys: DetachKeys,
    /// Do not remove it when it ends.
    pub keep: bool,
}

impl Run<'_> {
    /// Makes it and, unless it is left to its shim, attends to it; the exit code is its own then.
    ///
    /// # Errors
    /// The library's; our streams cannot be used.
    pub fn run(
        &self,
        options: &CreateOptions,
        foreground: Option<Foreground>,
        reporter: Reporter,
    ) -> Result<u8> {
        // What comes from a checkpoint runs.
        let start = |container: &Container| match options.checkpoint {
            Some(_) => Ok(()),
            None => container.start(),
        };
        let Some(Foreground { keys, keep }) = foreground else {
            // Whoever asks us to end before its start does not want it; its shim would go on without us.
            let mut signals = Signals::catch_own().map_err(signals_failed)?;
            let _impatience = Impatience::begin().map_err(signals_failed)?;
            let container = (self.create)(options.clone())?;
            if let Some(signal) = signals.ending() {
                return self.interrupted(&container, signal);
            }
            self.guard(&container, || Ok(start(&container)?))?;
            return Ok(0);
        };
        // From here on a signal does not end us between the steps; it is acted on before the start, or passed on.
        let signals = Signals::catch_all().map_err(signals_failed)?;
        let impatience = Impatience::begin().map_err(signals_failed)?;
        // A program that asks for it at once gets the right size.
        let container = (self.create)(CreateOptions {
            console_size: window(),
            ..options.clone()
        })?;
        // A terminal that is about to be raw would stay so.
        drop(impatience);
        let process = self.guard(&container, || Ok(container.init()?))?;
        let session = Options {
            stdin: true,
            proxy: true,
            keys,
            tail: None,
            redraw: false,
        };
        let ready = self.guard(&container, || {
            let mut session = Session::open(&process, signals, &session)?;
            if let Some(signal) = session.interrupted() {
                return Ok(Err(signal));
            }
            start(&container)?;
            Ok(Ok(session))
        })?;
        let session = match ready {
            Ok(session) => session,
            Err(signal) => return self.interrupted(&container, signal),
        };
        let ended = match session.run()? {
            Outcome::Exited(record) => record,
            other => return let_go(other, &process),
        };
        let status = match ended {
            Some(record) => record.status,
            None => process.wait(None)?.status,
        };
        if !keep {
            let _impatience = Impatience::begin().map_err(signals_failed)?;
            if let Err(e) = remove(&container) {
                // The status is worth more than a tidy state directory.
                reporter.warning(&format!("remove container {}: {e}", container.id()));
            }
        }
        Ok(status_code(&status, reporter))
    }

    fn interrupted(&self, container: &Container, signal: i32) -> Result<u8> {
        if !self.stays {
            container.delete(true)?;
        }
        Ok(signal_code(signal))
    }

    /// Does one more step; a container that fails it is removed, unless it was there before.
    fn guard<T>(&self, container: &Container, step: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.stays {
            true => step(),
            false => undo_unless(container, step),
        }
    }
}

/// The error of not being able to catch signals.
pub fn signals_failed(source: io::Error) -> Error {
    Error::io("catch", "signals", source)
}

fn remove(container: &Container) -> Result<()> {
    match container.delete(false) {
        // Somebody was faster.
        Ok(()) | Err(holdfast::Error::NotFound { .. }) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The exit code that says how a process ended.
pub fn status_code(status: &ExitStatus, reporter: Reporter) -> u8 {
    if let ExitStatus::Unknown { reason } = status {
        reporter.warning(&format!("exit status unknown: {reason}"));
    }
    status.number()
}

/// What becomes of us when a session ended before its process.
///
/// # Errors
/// Our output is gone.
pub fn let_go(outcome: Outcome, process: &Process) -> Result<u8> {
    match outcome {
        Outcome::Exited(_) | Outcome::Detached => Ok(0),
        Outcome::Signalled(signal) => Ok(signal_code(signal)),
        Outcome::OutputGone(stream, source) => Err(Error::OutputGone {
            stream,
            verb: match process.process_state().moved(stream) {
                Some(Moved::Log) => "logs",
                Some(Moved::Spill) | None => "attach",
            },
            process: if process.is_exec() {
                format!("{} {}", process.container_id(), process.id())
            } else {
                process.container_id().to_string()
            },
            source,
        }),
    }
}

pub fn signal_code(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}
