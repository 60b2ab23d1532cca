//! Whether whoever holds a container grows with what it says.

use super::stdio::written;
use super::{Bench, SETTLE, memory};
use crate::figures::{Row, Unit};
use crate::peers::Io;

pub const ABOUT: &str = "\
Private dirty memory of the process that holds a container, before it has written anything, and after it has written as much as a line of 100 bytes each \
millisecond is in an hour: 3 600 000 lines, 343 MiB, each by a write(2) of its own, as fast as they are taken. Logs are rotated at 10 MiB, or cut \
short (conmon). It is the amount that is an hour's, not the time.";

/// Before the traffic, and how much more it is afterwards.
pub const BEFORE: &str = "before";
/// Afterwards.
pub const AFTER: &str = "afterwards";

/// One of the two, for output of a kind.
pub fn name(io: Io, when: &str) -> String {
    format!("{}, {when}", io.name())
}

pub fn measure(bench: &Bench, row: &mut Row) {
    let lines = bench.size(36_000, 3_600_000);
    row.parameter("lines", lines);
    for io in [Io::Fifo, Io::Spill, Io::Log, Io::Terminal, Io::TerminalLog] {
        for peer in bench.peers_for(io) {
            println!("traffic: {}, {}", io.name(), peer.name());
            let id = bench.world.sandbox.id("bench");
            let gate = bench.world.gate(&id);
            let [fifo, stamp] = &gate.names;
            let words = ["lines", fifo, stamp, &lines.to_string(), "100"];
            let bundle = bench.bundle(&id, io, &words);
            let held = peer.launch(&id, &bundle, io);
            gate.wait_for(held.process);
            std::thread::sleep(SETTLE);
            let mut look = |when: &str| {
                if let Some(monitor) = held.monitor {
                    let dirty = memory::kib(monitor.private_dirty_kib());
                    row.add(peer.name(), &name(io, when), Unit::Bytes, dirty);
                }
            };
            look(BEFORE);
            written(
                &gate,
                held.output.as_deref().map(holdfast_tests::fifo::reader),
            );
            std::thread::sleep(SETTLE);
            look(AFTER);
            peer.remove(held);
        }
    }
}
