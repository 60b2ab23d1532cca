//! The processes of a container and what each of them uses: the pids from its cgroups, the rest from `/proc/PID` (proc(5)). No
//! runtime is run for it, unless the container has no cgroup of its own.

use std::io;
use std::time::Duration;

use procfs::prelude::FromRead;
use procfs::process::{Stat, Status as ProcStatus};
use serde::{Deserialize, Serialize};

use crate::container::Container;
use crate::error::{Error, Result};
use crate::members::pids_below;
use crate::uptime;

/// One process of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessUsage {
    /// Its pid on the host.
    pub pid: i32,
    /// Its effective user id on the host.
    pub uid: u32,
    /// When it started, clock ticks since boot (field 22 of /proc/PID/stat).
    pub start_time: u64,
    /// Processor time that it used, nanoseconds; the kernel tells it in hundredths of a second.
    pub cpu: u64,
    /// Its memory (resident set, what it shares with others included), bytes.
    pub memory: u64,
    /// How many threads it has.
    pub threads: u64,
    /// Its name, 15 bytes at the most.
    pub name: String,
    /// Its command line; empty for one that has none, such as a zombie.
    pub command: Vec<String>,
}

impl ProcessUsage {
    /// How long it has been there; `None` when the kernel does not tell.
    pub fn age(&self) -> Option<Duration> {
        uptime::since(self.start_time)
    }
}

impl Container {
    /// Its processes, by pid, and what each of them uses. One that ends meanwhile is left out.
    ///
    /// # Errors
    /// [`Error::ContainerExited`]; [`Error::ContainerNotStarted`] while it is being created; its cgroup or a process cannot
    /// be read.
    pub fn process_usage(&self) -> Result<Vec<ProcessUsage>> {
        let init = self.init()?;
        let Some(recorded) = init.identity()? else {
            return Err(init.without_pid()?);
        };
        if !recorded.is_alive() {
            return Err(init.exited());
        }
        let cgroups = self.own_cgroups(&init, recorded)?;
        let pids = match cgroups.controller("freezer") {
            Some(place) => pids_below(&place.dir)?,
            None => self.pids()?.into_iter().collect(),
        };
        let mut found = Vec::new();
        for pid in pids {
            found.extend(usage_of(pid)?);
        }
        if recorded.is_alive() {
            Ok(found)
        } else {
            Err(init.exited())
        }
    }
}

/// `None` for a process that is gone.
fn usage_of(pid: i32) -> Result<Option<ProcessUsage>> {
    let (Some(stat), Some(status), Some(command)) = (
        read(pid, "stat")?,
        read(pid, "status")?,
        read(pid, "cmdline")?,
    ) else {
        return Ok(None);
    };
    let understood = |name: &str, e: procfs::ProcError| {
        let cause = io::Error::other(e.to_string());
        Error::io("read", format!("/proc/{pid}/{name}"))(cause)
    };
    let stat = Stat::from_read(&stat[..]).map_err(|e| understood("stat", e))?;
    let status = ProcStatus::from_read(&status[..]).map_err(|e| understood("status", e))?;
    Ok(Some(ProcessUsage {
        pid,
        uid: status.euid,
        start_time: stat.starttime,
        cpu: (stat.utime + stat.stime) * (1_000_000_000 / procfs::ticks_per_second()),
        memory: stat.rss * procfs::page_size(),
        threads: status.threads,
        name: stat.comm,
        command: words(&command),
    }))
}

fn read(pid: i32, name: &str) -> Result<Option<Vec<u8>>> {
    let path = format!("/proc/{pid}/{name}");
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) if e.raw_os_error() == Some(nix::libc::ESRCH) => Ok(None),
        Err(e) => Err(Error::io("read", path)(e)),
    }
}

/// Each word ends with a zero byte (proc_pid_cmdline(5)); a process may write over them and leave out the last.
fn words(cmdline: &[u8]) -> Vec<String> {
    let cmdline = cmdline.strip_suffix(b"\0").unwrap_or(cmdline);
    if cmdline.is_empty() {
        return Vec::new();
    }
    let words = cmdline.split(|&byte| byte == 0);
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_described_and_one_that_is_gone_is_left_out() {
        let me = i32::try_from(std::process::id()).unwrap();
        let usage = usage_of(me).unwrap().unwrap();
        assert_eq!(usage.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(usage.command, std::env::args().collect::<Vec<_>>());
        assert!(usage.memory > 100_000 && usage.threads >= 2, "{usage:?}");
        assert!(usage.age().unwrap() < Duration::from_secs(3600));
        assert_eq!(usage_of(-1).unwrap(), None);
    }

    #[test]
    fn command_lines_come_in_words() {
        assert_eq!(words(b"sh\0-c\0\0a b\0"), ["sh", "-c", "", "a b"]);
        assert_eq!(words(b"nginx: master"), ["nginx: master"]);
        assert_eq!(words(b"\xff\0"), ["\u{fffd}"]);
        assert!(words(b"").is_empty());
    }
}
