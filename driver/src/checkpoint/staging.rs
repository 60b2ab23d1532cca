//! A checkpoint that is being made: a directory beside its place, under a name that no checkpoint has, until it is whole.
//!
//! Its maker holds a lock of the directory itself, and so do the runtime and CRIU. What nobody holds was left by one that was
//! killed: half of a checkpoint, which is swept; or, where CRIU came to its end alone, a whole one, which gets its name.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use holdfast_common::checkpoint::Checkpoint;
use holdfast_common::id::CheckpointName;
use holdfast_common::layout;
use holdfast_common::sys::flock::Lock;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::directory;
use crate::error::{Error, Result};

use super::store::has_images;

/// The directory, ours as long as this lives.
#[derive(Debug)]
pub(crate) struct Staging {
    dir: PathBuf,
    lock: Lock,
}

impl Staging {
    /// Makes an empty one in a directory, and puts in order what others have left there.
    pub fn make(place: &Path) -> Result<Self> {
        settle(place, Care::FinishAndSweep);
        let failed = |source| Error::io("lock", place)(source);
        // Whoever sweeps holds it alone, so that what looks unlocked is nobody's.
        let area = File::open(place).map_err(failed)?;
        area.lock_shared().map_err(failed)?;
        let unfinished = directory::unfinished_in(Path::new(""));
        let random = unfinished.to_string_lossy();
        let random = random.trim_start_matches(layout::UNFINISHED);
        let dir = place.join(format!("{}{random}", layout::CHECKPOINT_STAGING));
        make_dir(&dir)?;
        let lock = File::open(&dir).and_then(Lock::try_take_open);
        match lock {
            Ok(Some(lock)) => Ok(Self { dir, lock }),
            taken => {
                let _ = std::fs::remove_dir(&dir);
                let e = taken.err().unwrap_or(io::ErrorKind::WouldBlock.into());
                Err(Error::io("lock", dir)(e))
            }
        }
    }

    /// Its path, until it has its place.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The descriptor that is the lock, for whoever writes here for us.
    pub fn lock(&self) -> &File {
        self.lock.file()
    }

    /// Gives it its place. What may be there is seen to by `over`.
    pub fn place(&self, to: &Path, over: Over) -> Result<()> {
        match rename(&self.dir, to, RenameFlags::RENAME_NOREPLACE) {
            Err(Errno::EEXIST | Errno::ENOTEMPTY) => (),
            done => return done.map_err(|e| Error::io("make checkpoint", to)(e.into())),
        }
        let exists = || Error::CheckpointExists {
            path: to.to_owned(),
        };
        if over == Over::Nothing {
            return Err(exists());
        }
        // Onto an empty one, a directory can be renamed.
        if std::fs::rename(&self.dir, to).is_ok() {
            return Ok(());
        }
        if !has_images(to) {
            return Err(exists());
        }
        rename(&self.dir, to, RenameFlags::RENAME_EXCHANGE)
            .map_err(|e| Error::io("make checkpoint", to)(e.into()))?;
        // It bears our name now; should that fail, it is swept.
        if let Err(e) = directory::remove(&self.dir) {
            log::warn!("{e}");
        }
        Ok(())
    }

    /// Removes it.
    pub fn discard(self) {
        let Self { dir, lock } = self;
        // It takes a descriptor to remove a directory, and there may be no other.
        drop(lock);
        if let Err(e) = directory::remove(&dir) {
            log::warn!("{e}");
        }
    }
}

/// What may be in a checkpoint's place, and goes when it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Nothing.
    Nothing,
    /// An empty directory, or another checkpoint.
    AnotherOne,
}

/// Gives those their names that are whole and that nobody holds.
pub(crate) fn finish(place: &Path) {
    settle(place, Care::Finish);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    Finish,
    FinishAndSweep,
}

/// Nobody waits for this, and it holds nobody up: what cannot be done now is left to the next.
fn settle(place: &Path, care: Care) {
    let Ok(area) = File::open(place) else { return };
    if area.try_lock().is_err() {
        return;
    }
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let is_one = name
            .to_string_lossy()
            .starts_with(layout::CHECKPOINT_STAGING)
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_one {
            continue;
        }
        let dir = entry.path();
        // Held until it has its place, or is gone.
        let Ok(Some(_lock)) = File::open(&dir).and_then(Lock::try_take_open) else {
            continue;
        };
        if give_name(place, &dir) {
            log::info!("checkpoint {} is finished", dir.display());
        } else if care == Care::FinishAndSweep {
            log::debug!("sweep {}", dir.display());
            if let Err(e) = directory::remove(&dir) {
                log::warn!("{e}");
            }
        }
    }
}

/// Whether it is whole, and its name was free.
fn give_name(place: &Path, dir: &Path) -> bool {
    let work = dir.join(layout::CHECKPOINT_WORK_DIR);
    if !work.join(layout::DUMP_STATS_FILE).is_file() || !has_images(dir) {
        return false;
    }
    let name = Checkpoint::read(dir).map(|checkpoint| CheckpointName::new(checkpoint.name));
    let Ok(Ok(name)) = name else { return false };
    rename(dir, &place.join(name), RenameFlags::RENAME_NOREPLACE).is_ok()
}

fn rename(from: &Path, to: &Path, flags: RenameFlags) -> nix::Result<()> {
    renameat2(AT_FDCWD, from, AT_FDCWD, to, flags)
}

/// Makes a directory for its owner alone.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    let made = DirBuilder::new().mode(0o700).create(dir);
    made.map_err(Error::io("make directory", dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn half_of_one_that_nobody_holds_is_swept_and_a_whole_one_gets_its_name() {
        let place = scratch("checkpoint-staging");
        let left = |name: &str, checkpoint: &str, whole: bool| {
            let dir = place.join(format!("~checkpoint-{name}"));
            let config = format!(r#"{{"created":"","name":"{checkpoint}"}}"#);
            write(&dir.join("config.json"), &config);
            write(&dir.join("inventory.img"), "");
            if whole {
                write(&dir.join("criu.work/stats-dump"), "");
            }
        };
        left("half", "half", false);
        left("whole", "whole", true);
        left("second", "taken", true);
        left("odd", "../odd", true);
        std::fs::create_dir(place.join("taken")).unwrap();
        std::fs::create_dir(place.join("~somebody-elses")).unwrap();
        finish(&place);
        assert_eq!(
            names(&place),
            [
                "taken",
                "whole",
                "~checkpoint-half",
                "~checkpoint-odd",
                "~checkpoint-second",
                "~somebody-elses"
            ]
        );
        let held = Staging::make(&place).unwrap();
        let held_name = held.dir().file_name().unwrap().to_str().unwrap();
        let expected = ["taken", "whole", held_name, "~somebody-elses"];
        assert_eq!(names(&place), expected);
        drop(Staging::make(&place).unwrap());
        assert!(held.dir().exists());
        held.discard();
    }

    #[test]
    fn it_takes_the_place_of_nothing_but_what_it_may() {
        let place = scratch("checkpoint-place");
        let to = place.join("c");
        let staged = || {
            let staging = Staging::make(&place).unwrap();
            write(&staging.dir().join("inventory.img"), "new");
            staging
        };
        staged().place(&to, Over::Nothing).unwrap();
        let staging = staged();
        let error = staging.place(&to, Over::Nothing).unwrap_err();
        assert!(matches!(error, Error::CheckpointExists { .. }), "{error}");
        std::fs::write(to.join("inventory.img"), "old").unwrap();
        staging.place(&to, Over::AnotherOne).unwrap();
        assert_eq!(std::fs::read(to.join("inventory.img")).unwrap(), b"new");
        assert_eq!(names(&place), ["c"]);

        let other = place.join("other");
        std::fs::create_dir(&other).unwrap();
        staged().place(&other, Over::AnotherOne).unwrap();
        let strange = place.join("strange");
        write(&strange.join("file"), "");
        let staging = staged();
        let error = staging.place(&strange, Over::AnotherOne).unwrap_err();
        assert!(matches!(error, Error::CheckpointExists { .. }), "{error}");
        staging.discard();
        assert_eq!(names(&place), ["c", "other", "strange"]);
    }
}
