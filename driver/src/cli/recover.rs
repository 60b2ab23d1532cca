//! `recover` and `upgrade`: care of the shims.

use std::time::Duration;

use clap::Args;
use holdfast::{Container, ContainerId, Recovery};

use super::error::{Error, Result};
use super::globals::Globals;
use super::logging::Reporter;
use super::output::print;
use super::progress::Progress;

/// How long a shim may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Flags of `recover`.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// The containers [default: all]
    #[arg(value_name = "ID")]
    ids: Vec<ContainerId>,
}

/// Flags of `upgrade`.
#[derive(Debug, Args)]
pub struct UpgradeArgs {
    /// Every container
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// The containers
    #[arg(value_name = "ID", required_unless_present = "all")]
    ids: Vec<ContainerId>,
}

/// Has every process adopted whose shim was killed, and says what was done.
///
/// # Errors
/// One could not be recovered; the others were.
pub fn recover(args: &RecoverArgs, globals: &Globals, reporter: Reporter) -> Result<u8> {
    each_process(
        "recover",
        &args.ids,
        globals,
        reporter,
        |container, process| {
            let done = match container.recover(process.id())? {
                Recovery::Unneeded => return Ok(None),
                Recovery::Adopted(identity) if process.terminal() => {
                    format!("adopted, {identity}; its terminal was lost with its shim")
                }
                Recovery::Adopted(identity) => format!("adopted, {identity}"),
                Recovery::Finished => match process.exit_record()? {
                    Some(record) => format!("finished, exit status {}", record.status.number()),
                    None => "finished".to_owned(),
                },
                Recovery::Removed => "removed, its launch was cut off".to_owned(),
            };
            Ok(Some(done))
        },
    )
}

/// Has shims execute a new executable in place, and says which they are now.
///
/// # Errors
/// One could not be replaced, and goes on; the others were.
pub fn upgrade(args: &UpgradeArgs, globals: &Globals, reporter: Reporter) -> Result<u8> {
    let named = globals.shim()?;
    each_process("upgrade", &args.ids, globals, reporter, |_, process| {
        if process.exit_record()?.is_some() {
            return Ok(None);
        }
        let shim = match process.upgrade(named.as_deref(), PATIENCE) {
            // Just now: there is nothing to be replaced any more.
            Err(
                holdfast::Error::ContainerExited { .. } | holdfast::Error::ProcessExited { .. },
            ) => {
                return Ok(None);
            }
            shim => shim?,
        };
        Ok(Some(format!("{} {}", shim.version, shim.executable)))
    })
}

/// Calls for every process of the named containers, or of all, and prints what was done. A failure is reported and keeps nobody
/// else from their turn.
fn each_process(
    what: &str,
    ids: &[ContainerId],
    globals: &Globals,
    reporter: Reporter,
    act: impl Fn(&Container, &holdfast::Process) -> Result<Option<String>>,
) -> Result<u8> {
    let driver = globals.driver()?;
    let containers: Vec<_> = if ids.is_empty() {
        let entries = driver.list()?.into_iter();
        entries.map(|entry| (entry.id, entry.container)).collect()
    } else {
        ids.iter()
            .map(|id| (id.to_string(), driver.load(id)))
            .collect()
    };
    let mut failed = false;
    let progress = Progress::begin_many(what, containers.len());
    let mut report = |message: String| {
        progress.aside(|| reporter.failure(&message));
        failed = true;
    };
    for (id, container) in containers {
        let found = container.and_then(|container| Ok((container.processes()?, container)));
        match found {
            Ok((processes, container)) => {
                for (name, process) in processes {
                    let acted = process
                        .map_err(Error::from)
                        .and_then(|process| act(&container, &process));
                    let told = acted.and_then(|done| match done {
                        Some(done) => progress.aside(|| print(&format!("{id}/{name}: {done}\n"))),
                        None => Ok(()),
                    });
                    if let Err(e) = told {
                        report(format!("{id}/{name}: {e}"));
                    }
                }
            }
            Err(e) => report(format!("{id}: {e}")),
        }
        progress.done();
    }
    if failed { Err(Error::Reported) } else { Ok(0) }
}
