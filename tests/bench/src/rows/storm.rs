//! Many launches at once.

use std::thread;
use std::time::Instant;

use super::Bench;
use crate::figures::{Row, Unit};
use crate::peers::{Held, Io, Peer};
use crate::turns;

pub const ABOUT: &str = "\
All containers are launched at once, each by a thread of its own, until the last of them runs. The processor time is for each, the runtime's included.";

pub fn measure(bench: &Bench, row: &mut Row) {
    let (rounds, count) = bench.size((1, 5), (3, 200));
    row.parameter("rounds", rounds);
    row.parameter("containers", count);
    let peers: Vec<&dyn Peer> = bench.peers_for(Io::Null).collect();
    for round in 0..rounds {
        for &peer in turns::in_round(round, &peers) {
            println!("storm: round {}, {}", round + 1, peer.name());
            let ids: Vec<String> = (0..count)
                .map(|_| bench.world.sandbox.id("bench"))
                .collect();
            let bundles: Vec<_> = ids
                .iter()
                .map(|id| bench.bundle(id, Io::Null, &["idle"]))
                .collect();
            let (cpu, begin) = (bench.world.meter.cpu(), Instant::now());
            let held: Vec<Held> = thread::scope(|scope| {
                let mut launches = Vec::new();
                for (id, bundle) in ids.iter().zip(&bundles) {
                    launches.push(scope.spawn(move || peer.launch(id, bundle, Io::Null)));
                }
                let join =
                    |launch: thread::ScopedJoinHandle<'_, _>| launch.join().expect("a launch");
                launches.into_iter().map(join).collect()
            });
            let (wall, cpu) = (begin.elapsed(), bench.world.meter.cpu().saturating_sub(cpu));
            row.add(
                peer.name(),
                "until all run",
                Unit::Seconds,
                wall.as_secs_f64(),
            );
            row.add(
                peer.name(),
                "processor time, each",
                Unit::Seconds,
                cpu.as_secs_f64() / f64::from(count),
            );
            for held in held {
                peer.remove(held);
            }
        }
    }
}
