//! Takes a sandbox down: what is left of it is found, killed, unmounted and removed, and nothing of anybody else.
//!
//! A process is ours when its working directory is in the sandbox (shims, drivers, runtimes) or when the
//! runtime or a cgroup named after one of our ids holds it (containers). In this order:
//! 1. processes in the sandbox: nobody is left who would start or record anything;
//! 2. mounts: a runtime deletes what it finds below its own directories, also what a killed one has mounted there;
//! 3. containers, through the runtime; 4. our ids' cgroups and what is in them;
//! 5. processes in the sandbox that 3 let loose; 6. mounts again. The directory itself goes with its `TempDir`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::process::{Proc, under};
use crate::{Sandbox, wait};

/// Kills and removes everything that `sandbox` has left. Never panics: it runs while a test does.
pub fn sweep(sandbox: &Sandbox) {
    kill_processes(sandbox.path());
    unmount(sandbox.path());
    delete_containers(sandbox);
    remove_cgroups(sandbox);
    kill_processes(sandbox.path());
    unmount(sandbox.path());
}

/// What a test that has cleaned up after itself should not have left, in words.
#[must_use]
pub fn leftovers(sandbox: &Sandbox) -> Vec<String> {
    let mut left = Vec::new();
    for process in under(sandbox.path()) {
        left.push(format!("process {} {:?}", process.pid(), process.argv()));
    }
    for dir in [sandbox.root(), sandbox.runtime_root()] {
        left.extend(entries(&dir).map(|path| path.display().to_string()));
    }
    for cgroup in cgroups(sandbox) {
        left.push(cgroup.display().to_string());
    }
    left
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

fn kill_processes(dir: &Path) {
    // Again and again, for what is forked between the look and the blow.
    let gone = wait::until(wait::patient(Duration::from_secs(10)), || {
        let left = under(dir);
        for process in &left {
            // Looked at once more right before: a pid is no identity.
            if process.cwd().is_some_and(|cwd| cwd.starts_with(dir)) {
                process.signal(Signal::SIGKILL);
            }
        }
        left.is_empty()
    });
    if !gone {
        eprintln!("cannot kill everything in {}", dir.display());
    }
}

fn delete_containers(sandbox: &Sandbox) {
    for state in entries(&sandbox.runtime_root()) {
        let Some(id) = state.file_name() else {
            continue;
        };
        let deleted = sandbox
            .runtime([Path::new("delete"), Path::new("-f"), Path::new(id)])
            .stdin(Stdio::null())
            .output();
        match deleted {
            Ok(output) if output.status.success() => {}
            Ok(output) => eprint!("{}", String::from_utf8_lossy(&output.stderr)),
            Err(e) => eprintln!("delete -f {}: {e}", id.display()),
        }
    }
}

/// The cgroups, in every hierarchy, that a runtime started by us makes for our ids.
fn cgroups(sandbox: &Sandbox) -> Vec<PathBuf> {
    let ids = sandbox.ids().clone();
    let parents = cgroup_parents();
    let candidates = ids
        .iter()
        // youki puts its name before the id.
        .flat_map(|id| [id.clone(), format!(":youki:{id}")])
        .flat_map(|name| {
            let join = move |parent: &PathBuf| parent.join(&name);
            parents.iter().map(join)
        });
    candidates.filter(|path| path.is_dir()).collect()
}

/// Where runtimes put cgroups: the hierarchies' tops, and the cgroups that we are in ourselves.
fn cgroup_parents() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut parents = Vec::new();
    for mount in mounts.lines().filter(|l| l.contains(" - cgroup")) {
        let Some(top) = mount.split(' ').nth(4).map(PathBuf::from) else {
            continue;
        };
        for cgroup in own.lines().filter_map(|l| l.splitn(3, ':').nth(2)) {
            parents.push(top.join(cgroup.trim_start_matches('/')));
        }
        parents.push(top);
    }
    parents.sort();
    parents.dedup();
    parents
}

fn remove_cgroups(sandbox: &Sandbox) {
    for cgroup in cgroups(sandbox) {
        let removed = wait::until(wait::patient(Duration::from_secs(10)), || {
            kill_cgroup(&cgroup);
            remove_tree(&cgroup);
            !cgroup.exists()
        });
        if !removed {
            eprintln!("cannot remove {}", cgroup.display());
        }
    }
}

fn kill_cgroup(cgroup: &Path) {
    for child in entries(cgroup).filter(|path| path.is_dir()) {
        kill_cgroup(&child);
    }
    // A frozen process dies only once it is thawed; v1 and v2 have a file each.
    let _ = fs::write(cgroup.join("freezer.state"), "THAWED");
    let _ = fs::write(cgroup.join("cgroup.freeze"), "0");
    let pids = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    for pid in pids.lines().filter_map(|pid| pid.parse().ok()) {
        Proc::new(Pid::from_raw(pid)).signal(Signal::SIGKILL);
    }
}

/// Directories only: a cgroup's files go with it and cannot be removed.
fn remove_tree(cgroup: &Path) {
    for child in entries(cgroup).filter(|path| path.is_dir()) {
        remove_tree(&child);
    }
    let _ = fs::remove_dir(cgroup);
}

fn unmount(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|l| l.split(' ').nth(4));
    // The youngest first: it may cover an older one.
    let ours: Vec<_> = points.filter(|p| Path::new(p).starts_with(dir)).collect();
    for point in ours.into_iter().rev() {
        if let Err(e) = umount2(point, MntFlags::MNT_DETACH) {
            eprintln!("unmount {point}: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::process::Command;

    /// Fills a sandbox with everything that a broken test may leave: a container, a process, a mount.
    fn mess(sandbox: &Sandbox) -> (Proc, Vec<PathBuf>) {
        let id = sandbox.id("mess");
        let pid_file = sandbox.path().join("pid");
        let status = sandbox
            .runtime(["run", "-d", "--pid-file"])
            .arg(&pid_file)
            .arg("--bundle")
            .arg(sandbox.bundle(["sleep", "1000"]).dir())
            .arg(&id)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        Command::new("sh")
            .args(["-c", "sleep 1000 & sleep 1000 &"])
            .current_dir(sandbox.root())
            .status()
            .unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "mess"])
            .arg(sandbox.runtime_root())
            .status()
            .unwrap();
        // Over the runtime's root, so that the container is known only by its cgroup.
        assert!(mounted.success());
        (Proc::from_file(&pid_file).unwrap(), cgroups(sandbox))
    }

    #[test]
    fn everything_is_gone_after_a_panic() {
        let mut seen = None;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let sandbox = Sandbox::new("panic");
            let (container, cgroups) = mess(&sandbox);
            assert!(container.is_alive() && !cgroups.is_empty());
            assert!(leftovers(&sandbox).len() >= 3);
            seen = Some((sandbox.path().to_owned(), container, cgroups));
            panic!("as tests do");
        }));
        assert!(caught.is_err());
        let (path, container, cgroups) = seen.unwrap();
        assert!(!path.exists());
        assert!(!container.is_alive());
        assert!(cgroups.iter().all(|cgroup| !cgroup.exists()));
        assert_eq!(under(&path), []);
    }

    #[test]
    fn a_process_elsewhere_is_left_alone() {
        let elsewhere = tempfile::tempdir().unwrap();
        let mut child = Command::new("sleep")
            .arg("1000")
            .current_dir(&elsewhere)
            .spawn()
            .unwrap();
        drop(Sandbox::new("other"));
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
