//! What is looked at before a container is restored, so that what cannot work is refused before anything is made; and restoring one
//! that has ended, in its own place.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use holdfast_common::checkpoint::{Checkpoint, StreamFile};
use holdfast_common::layout;
use holdfast_common::process_state::ProcessState;
use holdfast_common::restart::Restarts;
use nix::libc::{S_IFIFO, S_IFMT, S_IFREG};

use crate::container::Container;
use crate::directory::PATIENCE;
use crate::driver::optional_path;
use crate::error::{Error, Result};
use crate::options::CreateOptions;
use crate::process::Process;
use crate::state::Status;
use crate::stdio::Plan;

use super::options::RestoreOptions;
use super::store;

/// A checkpoint that can be restored, as far as one can see.
#[derive(Debug)]
pub(crate) struct Restorable {
    /// Its absolute path.
    pub path: String,
    checkpoint: Option<Checkpoint>,
}

impl Restorable {
    /// Looks at one.
    ///
    /// # Errors
    /// [`Error::CheckpointNotFound`], [`Error::NotACheckpoint`]; its `config.json` cannot be understood.
    pub fn read(path: &Path) -> Result<Self> {
        store::check(path)?;
        let not_one = |why| Error::NotACheckpoint {
            path: path.to_owned(),
            why,
        };
        if !store::has_images(path) {
            return Err(not_one("its images are missing"));
        }
        let checkpoint = match Checkpoint::read(path) {
            // The runtime's own.
            Err(e) if e.is_absent() => None,
            read => Some(read?),
        };
        let ours = checkpoint.as_ref().and_then(|made| made.holdfast.as_ref());
        if ours.is_some_and(|ours| ours.pre_dump) {
            return Err(not_one("memory alone, for another to build upon"));
        }
        Ok(Self {
            path: optional_path(Some(path))?.unwrap_or_default(),
            checkpoint,
        })
    }

    /// Makes sure that nothing is asked for that no restored container can be given.
    ///
    /// # Errors
    /// [`Error::CannotRestore`].
    pub fn check_options(&self, options: &CreateOptions) -> Result<()> {
        if options.preserve_fds > 0 {
            return Err(
                self.refused("it has descriptors of its own, and gets no others".to_owned())
            );
        }
        if options.no_new_keyring {
            return Err(self.refused("the runtime makes it no keyring, new or not".to_owned()));
        }
        Ok(())
    }

    fn refused(&self, what: String) -> Error {
        Error::CannotRestore {
            path: self.path.clone().into(),
            what,
        }
    }

    /// Says in process.json that the process comes from it, and how.
    ///
    /// # Errors
    /// [`Error::CannotRestore`]: it does not fit.
    pub fn tell(
        &self,
        state: &mut ProcessState,
        plan: &Plan,
        options: &RestoreOptions,
    ) -> Result<()> {
        self.check(state, plan)?;
        state.checkpoint.clone_from(&self.path);
        if let Some(ours) = &mut state.holdfast {
            ours.restore = Some(options.to_state()?);
            // It has those that it had.
            ours.listen_fds = Default::default();
            ours.preserve_fds = 0;
        }
        Ok(())
    }

    fn check(&self, state: &ProcessState, plan: &Plan) -> Result<()> {
        let Some(made) = self
            .checkpoint
            .as_ref()
            .and_then(|made| made.holdfast.as_ref())
        else {
            return Ok(());
        };
        if made.terminal != state.terminal {
            let (was, is) = if made.terminal {
                ("a", "none")
            } else {
                ("no", "one")
            };
            return Err(self.refused(format!("it had {was} terminal, the bundle has {is}")));
        }
        for file in &made.streams {
            let Some(mode) = mode_of(file, state, plan)? else {
                continue;
            };
            if mode != file.mode {
                let name = file.stream.name();
                let (was, is) = (describe(file.mode), describe(mode));
                return Err(self.refused(format!("its {name} was {was}, and cannot become {is}")));
            }
        }
        Ok(())
    }
}

/// Type and permissions of what is to take a stream's place; `None` where only CRIU will see.
fn mode_of(file: &StreamFile, state: &ProcessState, plan: &Plan) -> Result<Option<u32>> {
    if state.inherits(file.stream) {
        return Ok(None);
    }
    if plan.fifos.contains(&file.stream) || state.moved(file.stream).is_some() {
        return Ok(Some(S_IFIFO | 0o600));
    }
    let path = Path::new(state.stdio(file.stream));
    let meta = std::fs::metadata(path).map_err(Error::io("look at", path))?;
    Ok(Some(meta.mode()))
}

fn describe(mode: u32) -> String {
    match mode & S_IFMT {
        S_IFIFO => format!("a fifo of mode {:04o}", mode & 0o7777),
        S_IFREG => format!("a file of mode {:04o}", mode & 0o7777),
        _ => "something else".to_owned(),
    }
}

impl Container {
    /// Restores it where it is, from a checkpoint, once it has ended and its shim is gone: under the same id, with the same streams,
    /// labels and runtime. It runs when this returns, and counts as restarted once more.
    ///
    /// # Errors
    /// [`Error::NotStopped`]; [`Error::CannotRestore`], [`Error::NotACheckpoint`] and the like; [`Error::ShimBusy`]; the runtime's own
    /// message, with CRIU's, and nothing has changed.
    pub fn restore(&self, checkpoint: &Path, options: &RestoreOptions) -> Result<Process> {
        let checkpoint = Restorable::read(checkpoint)?;
        let _lock = self.try_lock()?;
        let last = self.init()?;
        if last.exit_record()?.is_none() {
            return Err(Error::NotStopped {
                id: self.id().clone(),
                status: Status::Running,
            });
        }
        last.wait_gone(Some(PATIENCE))?;
        let process = self.relaunch(
            &last,
            Restarts {
                count: last.restarts().count.saturating_add(1),
                in_a_row: 0,
            },
            Some((&checkpoint, options)),
        )?;
        // Nobody means it to be stopped any more.
        let _ = std::fs::remove_file(self.dir().join(layout::STOPPED_FILE));
        Ok(process)
    }
}
