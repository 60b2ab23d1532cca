//! Taking care of processes whose shim was killed: another shim adopts them (docs/architecture.md, "Adopt"). That a shim is dead
//! is said by its lock alone.

use holdfast_common::id::ProcessId;
use holdfast_common::identity::Identity;
use holdfast_common::ready::{Cause, Report};
use holdfast_common::request::{ADOPT, Adopt, Wire};

use crate::container::Container;
use crate::end::{ShimLock, is_real_dir};
use crate::error::{Error, Result};
use crate::launch::Order;
use crate::process::Process;

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
        self.recover_process(&self.process(id)?)
    }

    /// As [`Container::recover`], of a process that is open.
    pub(crate) fn recover_process(&self, process: &Process) -> Result<Recovery> {
        // A shim of ours was here and did not finish.
        if process.end.shim_lock()? != (ShimLock::Free { done: false }) {
            return Ok(Recovery::Unneeded);
        }
        let (id, dir) = (process.id(), process.dir());
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
            process_dir: dir,
            timeout: self.driver().start_timeout(),
            inherit: &[],
            preserve_fds: 0,
        };
        match order.carry_out()? {
            Report::Ready { pid, start_time } => {
                Ok(Recovery::Adopted(Identity { pid, start_time }))
            }
            Report::Ended {} if is_real_dir(dir)? => Ok(Recovery::Finished),
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
