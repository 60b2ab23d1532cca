//! What those who hold idle containers do: nothing, at best.

use std::thread;
use std::time::Duration;

use holdfast_tests::Proc;

use super::{Bench, SETTLE};
use crate::figures::{Row, Unit};
use crate::meter::activity;
use crate::peers::{Held, Io, Peer};

pub const ABOUT: &str = "\
Many idle containers of each are left alone, all at the same time; how often the processes that hold them were switched to meanwhile, with all of \
their threads, and the processor time that they used, all together.";

/// How often somebody woke up.
pub const WAKE_UPS: &str = "wake-ups, all";

pub fn measure(bench: &Bench, row: &mut Row) {
    let (count, seconds) = bench.size((5, 1), (200, 60));
    row.parameter("containers of each", count);
    row.parameter("seconds", seconds);
    let all: Vec<(&dyn Peer, Vec<Held>)> = bench
        .peers_for(Io::Null)
        // Nobody holds those of the bare runtime.
        .filter(|peer| peer.name() != crate::peers::BARE)
        .map(|peer| {
            println!("idle: {}", peer.name());
            let launch = |_| bench.launch(peer, Io::Null, &["idle"]);
            (peer, (0..count).map(launch).collect())
        })
        .collect();
    thread::sleep(SETTLE);
    let look = || {
        let monitors = |held: &Vec<Held>| held.iter().filter_map(|held| held.monitor).collect();
        let groups = all.iter().map(|(_, held)| monitors(held));
        groups.map(|group: Vec<Proc>| activity(&group)).collect()
    };
    let before: Vec<(f64, f64)> = look();
    thread::sleep(Duration::from_secs(seconds));
    let after = look();
    for ((peer, held), (before, after)) in all.into_iter().zip(before.into_iter().zip(after)) {
        let name = peer.name();
        row.add(name, WAKE_UPS, Unit::Count, after.0 - before.0);
        let used = after.1 - before.1;
        row.add(name, "processor time, all", Unit::Seconds, used);
        for held in held {
            peer.remove(held);
        }
    }
}
