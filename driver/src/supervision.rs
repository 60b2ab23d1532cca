//! The right to supervise a root: one at a time, held as long as its holder lives, however that ends.

use std::fs::File;

use holdfast_common::layout;
use holdfast_common::sys::flock::{self, Lock};

use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::root;

/// The right to supervise a root; given up when this is dropped.
#[derive(Debug)]
pub struct Supervision(#[expect(dead_code, reason = "held for its lock")] Lock);

impl Driver {
    /// Takes the right to supervise the root, which is made if need be. It binds those alone who ask for it: anybody else may
    /// create, start and delete containers all the same.
    ///
    /// # Errors
    /// [`Error::Supervised`] while another has it; the root cannot be trusted.
    pub fn supervise(&self) -> Result<Supervision> {
        root::make(self.root())?;
        let path = self.root().join(layout::SUPERVISE_LOCK_FILE);
        let taken = Lock::try_take(&path).map_err(Error::io("lock", &path))?;
        taken.map(Supervision).ok_or_else(|| Error::Supervised {
            root: self.root().to_owned(),
            pid: self.supervisor(),
        })
    }

    /// Who supervises the root at this moment, as far as the kernel tells.
    pub fn supervisor(&self) -> Option<i32> {
        // Not by trying the lock: somebody who takes it at this moment would be told that another has it.
        let lock = File::open(self.root().join(layout::SUPERVISE_LOCK_FILE));
        flock::holder(&lock.ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;
    use std::time::{Duration, Instant};

    #[test]
    fn a_root_has_one_supervisor_at_a_time() {
        let dir = scratch("supervision");
        let driver = Driver::builder().root(dir.join("root")).build().unwrap();
        let first = driver.supervise().unwrap();
        let error = driver.supervise().unwrap_err();
        let me = i32::try_from(std::process::id()).ok();
        assert!(
            matches!(error, Error::Supervised { pid, .. } if pid == me),
            "{error}"
        );
        assert_eq!(driver.supervisor(), me);
        drop(first);
        // A child that another test has just forked holds it too, until it executes.
        let deadline = Instant::now() + Duration::from_secs(10);
        while driver.supervise().is_err() {
            assert!(Instant::now() < deadline, "still held");
            std::thread::yield_now();
        }
        // It is no container, and nobody's staging directory.
        assert!(driver.list().unwrap().is_empty());
    }
}
