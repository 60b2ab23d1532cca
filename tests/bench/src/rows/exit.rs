//! How soon a waiting supervisor knows how a process ended.

use std::cell::Cell;
use std::thread;
use std::time::Duration;

use super::Bench;
use super::exec::containers;
use crate::figures::{Row, Unit};
use crate::peers::{Held, Io, Peer};
use crate::turns;
use crate::world::{Gate, now};

pub const ABOUT: &str = "\
The process reads the clock right before `_exit`; whoever waits reads it when it has the exit code. The runtime alone: the parent waits in \
waitpid(2), what the kernel takes for the end of a process with namespaces of its own. Holdfast: a `Monitor` of the library, by which time all is on \
record; its shim holds the container's mount namespace, so that the kernel takes that down afterwards. conmon: inotify on its exit directory, as podman \
does. containerd-shim-runc-v2: an answer to `Wait`, without containerd in between.

*Of an exec*: another process in a container that goes on, which has no namespace to take down. The runtime alone: the end of its command, which waits for \
the process as its own child and ends as that did. Holdfast: `Process::wait`. conmon: its own end, and its exit file, as CRI-O does. \
containerd-shim-runc-v2: as above.";

/// What is measured.
pub const TIME: &str = "exit to status known";
/// The same of a process that is not the container's first.
const OF_EXEC: &str = "of an exec, exit to status known";

/// How long a launch may go on after the process that was launched waits for us.
const SETTLED: Duration = Duration::from_millis(20);

pub fn measure(bench: &Bench, row: &mut Row) {
    let rounds = bench.size(5, 300);
    row.parameter("rounds", rounds);
    let peers: Vec<&dyn Peer> = bench.peers_for(Io::Null).collect();
    for round in 0..rounds {
        for peer in turns::in_round(round, &peers) {
            let seconds = time(bench, *peer);
            row.add(peer.name(), TIME, Unit::Seconds, seconds);
        }
    }
    let held = containers(bench);
    for round in 0..rounds {
        for (peer, held) in turns::in_round(round, &held) {
            let seconds = time_of_exec(bench, *peer, held);
            row.add(peer.name(), OF_EXEC, Unit::Seconds, seconds);
        }
    }
    for (peer, held) in held {
        peer.remove(held);
    }
}

fn time_of_exec(bench: &Bench, peer: &dyn Peer, held: &Held) -> f64 {
    let gate = bench.world.gate(&bench.world.sandbox.id("exec"));
    let [fifo, stamp] = &gate.names;
    let process = bench.world.process(&["/host/inside", "exit", fifo, stamp]);
    let known = thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let known = Cell::new(Duration::ZERO);
            let code = peer.exec(held, &process, &|| known.set(now()));
            (code, known.get())
        });
        gate.wait_for_somebody();
        thread::sleep(SETTLED);
        gate.open();
        waiter.join().expect("somebody waited")
    });
    since_its_end(&gate, peer, known)
}

/// How much later somebody knew its exit code, seconds.
fn since_its_end(gate: &Gate, peer: &dyn Peer, (code, known): (i32, Duration)) -> f64 {
    assert_eq!(code, 7, "{}", peer.name());
    let [ended] = gate.stamps()[..] else {
        panic!("the process does not say when it ended");
    };
    known.saturating_sub(ended).as_secs_f64()
}

fn time(bench: &Bench, peer: &dyn Peer) -> f64 {
    let id = bench.world.sandbox.id("bench");
    let gate = bench.world.gate(&id);
    let [fifo, stamp] = &gate.names;
    let bundle = bench.bundle(&id, Io::Null, &["exit", fifo, stamp]);
    let held = peer.launch(&id, &bundle, Io::Null);
    gate.wait_for(held.process);
    let known = thread::scope(|scope| {
        let wait = peer.watch(&held);
        let waiter = scope.spawn(move || {
            let known = Cell::new(Duration::ZERO);
            let code = wait(&|| known.set(now()));
            (code, known.get())
        });
        gate.open();
        waiter.join().expect("somebody waited")
    });
    peer.remove(held);
    since_its_end(&gate, peer, known)
}
