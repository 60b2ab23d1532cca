//! What was found in the state directory.

use holdfast_common::exit_record::ExitRecord;

use crate::container::Container;
use crate::error::{Error, Result};

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
pub enum Finding {
    /// The shim lives, there is no process yet.
    Launching,
    /// The process exists and waits for `start`.
    Created,
    /// It runs, and its shim lives.
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
