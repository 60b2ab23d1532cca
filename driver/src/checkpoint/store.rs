//! Directories of checkpoints: what is in them, and taking one away. What is there under a name is whole; one that is being made has
//! none yet ([`super::staging`]).

use std::io;
use std::path::{Path, PathBuf};

use holdfast_common::checkpoint::Checkpoint;
use holdfast_common::id::CheckpointName;
use holdfast_common::layout;

use crate::directory;
use crate::end::is_real_dir;
use crate::error::{Error, Result};

use super::staging;

/// A directory of checkpoints. Whether their containers still exist does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointStore {
    dir: PathBuf,
}

impl CheckpointStore {
    /// A bundle's own: `checkpoints` in it.
    pub fn of_bundle(bundle: &Path) -> Self {
        Self::at(bundle.join(layout::CHECKPOINTS_DIR))
    }

    /// Any other.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a checkpoint of this name is, or would be.
    pub fn path(&self, name: &CheckpointName) -> PathBuf {
        self.dir.join(name)
    }

    /// All of them, by name; what cannot be understood, as its error. A directory that is no checkpoint is none. An absent store
    /// has none.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<(String, Result<Checkpoint>)>> {
        staging::finish(&self.dir);
        let failed = |source| Error::io("read", &self.dir)(source);
        let entries = match std::fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let is_one = CheckpointName::new(&*name).is_ok()
                && entry.file_type().is_ok_and(|kind| kind.is_dir())
                && looks_like_one(&entry.path());
            if is_one {
                found.push((name, Checkpoint::read(&entry.path()).map_err(Error::from)));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// Takes one away, also one that cannot be understood, but nothing that is no checkpoint.
    ///
    /// # Errors
    /// [`Error::CheckpointNotFound`]; [`Error::NotACheckpoint`]; the system's.
    pub fn delete(&self, name: &CheckpointName) -> Result<()> {
        let path = self.path(name);
        check(&path)?;
        directory::remove(&path)
    }
}

/// Makes sure that a directory is there and is a checkpoint.
pub(crate) fn check(path: &Path) -> Result<()> {
    if std::fs::symlink_metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return Err(Error::CheckpointNotFound {
            path: path.to_owned(),
        });
    }
    if is_real_dir(path)? && looks_like_one(path) {
        return Ok(());
    }
    Err(Error::NotACheckpoint {
        path: path.to_owned(),
        why: "not a directory with images of CRIU's",
    })
}

/// Whether a directory has what each checkpoint has: CRIU's images, or at least the file that containerd 0.2 begins with, which
/// bears the name of a bundle's and says something else.
fn looks_like_one(dir: &Path) -> bool {
    has_images(dir) || Checkpoint::read(dir).is_ok()
}

/// Whether CRIU's images are in a directory.
pub(crate) fn has_images(dir: &Path) -> bool {
    dir.join(layout::CHECKPOINT_IMAGE).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    const CONFIG: &str = r#"{"created":"2026-01-02T03:04:05Z","name":"x"}"#;

    #[test]
    fn what_is_no_checkpoint_is_neither_listed_nor_taken_away() {
        let dir = scratch("checkpoint-store");
        let store = CheckpointStore::at(&*dir);
        let make = |name: &str, files: &[(&str, &str)]| {
            std::fs::create_dir(dir.join(name)).unwrap();
            for (file, text) in files {
                std::fs::write(dir.join(name).join(file), text).unwrap();
            }
        };
        make("good", &[("config.json", CONFIG), ("inventory.img", "")]);
        make("half", &[("config.json", CONFIG)]);
        make("torn", &[("config.json", "{"), ("inventory.img", "")]);
        make("runcs", &[("inventory.img", "")]);
        make("bundle", &[("config.json", r#"{"ociVersion":"1.0.2"}"#)]);
        make("empty", &[]);
        make("~checkpoint-0", &[("config.json", CONFIG)]);
        std::fs::write(dir.join("file"), "").unwrap();
        std::os::unix::fs::symlink("good", dir.join("link")).unwrap();

        let listed: Vec<_> = store.list().unwrap();
        let seen: Vec<_> = listed
            .iter()
            .map(|(name, checkpoint)| (&**name, checkpoint.is_ok()))
            .collect();
        assert_eq!(
            seen,
            [
                ("good", true),
                ("half", true),
                ("runcs", false),
                ("torn", false)
            ]
        );
        let delete = |name: &str| store.delete(&CheckpointName::new(name).unwrap());
        for name in ["bundle", "empty", "file", "link"] {
            let error = delete(name).unwrap_err();
            assert!(matches!(error, Error::NotACheckpoint { .. }), "{error}");
            assert!(dir.join(name).exists());
        }
        assert!(matches!(
            delete("gone"),
            Err(Error::CheckpointNotFound { .. })
        ));
        for name in ["good", "half", "runcs", "torn"] {
            delete(name).unwrap();
            assert!(!dir.join(name).exists());
        }
        let absent = CheckpointStore::at(dir.join("absent"));
        assert!(absent.list().unwrap().is_empty() && !absent.dir().exists());
    }
}
