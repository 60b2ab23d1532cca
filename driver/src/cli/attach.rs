//! `attach`: come back to a process that somebody else started.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use clap::{ArgAction, Args};
use holdfast::{ContainerId, Process, ProcessId, Stream};

use super::error::{Error, Result};
use super::globals::Globals;
use super::logging::Reporter;
use super::logs::Tail;
use super::run::{let_go, signals_failed, status_code};
use super::session::{DetachKeys, Options, Outcome, Session, Signals};

/// Flags of `attach`.
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// The container
    #[arg(value_name = "ID")]
    id: ContainerId,
    /// Which of its processes: an exec's name
    #[arg(value_name = "PROCESS", default_value = "init")]
    process: ProcessId,
    /// Pass no input; /dev/null on stdin means the same
    #[arg(long)]
    no_stdin: bool,
    /// Of output that is logged, begin with the last N lines there are, or all
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value = "0",
        allow_negative_numbers = true
    )]
    tail: Tail,
    /// Pass signals on to the process: true or false [default: true unless it has a terminal]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set, require_equals = true, hide_possible_values = true)]
    sig_proxy: Option<bool>,
    /// Keys that detach from a terminal
    #[arg(long, value_name = "KEYS", default_value = super::session::DEFAULT_DETACH_KEYS)]
    detach_keys: DetachKeys,
}

/// Attaches to a process, until it ends or we detach.
///
/// # Errors
/// The library's; somebody else is attached; there is nothing to attach to.
pub fn attach(args: &AttachArgs, globals: &Globals, reporter: Reporter) -> Result<u8> {
    let container = globals.driver()?.load(&args.id)?;
    let process = container.process(&args.process)?;
    let proxy = args.sig_proxy.unwrap_or(!process.terminal());
    let signals = if proxy {
        Signals::catch_all()
    } else {
        Signals::catch_own()
    };
    let signals = signals.map_err(signals_failed)?;
    let options = Options {
        stdin: !args.no_stdin && !stdin_is_null(),
        proxy,
        keys: args.detach_keys.clone(),
        tail: args.tail.0,
        redraw: true,
    };
    let session = match Session::open(&process, signals, &options) {
        Err(Error::Library(holdfast::Error::StreamTaken {
            stream: Stream::Stdin,
            pid,
        })) => return Err(Error::StdinTaken { pid }),
        session => session?,
    };
    if !session.has_streams() && process.exit_record()?.is_none() {
        return Err(Error::NothingToAttach {
            id: args.id.clone(),
        });
    }
    match session.run()? {
        Outcome::Exited(Some(record)) => Ok(status_code(&record.status, reporter)),
        Outcome::Exited(None) => Ok(status_code(&wait_for(&process)?.status, reporter)),
        other => let_go(other, &process),
    }
}

fn wait_for(process: &Process) -> Result<holdfast::ExitRecord> {
    Ok(process.wait(None)?)
}

/// `attach </dev/null`, as services and cron jobs run it, wants no input; it does not want to end the container's.
fn stdin_is_null() -> bool {
    let device = |file: io::Result<File>| file?.metadata().map(|found| found.rdev());
    let own = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    match (device(own), device(File::open("/dev/null"))) {
        (Ok(own), Ok(null)) => own == null,
        _ => false,
    }
}
