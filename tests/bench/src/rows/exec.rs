//! What another process in a container takes: alone, many at once, and as a health check.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::Bench;
use crate::figures::{Row, Unit, median, quantile};
use crate::peers::{Held, Io, Peer};
use crate::turns;

pub const ABOUT: &str = "\
`true`, run in a container, until its exit code is known. The processor time is all that is used for it, by whomever: the kernel's account of \
the cgroup around everything, runtime and caller included. Where many end at once, the containerd-shim-runc-v2 of containerd 1.6 waits for a second \
now and then (containerd/containerd#8557).";

pub const ABOUT_PROBES: &str = "\
Each container is probed once a second by an exec of `true`, each by a thread of its own, which is late when the machine is not fast enough. \
The processor time is for a probe, everything included.";

/// Processor time.
pub const CPU: &str = "processor time, each";

pub fn measure(bench: &Bench, row: &mut Row) {
    let (rounds, series, at_once) = bench.size((2, 2, 5), (30, 5, 50));
    row.parameter("rounds", rounds);
    row.parameter("at once", at_once);
    let process = process(bench);
    let held = containers(bench);
    for round in 0..rounds {
        for (peer, held) in turns::in_round(round, &held) {
            let mut times = Vec::new();
            let cpu = bench.world.meter.cpu();
            for _ in 0..series {
                let begin = Instant::now();
                assert_eq!(peer.exec(held, &process, &|| ()), 0, "{}", peer.name());
                times.push(begin.elapsed().as_secs_f64());
            }
            let cpu = bench.world.meter.cpu().saturating_sub(cpu);
            row.add(
                peer.name(),
                "one",
                Unit::Seconds,
                median(&times).unwrap_or_default(),
            );
            row.add(
                peer.name(),
                CPU,
                Unit::Seconds,
                cpu.as_secs_f64() / f64::from(series),
            );
        }
        if round % 15 == 0 {
            for (peer, held) in &held {
                let begin = Instant::now();
                thread::scope(|scope| {
                    for _ in 0..at_once {
                        scope.spawn(|| assert_eq!(peer.exec(held, &process, &|| ()), 0));
                    }
                });
                let what = format!("{at_once} at once, all");
                row.add(
                    peer.name(),
                    &what,
                    Unit::Seconds,
                    begin.elapsed().as_secs_f64(),
                );
            }
        }
    }
    for (peer, held) in held {
        peer.remove(held);
    }
}

/// One container a peer.
pub fn containers(bench: &Bench) -> Vec<(&dyn Peer, Held)> {
    let peers = bench.peers_for(Io::Null);
    peers
        .map(|peer| (peer, bench.launch(peer, Io::Null, &["idle"])))
        .collect()
}

/// A file that says what is to be run.
fn process(bench: &Bench) -> String {
    bench.world.process(&["true"])
}

pub fn measure_probes(bench: &Bench, row: &mut Row) {
    let (containers, seconds) = bench.size((3, 2), (100, 20));
    row.parameter("containers", containers);
    row.parameter("seconds", seconds);
    let process = process(bench);
    for peer in bench.peers_for(Io::Null) {
        let held: Vec<Held> = (0..containers)
            .map(|_| bench.launch(peer, Io::Null, &["idle"]))
            .collect();
        let times = Mutex::new(Vec::new());
        let cpu = bench.world.meter.cpu();
        let begin = Instant::now();
        let end = begin + Duration::from_secs(seconds);
        thread::scope(|scope| {
            for (n, held) in (0_u32..).zip(&held) {
                let (times, process) = (&times, &process);
                // Spread over the second, as probes of containers that were not started together are.
                let mut next = begin + Duration::from_secs(1) * n / containers;
                scope.spawn(move || {
                    while next < end {
                        thread::sleep(next.saturating_duration_since(Instant::now()));
                        let began = Instant::now();
                        if began >= end {
                            break;
                        }
                        assert_eq!(peer.exec(held, process, &|| ()), 0, "{}", peer.name());
                        let time = began.elapsed().as_secs_f64();
                        times.lock().expect("nobody panics").push(time);
                        next = (next + Duration::from_secs(1)).max(Instant::now());
                    }
                });
            }
        });
        let wall = begin.elapsed().as_secs_f64();
        let cpu = bench.world.meter.cpu().saturating_sub(cpu).as_secs_f64();
        let times = times.into_inner().expect("nobody panics");
        let count = f64::from(u32::try_from(times.len()).expect("not that many"));
        let name = peer.name();
        row.add(name, CPU, Unit::Seconds, cpu / count);
        row.add(name, "probes a second", Unit::Count, count / wall);
        row.add(
            name,
            "a probe, median",
            Unit::Seconds,
            median(&times).unwrap_or_default(),
        );
        row.add(
            name,
            "a probe, p99",
            Unit::Seconds,
            quantile(&times, 0.99).unwrap_or_default(),
        );
        for held in held {
            peer.remove(held);
        }
    }
}
