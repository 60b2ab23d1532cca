//! Where programs are. The binaries under test are the ones that `scripts/build` made, because the shim as it is
//! shipped is static and has its own profile, which `cargo test` alone would not build.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The driver, `holdfast`.
#[must_use]
pub fn holdfast() -> PathBuf {
    built("holdfast")
}

/// The shim, `holdfast-shim`, or another build of it, which `HOLDFAST_TEST_SHIM` names: `scripts/check-memory` has one with a
/// sanitizer.
#[must_use]
pub fn shim() -> PathBuf {
    match std::env::var_os("HOLDFAST_TEST_SHIM") {
        Some(path) => path.into(),
        None => built("holdfast-shim"),
    }
}

/// Whether the shim is linked with glibc, as where there is no Rust for musl.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn shim_has_glibc() -> bool {
    static HAS_GLIBC: OnceLock<bool> = OnceLock::new();
    *HAS_GLIBC.get_or_init(|| {
        let executable = std::fs::read(shim()).expect("read the shim's executable");
        let banner = b"GNU C Library";
        executable
            .windows(banner.len())
            .any(|bytes| bytes == banner)
    })
}

/// The directory in `target/` that scripts and tests share.
#[must_use]
pub fn shared_dir() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir
        .parent()
        .expect("the tests' crate is in the workspace")
        .join("target/holdfast")
}

/// A program of the machine's, wherever `PATH` says it is.
#[must_use]
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|dir| dir.join(name));
    candidates.find(|file| file.exists())
}

fn built(name: &str) -> PathBuf {
    let path = shared_dir().join("bin").join(name);
    assert!(
        path.exists(),
        "{} is missing: run scripts/build first",
        path.display()
    );
    path
}
