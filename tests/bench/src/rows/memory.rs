//! What an idle container costs in memory, and whether that grows.

use std::thread;

use holdfast_tests::Proc;

use super::{Bench, SETTLE};
use crate::figures::{Row, Unit, median};
use crate::meter::{self, count_of};
use crate::peers::{BARE, Held, Io, Peer};
use crate::turns;

pub const ABOUT: &str = "\
Many idle containers at once, then none. *Charged* is what the kernel charges to a memory cgroup around launcher and containers once \
all that can be reclaimed is: processes, page tables, kernel objects, state files in memory; not what memory has of files on a disk. *MemAvailable* is what the whole machine has less, \
with the pages that each processor keeps in hand: it includes what everybody else does meanwhile. Both for a container, the runtime's own part included; the rest is of the process that holds it. \
*Fit in 1 GiB* is computed from what is charged beyond the runtime alone.";

/// What is charged for a container.
pub const CHARGED: &str = "charged";
/// What the machine has less for a container.
pub const AVAILABLE: &str = "MemAvailable";
/// Memory that is the monitor's alone.
pub const PRIVATE_DIRTY: &str = "private dirty";

pub fn measure(bench: &Bench, row: &mut Row) {
    let (rounds, count) = bench.size((1, 5), (3, 200));
    row.parameter("rounds", rounds);
    let few = bench.size(2, 10);
    row.parameter("containers", count);
    row.parameter("containers with output", few);
    for peer in bench.peers_for(Io::Null) {
        // Executables are read, sockets made …
        peer.remove(bench.launch(peer, Io::Null, &["idle"]));
    }
    for round in 0..rounds {
        let peers: Vec<&dyn Peer> = bench.peers_for(Io::Null).collect();
        for &peer in turns::in_round(round, &peers) {
            println!("memory: round {}, {}", round + 1, peer.name());
            many(bench, row, peer, Io::Null, count, "");
        }
        for io in [Io::Fifo, Io::Log, Io::Terminal, Io::TerminalLog] {
            for peer in bench.peers_for(io) {
                many(bench, row, peer, io, few, &format!(", {}", io.name()));
            }
        }
    }
    for peer in bench.peers_for(Io::Null) {
        if let Some(over) = row
            .over(peer.name(), BARE, CHARGED)
            .filter(|over| *over > 0.0)
        {
            let fit = (1_073_741_824.0 / over).floor();
            row.add(peer.name(), "fit in 1 GiB", Unit::Count, fit);
        }
    }
}

/// So many containers, held so.
fn many(bench: &Bench, row: &mut Row, peer: &dyn Peer, io: Io, count: u32, suffix: &str) {
    let ids: Vec<String> = (0..count)
        .map(|_| bench.world.sandbox.id("bench"))
        .collect();
    let bundles: Vec<_> = ids
        .iter()
        .map(|id| bench.bundle(id, io, &["idle"]))
        .collect();
    let (charged, available) = (bench.world.meter.memory(), meter::available());
    let held: Vec<Held> = ids
        .iter()
        .zip(&bundles)
        .map(|(id, bundle)| peer.launch(id, bundle, io))
        .collect();
    thread::sleep(SETTLE);
    let each = f64::from(count);
    let available = available - meter::available();
    let charged = bench.world.meter.memory() - charged;
    let mut add = |what: &str, unit, value| {
        row.add(peer.name(), &format!("{what}{suffix}"), unit, value);
    };
    add(CHARGED, Unit::Bytes, charged / each);
    if suffix.is_empty() {
        add(AVAILABLE, Unit::Bytes, available / each);
    }
    let monitors: Vec<Proc> = held.iter().filter_map(|held| held.monitor).collect();
    let mut of_monitors = |what: &str, unit, value: &dyn Fn(&Proc) -> f64| {
        if let Some(value) = median(&monitors.iter().map(value).collect::<Vec<_>>()) {
            add(what, unit, value);
        }
    };
    of_monitors(
        PRIVATE_DIRTY,
        Unit::Bytes,
        &|it| kib(it.private_dirty_kib()),
    );
    if suffix.is_empty() {
        of_monitors("PSS", Unit::Bytes, &|it| kib(it.pss_kib()));
        of_monitors("page tables", Unit::Bytes, &|it| kib(it.page_tables_kib()));
        of_monitors("resident", Unit::Bytes, &|it| kib(it.rss_kib()));
        of_monitors("threads", Unit::Count, &|it| count_of(it.threads()));
    }
    for held in held {
        peer.remove(held);
    }
}

pub fn kib(kib: u64) -> f64 {
    count_of(kib) * 1024.0
}
