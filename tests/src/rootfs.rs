//! The root file system that all bundles share: one static busybox under all its names. Made once, next to the
//! binaries, and mounted read-only, so that a container costs a test no copying.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::binaries::{installed, shared_dir};

/// Counted up when [`fill`] changes, so that a tree made by an older harness is not taken for ours.
const GENERATION: u32 = 2;

/// Where a directory of the host appears in a container, with [`crate::Bundle::bind`].
pub const HOST: &str = "/host";

/// The shared root file system, made by whoever asks first.
///
/// # Panics
/// When there is no static busybox on the machine, or the tree cannot be made.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let busybox = installed("busybox").expect("busybox is missing: scripts/test installs it");
        let meta = fs::metadata(&busybox).expect("stat busybox");
        let name = format!("rootfs-{GENERATION}-{}-{}", meta.size(), meta.mtime());
        let path = shared_dir().join(name);
        if !path.exists() {
            make(&path, &busybox);
        }
        path
    })
}

/// Several test processes may come here at once: each makes its own tree, and the first rename wins.
fn make(path: &Path, busybox: &Path) {
    let parent = shared_dir();
    fs::create_dir_all(&parent).expect("make target/holdfast");
    let made = tempfile::tempdir_in(&parent).expect("make a directory for the rootfs");
    fill(made.path(), busybox);
    // Others than root look into it too, from inside the containers.
    fs::set_permissions(made.path(), Permissions::from_mode(0o755)).expect("open the rootfs up");
    match fs::rename(made.path(), path) {
        Ok(()) => drop(made.keep()),
        Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => {}
        Err(e) => panic!("rename to {}: {e}", path.display()),
    }
}

fn fill(dir: &Path, busybox: &Path) {
    for name in [
        "bin",
        "dev",
        "etc",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        &HOST[1..],
    ] {
        fs::create_dir(dir.join(name)).expect("make a directory of the rootfs");
    }
    let users = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n";
    fs::write(dir.join("etc/passwd"), users).expect("write passwd");
    fs::write(dir.join("etc/group"), "root:x:0:\nuser:x:1000:\n").expect("write group");
    fs::copy(busybox, dir.join("bin/busybox")).expect("copy busybox");
    let list = Command::new(busybox)
        .arg("--list")
        .output()
        .expect("ask busybox for its names");
    let names = String::from_utf8(list.stdout).expect("busybox speaks ASCII");
    for name in names.lines().filter(|name| *name != "busybox") {
        symlink("busybox", dir.join("bin").join(name)).expect("link a name to busybox");
    }
}
