//! What a launch takes beyond the runtime.

use std::time::Instant;

use super::Bench;
use crate::figures::{Row, Unit};
use crate::peers::{HOLDFAST, Io, Peer};
use crate::turns;

pub const ABOUT: &str = "\
`create` and `start`, from the caller's call to its return, the process then running; without output. *Holdfast* is the library, as a daemon \
uses it; then the same in a daemon that has a gibibyte of memory of its own, which a fork(2) would pay for.";

/// What is measured.
pub const TIME: &str = "create + start";

pub fn measure(bench: &Bench, row: &mut Row) {
    let rounds = bench.size(3, 150);
    row.parameter("rounds", rounds);
    let peers: Vec<&dyn Peer> = bench.peers_for(Io::Null).collect();
    for round in 0..=rounds {
        // The first round warms up, and counts for nothing.
        let mut add = |who: &str, what: &str, seconds: f64| {
            if round > 0 {
                row.add(who, what, Unit::Seconds, seconds);
            }
        };
        for peer in turns::in_round(round, &peers) {
            let (seconds, cpu) = time(bench, *peer);
            add(peer.name(), TIME, seconds);
            add(peer.name(), "processor time", cpu);
        }
        if let Some(ours) = peers.iter().find(|peer| peer.name() == HOLDFAST) {
            let heap = std::hint::black_box(vec![1_u8; bench.size(1 << 28, 1 << 30)]);
            // To fill it has emptied every cache of what a launch needs.
            time(bench, *ours);
            add("holdfast, in a daemon of 1 GiB", TIME, time(bench, *ours).0);
            drop(heap);
        }
    }
}

/// How long a launch took, and how much of the processor, in seconds.
fn time(bench: &Bench, peer: &dyn Peer) -> (f64, f64) {
    let id = bench.world.sandbox.id("bench");
    let bundle = bench.bundle(&id, Io::Null, &["idle"]);
    let (begin, cpu) = (Instant::now(), bench.world.meter.cpu());
    let held = peer.launch(&id, &bundle, Io::Null);
    let time = begin.elapsed().as_secs_f64();
    let cpu = bench.world.meter.cpu().saturating_sub(cpu).as_secs_f64();
    peer.remove(held);
    (time, cpu)
}
