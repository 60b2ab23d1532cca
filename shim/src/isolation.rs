//! A shim apart from its launcher: in a cgroup of its own, so that who stops the launcher's does not take the shim along, and
//! with a score of its own for the out-of-memory killer.
//!
//! Order matters. The cgroup comes before the runtime: a container whose bundle names no cgroup is put below (version 1)
//! or beside (version 2) the runtime's, and must not be left in the launcher's. The score comes after it: the container inherits the
//! launcher's, as it would from the bare runtime.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use holdfast_common::sys::errno_text;

use crate::error::Error;

/// Where the hierarchies are mounted (cgroups(7), systemd's and everybody's convention).
const TOP: &str = "/sys/fs/cgroup";
const PROCS: &str = "cgroup.procs";
/// There at the top of version 2 alone.
const CONTROLLERS: &str = "cgroup.controllers";
/// Empty in a new cgroup of version 1, and no process may enter before they are set.
const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Moves this process to a cgroup, which is made if need be, in every hierarchy that allows it.
///
/// # Errors
/// None does; the path leads elsewhere.
pub fn enter_cgroup(path: &Path) -> Result<(), Error> {
    let failed = |cause| Error::io("move the shim to cgroup", path)(cause);
    let relative = path.strip_prefix("/").unwrap_or(path);
    let plain = |part| matches!(part, Component::Normal(_));
    if relative.as_os_str().is_empty() || !relative.components().all(plain) {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    let mut entered = false;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for hierarchy in hierarchies(Path::new(TOP)) {
        match enter(&hierarchy, relative) {
            Ok(()) => entered = true,
            Err(e) => {
                log::warn!(
                    "move the shim to {}: {}",
                    hierarchy.join(relative).display(),
                    errno_text(&e)
                );
                last = e;
            }
        }
    }
    if entered { Ok(()) } else { Err(failed(last)) }
}

/// The tops of all hierarchies: one with version 2 alone, else one for each mount beside each other.
fn hierarchies(top: &Path) -> Vec<PathBuf> {
    if top.join(CONTROLLERS).exists() {
        return vec![top.to_owned()];
    }
    let entries = fs::read_dir(top).into_iter().flatten().flatten();
    entries
        // Links are other names for what is there already: cpu -> cpu,cpuacct.
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|path| path.join(PROCS).exists())
        .collect()
}

fn enter(hierarchy: &Path, relative: &Path) -> io::Result<()> {
    let mut dir = hierarchy.to_owned();
    for part in relative.components() {
        let parent = dir.clone();
        dir.push(part);
        match fs::create_dir(&dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            // Another that made it may have been killed before it had inherited.
            _ => inherit_cpuset(&parent, &dir)?,
        }
    }
    // 0 is whoever writes.
    fs::write(dir.join(PROCS), "0")
}

fn inherit_cpuset(parent: &Path, dir: &Path) -> io::Result<()> {
    for name in CPUSET {
        // Version 2 inherits by itself, and writing there would pin what was free.
        if !dir.join(name).exists() || dir.join("cgroup.events").exists() {
            continue;
        }
        if fs::read(dir.join(name))?.trim_ascii().is_empty() {
            fs::write(dir.join(name), fs::read(parent.join(name))?)?;
        }
    }
    Ok(())
}

/// Gives up a score of its own that would go on to a program that it runs as its last act.
pub fn be_no_dearer_than_others() {
    let own = fs::read_to_string("/proc/self/oom_score_adj").ok();
    let own = own.and_then(|text| text.trim().parse::<i16>().ok());
    if own.is_some_and(|score| score < 0) {
        set_oom_score_adj(0);
    }
}

/// Gives this process a score. Where that is not permitted (less than it had needs CAP_SYS_RESOURCE), it keeps its own and
/// says so.
pub fn set_oom_score_adj(score: i16) {
    if let Err(e) = fs::write("/proc/self/oom_score_adj", score.to_string()) {
        log::warn!(
            "the shim keeps its oom_score_adj, {score} is refused: {}",
            errno_text(&e)
        );
    }
}
