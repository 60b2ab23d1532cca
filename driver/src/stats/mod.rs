//! What a container uses, read straight from the files of its cgroups and from `/proc`: no runtime is run for it. Each part of
//! [`Stats`] has a module of its own, which reads it from version 1 and from version 2.
//!
//! As JSON, [`Stats`] has the keys and units of runc's (`runc events --stats`, the object `data`), and more where runc has
//! nothing: `network_interfaces` of any container, `psi`, and what version 2 counts. What runc leaves out because it is zero stands
//! there as a zero; a part that is not there is one that cannot be known: the container has no cgroup of its own for it, or
//! the kernel does not count it.

mod blkio;
mod cpu;
mod hugetlb;
mod memory;
mod network;
mod pids;
mod pressure;

use std::collections::BTreeMap;
use std::io;

use holdfast_common::identity::is_being_killed;
use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroups;
use crate::container::Container;
use crate::error::{Error, Result};

pub use blkio::{Blkio, BlkioEntry};
pub use cpu::{Cpu, CpuUsage, Throttling};
pub use hugetlb::Hugetlb;
pub use memory::{Memory, MemoryEntry};
pub use network::NetworkInterface;
pub use pids::Pids;
pub use pressure::{Pressure, PressureLine};

/// What a container uses at one moment, all its processes and their descendants together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Processor time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<Pids>,
    /// Block devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blkio: Option<Blkio>,
    /// Huge pages, by their size as the kernel spells it: `2MB`, `1GB`.
    #[serde(default)]
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// The interfaces of its network namespace, by name; `None` when it has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_interfaces: Option<Vec<NetworkInterface>>,
}

impl Stats {
    /// What the files of its cgroups say.
    fn of_cgroups(cgroups: &Cgroups) -> Result<Self> {
        Ok(Self {
            cpu: cpu::read(cgroups)?,
            memory: memory::read(cgroups)?,
            pids: pids::read(cgroups)?,
            blkio: blkio::read(cgroups)?,
            hugetlb: hugetlb::read(cgroups)?,
            network_interfaces: None,
        })
    }
}

impl Container {
    /// What it uses now; also of one that is created or paused.
    ///
    /// # Errors
    /// [`Error::ContainerExited`]; [`Error::ContainerNotStarted`] while it is being created; [`Error::NoCgroup`], when it has no
    /// network namespace of its own either; a file of a cgroup cannot be read or understood.
    pub fn stats(&self) -> Result<Stats> {
        let init = self.init()?;
        let Some(recorded) = init.identity()? else {
            return Err(init.without_pid()?);
        };
        if !recorded.is_alive() {
            return Err(init.exited());
        }
        let shim = init.living_shim()?;
        let read = || {
            let cgroups = self.own_cgroups(&init, recorded)?;
            let network_interfaces = network::read(recorded.pid, shim)?;
            if cgroups.is_empty() && network_interfaces.is_none() {
                return Err(self.without_cgroup("count what is used by"));
            }
            let mut stats = Stats::of_cgroups(&cgroups)?;
            stats.network_interfaces = network_interfaces;
            Ok(stats)
        };
        match read() {
            // What was read of a process that has ended since is another's, or nobody's.
            Ok(stats) if recorded.is_alive() => Ok(stats),
            // It loses its namespaces before its end.
            Err(e) if recorded.is_alive() && !is_being_killed(recorded.pid) => Err(e),
            _ => Err(init.exited()),
        }
    }
}

/// For `map_err`: a file of a process in /proc that cannot be read.
fn of_process(pid: i32, name: &str) -> impl FnOnce(io::Error) -> Error {
    Error::io("read", format!("/proc/{pid}/{name}"))
}

#[cfg(test)]
mod tests;
