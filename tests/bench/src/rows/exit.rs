//! How soon a waiting supervisor knows how a process ended.

use super::Bench;
use crate::figures::{Row, Unit};
use crate::peers::{Io, Peer};
use crate::world::now;

pub const ABOUT: &str = "\
The container's process reads the clock right before `_exit`; whoever waits reads it when it has the exit code. The runtime alone: the parent \
waits in waitpid(2), the least that the kernel takes for the end of a process with namespaces of its own. Holdfast: a `Monitor` of the library. conmon: \
inotify on its exit directory, as podman does. containerd-shim-runc-v2: an answer to `Wait`, without containerd in between.";

/// What is measured.
pub const TIME: &str = "exit to status known";

pub fn measure(bench: &Bench, row: &mut Row) {
    let rounds = bench.size(5, 300);
    row.parameter("rounds", rounds);
    let peers: Vec<&dyn Peer> = bench.peers_for(Io::Null).collect();
    for round in 0..rounds {
        for turn in 0..peers.len() {
            let peer = peers[(round + turn) % peers.len()];
            let seconds = time(bench, peer);
            row.add(peer.name(), TIME, Unit::Seconds, seconds);
        }
    }
}

fn time(bench: &Bench, peer: &dyn Peer) -> f64 {
    let id = bench.world.sandbox.id("bench");
    let gate = bench.world.gate(&id);
    let [fifo, stamp] = &gate.names;
    let bundle = bench.bundle(&id, Io::Null, &["exit", fifo, stamp]);
    let held = peer.launch(&id, &bundle, Io::Null);
    gate.wait_for(held.process);
    let known = std::thread::scope(|scope| {
        let wait = peer.watch(&held);
        let waiter = scope.spawn(move || {
            let code = wait();
            (code, now())
        });
        gate.open();
        let (code, known) = waiter.join().expect("somebody waited");
        assert_eq!(code, 7, "{}", peer.name());
        known
    });
    let [ended] = gate.stamps()[..] else {
        panic!("the process does not say when it ended");
    };
    peer.remove(held);
    known.saturating_sub(ended).as_secs_f64()
}
