//! Taking care of processes whose shim was killed: another shim adopts them (docs/architecture.md, "Adopt"). That a shim is dead
//! is said by its lock alone.

use std::io;

use holdfast_common::id::ProcessId;
use holdfast_common::identity::Identity;
use holdfast_common::layout;
use holdfast_common::ready::{Cause, Report};
use holdfast_common::request::{ADOPT, Adopt, Wire};

use crate::container::Container;
use crate::end::is_real_dir;
use crate::error::{Error, Result};
use crate::launch::Order;

/// What was done about a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing: its shim lives, or had finished its work, or is not one of ours.
    Unneeded,
    /// It runs, and a new shim holds it.
    Adopted(Identity),
    /// It had ended; what its shim had left to do is done, and how it ended is on record.
    Finished,
    /// It had never come to be: what its cut-off launch had left is gone.
    Removed,
}

impl Container {
    /// Has a process of this container adopted, if its shim was killed.
    ///
    /// # Errors
    /// [`Error::AdoptedElsewhere`] when somebody else was first; the shim's own words.
    pub fn recover(&self, id: &ProcessId) -> Result<Recovery> {
        let dir = self.dir().join(id);
        let process = self.process(id)?;
        if process.end.lock_is_held()? || !is_unfinished(&dir.join(layout::SHIM_LOCK_FILE))? {
            return Ok(Recovery::Unneeded);
        }
        let state = self.container_state();
        let wire = Wire {
            id: self.id().as_str().into(),
            bundle: self.bundle().to_owned(),
            runtime: state.runtime.clone().into(),
        };
        let words = |ready| {
            let words = Adopt {
                ready,
                isolation: self.driver().isolation().clone(),
            };
            let words = words.encode();
            [ADOPT.into()].into_iter().chain(words).collect()
        };
        let order = Order {
            shim: &self.driver().shim()?,
            wire: &wire,
            words: &words,
            process_dir: &dir,
            timeout: self.driver().start_timeout(),
            inherit: &[],
            preserve_fds: 0,
        };
        match order.carry_out()? {
            Report::Ready { pid, start_time } => {
                Ok(Recovery::Adopted(Identity { pid, start_time }))
            }
            Report::Ended {} if is_real_dir(&dir)? => Ok(Recovery::Finished),
            Report::Ended {} => Ok(Recovery::Removed),
            Report::Failed {
                cause: Cause::Exists,
                ..
            } => Err(Error::AdoptedElsewhere {
                id: self.id().clone(),
                process: id.clone(),
            }),
            Report::Failed { message, .. } => Err(Error::Shim { message }),
        }
    }
}

/// Whether a shim of ours was here and did not finish: there is a lock file, and no `done` in it.
fn is_unfinished(lock: &std::path::Path) -> Result<bool> {
    match std::fs::read(lock) {
        Ok(content) => Ok(!content.starts_with(layout::DONE)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("read", lock)(e)),
    }
}
