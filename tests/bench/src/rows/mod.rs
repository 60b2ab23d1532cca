//! The rows of the benchmark: what each of them measures, and how it is told. Everybody takes a turn in each round, so that what the
//! machine does else happens to all.

mod commands;
mod exec;
mod exit;
mod idle;
mod instructions;
mod launch;
mod memory;
mod reattach;
mod stdio;
mod storm;
mod traffic;

use std::sync::Arc;
use std::time::Duration;

use crate::figures::Row;
use crate::peers::{BARE, HOLDFAST, Held, Io, Peer};
use crate::world::World;

// The names under which others find what a row measured.
pub use exec::CPU as EXEC_CPU;
pub use exit::TIME as EXIT_TIME;
pub use idle::WAKE_UPS as IDLE_WAKE_UPS;
pub use launch::TIME as LAUNCH_TIME;
pub use memory::{AVAILABLE, CHARGED, PRIVATE_DIRTY};
pub use reattach::{BARE_READ, EACH, IN_ALL, figure as reattach_figure};
pub use stdio::{BARE_FIFO, OUTPUTS, cpu as output_cpu};
pub use traffic::{AFTER as AFTER_TRAFFIC, BEFORE as BEFORE_TRAFFIC, name as traffic_name};

/// One run of the benchmark.
pub struct Bench {
    pub world: Arc<World>,
    pub peers: Vec<Box<dyn Peer>>,
    /// A short run, to see that everything works.
    pub quick: bool,
}

impl Bench {
    /// How much: in a short run, or in a whole one.
    pub fn size<T>(&self, quick: T, whole: T) -> T {
        if self.quick { quick } else { whole }
    }

    /// Those who can hold a container so.
    pub fn peers_for(&self, io: Io) -> impl Iterator<Item = &dyn Peer> {
        self.peers
            .iter()
            .map(AsRef::as_ref)
            .filter(move |peer| peer.can(io))
    }

    /// Launches a container that runs `inside WORDS`.
    pub fn launch(&self, peer: &dyn Peer, io: Io, words: &[&str]) -> Held {
        let id = self.world.sandbox.id("bench");
        let bundle = self.bundle(&id, io, words);
        peer.launch(&id, &bundle, io)
    }

    /// Its bundle.
    pub fn bundle(&self, id: &str, io: Io, words: &[&str]) -> holdfast_tests::Bundle {
        let bundle = self.world.bundle(id, words);
        if io.terminal() {
            bundle.terminal()
        } else {
            bundle
        }
    }
}

/// What is said of somebody's figure beside another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// How many times as much it is.
    Ratio,
    /// How much more it is, round by round, and how many times as much.
    Over,
}

/// A row.
pub struct Kind {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// How it is measured.
    pub about: &'static str,
    /// Whose figures the others' are compared with.
    pub reference: &'static str,
    /// How.
    pub compare: Compare,
    /// Which quantiles are shown, with their names.
    pub quantiles: &'static [(f64, &'static str)],
    /// Measures it.
    pub measure: fn(&Bench, &mut Row),
}

/// The middle alone.
const MEDIAN: &[(f64, &str)] = &[(0.5, "")];

/// All of them, in the order of the page.
pub const ALL: &[Kind] = &[
    Kind {
        name: "memory",
        title: "Memory of an idle container",
        about: memory::ABOUT,
        reference: BARE,
        compare: Compare::Over,
        quantiles: MEDIAN,
        measure: memory::measure,
    },
    Kind {
        name: "traffic",
        title: "Memory after traffic",
        about: traffic::ABOUT,
        reference: HOLDFAST,
        compare: Compare::Ratio,
        quantiles: MEDIAN,
        measure: traffic::measure,
    },
    Kind {
        name: "launch",
        title: "Launch",
        about: launch::ABOUT,
        reference: BARE,
        compare: Compare::Over,
        quantiles: MEDIAN,
        measure: launch::measure,
    },
    Kind {
        name: "commands",
        title: "From the command line",
        about: commands::ABOUT,
        reference: BARE,
        compare: Compare::Over,
        quantiles: MEDIAN,
        measure: commands::measure,
    },
    Kind {
        name: "instructions",
        title: "Instructions of the shim alone",
        about: instructions::ABOUT,
        reference: HOLDFAST,
        compare: Compare::Ratio,
        quantiles: MEDIAN,
        measure: instructions::measure,
    },
    Kind {
        name: "exit",
        title: "From the last instruction to the status known",
        about: exit::ABOUT,
        reference: HOLDFAST,
        compare: Compare::Ratio,
        quantiles: &[(0.5, "p50"), (0.99, "p99")],
        measure: exit::measure,
    },
    Kind {
        name: "exec",
        title: "Exec",
        about: exec::ABOUT,
        reference: BARE,
        compare: Compare::Over,
        quantiles: MEDIAN,
        measure: exec::measure,
    },
    Kind {
        name: "probes",
        title: "A hundred containers probed by exec",
        about: exec::ABOUT_PROBES,
        reference: BARE,
        compare: Compare::Ratio,
        quantiles: MEDIAN,
        measure: exec::measure_probes,
    },
    Kind {
        name: "reattach",
        title: "Reattach",
        about: reattach::ABOUT,
        reference: reattach::BARE_READ,
        compare: Compare::Ratio,
        quantiles: MEDIAN,
        measure: reattach::measure,
    },
    Kind {
        name: "stdio",
        title: "Output",
        about: stdio::ABOUT,
        reference: stdio::BARE_FIFO,
        compare: Compare::Ratio,
        quantiles: MEDIAN,
        measure: stdio::measure,
    },
    Kind {
        name: "storm",
        title: "Launch storm",
        about: storm::ABOUT,
        reference: BARE,
        compare: Compare::Over,
        quantiles: MEDIAN,
        measure: storm::measure,
    },
    Kind {
        name: "idle",
        title: "Idle",
        about: idle::ABOUT,
        reference: HOLDFAST,
        compare: Compare::Ratio,
        quantiles: MEDIAN,
        measure: idle::measure,
    },
];

/// How long what was just launched is left alone before it is looked at.
const SETTLE: Duration = Duration::from_secs(1);
