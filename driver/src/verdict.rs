//! What is found in the state directory: a verdict for every process of every directory. Nothing is deleted or changed by
//! looking, and what cannot be understood hides nothing else.

use std::path::Path;

use holdfast_common::exit_record::ExitRecord;
use holdfast_common::layout;

use crate::container::Container;
use crate::error::{Error, Result};
use crate::process::Process;
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
    /// What is the matter with it.
    pub finding: Finding,
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
    /// Its directory cannot be understood.
    Unreadable(Error),
}

/// The verdicts on everything in one directory of the root.
pub(crate) fn of_entry(entry: Entry) -> Vec<Verdict> {
    let id = entry.id;
    let processes = match entry.container.and_then(|container| container.processes()) {
        Ok(processes) if processes.is_empty() => {
            let reason = "there is no process directory".to_owned();
            vec![(String::new(), Finding::Lost { reason })]
        }
        Ok(processes) => processes
            .into_iter()
            .map(|(name, process)| {
                let finding = process.and_then(|process| find(&process));
                (name, finding.unwrap_or_else(Finding::Unreadable))
            })
            .collect(),
        Err(error) => vec![(String::new(), Finding::Unreadable(error))],
    };
    processes
        .into_iter()
        .map(|(process, finding)| Verdict {
            id: id.clone(),
            process,
            finding,
        })
        .collect()
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
