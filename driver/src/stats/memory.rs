//! Memory: the controller `memory` of version 1 (the kernel's admin-guide/cgroup-v1/memory.rst) and of version 2
//! (admin-guide/cgroup-v2.rst, "Memory Interface Files").

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::pressure::{self, Pressure};
use crate::cgroup::file::{keyed, limit, number};
use crate::cgroup::{Cgroups, Version};
use crate::error::Result;

/// Version 1 says *no limit* as the largest number of bytes in whole pages; no machine has that much, whatever its pages.
const NO_LIMIT: u64 = (i64::MAX as u64) - (1 << 16);

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Of it, the page cache.
    pub cache: u64,
    /// All of it.
    pub usage: MemoryEntry,
    /// Memory and swap together, in version 2 too, as runc counts them; `None` where swap is not accounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<MemoryEntry>,
    /// The kernel's, on the container's behalf; part of `usage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<MemoryEntry>,
    /// The buffers of TCP connections (version 1; part of `usage` in version 2, where it is `sock` of `raw`).
    #[serde(default, rename = "kernelTCP", skip_serializing_if = "Option::is_none")]
    pub kernel_tcp: Option<MemoryEntry>,
    /// All of `memory.stat`, whose keys differ between the versions and between kernels.
    #[serde(default)]
    pub raw: BTreeMap<String, u64>,
    /// How long it had to wait for memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

impl Memory {
    /// What the container needs: its memory without the page cache that the kernel would give up first, as `docker stats`
    /// shows it.
    pub fn working_set(&self) -> u64 {
        let keys = ["total_inactive_file", "inactive_file"];
        let inactive = keys.iter().find_map(|key| self.raw.get(*key)).copied();
        self.usage
            .usage
            .saturating_sub(inactive.unwrap_or_default())
    }
}

/// One kind of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryEntry {
    /// The most it may be, bytes, as the kernel says it: without a limit it is a number that no machine has, another one in
    /// each version. See [`MemoryEntry::limited`].
    pub limit: u64,
    /// What it is, bytes.
    pub usage: u64,
    /// The most it was, bytes; `None` where the kernel does not remember (version 2 before Linux 5.19, and its kernel memory).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    /// How often it was at its limit; in version 2, `max` of `memory.events` and of `memory.swap.events`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failcnt: Option<u64>,
}

impl MemoryEntry {
    /// The limit, if there is one.
    pub fn limited(&self) -> Option<u64> {
        (self.limit < NO_LIMIT).then_some(self.limit)
    }
}

pub(super) fn read(cgroups: &Cgroups) -> Result<Option<Memory>> {
    let Some(place) = cgroups.controller("memory") else {
        return Ok(None);
    };
    let memory = match place.version {
        Version::V1 => read_v1(&place.dir)?,
        Version::V2 => read_v2(&place.dir)?,
    };
    let Some(mut memory) = memory else {
        return Ok(None);
    };
    memory.psi = pressure::read(cgroups, "memory.pressure")?;
    Ok(Some(memory))
}

fn read_v1(dir: &Path) -> Result<Option<Memory>> {
    let Some(usage) = entry_v1(dir, "memory")? else {
        return Ok(None);
    };
    let raw = keyed(dir, "memory.stat")?.unwrap_or_default();
    Ok(Some(Memory {
        cache: raw.get("cache").copied().unwrap_or_default(),
        usage,
        swap: entry_v1(dir, "memory.memsw")?,
        kernel: entry_v1(dir, "memory.kmem")?,
        kernel_tcp: entry_v1(dir, "memory.kmem.tcp")?,
        raw,
        psi: None,
    }))
}

fn entry_v1(dir: &Path, of: &str) -> Result<Option<MemoryEntry>> {
    let read = |what: &str| number(dir, &format!("{of}.{what}"));
    let (Some(usage), Some(limit)) = (read("usage_in_bytes")?, read("limit_in_bytes")?) else {
        return Ok(None);
    };
    Ok(Some(MemoryEntry {
        limit,
        usage,
        max: read("max_usage_in_bytes")?,
        failcnt: read("failcnt")?,
    }))
}

fn read_v2(dir: &Path) -> Result<Option<Memory>> {
    let Some(usage) = entry_v2(dir, "memory")? else {
        return Ok(None);
    };
    let raw = keyed(dir, "memory.stat")?.unwrap_or_default();
    let swap = entry_v2(dir, "memory.swap")?.map(|swap| MemoryEntry {
        limit: match (usage.limited(), swap.limited()) {
            (Some(memory), Some(swap)) => memory + swap,
            _ => u64::MAX,
        },
        usage: usage.usage + swap.usage,
        // The two were not at their most at the same time.
        max: None,
        failcnt: swap.failcnt,
    });
    // Since Linux 5.18.
    let kernel = raw.get("kernel").map(|&kernel| MemoryEntry {
        limit: u64::MAX,
        usage: kernel,
        max: None,
        failcnt: None,
    });
    Ok(Some(Memory {
        cache: raw.get("file").copied().unwrap_or_default(),
        usage,
        swap,
        kernel,
        kernel_tcp: None,
        raw,
        psi: None,
    }))
}

fn entry_v2(dir: &Path, of: &str) -> Result<Option<MemoryEntry>> {
    let Some(usage) = number(dir, &format!("{of}.current"))? else {
        return Ok(None);
    };
    let events = keyed(dir, &format!("{of}.events"))?;
    Ok(Some(MemoryEntry {
        limit: limit(dir, &format!("{of}.max"))?.unwrap_or(u64::MAX),
        usage,
        max: number(dir, &format!("{of}.peak"))?,
        failcnt: events.and_then(|events| events.get("max").copied()),
    }))
}
