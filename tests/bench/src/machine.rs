//! On what machine, and at what moment.

use std::collections::BTreeMap;
use std::fs;
use std::time::SystemTime;

use holdfast_tests::binaries;

use crate::figures::Taken;
use crate::peers::version_of;
use crate::rows::Bench;

/// The circumstances of a run that begins now.
pub fn taken(bench: &Bench) -> Taken {
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    let peers = bench.peers.iter();
    let peers = peers.map(|peer| (peer.name().to_owned(), peer.version()));
    let hyperfine = binaries::installed("hyperfine");
    let hyperfine = hyperfine.map(|path| ("hyperfine".to_owned(), version_of(&path, "--version")));
    Taken {
        at: now.to_string(),
        load: [load(); 2],
        machine: machine(),
        versions: peers.chain(hyperfine).collect(),
    }
}

/// The mean number of processes that ran or waited to, in the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().and_then(|first| first.parse().ok());
    first.unwrap_or_default()
}

fn machine() -> BTreeMap<String, String> {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let processors = text("/proc/cpuinfo");
    let count = processors
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kib: u64 = value(&text("/proc/meminfo"), "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or_default();
    let model = value(&processors, "model name");
    let model = if model.is_empty() {
        "unnamed".to_owned()
    } else {
        model
    };
    [
        ("processor", format!("{count} × {model}")),
        ("memory", format!("{} GiB", (kib + (1 << 19)) >> 20)),
        (
            "kernel",
            text("/proc/sys/kernel/osrelease").trim().to_owned(),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
