//! Which processes are a container's. Where it has cgroups of its own, the runtime knows, or, when its own process has ended, the
//! cgroup that its memory was counted in. Without them, as without root, the kernel still knows who is in its pid namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use holdfast_common::identity::{Identity, Stat};
use holdfast_common::layout;
use holdfast_common::state_file::{self, RECORD_LIMIT};
use serde::Deserialize;

use crate::cgroup::{Cgroups, file};
use crate::container::Container;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::state::Status;

impl Container {
    /// The pids of everything in it; also of what is left of one whose own process has ended.
    ///
    /// # Errors
    /// [`Error::NoCgroup`]: it has neither a cgroup nor a pid namespace of its own; the runtime's own message.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let init = self.init()?;
        let Some(identity) = init.alive()? else {
            return self.pids_left();
        };
        if self.own_cgroups(&init, identity)?.is_empty() {
            let members = self.namespace_members(identity)?;
            return members.ok_or_else(|| self.without_cgroup("list the processes of"));
        }
        match self.ask_runtime() {
            // It looks for cgroups that this user may have in part only.
            Err(e @ Error::Runtime { .. }) => self.namespace_members(identity)?.ok_or(e),
            asked => asked,
        }
    }

    /// The cgroups that it shares neither with its shim nor with us.
    pub(crate) fn own_cgroups(&self, init: &Process, identity: Identity) -> Result<Cgroups> {
        match Cgroups::of_container(identity, init.living_shim()?) {
            Ok(cgroups) => Ok(cgroups),
            Err(_) if !identity.is_alive() => Err(init.exited()),
            Err(e) => {
                let path = format!("/proc/{}/cgroup", identity.pid);
                Err(Error::io("read", path)(e))
            }
        }
    }

    /// What to say of a container that has no cgroup of its own for something.
    pub(crate) fn without_cgroup(&self, verb: &'static str) -> Error {
        Error::NoCgroup {
            id: self.id().clone(),
            verb,
        }
    }

    /// Whether its process is the first of a pid namespace: the kernel then kills all of it with that process
    /// (pid_namespaces(7)).
    pub(crate) fn has_private_pids(identity: Identity) -> bool {
        // `NSpid:` has a pid for each namespace, the innermost last (proc_pid_status(5)).
        let status = std::fs::read_to_string(format!("/proc/{}/status", identity.pid));
        let status = status.unwrap_or_default();
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let mut pids = pids.unwrap_or_default().split_whitespace();
        pids.next().is_some() && pids.last() == Some("1") && identity.is_alive()
    }

    /// What is left of it when its own process has ended.
    fn pids_left(&self) -> Result<Vec<i32>> {
        if self.status()? == Status::Stopped && !self.is_in_runtime()? {
            return Ok(Vec::new());
        }
        match self.ask_runtime() {
            // crun dies of the question when nobody is left (1.8.1).
            Err(e @ Error::Runtime { .. }) => self.counted_members().unwrap_or(Err(e)),
            asked => asked,
        }
    }

    fn ask_runtime(&self) -> Result<Vec<i32>> {
        let words = ["-f", "json", "--", self.id().as_str()];
        let output = match self.run_runtime("ps", &words) {
            // It ended, and its shim removed it, while the runtime was at it.
            Err(Error::Runtime { .. })
                if self.status()? == Status::Stopped && !self.is_in_runtime()? =>
            {
                return Ok(Vec::new());
            }
            output => output?,
        };
        // runc prints null for none.
        Ok(self
            .understand::<Option<_>>("ps", &output)?
            .unwrap_or_default())
    }

    /// Whether the runtime knows a container that ended, and not another under its name.
    fn is_in_runtime(&self) -> Result<bool> {
        match self.runtime_state() {
            Ok(state) => Ok(self.is_mine(&state)),
            Err(Error::Runtime { .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Those in the cgroup that counted the memory of a process that has ended, if the shim found one for it.
    fn counted_members(&self) -> Option<Result<Vec<i32>>> {
        #[derive(Deserialize)]
        struct Counted {
            cgroup: PathBuf,
        }
        let file = self.dir().join(layout::INIT).join(layout::OOM_FILE);
        let counted: Counted = state_file::read_json(&file, RECORD_LIMIT).ok()?;
        Some(pids_below(&counted.cgroup).map(|pids| pids.into_iter().collect()))
    }

    /// Those in its pid namespace, and those that they have put into namespaces of their own below it; `None` when it has no pid
    /// namespace of its own.
    fn namespace_members(&self, init: Identity) -> Result<Option<Vec<i32>>> {
        if !Self::has_private_pids(init) {
            return Ok(None);
        }
        let mut members = BTreeSet::from([init.pid]);
        // Their parents are outside, and a process that is still the runtime's does not show its namespace to the user.
        for (_, process) in self.processes()? {
            let alive = process.and_then(|process| process.alive());
            members.extend(alive.ok().flatten().map(|identity| identity.pid));
        }
        let namespace = pid_namespace(init.pid);
        let mut parents = BTreeMap::new();
        for pid in all_pids().map_err(Error::io("read", "/proc"))? {
            if namespace.is_some() && pid_namespace(pid) == namespace {
                members.insert(pid);
            }
            if let Ok(stat) = Stat::read(pid) {
                parents.insert(pid, stat.parent);
            }
        }
        add_descendants(&mut members, &parents);
        Ok(Some(members.into_iter().collect()))
    }
}

/// The namespace's file, as namespaces(7) identifies one; `None` when the process is gone, or does not show it to us.
fn pid_namespace(pid: i32) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(format!("/proc/{pid}/ns/pid")).ok()?;
    Some((meta.dev(), meta.ino()))
}

fn all_pids() -> io::Result<impl Iterator<Item = i32>> {
    let entries = std::fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

fn add_descendants(members: &mut BTreeSet<i32>, parents: &BTreeMap<i32, i32>) {
    loop {
        let before = members.len();
        for (&pid, parent) in parents {
            if members.contains(parent) {
                members.insert(pid);
            }
        }
        if members.len() == before {
            return;
        }
    }
}

/// Of a cgroup and of those that its processes have made below it.
pub(crate) fn pids_below(dir: &Path) -> Result<BTreeSet<i32>> {
    let mut pids = BTreeSet::new();
    let procs = file::text(dir, "cgroup.procs")?.unwrap_or_default();
    for line in procs.lines() {
        // 0 is a process that another pid namespace than ours is above.
        pids.extend(
            file::parse::<i32>(dir, "cgroup.procs", line).map(|pid| (pid > 0).then_some(pid))?,
        );
    }
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        // Removed while we looked.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(pids),
        Err(e) => return Err(Error::io("read", dir)(e)),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(pids_below(&entry.path())?);
        }
    }
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    #[test]
    fn cgroups_below_count_too() {
        let dir = scratch("top");
        std::fs::create_dir_all(dir.join("a/b")).unwrap();
        std::fs::write(dir.join("cgroup.procs"), "30\n4\n0\n").unwrap();
        std::fs::write(dir.join("a/b/cgroup.procs"), "7\n30\n").unwrap();
        assert_eq!(pids_below(&dir).unwrap(), BTreeSet::from([4, 7, 30]));
        std::fs::write(dir.join("a/cgroup.procs"), "x\n").unwrap();
        assert!(pids_below(&dir).is_err());
        assert!(pids_below(&dir.join("gone")).unwrap().is_empty());
    }

    #[test]
    fn descendants_of_descendants_are_members_in_whatever_order_they_are_found() {
        let parents = BTreeMap::from([(3, 9), (4, 3), (7, 1), (8, 7), (9, 5)]);
        let mut members = BTreeSet::from([5]);
        add_descendants(&mut members, &parents);
        assert_eq!(members, BTreeSet::from([3, 4, 5, 9]));
    }

    #[test]
    fn this_process_is_not_the_first_of_a_namespace_of_its_own() {
        let me = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(!Container::has_private_pids(me));
        assert!(pid_namespace(me.pid).is_some());
        assert_eq!(pid_namespace(-1), None);
    }
}
