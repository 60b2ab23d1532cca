//! Which OCI runtime the tests run: runc, or another that `HOLDFAST_TEST_RUNTIME` names. `scripts/test --runtimes` runs the
//! common suite (`tests/common-suite`) with each.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{Sandbox, binaries, fake_runtime};

/// The runtime when nobody names one.
pub const RUNC: &str = "runc";

/// The name of the runtime under test: `runc`, `crun` or `youki`.
#[must_use]
pub fn name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let named = std::env::var("HOLDFAST_TEST_RUNTIME").unwrap_or_default();
        match named.as_str() {
            "" => RUNC.to_owned(),
            named => named.to_owned(),
        }
    })
}

/// What to execute for it: a name to find in `$PATH`, or a path.
///
/// # Panics
/// When it is not installed.
#[must_use]
pub fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        assert!(
            binaries::installed(name()).is_some(),
            "{} is missing: scripts/test --runtimes installs it",
            name()
        );
        match mounts() {
            "" => name().to_owned(),
            _ => in_mounts_of_its_own(),
        }
    })
}

/// What the runtime under test says of a command that is not there: a name, or a path.
#[must_use]
pub fn not_found(command: &str) -> String {
    match name() {
        "crun" => format!("executable file `{command}` not found in $PATH"),
        "youki" => format!("executable '{command}' not found in $PATH"),
        _ if command.contains('/') => {
            format!("exec: \"{command}\": stat {command}: no such file or directory")
        }
        _ => format!("exec: \"{command}\": executable file not found in $PATH"),
    }
}

/// What the runtime under test says of a file, or a directory, that cannot be executed.
#[must_use]
pub fn not_executable(path: &str) -> String {
    match name() {
        // Of which file, it does not say.
        "crun" => "open executable: ".to_owned(),
        "youki" => format!("executable '{path}' at path"),
        _ => format!("exec: \"{path}\": permission denied"),
    }
}

/// What must be done to the mounts before the runtime under test runs, as a shell script that root runs; empty for most.
///
/// crun refuses to run where both versions of cgroups are mounted, and takes version 1 where it does not see the other. What it leaves
/// in place of the other goes with the mounts.
#[must_use]
pub fn mounts() -> &'static str {
    match name() == "crun" && Path::new("/sys/fs/cgroup/unified").exists() {
        true => "umount /sys/fs/cgroup/unified && mount -t tmpfs none /sys/fs/cgroup/unified",
        false => "",
    }
}

/// A program that runs the runtime under test in mounts of its own.
fn in_mounts_of_its_own() -> String {
    let dir = binaries::shared_dir().join("runtimes");
    fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("make {}: {e}", dir.display()));
    let (name, mounts) = (name(), mounts());
    let path = dir.join(name);
    let text = format!(
        "#!/bin/sh\nexec unshare -m --propagation slave sh -c '{mounts} && exec {name} \"$@\"' {name} \"$@\"\n"
    );
    if fs::read_to_string(&path).is_ok_and(|there| there == text) {
        return plain(path);
    }
    // Others may come here at once.
    let draft = dir.join(format!("{name}.{}", std::process::id()));
    fake_runtime::install(&draft, &text);
    fs::rename(&draft, &path).unwrap_or_else(|e| panic!("rename to {}: {e}", path.display()));
    plain(path)
}

fn plain(path: PathBuf) -> String {
    path.into_os_string()
        .into_string()
        .expect("the repository has a plain path")
}

impl Sandbox {
    /// The bare runtime under test, over this sandbox's runtime root.
    #[must_use]
    pub fn runtime<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        self.bare(program(), args)
    }

    /// runc itself, over this sandbox's runtime root: for tests of what it says, word by word.
    #[must_use]
    pub fn runc<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        self.bare(RUNC, args)
    }

    fn bare<A: AsRef<OsStr>>(
        &self,
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new(program.into());
        command.arg("--root").arg(self.runtime_root()).args(args);
        command.current_dir(self.path());
        command
    }
}
