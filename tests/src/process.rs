//! A process seen through `/proc` (proc(5)): a shim's threads, wake-ups, memory and descriptors.
//!
//! Nothing here changes a process, except [`Proc::signal`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The name of a shim's process in `/proc/PID/comm`.
pub const SHIM: &str = "holdfast-shim";

/// One process. It may be gone by the time it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proc(Pid);

impl Proc {
    /// The process `pid`.
    #[must_use]
    pub fn new(pid: Pid) -> Self {
        Self(pid)
    }

    /// The process whose decimal pid is in a file, such as a process directory's `pid`.
    #[must_use]
    pub fn from_file(path: &Path) -> Option<Self> {
        let pid = fs::read_to_string(path).ok()?.trim().parse().ok()?;
        Some(Self(Pid::from_raw(pid)))
    }

    /// The shim that holds the process directory `dir`: the one whose working directory it is.
    #[must_use]
    pub fn shim_of(dir: &Path) -> Option<Self> {
        under(dir)
            .into_iter()
            .find(|p| p.comm() == SHIM && p.cwd().as_deref() == Some(dir))
    }

    /// The process's number.
    #[must_use]
    pub fn pid(self) -> Pid {
        self.0
    }

    /// Whether it runs: neither gone nor a zombie.
    #[must_use]
    pub fn is_alive(self) -> bool {
        !matches!(self.stat(3).as_deref(), None | Some("Z" | "X"))
    }

    /// Its working directory, without the ` (deleted)` of a removed one. `None` for zombies.
    #[must_use]
    pub fn cwd(self) -> Option<PathBuf> {
        let cwd = fs::read_link(self.path("cwd")).ok()?;
        match cwd.to_str().and_then(|s| s.strip_suffix(" (deleted)")) {
            Some(before) => Some(PathBuf::from(before)),
            None => Some(cwd),
        }
    }

    /// Its name, at most 15 bytes; empty when it is gone.
    #[must_use]
    pub fn comm(self) -> String {
        self.text("comm").trim_end().to_owned()
    }

    /// Its arguments.
    #[must_use]
    pub fn argv(self) -> Vec<String> {
        let raw = self.text("cmdline");
        raw.split_terminator('\0').map(str::to_owned).collect()
    }

    /// Its initial environment, as `KEY=VALUE`.
    #[must_use]
    pub fn environ(self) -> Vec<String> {
        let raw = self.text("environ");
        raw.split_terminator('\0').map(str::to_owned).collect()
    }

    /// Its executable.
    #[must_use]
    pub fn exe(self) -> Option<PathBuf> {
        fs::read_link(self.path("exe")).ok()
    }

    /// Field `n` of `/proc/PID/stat`, counted from 1 as in proc(5); `n` is 3 or more.
    #[must_use]
    pub fn stat(self, n: usize) -> Option<String> {
        let stat = fs::read_to_string(self.path("stat")).ok()?;
        // The name in field 2 may hold blanks and brackets.
        let (_, after) = stat.rsplit_once(')')?;
        after.split_whitespace().nth(n - 3).map(str::to_owned)
    }

    /// Whether it waits in a function of the kernel whose name has this in it (`/proc/PID/wchan`).
    #[must_use]
    pub fn waits_in(self, function: &str) -> bool {
        self.text("wchan").contains(function)
    }

    /// The parent's pid.
    #[must_use]
    pub fn parent(self) -> Option<Pid> {
        Some(Pid::from_raw(self.stat(4)?.parse().ok()?))
    }

    /// One line of `/proc/PID/status`, such as `SigBlk`, `SigIgn` or `Uid`.
    #[must_use]
    pub fn status(self, key: &str) -> Option<String> {
        let text = self.text("status");
        let value = text
            .lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
        Some(value.trim().to_owned())
    }

    /// How many threads it has.
    #[must_use]
    pub fn threads(self) -> u64 {
        self.number("Threads")
    }

    /// How often it was switched to since it started, voluntarily or not. The difference between two calls
    /// is the number of times it woke up (in a process of one thread).
    #[must_use]
    pub fn wake_ups(self) -> u64 {
        self.number("voluntary_ctxt_switches") + self.number("nonvoluntary_ctxt_switches")
    }

    /// Memory that is its own alone, in KiB (`Private_Dirty` in `smaps_rollup`).
    #[must_use]
    pub fn private_dirty_kib(self) -> u64 {
        self.rollup("Private_Dirty")
    }

    /// Memory of its that is resident, in KiB (`Rss` in `smaps_rollup`).
    #[must_use]
    pub fn rss_kib(self) -> u64 {
        self.rollup("Rss")
    }

    /// Its share of what is resident, in KiB: shared pages are divided by their users (`Pss` in `smaps_rollup`).
    #[must_use]
    pub fn pss_kib(self) -> u64 {
        self.rollup("Pss")
    }

    /// What its page tables take, in KiB (`VmPTE`, proc_pid_status(5)).
    #[must_use]
    pub fn page_tables_kib(self) -> u64 {
        let value = self.status("VmPTE");
        let kib = value
            .as_deref()
            .and_then(|value| value.strip_suffix(" kB")?.parse().ok());
        kib.unwrap_or_else(|| panic!("process {} has no page tables; is it gone?", self.0))
    }

    /// The processor time that its main thread has used, in user and kernel mode, to the nanosecond
    /// (`/proc/PID/schedstat`; `stat` counts in ticks of 10 ms).
    ///
    /// # Panics
    /// When the process is gone or the kernel keeps no such statistics.
    #[must_use]
    pub fn cpu(self) -> Duration {
        let text = self.text("schedstat");
        let ns = text.split_whitespace().next().and_then(|n| n.parse().ok());
        Duration::from_nanos(ns.unwrap_or_else(|| panic!("no schedstat for {self:?}: {text:?}")))
    }

    /// Its open descriptors and what they are open on.
    #[must_use]
    pub fn fds(self) -> BTreeMap<i32, PathBuf> {
        let Ok(dir) = fs::read_dir(self.path("fd")) else {
            return BTreeMap::new();
        };
        dir.filter_map(|entry| {
            let entry = entry.ok()?;
            let fd = entry.file_name().to_str()?.parse().ok()?;
            Some((fd, fs::read_link(entry.path()).ok()?))
        })
        .collect()
    }

    /// The number of the system call that it is in (`/proc/PID/syscall`).
    #[must_use]
    pub fn system_call(self) -> Option<i64> {
        self.text("syscall").split(' ').next()?.parse().ok()
    }

    /// The children of its main thread.
    #[must_use]
    pub fn children(self) -> Vec<Proc> {
        let text = self.text(&format!("task/{}/children", self.0));
        text.split_whitespace()
            .filter_map(|pid| Some(Self(Pid::from_raw(pid.parse().ok()?))))
            .collect()
    }

    /// Sends it a signal; that it is gone already is no mistake.
    pub fn signal(self, signal: Signal) {
        match kill(self.0, signal) {
            Ok(()) | Err(nix::Error::ESRCH) => {}
            Err(e) => panic!("send {signal} to {}: {e}", self.0),
        }
    }

    fn path(self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.0))
    }

    fn text(self, file: &str) -> String {
        let bytes = fs::read(self.path(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn number(self, key: &str) -> u64 {
        let value = self.status(key).and_then(|v| v.parse().ok());
        value.unwrap_or_else(|| panic!("process {} has no {key}; is it gone?", self.0))
    }

    fn rollup(self, key: &str) -> u64 {
        let text = self.text("smaps_rollup");
        text.lines()
            .find_map(|l| {
                let value = l.strip_prefix(key)?.strip_prefix(':')?;
                value.trim().strip_suffix(" kB")?.parse().ok()
            })
            .unwrap_or_else(|| panic!("process {} has no {key}; is it gone?", self.0))
    }
}

/// Every process whose working directory is `dir` or below it, except ourselves.
///
/// A process that forks and ends between being listed and being looked at would hide its child, as a shim does when it
/// leaves its launcher. So the list is made again until it has nobody new: a child is there before its parent is gone.
#[must_use]
pub fn under(dir: &Path) -> Vec<Proc> {
    let mut seen = BTreeSet::from([nix::unistd::getpid()]);
    let mut found = Vec::new();
    loop {
        let new: Vec<Pid> = pids().filter(|pid| seen.insert(*pid)).collect();
        if new.is_empty() {
            return found;
        }
        let new = new.into_iter().map(Proc);
        found.extend(new.filter(|p| p.cwd().is_some_and(|cwd| cwd.starts_with(dir))));
    }
}

fn pids() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_found_by_its_working_directory_and_can_be_measured() {
        let dir = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(dir.path()).unwrap();
        let mut child = Command::new("sleep")
            .arg("60")
            .current_dir(&path)
            .spawn()
            .unwrap();
        let process = Proc::new(Pid::from_raw(i32::try_from(child.id()).unwrap()));
        // posix_spawn returns a moment before the new program's arguments can be read.
        assert!(crate::wait::until(crate::DEADLINE, || !process
            .argv()
            .is_empty()));
        assert_eq!(under(&path), [process]);
        assert!(process.is_alive());
        assert_eq!(process.argv(), ["sleep", "60"]);
        assert_eq!(process.threads(), 1);
        assert_eq!(process.parent(), Some(nix::unistd::getpid()));
        assert!(process.fds().contains_key(&0));
        assert!(process.private_dirty_kib() > 0);
        assert!(process.cpu() > Duration::ZERO);
        assert_eq!(Proc::shim_of(&path), None, "sleep is no shim");
        process.signal(Signal::SIGKILL);
        child.wait().unwrap();
        assert!(!process.is_alive());
        assert_eq!(under(&path), []);
    }
}
