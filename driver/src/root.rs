//! The state directory itself: whether it can be trusted, and making it. Whoever can write to it can have any
//! process signalled and any program started, so only its owner may.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use crate::error::{Error, Result};

/// Whether there is a root; one that must not be trusted is an error.
pub(crate) fn check(root: &Path) -> Result<bool> {
    let meta = match std::fs::metadata(root) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(Error::io("open state directory", root)(source)),
    };
    let refuse = |problem: String| {
        Err(Error::RootUnsafe {
            path: root.to_owned(),
            problem,
        })
    };
    let me = nix::unistd::geteuid().as_raw();
    if !meta.is_dir() {
        return refuse("is not a directory".to_owned());
    }
    if meta.uid() != me {
        return refuse(format!(
            "belongs to uid {}, not to {me}: use another root",
            meta.uid()
        ));
    }
    if meta.mode() & 0o022 != 0 {
        return refuse(format!(
            "can be written to by others (mode {:04o}): chmod 700 it, or use another root",
            meta.mode() & 0o7777
        ));
    }
    Ok(true)
}

/// Makes the root, and what leads there, for its owner alone.
pub(crate) fn make(root: &Path) -> Result<()> {
    if check(root)? {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)
        .map_err(Error::io("make state directory", root))?;
    check(root).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_root_is_made_for_its_owner_alone_parents_too() {
        let dir = scratch("root-made");
        let root = dir.join("a/b");
        assert!(!check(&root).unwrap());
        make(&root).unwrap();
        for path in [&root, &dir.join("a")] {
            assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o777, 0o700);
        }
        make(&root).unwrap();
    }

    #[test]
    fn a_root_that_others_can_write_to_is_refused() {
        let dir = scratch("root-unsafe");
        for mode in [0o770, 0o707, 0o1777] {
            std::fs::set_permissions(&*dir, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = make(&dir).unwrap_err();
            assert!(matches!(error, Error::RootUnsafe { .. }), "{error}");
            assert!(error.to_string().contains("chmod 700"), "{error}");
        }
        std::fs::set_permissions(&*dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        make(&dir).unwrap();
    }

    #[test]
    fn a_file_is_no_root() {
        let dir = scratch("root-file");
        std::fs::write(dir.join("root"), "").unwrap();
        assert!(matches!(
            check(&dir.join("root")),
            Err(Error::RootUnsafe { .. })
        ));
        assert!(check(&dir.join("root/below")).is_err());
    }
}
