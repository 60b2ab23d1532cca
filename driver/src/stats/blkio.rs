//! Block devices: the controller `blkio` of version 1 (the kernel's admin-guide/cgroup-v1/blkio-controller.rst), `io.stat` of
//! version 2 (admin-guide/cgroup-v2.rst, "IO Interface Files").
//!
//! Which files of version 1 count depends on the scheduler of the devices: BFQ keeps its own, CFQ (until Linux 5.0) kept others,
//! and the throttling layer below both counts what neither does. As runc, we take the first that has something to say.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::pressure::{self, Pressure};
use crate::cgroup::file::{malformed, parse, text};
use crate::cgroup::{Cgroups, Version};
use crate::error::Result;

/// What was done with block devices. A list is empty where the kernel does not count it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Blkio {
    /// Bytes moved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Requests served.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    /// Requests that wait now.
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    /// Nanoseconds between a request's dispatch and its end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    /// Nanoseconds that requests waited in the scheduler.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    /// Requests merged into others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    /// Milliseconds of the devices' time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    /// Sectors moved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    /// How long it had to wait for block devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

impl Blkio {
    /// Bytes read from all devices.
    pub fn bytes_read(&self) -> u64 {
        self.bytes("Read")
    }

    /// Bytes written to all devices.
    pub fn bytes_written(&self) -> u64 {
        self.bytes("Write")
    }

    fn bytes(&self, op: &str) -> u64 {
        let entries = self.io_service_bytes_recursive.iter();
        entries
            .filter(|entry| entry.op == op)
            .map(|entry| entry.value)
            .sum()
    }
}

/// One number, of one device and one kind of request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioEntry {
    /// The device's major number.
    pub major: u64,
    /// The device's minor number.
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard` or `Total`; empty where requests are not told apart.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// The number, in the unit of its list.
    pub value: u64,
}

pub(super) fn read(cgroups: &Cgroups) -> Result<Option<Blkio>> {
    let v1 = cgroups
        .controller("blkio")
        .filter(|place| place.version == Version::V1);
    let blkio = match (v1, cgroups.unified()) {
        (Some(place), _) => Some(read_v1(&place.dir)?),
        (None, Some(dir)) => read_v2(dir)?,
        (None, None) => None,
    };
    let psi = pressure::read(cgroups, "io.pressure")?;
    Ok(blkio.map(|blkio| Blkio { psi, ..blkio }))
}

type List = fn(&mut Blkio) -> &mut Vec<BlkioEntry>;

/// What a scheduler's files have before and after what they count, and what they count.
type Source<'a> = (&'a str, &'a str, &'a [(&'a str, List)]);

/// What the schedulers name alike; the last two are all that BFQ counts unless the kernel was built to debug it.
const LISTS: [(&str, List); 8] = [
    ("sectors", |blkio| &mut blkio.sectors_recursive),
    ("io_service_time", |blkio| {
        &mut blkio.io_service_time_recursive
    }),
    ("io_wait_time", |blkio| &mut blkio.io_wait_time_recursive),
    ("io_merged", |blkio| &mut blkio.io_merged_recursive),
    ("io_queued", |blkio| &mut blkio.io_queued_recursive),
    ("time", |blkio| &mut blkio.io_time_recursive),
    ("io_serviced", |blkio| &mut blkio.io_serviced_recursive),
    ("io_service_bytes", |blkio| {
        &mut blkio.io_service_bytes_recursive
    }),
];

fn read_v1(dir: &Path) -> Result<Blkio> {
    let basic = &LISTS[6..];
    let sources: [Source<'_>; 5] = [
        ("blkio.bfq.", "_recursive", &LISTS),
        ("blkio.bfq.", "_recursive", basic),
        ("blkio.", "_recursive", &LISTS),
        ("blkio.throttle.", "_recursive", basic),
        ("blkio.throttle.", "", basic),
    ];
    for (before, after, lists) in sources {
        let mut blkio = Blkio::default();
        let mut said = false;
        for (what, list) in lists {
            let entries = entries_v1(dir, &format!("{before}{what}{after}"))?;
            if entries.is_empty() {
                // The first tells whether the others are kept at all.
                break;
            }
            said = true;
            *list(&mut blkio) = entries;
        }
        if said {
            return Ok(blkio);
        }
    }
    Ok(Blkio::default())
}

/// Lines of `MAJOR:MINOR VALUE` or `MAJOR:MINOR OP VALUE`, then one of `Total VALUE`, the sum.
fn entries_v1(dir: &Path, name: &str) -> Result<Vec<BlkioEntry>> {
    let mut entries = Vec::new();
    for line in text(dir, name)?.unwrap_or_default().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (device, op, value) = match words[..] {
            ["Total", _] => continue,
            [device, value] => (device, "", value),
            [device, op, value] => (device, op, value),
            _ => return Err(malformed(dir, name, line)),
        };
        entries.push(entry(dir, name, device, op, value)?);
    }
    Ok(entries)
}

fn entry(dir: &Path, name: &str, device: &str, op: &str, value: &str) -> Result<BlkioEntry> {
    let numbers = device.split_once(':');
    let (major, minor) = numbers.ok_or_else(|| malformed(dir, name, device))?;
    Ok(BlkioEntry {
        major: parse(dir, name, major)?,
        minor: parse(dir, name, minor)?,
        op: op.to_owned(),
        value: parse(dir, name, value)?,
    })
}

/// Lines of `MAJOR:MINOR KEY=VALUE…`.
fn read_v2(dir: &Path) -> Result<Option<Blkio>> {
    const NAME: &str = "io.stat";
    let Some(stat) = text(dir, NAME)? else {
        return Ok(None);
    };
    let mut blkio = Blkio::default();
    for line in stat.lines() {
        let mut words = line.split_whitespace();
        // A device without numbers has a line of its own, with no end but the next device.
        let Some(device) = words.next() else { continue };
        for word in words {
            // Further pairs are a controller's own (`cost.usage=…`), and no counts of requests.
            let Some((key, value)) = word.split_once('=') else {
                return Err(malformed(dir, NAME, line));
            };
            let (list, op): (List, _) = match key {
                "rbytes" => (|blkio| &mut blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (|blkio| &mut blkio.io_service_bytes_recursive, "Write"),
                "dbytes" => (|blkio| &mut blkio.io_service_bytes_recursive, "Discard"),
                "rios" => (|blkio| &mut blkio.io_serviced_recursive, "Read"),
                "wios" => (|blkio| &mut blkio.io_serviced_recursive, "Write"),
                "dios" => (|blkio| &mut blkio.io_serviced_recursive, "Discard"),
                _ => continue,
            };
            list(&mut blkio).push(entry(dir, NAME, device, op, value)?);
        }
    }
    Ok(Some(blkio))
}
