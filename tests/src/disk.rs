//! A small disk, and one that is full.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Mounts a disk in memory, with options of tmpfs(5): `size=256k`.
///
/// # Panics
/// When it cannot be.
pub fn mount(dir: &Path, options: &str) {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", options, "small"]).arg(dir);
    let status = mount.status().expect("run mount");
    assert!(status.success(), "mount {}: {status}", dir.display());
}

/// Writes until the disk is full, into a file that can be removed.
///
/// # Panics
/// When the file cannot be opened.
pub fn fill(file: &Path) {
    let mut filling = OpenOptions::new();
    let opened = filling.append(true).create(true).open(file);
    let mut filling = opened.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    for piece in [4096, 1] {
        while filling.write_all(&vec![b'x'; piece]).is_ok() {}
    }
}
