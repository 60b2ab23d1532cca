//! Huge pages: the controller `hugetlb` (the kernel's admin-guide/cgroup-v1/hugetlb.rst, admin-guide/cgroup-v2.rst "HugeTLB").
//! The sizes that there are stand in the names of the files.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cgroup::file::{keyed, number};
use crate::cgroup::{Cgroups, Version};
use crate::error::{Error, Result};

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hugetlb {
    /// What is used.
    pub usage: u64,
    /// The most that was; `None` where the kernel does not remember (version 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    /// How often the limit was in the way.
    pub failcnt: u64,
}

pub(super) fn read(cgroups: &Cgroups) -> Result<BTreeMap<String, Hugetlb>> {
    let mut found = BTreeMap::new();
    let Some(place) = cgroups.controller("hugetlb") else {
        return Ok(found);
    };
    let usage_file = match place.version {
        Version::V1 => ".usage_in_bytes",
        Version::V2 => ".current",
    };
    for size in sizes(&place.dir, usage_file)? {
        let prefix = format!("hugetlb.{size}");
        let read = |what: &str| number(&place.dir, &format!("{prefix}{what}"));
        let Some(usage) = read(usage_file)? else {
            continue;
        };
        let hugetlb = match place.version {
            Version::V1 => Hugetlb {
                usage,
                max: read(".max_usage_in_bytes")?,
                failcnt: read(".failcnt")?.unwrap_or_default(),
            },
            Version::V2 => {
                let events = keyed(&place.dir, &format!("{prefix}.events"))?.unwrap_or_default();
                Hugetlb {
                    usage,
                    max: None,
                    failcnt: events.get("max").copied().unwrap_or_default(),
                }
            }
        };
        found.insert(size, hugetlb);
    }
    Ok(found)
}

/// `2MB` of `hugetlb.2MB.current`; `rsvd` stands for what is reserved and not yet used.
fn sizes(dir: &Path, usage_file: &str) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", dir)(e)),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let size = |name: String| {
        let size = name.strip_prefix("hugetlb.")?.strip_suffix(usage_file)?;
        (!size.contains('.')).then(|| size.to_owned())
    };
    Ok(names.filter_map(size).collect())
}
