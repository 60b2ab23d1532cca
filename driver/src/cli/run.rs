//! `run`: create, attach, start, copy, collect, remove.

use std::io;

use clap::Args;
use holdfast::{Container, CreateOptions, ExitStatus, Process};
use holdfast_common::output::Moved;

use super::error::{Error, Result};
use super::globals::Globals;
use super::launch::{LaunchArgs, undo_unless};
use super::logging::Reporter;
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
    let options = CreateOptions {
        auto_remove: args.rm,
        starts: true,
        ..CreateOptions::default()
    };
    if args.detach {
        return args
            .launch
            .create_and_leave(&driver, options, |container| Ok(container.start()?));
    }
    if args.launch.has_restart_policy() {
        // Its end would be ours, and our output nobody's after the first.
        return Err(Error::RestartInForeground);
    }
    // From here on a signal does not end us between the steps; it is acted on before the start, or passed on.
    let signals = Signals::catch_all().map_err(signals_failed)?;
    let impatience = Impatience::begin().map_err(signals_failed)?;
    // A program that asks for it at once gets the right size.
    let options = CreateOptions {
        console_size: window(),
        ..options
    };
    let container = args.launch.create(&driver, options)?;
    // A terminal that is about to be raw would stay so.
    drop(impatience);
    let process = undo_unless(&container, || Ok(container.init()?))?;
    let options = Options {
        stdin: true,
        proxy: true,
        keys: args.detach_keys.clone(),
        tail: None,
        redraw: false,
    };
    let ready = undo_unless(&container, || {
        let mut session = Session::open(&process, signals, &options)?;
        if let Some(signal) = session.interrupted() {
            return Ok(Err(signal));
        }
        container.start()?;
        Ok(Ok(session))
    })?;
    let session = match ready {
        Ok(session) => session,
        Err(signal) => {
            container.delete(true)?;
            return Ok(signal_code(signal));
        }
    };
    let ended = match session.run()? {
        Outcome::Exited(record) => record,
        other => return let_go(other, &process),
    };
    let status = match ended {
        Some(record) => record.status,
        None => process.wait(None)?.status,
    };
    if !args.keep {
        let _impatience = Impatience::begin().map_err(signals_failed)?;
        if let Err(e) = remove(&container) {
            // The status is worth more than a tidy state directory.
            reporter.warning(&format!("remove container {}: {e}", container.id()));
        }
    }
    Ok(status_code(&status, reporter))
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
