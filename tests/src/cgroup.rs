//! Cgroups as tests see them beside us, in either version: cgroups(7). What differs between the two is told apart here.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Proc, Sandbox};

/// Where they are mounted.
const TOP: &str = "/sys/fs/cgroup";

/// Whether all of them are of version 2.
#[must_use]
pub fn is_unified() -> bool {
    Path::new(TOP).join("cgroup.controllers").exists()
}

impl Sandbox {
    /// The directory of the cgroup that a container's own process is in: in the hierarchy of a controller of version 1, or in the
    /// only one that there is.
    ///
    /// # Panics
    /// When the container does not run, or has no such cgroup.
    #[track_caller]
    #[must_use]
    pub fn cgroup(&self, id: &str, controller: &str) -> PathBuf {
        let path = self.cgroup_path(id, controller);
        let hierarchy = if is_unified() { "" } else { controller };
        Path::new(TOP)
            .join(hierarchy)
            .join(path.trim_start_matches('/'))
    }

    /// The cgroup's path below the top of its hierarchy, as the kernel writes it and `cgroupsPath` takes it.
    ///
    /// # Panics
    /// As [`Sandbox::cgroup`].
    #[track_caller]
    #[must_use]
    pub fn cgroup_path(&self, id: &str, controller: &str) -> String {
        let init = Proc::from_file(&self.process_dir(id, "init").join("pid")).unwrap();
        let memberships = fs::read_to_string(format!("/proc/{}/cgroup", init.pid())).unwrap();
        let wanted = if is_unified() { "" } else { controller };
        let mut lines = memberships.lines().map(|line| line.splitn(3, ':'));
        let path = lines.find_map(|mut fields| {
            let controllers = fields.nth(1)?;
            let path = fields.next()?;
            controllers
                .split(',')
                .any(|one| one == wanted)
                .then_some(path)
        });
        let path = path.unwrap_or_else(|| panic!("no {controller} in {memberships}"));
        path.to_owned()
    }

    /// The file that freezes a container's processes, and what it takes for that, and for the opposite.
    #[track_caller]
    #[must_use]
    pub fn freezer(&self, id: &str) -> (PathBuf, [&'static str; 2]) {
        let dir = self.cgroup(id, "freezer");
        match is_unified() {
            true => (dir.join("cgroup.freeze"), ["1", "0"]),
            false => (dir.join("freezer.state"), ["FROZEN", "THAWED"]),
        }
    }
}
