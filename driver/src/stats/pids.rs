//! Processes and threads: the controller `pids`, the same files in both versions (the kernel's admin-guide/cgroup-v1/pids.rst).

use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroups;
use crate::cgroup::file::{limit, number};
use crate::error::Result;

/// How many processes and threads there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    /// Now.
    pub current: u64,
    /// At the most; `None` without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

pub(super) fn read(cgroups: &Cgroups) -> Result<Option<Pids>> {
    let Some(place) = cgroups.controller("pids") else {
        return Ok(None);
    };
    let Some(current) = number(&place.dir, "pids.current")? else {
        return Ok(None);
    };
    let limit = limit(&place.dir, "pids.max")?;
    Ok(Some(Pids {
        current,
        limit: limit.filter(|&limit| limit != u64::MAX),
    }))
}
