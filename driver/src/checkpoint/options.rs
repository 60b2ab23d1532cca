//! What is asked of a checkpoint and of a restore: containerd 0.2's words, and beside them those of runtimes.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use holdfast_common::id::CheckpointName;
use holdfast_common::process_state::Restore;

use crate::driver::optional_path;
use crate::error::Result;

use super::store::CheckpointStore;

/// Where a checkpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointPlace {
    /// A directory of its name in one of checkpoints: `checkpoints` in the container's bundle, unless another is given.
    Named {
        /// Its name.
        name: CheckpointName,
        /// The directory of checkpoints.
        dir: Option<PathBuf>,
    },
    /// This very directory. A checkpoint is made in it if it is not there, or empty, or holds another, which then goes.
    Path(PathBuf),
}

impl CheckpointPlace {
    /// Its path, for a container of this bundle.
    pub fn path(&self, bundle: &Path) -> PathBuf {
        match self {
            Self::Named { name, dir: None } => CheckpointStore::of_bundle(bundle).path(name),
            Self::Named {
                name,
                dir: Some(dir),
            } => CheckpointStore::at(dir).path(name),
            Self::Path(path) => path.clone(),
        }
    }
}

/// How to make a checkpoint.
#[derive(Debug, Clone, Default)]
pub struct CheckpointOptions {
    /// The container ends with it (by SIGKILL, on record as any other end); else it goes on.
    pub exit: bool,
    /// Established TCP connections may be in it.
    pub tcp: bool,
    /// Unix sockets whose other end is outside may be in it.
    pub unix_sockets: bool,
    /// The container may be a job of a shell's, on a terminal that is not its own.
    pub shell: bool,
    /// Namespaces that are restored empty: `network`.
    pub empty_ns: Vec<String>,
    /// File locks may be in it.
    pub file_locks: bool,
    /// What becomes of its cgroups when it is restored.
    pub manage_cgroups_mode: Option<CgroupsMode>,
    /// Memory that has not changed since an earlier one is left out there.
    pub auto_dedup: bool,
    /// Memory alone, for a later one to build upon; the container goes on.
    pub pre_dump: bool,
    /// An earlier one that this one builds upon, relative to its own directory.
    pub parent_path: Option<PathBuf>,
    /// A page server of CRIU's that takes the memory: `ADDRESS:PORT`.
    pub page_server: Option<String>,
    /// A directory for what CRIU has to say. Else that is `criu.work` in the checkpoint.
    pub work_path: Option<PathBuf>,
    /// How long it may take. When it is over, the container goes on.
    pub timeout: Option<Duration>,
}

/// How far a checkpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointProgress {
    /// Bytes written.
    pub written: u64,
    /// Since it was begun.
    pub elapsed: Duration,
}

/// Who looks at how far a checkpoint is, and may give it up.
pub(crate) type Watcher<'a> = &'a mut dyn FnMut(CheckpointProgress) -> ControlFlow<()>;

/// How to restore a container, beside what its checkpoint says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Established TCP connections may be in it.
    pub tcp: bool,
    /// Unix sockets whose other end is outside may be in it.
    pub unix_sockets: bool,
    /// The container may have been a job of a shell's.
    pub shell: bool,
    /// Namespaces that are restored empty: `network`.
    pub empty_ns: Vec<String>,
    /// File locks may be in it.
    pub file_locks: bool,
    /// What becomes of its cgroups.
    pub manage_cgroups_mode: Option<CgroupsMode>,
    /// Memory is dropped from the checkpoint once it is restored.
    pub auto_dedup: bool,
    /// An LSM profile, `TYPE:NAME`, in place of the one that it had.
    pub lsm_profile: Option<String>,
    /// An LSM context for its mounts.
    pub lsm_mount_context: Option<String>,
    /// A directory for what CRIU has to say. Else that is `criu.work` in the process directory.
    pub work_path: Option<PathBuf>,
}

impl RestoreOptions {
    /// For process.json.
    pub(crate) fn to_state(&self) -> Result<Restore> {
        Ok(Restore {
            tcp: self.tcp,
            unix_sockets: self.unix_sockets,
            shell: self.shell,
            empty_ns: self.empty_ns.clone(),
            file_locks: self.file_locks,
            manage_cgroups_mode: self.manage_cgroups_mode.map(|mode| mode.to_string()),
            auto_dedup: self.auto_dedup,
            lsm_profile: self.lsm_profile.clone(),
            lsm_mount_context: self.lsm_mount_context.clone(),
            work_path: optional_path(self.work_path.as_deref())?,
        })
    }
}

/// What CRIU does about a container's cgroups (criu(8), `--manage-cgroups`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupsMode {
    /// Settings of those that it makes are restored; the runtime's own default.
    Soft,
    /// All settings are restored.
    Full,
    /// There must be none yet.
    Strict,
    /// Nothing is done about them.
    Ignore,
}

impl CgroupsMode {
    const ALL: [Self; 4] = [Self::Soft, Self::Full, Self::Strict, Self::Ignore];
}

impl fmt::Display for CgroupsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Soft => "soft",
            Self::Full => "full",
            Self::Strict => "strict",
            Self::Ignore => "ignore",
        })
    }
}

/// A word that is no [`CgroupsMode`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no cgroups mode: use soft, full, strict or ignore")]
pub struct UnknownCgroupsMode(String);

impl FromStr for CgroupsMode {
    type Err = UnknownCgroupsMode;

    fn from_str(text: &str) -> std::result::Result<Self, UnknownCgroupsMode> {
        let mut all = Self::ALL.into_iter();
        all.find(|mode| mode.to_string() == text)
            .ok_or_else(|| UnknownCgroupsMode(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_directory_in_the_bundle_or_where_one_says() {
        let bundle = Path::new("/b");
        let name = CheckpointName::new("first").unwrap();
        let named = |dir| CheckpointPlace::Named {
            name: name.clone(),
            dir,
        };
        assert_eq!(named(None).path(bundle), Path::new("/b/checkpoints/first"));
        let dir = Some(PathBuf::from("/c"));
        assert_eq!(named(dir).path(bundle), Path::new("/c/first"));
        let path = CheckpointPlace::Path("/x/y".into());
        assert_eq!(path.path(bundle), Path::new("/x/y"));
    }

    #[test]
    fn cgroups_modes_are_crius_words() {
        for mode in CgroupsMode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("hard".parse::<CgroupsMode>().is_err());
    }
}
