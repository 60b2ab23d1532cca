//! What we want to reach, and whether we do.

use std::fmt::Write;

use crate::figures::{Report, Row, Unit, digits};
use crate::peers::{BARE, CONMON, HOLDFAST, Io, SHIM_V2};
use crate::rows::{
    AFTER_TRAFFIC, AVAILABLE, BARE_FIFO, BARE_READ, BEFORE_TRAFFIC, CHARGED, EACH, EXEC_CPU,
    EXIT_TIME, IDLE_WAKE_UPS, IN_ALL, LAUNCH_TIME, PRIVATE_DIRTY, output_cpu, reattach_figure,
    traffic_name,
};

/// How much longer than a bare read.
fn reattach(row: &Row, size: usize, living: usize) -> Option<f64> {
    ratio(
        row,
        HOLDFAST,
        BARE_READ,
        &reattach_figure(size, living, IN_ALL),
    )
}

/// A figure, in words, and whether it is what we want.
type Measured = Option<(String, bool)>;

/// A target: of what row, what, how much, and what it is.
struct Target {
    row: &'static str,
    what: &'static str,
    wanted: &'static str,
    measured: fn(&Row) -> Measured,
}

const TARGETS: &[Target] = &[
    Target {
        row: "memory",
        what: "private dirty memory of an idle shim",
        wanted: "≤ 64 KiB",
        measured: |row| most(row.median(HOLDFAST, PRIVATE_DIRTY)?, Unit::Bytes, 65536.0),
    },
    Target {
        row: "memory",
        what: "memory of the whole system, for a container, beyond the runtime's (MemAvailable)",
        wanted: "≤ 150 KiB",
        measured: |row| match row.over(HOLDFAST, BARE, AVAILABLE)? {
            // Somebody else has let go of memory meanwhile: nothing is known.
            less if less <= 0.0 => Some(("noise".to_owned(), false)),
            over => most(over, Unit::Bytes, 153_600.0),
        },
    },
    Target {
        row: "memory",
        what: "the same, as it is charged to a cgroup",
        wanted: "≤ 150 KiB",
        measured: |row| most(row.over(HOLDFAST, BARE, CHARGED)?, Unit::Bytes, 153_600.0),
    },
    Target {
        row: "traffic",
        what: "growth over an hour's output, in a log",
        wanted: "0",
        measured: |row| {
            let at = |when| row.median(HOLDFAST, &traffic_name(Io::Log, when));
            most(at(AFTER_TRAFFIC)? - at(BEFORE_TRAFFIC)?, Unit::Bytes, 0.0)
        },
    },
    Target {
        row: "launch",
        what: "launch beyond the runtime",
        wanted: "≤ 2 ms",
        measured: |row| most(row.over(HOLDFAST, BARE, LAUNCH_TIME)?, Unit::Seconds, 0.002),
    },
    Target {
        row: "launch",
        what: "launch beside the runtime",
        wanted: "≤ ×1.03",
        measured: |row| at_most(ratio(row, HOLDFAST, BARE, LAUNCH_TIME)?, 1.03),
    },
    Target {
        row: "exit",
        what: "exit to status known, p50",
        wanted: "≤ 0.3 ms",
        measured: |row| {
            most(
                row.quantile(HOLDFAST, EXIT_TIME, 0.5)?,
                Unit::Seconds,
                0.0003,
            )
        },
    },
    Target {
        row: "exit",
        what: "exit to status known, p99",
        wanted: "≤ 1 ms",
        measured: |row| {
            most(
                row.quantile(HOLDFAST, EXIT_TIME, 0.99)?,
                Unit::Seconds,
                0.001,
            )
        },
    },
    Target {
        row: "exit",
        what: "how much sooner than conmon",
        wanted: "≥ ×10",
        measured: |row| at_least(ratio(row, CONMON, HOLDFAST, EXIT_TIME)?, 10.0),
    },
    Target {
        row: "exit",
        what: "how much sooner than containerd-shim-runc-v2",
        wanted: "≥ ×10",
        measured: |row| at_least(ratio(row, SHIM_V2, HOLDFAST, EXIT_TIME)?, 10.0),
    },
    Target {
        row: "reattach",
        what: "reattach to 1 000 that live, beside a bare read",
        wanted: "≤ ×3",
        measured: |row| at_most(reattach(row, 1000, 1000)?, 3.0),
    },
    Target {
        row: "reattach",
        what: "reattach to 10 000, a tenth of them living, beside a bare read",
        wanted: "≤ ×3",
        measured: |row| at_most(reattach(row, 10_000, 1000)?, 3.0),
    },
    Target {
        row: "reattach",
        what: "each of those 10 000 beside each of 1 000",
        wanted: "≤ ×1.25",
        measured: |row| {
            let each = |size, living| row.median(HOLDFAST, &reattach_figure(size, living, EACH));
            at_most(each(10_000, 1000)? / each(1000, 100)?, 1.25)
        },
    },
    Target {
        row: "stdio",
        what: "output through a FIFO beside a bare one",
        wanted: "≥ ×0.95",
        measured: |row| {
            let bare = row.median(BARE_FIFO, Io::Fifo.name())?;
            at_least(row.median(HOLDFAST, Io::Fifo.name())? / bare, 0.95)
        },
    },
    Target {
        row: "stdio",
        what: "processor time of the shim for a GiB through a FIFO",
        wanted: "0",
        measured: |row| {
            most(
                row.median(HOLDFAST, &output_cpu(Io::Fifo))?,
                Unit::Seconds,
                0.0,
            )
        },
    },
    Target {
        row: "stdio",
        what: "output into a log on a disk, beside conmon",
        wanted: "≥ ×3",
        measured: |row| at_least(ratio(row, HOLDFAST, CONMON, Io::DiskLog.name())?, 3.0),
    },
    Target {
        row: "stdio",
        what: "output into a log in memory, beside conmon",
        wanted: "≥ ×3",
        measured: |row| at_least(ratio(row, HOLDFAST, CONMON, Io::Log.name())?, 3.0),
    },
    Target {
        row: "exec",
        what: "processor time of an exec beside the runtime's",
        wanted: "≤ ×1.05",
        measured: |row| at_most(ratio(row, HOLDFAST, BARE, EXEC_CPU)?, 1.05),
    },
    Target {
        row: "idle",
        what: "wake-ups of idle shims",
        wanted: "0",
        measured: |row| most(row.median(HOLDFAST, IDLE_WAKE_UPS)?, Unit::Count, 0.0),
    },
];

fn ratio(row: &Row, one: &str, other: &str, what: &str) -> Option<f64> {
    Some(row.median(one, what)? / row.median(other, what)?)
}

#[expect(clippy::unnecessary_wraps, reason = "what the callers return")]
fn most(value: f64, unit: Unit, wanted: f64) -> Measured {
    Some((unit.show(value), value <= wanted))
}

#[expect(clippy::unnecessary_wraps, reason = "what the callers return")]
fn at_most(ratio: f64, wanted: f64) -> Measured {
    Some((format!("×{}", digits(ratio)), ratio <= wanted))
}

#[expect(clippy::unnecessary_wraps, reason = "what the callers return")]
fn at_least(ratio: f64, wanted: f64) -> Measured {
    Some((format!("×{}", digits(ratio)), ratio >= wanted))
}

/// The table.
pub fn table(report: &Report) -> String {
    let mut text =
        String::from("## Targets\n\n| | target | measured | held |\n|---|---|---|---|\n");
    for Target {
        row,
        what,
        wanted,
        measured,
    } in TARGETS
    {
        let found = report.rows.get(*row).and_then(measured);
        let (shown, held) = match found {
            Some((shown, held)) => (shown, if held { "yes" } else { "**no**" }),
            None => ("not measured".to_owned(), "–"),
        };
        let _ = writeln!(text, "| {what} | {wanted} | {shown} | {held} |");
    }
    text + "\n"
}
