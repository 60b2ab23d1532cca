//! A command for a process's end: what it needs is checked before anything is made. It is the shim that runs it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use holdfast_common::exit_command as common;
use holdfast_common::sys::errno_text;

use crate::end::ShimLock;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::{runtime, text};

/// A program that the shim runs when a process has ended and everything else is done: its end is on record and told, its output kept,
/// and the runtime has deleted it. It gets the variables of [`variables`](common::VARIABLES) beside its shim's environment, and /dev/null for its
/// streams; nobody waits for it. A restarted container runs it at each of its ends.
///
/// It is run at least once: a shim that is killed before leaves it to the shim that [recovers](crate::Container::recover) the process. If that
/// shim was killed right after, it is run again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExitCommand {
    /// A path, or a name to find in the creator's `$PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// How long after the end it is run, in seconds. Meanwhile the process can be deleted, and its container restarted.
    pub delay: u32,
}

impl ExitCommand {
    /// What goes on record, if it can be run as things are.
    pub(crate) fn record(&self) -> Result<common::ExitCommand> {
        let bad = |cause: String| Error::BadExitCommand {
            program: self.program.clone(),
            cause,
        };
        if self.args.iter().any(|arg| arg.contains('\0')) {
            return Err(bad("an argument has a zero byte in it".to_owned()));
        }
        let Some(found) = runtime::find(&self.program) else {
            return Err(bad(match std::fs::metadata(&self.program) {
                _ if !is_path(&self.program) => "not found in $PATH".to_owned(),
                Ok(meta) if meta.is_dir() => "is a directory".to_owned(),
                Ok(_) => "is not executable".to_owned(),
                Err(e) => errno_text(&e),
            }));
        };
        Ok(common::ExitCommand {
            program: text::absolute_utf8(&found)?,
            args: self.args.clone(),
            delay: self.delay,
        })
    }
}

fn is_path(program: &Path) -> bool {
    program.as_os_str().as_encoded_bytes().contains(&b'/')
}

/// What of a launch's options goes on record.
pub(crate) fn record(command: Option<&ExitCommand>) -> Result<Option<common::ExitCommand>> {
    command.map(ExitCommand::record).transpose()
}

impl Process {
    /// What its shim runs at its end.
    pub fn exit_command(&self) -> Option<ExitCommand> {
        let command = self
            .process_state()
            .holdfast
            .as_ref()?
            .exit_command
            .as_ref()?;
        Some(ExitCommand {
            program: PathBuf::from(&command.program),
            args: command.args.clone(),
            delay: command.delay,
        })
    }

    /// A pidfd of its shim, while that has nothing left to do but to wait until the exit command's delay is over. Everybody else goes on as if
    /// it were gone; who sees it end before its time has the process [recovered](crate::Container::recover).
    ///
    /// # Errors
    /// The system's; `shim.json` cannot be understood.
    pub fn waiting_to_run_exit_command(&self) -> Result<Option<OwnedFd>> {
        if self.end.shim_lock()? != (ShimLock::Held { left: true }) {
            return Ok(None);
        }
        let failed = |e| Error::io("look at the shim of", self.dir())(e);
        match self.shim()? {
            Some(shim) => shim.identity().open().map_err(failed),
            None => Ok(None),
        }
    }
}
