//! Processor time: the controllers `cpuacct` and `cpu` of version 1 (the kernel's admin-guide/cgroup-v1/cpuacct.rst,
//! scheduler/sched-bwc.rst), `cpu.stat` of version 2 (admin-guide/cgroup-v2.rst, "CPU Interface Files").

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::pressure::{self, Pressure};
use crate::cgroup::file::{keyed, malformed, number, numbers, parse, text};
use crate::cgroup::{Cgroups, Version};
use crate::error::Result;

/// `cpuacct.stat` counts in hundredths of a second (USER_HZ), on every architecture that Rust's Linux targets have.
const NANOS_PER_TICK: u64 = 10_000_000;

/// Version 2 counts in microseconds.
const NANOS_PER_MICRO: u64 = 1_000;

/// Processor time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// What was used.
    pub usage: CpuUsage,
    /// What was denied; `None` when no limit can be set on it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttling: Option<Throttling>,
    /// How long it had to wait for a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Processor time used since the cgroup was made, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuUsage {
    /// All of it.
    pub total: u64,
    /// By processor, 0 first; empty where the kernel does not tell (version 2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// As `percpu`, in the kernel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// As `percpu`, in user mode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel; version 1 counts it in hundredths of a second.
    pub kernel: u64,
    /// In user mode; version 1 counts it in hundredths of a second.
    pub user: u64,
}

/// How often it was held back for having used up its quota.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods in which it wanted to run.
    pub periods: u64,
    /// Periods in which it was held back.
    pub throttled_periods: u64,
    /// For how long altogether, nanoseconds.
    pub throttled_time: u64,
}

pub(super) fn read(cgroups: &Cgroups) -> Result<Option<Cpu>> {
    let psi = pressure::read(cgroups, "cpu.pressure")?;
    if let Some(place) = cgroups.controller("cpuacct")
        && place.version == Version::V1
    {
        let Some(usage) = usage_v1(&place.dir)? else {
            return Ok(None);
        };
        let throttling = match cgroups.controller("cpu") {
            Some(cpu) if cpu.version == Version::V1 => throttling_v1(&cpu.dir)?,
            _ => None,
        };
        return Ok(Some(Cpu {
            usage,
            throttling,
            psi,
        }));
    }
    match cgroups.unified() {
        Some(dir) => read_v2(dir, psi),
        None => Ok(None),
    }
}

fn usage_v1(dir: &Path) -> Result<Option<CpuUsage>> {
    let Some(total) = number(dir, "cpuacct.usage")? else {
        return Ok(None);
    };
    let ticks = keyed(dir, "cpuacct.stat")?.unwrap_or_default();
    let nanos = |key: &str| ticks.get(key).copied().unwrap_or_default() * NANOS_PER_TICK;
    let (percpu_user, percpu_kernel) = by_mode(dir)?;
    Ok(Some(CpuUsage {
        total,
        percpu: numbers(dir, "cpuacct.usage_percpu")?.unwrap_or_default(),
        percpu_kernel,
        percpu_user,
        kernel: nanos("system"),
        user: nanos("user"),
    }))
}

/// `cpuacct.usage_all`, since Linux 4.8: a title, then lines of `PROCESSOR USER SYSTEM`, nanoseconds.
fn by_mode(dir: &Path) -> Result<(Vec<u64>, Vec<u64>)> {
    const NAME: &str = "cpuacct.usage_all";
    let (mut user, mut kernel) = (Vec::new(), Vec::new());
    let table = text(dir, NAME)?.unwrap_or_default();
    for line in table.lines().skip(1) {
        let [_, in_user, in_kernel] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(malformed(dir, NAME, line));
        };
        user.push(parse(dir, NAME, in_user)?);
        kernel.push(parse(dir, NAME, in_kernel)?);
    }
    Ok((user, kernel))
}

fn throttling_v1(dir: &Path) -> Result<Option<Throttling>> {
    Ok(keyed(dir, "cpu.stat")?.map(|stat| {
        let value = |key: &str| stat.get(key).copied().unwrap_or_default();
        Throttling {
            periods: value("nr_periods"),
            throttled_periods: value("nr_throttled"),
            throttled_time: value("throttled_time"),
        }
    }))
}

fn read_v2(dir: &Path, psi: Option<Pressure>) -> Result<Option<Cpu>> {
    let Some(stat) = keyed(dir, "cpu.stat")? else {
        return Ok(None);
    };
    let value = |key: &str| stat.get(key).copied();
    let nanos = |key: &str| value(key).unwrap_or_default() * NANOS_PER_MICRO;
    let throttling = value("nr_periods").map(|periods| Throttling {
        periods,
        throttled_periods: value("nr_throttled").unwrap_or_default(),
        throttled_time: nanos("throttled_usec"),
    });
    Ok(Some(Cpu {
        usage: CpuUsage {
            total: nanos("usage_usec"),
            kernel: nanos("system_usec"),
            user: nanos("user_usec"),
            ..CpuUsage::default()
        },
        throttling,
        psi,
    }))
}
