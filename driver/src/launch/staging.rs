//! The staging directory: everything that a launch needs is made here, out of sight, and the shim gives it its name when it
//! has taken charge. One that nobody holds the lock of was left by a launcher that was killed, and is swept.
//!
//! Between making a staging directory and locking it, its maker holds a shared lock of the directory that it is made in;
//! who sweeps holds an exclusive one while it looks. So what looks unlocked is nobody's.

use std::fs::{DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use holdfast_common::layout;
use holdfast_common::sys::flock::{self, Lock};
use nix::sys::stat::Mode;

use crate::directory;
use crate::error::{Error, Result};

/// A staging directory, ours as long as this lives.
#[derive(Debug)]
pub(crate) struct Staging {
    dir: PathBuf,
    lock: Lock,
}

impl Staging {
    /// Makes an empty staging directory, and sweeps others that were left.
    pub fn make(place: &Path) -> Result<Self> {
        sweep(place);
        let failed = |source| Error::io("lock", place)(source);
        let area = File::open(place).map_err(failed)?;
        area.lock_shared().map_err(failed)?;
        let dir = directory::unfinished_in(place);
        make_dir(&dir)?;
        let path = dir.join(layout::LOCK_FILE);
        match Lock::take(&path) {
            Ok(lock) => Ok(Self { dir, lock }),
            Err(e) => {
                // Empty, unless somebody's sweep was quicker.
                let _ = std::fs::remove_dir(&dir);
                Err(Error::io("lock", &path)(e))
            }
        }
    }

    /// Its path, until the shim renames it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes what a launch that failed has left, if the shim has not.
    pub fn discard(self) {
        let Self { dir, lock } = self;
        // It takes a descriptor to remove a directory, and there may be no other. Who sweeps it now is no quicker than we.
        drop(lock);
        if let Err(e) = directory::remove(&dir) {
            log::warn!("{e}");
        }
    }
}

/// Makes a directory for its owner alone.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    let made = DirBuilder::new().mode(0o700).create(dir);
    made.map_err(Error::io("make directory", dir))
}

/// Makes a FIFO for its owner alone.
pub(crate) fn make_fifo(path: &Path) -> Result<()> {
    nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|e| Error::io("make fifo", path)(e.into()))
}

/// Makes a FIFO of a process's stdio. The runtime gives it to the process's user, and where that is another than ours, and we are
/// not root, only this lets us open it: anybody may who gets there, and the directories that it is in let nobody else by.
pub(crate) fn make_stdio_fifo(path: &Path) -> Result<()> {
    make_fifo(path)?;
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    // mkfifo(3) would leave out what the umask has.
    let opened = std::fs::set_permissions(path, Permissions::from_mode(0o666));
    opened.map_err(Error::io("change the mode of fifo", path))
}

/// Removes staging directories that nobody holds. Nobody waits for this, and it holds nobody up: what cannot be done now
/// is left to the next launch.
fn sweep(place: &Path) {
    let Ok(area) = File::open(place) else { return };
    if area.try_lock().is_err() {
        return;
    }
    let stale: Vec<PathBuf> = unfinished(place)
        .filter(|dir| matches!(flock::is_held(&dir.join(layout::LOCK_FILE)), Ok(false)))
        .collect();
    drop(area);
    for dir in stale {
        log::debug!("sweep {}", dir.display());
        // A shim that is about to give it its name comes too late once it is renamed; if it was first, it is not here.
        if let Err(e) = directory::remove(&dir) {
            log::warn!("{e}");
        }
    }
}

/// The directories that are staging directories, or are being removed.
fn unfinished(place: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with(layout::UNFINISHED)
                && entry.file_type().is_ok_and(|kind| kind.is_dir())
        })
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    #[test]
    fn what_a_killed_launcher_left_is_swept_and_nothing_else() {
        let place = scratch("staging");
        let held = Staging::make(&place).unwrap();
        std::fs::create_dir_all(place.join("~left/init")).unwrap();
        std::fs::write(place.join("~left/lock"), "").unwrap();
        std::fs::create_dir(place.join("~without-lock")).unwrap();
        std::fs::create_dir(place.join("web")).unwrap();
        std::fs::write(place.join("~file"), "").unwrap();
        let second = Staging::make(&place).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(&*place)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        left.sort();
        let mut expected = vec![
            held.dir().to_owned(),
            second.dir().to_owned(),
            place.join("web"),
            place.join("~file"),
        ];
        expected.sort();
        assert_eq!(left, expected);
        held.discard();
        second.discard();
        assert_eq!(std::fs::read_dir(&*place).unwrap().count(), 2);
    }
}
