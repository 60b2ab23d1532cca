//! Removing directories, so that they vanish at once.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_common::layout;

use crate::error::{Error, Result};

/// How long a shim may take to finish what is left to do when its process has ended: it runs `runtime kill` and
/// `runtime delete`, and bounds both itself, by less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// A name beside others that no id can have, and that nobody else makes.
pub(crate) fn unfinished_in(dir: &Path) -> PathBuf {
    // std seeds it from the system's random source, anew each time.
    let random = RandomState::new().build_hasher().finish();
    dir.join(format!("{}{random:016x}", layout::UNFINISHED))
}

/// Removes a directory: first its name, so that nobody sees half of it. Another who removes it at the same time is not
/// in the way.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    let aside = unfinished_in(dir.parent().unwrap_or(dir));
    match std::fs::rename(dir, &aside) {
        Ok(()) => (),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("remove", dir)(e)),
    }
    match std::fs::remove_dir_all(&aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", aside)(e)),
        _ => Ok(()),
    }
}
