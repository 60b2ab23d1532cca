//! What is found in the state directory: a verdict for every process of every directory, and what was done about it if
//! that was asked for. Nothing is deleted or changed by looking, and what cannot be understood hides nothing else.

use std::fmt;
use std::path::Path;

use holdfast_common::exit_record::{ExitRecord, ExitStatus};
use holdfast_common::layout;

use crate::container::Container;
use crate::error::{Error, Result};
use crate::monitor::Monitor;
use crate::process::Process;
use crate::recover::Recovery;
use crate::state;

/// One directory of the root.
#[derive(Debug)]
pub struct Entry {
    /// The directory's name.
    pub id: String,
    /// The container in it, or why there is none to be had.
    pub container: Result<Container>,
}

/// What was found out about one process.
#[derive(Debug)]
pub struct Verdict {
    /// The container directory's name.
    pub id: String,
    /// The process directory's name; empty when the container itself is unreadable.
    pub process: String,
    /// What is the matter with it; after what was done about it, if that was asked for.
    pub finding: Finding,
    /// What was done about it; nothing in a survey.
    pub recovery: Result<Recovery>,
    /// It has a terminal that was lost with its shim: the kernel hung it up, and nobody can bring it back.
    pub terminal_lost: bool,
}

/// What is to be done about what is found.
pub(crate) enum Care<'a> {
    /// Nothing.
    Look,
    /// What lost its shim is adopted.
    Adopt,
    /// And whatever a shim holds then is watched.
    Watch(&'a mut Monitor),
}

/// What is the matter with a process.
#[derive(Debug)]
#[non_exhaustive]
pub enum Finding {
    /// The shim lives, there is no process yet.
    Launching,
    /// The process exists and waits for `start`.
    Created,
    /// It runs (or is frozen), and its shim lives.
    Running,
    /// It has ended, and how is on record.
    Exited(ExitRecord),
    /// It runs, its shim does not: nobody will learn how it ends.
    Orphaned,
    /// It is gone, so is its shim, and nothing is on record.
    Lost {
        /// Why, for people.
        reason: String,
    },
    /// Its directory cannot be understood; or it cannot be watched, which was asked for.
    Unreadable(Error),
}

impl Finding {
    /// Whether a shim holds it, so that its end will be told.
    fn is_held(&self) -> bool {
        matches!(
            self,
            Finding::Launching | Finding::Created | Finding::Running
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Launching => f.write_str("being created"),
            Finding::Created => f.write_str("created"),
            Finding::Running => f.write_str("running"),
            Finding::Exited(record) => match &record.status {
                ExitStatus::Code(code) => write!(f, "exited with {code}"),
                ExitStatus::Signal { signal, .. } => write!(f, "ended by signal {signal}"),
                ExitStatus::Unknown { reason } => write!(f, "ended, status unknown: {reason}"),
            },
            Finding::Orphaned => f.write_str("running without a shim"),
            Finding::Lost { reason } => write!(f, "lost: {reason}"),
            Finding::Unreadable(error) => write!(f, "unreadable: {error}"),
        }
    }
}

/// One line: who, what, what was done, and what was lost.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, process, .. } = self;
        match process.as_str() {
            "" => write!(f, "{id}: {}", self.finding)?,
            process => write!(f, "{id}/{process}: {}", self.finding)?,
        }
        match &self.recovery {
            Ok(Recovery::Unneeded) => (),
            Ok(Recovery::Adopted(_)) => f.write_str(", adopted")?,
            Ok(Recovery::Finished) => f.write_str(", finished")?,
            Ok(Recovery::Removed) => f.write_str(", removed")?,
            Err(error) => write!(f, ", not adopted: {error}")?,
        }
        if self.terminal_lost {
            f.write_str("; its terminal was lost with its shim")?;
        }
        Ok(())
    }
}

impl Care<'_> {
    /// The verdicts on everything in one directory of the root.
    pub fn of_entry(&mut self, entry: Entry) -> Vec<Verdict> {
        let id = entry.id;
        let nothing = |finding| Verdict {
            id: id.clone(),
            process: String::new(),
            finding,
            recovery: Ok(Recovery::Unneeded),
            terminal_lost: false,
        };
        let container = match entry.container {
            Ok(container) => container,
            Err(error) => return vec![nothing(Finding::Unreadable(error))],
        };
        match container.processes() {
            Ok(processes) if processes.is_empty() => {
                let reason = "there is no process directory".to_owned();
                vec![nothing(Finding::Lost { reason })]
            }
            Ok(processes) => processes
                .into_iter()
                .map(|(name, process)| Verdict {
                    process: name,
                    ..match process {
                        Ok(process) => self.of_process(&container, process),
                        Err(error) => nothing(Finding::Unreadable(error)),
                    }
                })
                .collect(),
            Err(error) => vec![nothing(Finding::Unreadable(error))],
        }
    }

    fn of_process(&mut self, container: &Container, process: Process) -> Verdict {
        let recovery = match self {
            Care::Look => Ok(Recovery::Unneeded),
            // The process is open: even if its directory is gone by now, this knows how it ended.
            Care::Adopt | Care::Watch(_) => container.recover_process(&process),
        };
        let finding = find(&process).unwrap_or_else(Finding::Unreadable);
        let without_shim =
            matches!(finding, Finding::Orphaned) || matches!(recovery, Ok(Recovery::Adopted(_)));
        let mut verdict = Verdict {
            id: container.id().to_string(),
            process: process.id().to_string(),
            terminal_lost: without_shim && process.terminal(),
            finding,
            recovery,
        };
        let runs = matches!(verdict.finding, Finding::Running);
        if runs && !process.is_exec() && !matches!(self, Care::Look) {
            container.record_live(&process);
        }
        if let Care::Watch(monitor) = self
            && verdict.finding.is_held()
            && let Err(error) = monitor.take(process)
        {
            verdict.finding = Finding::Unreadable(error);
        }
        verdict
    }
}

fn find(process: &Process) -> Result<Finding> {
    if let Some(record) = process.exit_record()? {
        return Ok(Finding::Exited(record));
    }
    let shim_lives = process.shim_lives()?;
    let alive = process.alive()?;
    let finding = match (shim_lives, alive) {
        (true, None) if process.identity()?.is_none() => Finding::Launching,
        // It has ended this moment, and its shim is about to say how.
        (true, None) => Finding::Running,
        (true, Some(identity)) => {
            let waits = !process.is_exec() && state::runs_runtime(process, identity)? == Some(true);
            if waits {
                Finding::Created
            } else {
                Finding::Running
            }
        }
        (false, Some(_)) => Finding::Orphaned,
        (false, None) => match process.exit_record()? {
            // It was recorded between the two looks.
            Some(record) => Finding::Exited(record),
            None => Finding::Lost {
                reason: lost(process)?,
            },
        },
    };
    Ok(finding)
}

fn lost(process: &Process) -> Result<String> {
    Ok(if process.identity()?.is_some() {
        "its shim was gone before it ended".to_owned()
    } else {
        "its shim was gone before it came to be".to_owned()
    })
}

/// The names of the directories in one that may be somebody's: links, files and what is unfinished are not.
pub(crate) fn directories(dir: &Path) -> Result<Vec<String>> {
    let failed = |source| Error::io("read directory", dir)(source);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // What is removed at this moment is none.
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir && !name.starts_with(layout::UNFINISHED) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
