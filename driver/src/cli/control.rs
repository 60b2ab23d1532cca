//! Verbs that act on what is there: `kill`, `pause`, `resume`, `delete`, `wait`, `resize`, `close-stdin`.

use clap::Args;
use holdfast::{Container, ContainerId, Driver, ExitRecord, ProcessId, RestartPolicy};
use nix::libc;

use super::error::{Error, Result};
use super::globals::Globals;
use super::logging::Reporter;
use super::output::{Format, print, print_json};
use super::signal_name::SignalNumber;

/// Signals that stop a container on purpose, as far as a supervisor is concerned.
const STOPPING: [i32; 4] = [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGKILL];

/// Flags of `kill`.
#[derive(Debug, Args)]
pub struct KillArgs {
    /// Signal every process in it
    #[arg(short, long)]
    all: bool,
    /// Signal this process rather than its own: an exec's name
    #[arg(long, value_name = "PROCESS", conflicts_with = "all")]
    process: Option<ProcessId>,
    /// The container
    #[arg(value_name = "ID")]
    id: ContainerId,
    /// Signal: a name, with or without SIG, or a number
    #[arg(
        value_name = "SIGNAL",
        default_value = "TERM",
        allow_negative_numbers = true
    )]
    signal: SignalNumber,
}

/// Flags of `pause` and `resume`.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// The container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

/// Flags of `delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Kill it first, if it still runs
    #[arg(short, long)]
    force: bool,
    /// The containers
    #[arg(value_name = "ID", required = true)]
    ids: Vec<ContainerId>,
}

/// Flags of `wait`.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// The container
    #[arg(value_name = "ID")]
    id: ContainerId,
    /// Which of its processes: execs' names
    #[arg(value_name = "PROCESS", default_value = "init")]
    processes: Vec<ProcessId>,
    /// Output: table (a number: the code, 128 + signal, or 255 when unknown) or json (all on record)
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    format: Format,
}

/// Flags of `resize`.
#[derive(Debug, Args)]
pub struct ResizeArgs {
    /// The container
    #[arg(value_name = "ID")]
    id: ContainerId,
    /// Width, in characters
    #[arg(value_name = "COLS")]
    columns: u16,
    /// Height, in characters
    #[arg(value_name = "ROWS")]
    rows: u16,
    /// Which of its processes: an exec's name
    #[arg(long, value_name = "PROCESS", default_value = "init")]
    process: ProcessId,
}

/// Flags of `close-stdin`.
#[derive(Debug, Args)]
pub struct CloseStdinArgs {
    /// The container
    #[arg(value_name = "ID")]
    id: ContainerId,
    /// Which of its processes: an exec's name
    #[arg(long, value_name = "PROCESS", default_value = "init")]
    process: ProcessId,
}

/// Sends a signal.
///
/// # Errors
/// The library's.
pub fn kill(args: &KillArgs, globals: &Globals) -> Result<u8> {
    let container = globals.driver()?.load(&args.id)?;
    let SignalNumber(signal) = args.signal;
    if args.process.is_none() && STOPPING.contains(&signal) {
        // First: whoever sees its end must know that it was meant.
        stopped_on_purpose(&container)?;
    }
    match &args.process {
        Some(process) => container.process(process)?.signal(signal)?,
        None if args.all => container.signal_all(signal)?,
        None => container.kill(signal)?,
    }
    Ok(0)
}

/// Freezes a container.
///
/// # Errors
/// The library's.
pub fn pause(args: &PauseArgs, globals: &Globals) -> Result<u8> {
    globals.driver()?.load(&args.id)?.pause()?;
    Ok(0)
}

/// Lets a frozen container go on.
///
/// # Errors
/// The library's.
pub fn resume(args: &PauseArgs, globals: &Globals) -> Result<u8> {
    globals.driver()?.load(&args.id)?.resume()?;
    Ok(0)
}

/// Removes containers; each gets its try.
///
/// # Errors
/// One could not be removed.
pub fn delete(args: &DeleteArgs, globals: &Globals, reporter: Reporter) -> Result<u8> {
    let driver = globals.driver()?;
    let results = args
        .ids
        .iter()
        .map(|id| delete_one(&driver, id, args.force));
    each_reported(results, reporter)
}

/// Notes that a container is stopped by somebody, where that matters: no supervisor is to restart it.
fn stopped_on_purpose(container: &Container) -> holdfast::Result<()> {
    match container.restart_policy() {
        RestartPolicy::UnlessStopped => container.mark_stopped(),
        RestartPolicy::No | RestartPolicy::OnFailure { .. } | RestartPolicy::Always => Ok(()),
    }
}

fn delete_one(driver: &Driver, id: &ContainerId, force: bool) -> Result<()> {
    match driver.load(id).and_then(|container| {
        if force {
            stopped_on_purpose(&container)?;
        }
        container.delete(force)
    }) {
        // As runc and rm(1): forced, it is enough that it is not there.
        Err(holdfast::Error::NotFound { .. }) if force => Ok(()),
        other => Ok(other?),
    }
}

/// Waits for processes to end and prints how, in the order in which they were named.
///
/// # Errors
/// The library's, of one of them at least.
pub fn wait(args: &WaitArgs, globals: &Globals, reporter: Reporter) -> Result<u8> {
    let container = globals.driver()?.load(&args.id)?;
    let results = args.processes.iter().map(|id| {
        let record = wait_one(&container, id)?;
        match args.format {
            Format::Table => print(&format!("{}\n", record.status.number())),
            Format::Json => print_json(&record),
        }
    });
    each_reported(results, reporter)
}

fn wait_one(container: &Container, id: &ProcessId) -> Result<ExitRecord> {
    Ok(container.process(id)?.wait(None)?)
}

/// Gives a terminal its size.
///
/// # Errors
/// The library's.
pub fn resize(args: &ResizeArgs, globals: &Globals) -> Result<u8> {
    let container = globals.driver()?.load(&args.id)?;
    container
        .process(&args.process)?
        .resize(args.columns, args.rows)?;
    Ok(0)
}

/// Lets a process see the end of its stdin.
///
/// # Errors
/// The library's.
pub fn close_stdin(args: &CloseStdinArgs, globals: &Globals) -> Result<u8> {
    let container = globals.driver()?.load(&args.id)?;
    container.process(&args.process)?.close_stdin()?;
    Ok(0)
}

/// A failure of one is reported and does not keep the others from their turn.
fn each_reported(
    results: impl ExactSizeIterator<Item = Result<()>>,
    reporter: Reporter,
) -> Result<u8> {
    let only_one = results.len() == 1;
    let mut failed = false;
    for result in results {
        match result {
            Err(e) if only_one => return Err(e),
            Err(e) => {
                reporter.failure(&e.to_string());
                failed = true;
            }
            Ok(()) => {}
        }
    }
    if failed { Err(Error::Reported) } else { Ok(0) }
}
