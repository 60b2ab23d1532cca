//! Pressure stall information (the kernel's accounting/psi.rst): for how long work waited for want of something. Only
//! version 2 has it, and a hybrid system has that beside the others.

use procfs::{PressureRecord, parse_pressure_record};
use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroups;
use crate::cgroup::file::{malformed, text};
use crate::error::Result;

/// How long work waited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// Some of the processes did.
    pub some: PressureLine,
    /// All of those that had something to do did; `None` where the kernel does not count it (processors, before Linux 5.13).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<PressureLine>,
}

/// Shares of time in percent, and a total.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PressureLine {
    /// Of the last ten seconds, percent.
    pub avg10: f32,
    /// Of the last minute, percent.
    pub avg60: f32,
    /// Of the last five minutes, percent.
    pub avg300: f32,
    /// Since the cgroup was made, microseconds.
    pub total: u64,
}

impl From<PressureRecord> for PressureLine {
    fn from(record: PressureRecord) -> Self {
        Self {
            avg10: record.avg10,
            avg60: record.avg60,
            avg300: record.avg300,
            total: record.total,
        }
    }
}

pub(super) fn read(cgroups: &Cgroups, name: &str) -> Result<Option<Pressure>> {
    let Some(dir) = cgroups.unified() else {
        return Ok(None);
    };
    let Some(lines) = text(dir, name)? else {
        return Ok(None);
    };
    let (mut some, mut full) = (None, None);
    for line in lines.lines() {
        let record = parse_pressure_record(line).map_err(|_| malformed(dir, name, line))?;
        let slot = if line.starts_with("some ") {
            &mut some
        } else {
            &mut full
        };
        *slot = Some(record.into());
    }
    let some = some.ok_or_else(|| malformed(dir, name, &lines))?;
    Ok(Some(Pressure { some, full }))
}
