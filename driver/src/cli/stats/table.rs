//! The table of `stats`.

use std::time::Duration;

use holdfast::stats::{Memory, NetworkInterface};

use super::super::output;
use super::Sample;
use super::amounts::{percent, size, time};

const HEADER: [&str; 11] = [
    "ID", "CPU %", "CPU TIME", "MEMORY", "LIMIT", "MEM %", "PIDS", "NET IN", "NET OUT", "READ",
    "WRITTEN",
];

/// What is not known.
const UNKNOWN: &str = "-";

/// One line a container. The share of processor time is that since the sample before, else since the container began.
pub fn table(samples: &[Sample], before: &[Sample]) -> String {
    let rows = samples.iter().map(|sample| {
        let earlier = before.iter().find(|earlier| earlier.id == sample.id);
        row(sample, earlier)
    });
    output::table(HEADER, rows, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
}

fn row(sample: &Sample, earlier: Option<&Sample>) -> [String; 11] {
    let stats = &sample.stats;
    let memory = stats.memory.as_ref();
    let share = |memory: &Memory| {
        let limit = memory.usage.limited().filter(|&limit| limit > 0)?;
        Some(percent(memory.working_set() as f64 / limit as f64))
    };
    let outside = |count: fn(&NetworkInterface) -> u64| {
        let interfaces = stats.network_interfaces.as_ref()?.iter();
        let outside = interfaces.filter(|interface| !interface.is_loopback());
        Some(size(outside.map(count).sum()))
    };
    let blkio = stats.blkio.as_ref();
    let cells = [
        Some(sample.id.clone()),
        cpu_share(sample, earlier).map(percent),
        cpu_time(sample).map(time),
        memory.map(|memory| size(memory.working_set())),
        memory.and_then(|memory| memory.usage.limited()).map(size),
        memory.and_then(share),
        stats.pids.map(|pids| pids.current.to_string()),
        outside(|interface| interface.rx_bytes),
        outside(|interface| interface.tx_bytes),
        blkio.map(|blkio| size(blkio.bytes_read())),
        blkio.map(|blkio| size(blkio.bytes_written())),
    ];
    cells.map(|cell| cell.unwrap_or_else(|| UNKNOWN.to_owned()))
}

fn cpu_time(sample: &Sample) -> Option<Duration> {
    let cpu = sample.stats.cpu.as_ref()?;
    Some(Duration::from_nanos(cpu.usage.total))
}

/// As a share of one processor.
fn cpu_share(sample: &Sample, earlier: Option<&Sample>) -> Option<f64> {
    let used = cpu_time(sample)?;
    let (used, within) = match earlier.and_then(|earlier| Some((earlier, cpu_time(earlier)?))) {
        Some((earlier, before)) => (
            // A container of the same name that began anew has used less than the one before.
            used.saturating_sub(before),
            sample.taken.duration_since(earlier.taken),
        ),
        None => (used, sample.age?),
    };
    (!within.is_zero()).then(|| used.as_secs_f64() / within.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast::Stats;
    use holdfast::stats::{Cpu, CpuUsage, MemoryEntry, Pids};
    use std::time::Instant;

    fn sample(taken: Instant, cpu: u64, age: u64) -> Sample {
        let usage = CpuUsage {
            total: cpu,
            ..CpuUsage::default()
        };
        let memory = MemoryEntry {
            limit: 64 << 20,
            usage: 32 << 20,
            ..MemoryEntry::default()
        };
        Sample {
            id: "web".to_owned(),
            bundle: "/b".into(),
            stats: Stats {
                cpu: Some(Cpu {
                    usage,
                    ..Cpu::default()
                }),
                memory: Some(Memory {
                    usage: memory,
                    ..Memory::default()
                }),
                pids: Some(Pids {
                    current: 3,
                    limit: None,
                }),
                ..Stats::default()
            },
            taken,
            age: Some(Duration::from_secs(age)),
        }
    }

    #[test]
    fn a_container_has_a_line_and_what_is_not_known_a_dash() {
        let now = Instant::now();
        let second = 1_000_000_000;
        let text = table(&[sample(now, 5 * second, 10)], &[]);
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            words,
            [
                "web", "50.00%", "0:05.00", "32.0MiB", "64.0MiB", "50.00%", "3", "-", "-", "-", "-"
            ]
        );
        let later = sample(now + Duration::from_secs(2), 6 * second, 12);
        let text = table(&[later], &[sample(now, 5 * second, 10)]);
        assert!(text.contains("50.00%    0:06.00"), "{text}");
        let anew = sample(now + Duration::from_secs(2), 0, 1);
        let text = table(&[anew], &[sample(now, 5 * second, 10)]);
        assert!(text.contains(" 0.00% "), "{text}");
    }
}
