//! Limits to be changed, and which of them no kernel takes. How they are written is in [`super::document`].

use std::ops::RangeInclusive;

use crate::error::{Error, Result};

/// What `cpu.shares` takes (the kernel's MIN_SHARES and MAX_SHARES): it makes anything else one of the two without a word.
const SHARES: RangeInclusive<u64> = 2..=262_144;
/// What `cpu.cfs_period_us` takes (min_cfs_quota_period and max_cfs_quota_period).
const PERIOD: RangeInclusive<u64> = 1_000..=1_000_000;
/// The least that `cpu.cfs_quota_us` takes.
const LEAST_QUOTA: i64 = 1_000;
/// What runtimes take for `blkio.weight` and convert for `io.weight`.
const WEIGHT: RangeInclusive<u16> = 10..=1_000;
/// PID_MAX_LIMIT of a kernel for 64 bits.
const MOST_PIDS: i64 = 4_194_304;
/// Written for *no limit*.
const NONE: i64 = -1;

/// Limits of a container; one that is `None`, 0 or empty stays as it is. containerd 0.2's `Resource`, the limit of processes, and
/// runc's limits of realtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Its weight among others that want to run, 2 to 262144; 1024 is everybody's.
    pub cpu_shares: Option<u64>,
    /// The period in which `cpu_quota` counts, microseconds, 1000 to 1000000.
    pub cpu_period: Option<u64>,
    /// Processor time in each period, microseconds, 1000 at the least; -1 is no limit.
    pub cpu_quota: Option<i64>,
    /// The period in which `cpu_realtime_runtime` counts, microseconds.
    pub cpu_realtime_period: Option<u64>,
    /// Processor time of realtime processes in each period, microseconds.
    pub cpu_realtime_runtime: Option<i64>,
    /// The processors to use, such as `0-2,5` (cpuset(7), "List format").
    pub cpuset_cpus: Option<String>,
    /// The memory nodes to use, likewise.
    pub cpuset_mems: Option<String>,
    /// Its weight among others that use block devices, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// Memory, bytes; -1 is no limit, and none of memory and swap either unless that is given.
    pub memory: Option<i64>,
    /// Memory that is left to it when there is little, bytes; -1 is no limit.
    pub memory_reservation: Option<i64>,
    /// Memory and swap together, bytes; -1 is no limit.
    pub memory_swap: Option<i64>,
    /// The kernel's memory, bytes; -1 is no limit. Enforced by no kernel since Linux 5.16.
    pub kernel_memory: Option<i64>,
    /// The buffers of TCP, bytes; -1 is no limit. Version 1 only.
    pub kernel_tcp_memory: Option<i64>,
    /// Processes and threads; -1 is no limit.
    pub pids_limit: Option<i64>,
}

impl Resources {
    /// The limit of the kernel's memory, if it is to change.
    pub(super) fn kernel_memory(&self) -> Option<i64> {
        set(self.kernel_memory)
    }

    /// The limit of TCP's buffers, if it is to change.
    pub(super) fn kernel_tcp_memory(&self) -> Option<i64> {
        set(self.kernel_tcp_memory)
    }

    /// Refuses what no kernel takes, and what some would take for something else.
    ///
    /// # Errors
    /// [`Error::BadLimit`].
    pub(super) fn check(&self) -> Result<()> {
        within("cpu shares", self.cpu_shares, &SHARES)?;
        within("cpu period", self.cpu_period, &PERIOD)?;
        within("blkio weight", self.blkio_weight, &WEIGHT)?;
        if let Some(quota) = set(self.cpu_quota)
            && quota != NONE
            && quota < LEAST_QUOTA
        {
            let rule = "is not -1 (none) nor 1000 microseconds or more";
            return Err(bad("cpu quota", quota, rule));
        }
        for (what, limit) in [
            ("memory", self.memory),
            ("memory reservation", self.memory_reservation),
            ("memory and swap", self.memory_swap),
            ("kernel memory", self.kernel_memory),
            ("kernel TCP memory", self.kernel_tcp_memory),
            ("pids limit", self.pids_limit),
        ] {
            if let Some(limit) = limit
                && limit < NONE
            {
                return Err(bad(what, limit, "is neither -1 (none) nor positive"));
            }
        }
        if let Some(limit) = self.pids_limit
            && limit > MOST_PIDS
        {
            let rule = "is more than there can be (4194304)";
            return Err(bad("pids limit", limit, rule));
        }
        if let (Some(memory), Some(both)) = (set(self.memory), set(self.memory_swap))
            && both != NONE
            && (memory == NONE || both < memory)
        {
            return Err(bad("memory and swap", both, "is less than memory alone"));
        }
        for (what, list) in [
            ("cpuset cpus", &self.cpuset_cpus),
            ("cpuset mems", &self.cpuset_mems),
        ] {
            if let Some(list) = list
                && !list.is_empty()
                && !is_list(list)
            {
                return Err(bad(what, list, "is no list such as 0-2,5"));
            }
        }
        Ok(())
    }
}

/// What is to change: 0 stands for *as it is* in containerd 0.2's `Resource`, and runtimes take it so.
pub(super) fn set<T: Default + PartialEq>(limit: Option<T>) -> Option<T> {
    limit.filter(|limit| *limit != T::default())
}

fn within<T>(what: &'static str, limit: Option<T>, range: &RangeInclusive<T>) -> Result<()>
where
    T: Default + PartialOrd + ToString + Copy,
{
    match set(limit) {
        Some(limit) if !range.contains(&limit) => {
            let (least, most) = (range.start().to_string(), range.end().to_string());
            Err(bad(what, limit, &format!("is not {least} to {most}")))
        }
        _ => Ok(()),
    }
}

fn bad(what: &'static str, value: impl ToString, rule: &str) -> Error {
    Error::BadLimit {
        what,
        value: value.to_string(),
        rule: rule.to_owned(),
    }
}

/// cpuset(7), "List format": numbers and ranges between commas. Which of them there are, the kernel knows.
fn is_list(list: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| !text.starts_with('+'));
    list.trim()
        .split(',')
        .all(|part| match part.split_once('-') {
            Some((first, last)) => match (number(first), number(last)) {
                (Some(first), Some(last)) => first <= last,
                _ => false,
            },
            None => number(part).is_some(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::document::tests::all;

    #[test]
    fn what_no_kernel_takes_is_refused() {
        assert!(all().check().is_ok());
        assert!(Resources::default().check().is_ok());
        type Change = fn(&mut Resources);
        let cases: [(Change, &str); 14] = [
            (
                |r| r.cpu_shares = Some(1),
                "cpu shares 1 is not 2 to 262144",
            ),
            (|r| r.cpu_shares = Some(262_145), "cpu shares 262145"),
            (
                |r| r.cpu_period = Some(999),
                "cpu period 999 is not 1000 to 1000000",
            ),
            (|r| r.cpu_quota = Some(999), "cpu quota 999"),
            (|r| r.cpu_quota = Some(-2), "cpu quota -2"),
            (
                |r| r.blkio_weight = Some(9),
                "blkio weight 9 is not 10 to 1000",
            ),
            (|r| r.memory = Some(-2), "memory -2"),
            (
                |r| r.memory_reservation = Some(i64::MIN),
                "memory reservation -9223372036854775808",
            ),
            (
                |r| r.memory_swap = Some(1 << 20),
                "memory and swap 1048576 is less than memory",
            ),
            (|r| r.kernel_memory = Some(-3), "kernel memory -3"),
            (|r| r.kernel_tcp_memory = Some(-3), "kernel TCP memory -3"),
            (|r| r.pids_limit = Some(4_194_305), "pids limit 4194305"),
            (|r| r.cpuset_cpus = Some("0-".to_owned()), "cpuset cpus 0-"),
            (|r| r.cpuset_mems = Some("a".to_owned()), "cpuset mems a"),
        ];
        for (change, wanted) in cases {
            let mut resources = all();
            change(&mut resources);
            let error = resources.check().unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn lists_are_told_from_what_only_looks_like_one() {
        for list in ["0", "0-3", "0-1,4,6-7", "1,0"] {
            assert!(is_list(list), "{list}");
        }
        for not in [",", "0,", "3-1", "-1", "1-2-3", "+1", "0 1", "0x1", " "] {
            assert!(!is_list(not), "{not}");
        }
    }
}
