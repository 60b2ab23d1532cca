//! docs/benchmarks.md: computed from the raw figures, every word and number of it. A test holds the page against the figures that
//! are kept beside it.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::figures::{Report, Row, Unit, digits};
use crate::peers::{HOLDFAST, ORDER};
use crate::rows::{ALL, Compare, Kind};
use crate::{plot, targets};

/// The page.
pub fn page(report: &Report) -> String {
    let mut page = String::from(HEAD);
    page += &targets::table(report);
    for kind in ALL {
        if let Some(row) = report.rows.get(kind.name) {
            page += &section(kind, row);
        }
    }
    page += &machines(report);
    page
}

const HEAD: &str = "\
# Benchmarks

Holdfast beside its peers, on the same machine, in the same run. `scripts/bench` measures all of it again and writes this page, with a machine's \
own figures; `scripts/bench launch exit` some of it, `scripts/bench --quick` a little of everything, without touching the page. Everything here is \
computed from [benchmarks.json](benchmarks.json), which has every single value, whether it is in our favour or not.

Figures are medians. Everybody takes a turn in each round, so that what the machine does else happens to all; a ratio (×) is of medians, a \
difference (+) the median of the rounds' own differences. What is promised in counts and bytes is not only measured but tested: \
`tests/src/budget.rs`.

";

fn section(kind: &Kind, row: &Row) -> String {
    let mut text = format!("## {}\n\n{}\n\n", kind.title, kind.about);
    if plot::of(kind, row).is_some() {
        let _ = writeln!(text, "![{}](img/bench-{}.svg)\n", kind.title, kind.name);
    }
    text += &table(kind, row);
    let parameters = row.parameters.iter();
    let parameters: Vec<String> = parameters
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let [before, after] = row.taken.load;
    let _ = writeln!(
        text,
        "\n*{}. {}, load {before} to {after}.*\n",
        parameters.join(", "),
        row.taken
            .at
            .get(..16)
            .unwrap_or(&row.taken.at)
            .replace('T', " "),
    );
    text
}

/// What was measured, one line each; who, one column each.
fn table(kind: &Kind, row: &Row) -> String {
    let everybody = row.everybody(ORDER);
    let mut text = format!("| | {} |\n|---|", everybody.join(" | "));
    text += &"---|".repeat(everybody.len());
    text.push('\n');
    for what in row.everything() {
        for (share, name) in kind.quantiles {
            let cells: Vec<String> = everybody
                .iter()
                .map(|who| cell(kind, row, who, what, *share))
                .collect();
            let space = if name.is_empty() { "" } else { ", " };
            let _ = writeln!(text, "| {what}{space}{name} | {} |", cells.join(" | "));
        }
    }
    text
}

/// Somebody's figure, and how it stands to the one that it is compared with.
fn cell(kind: &Kind, row: &Row, who: &str, what: &str, share: f64) -> String {
    let value = |who: &str| {
        #[expect(clippy::float_cmp, reason = "one of the constants")]
        if share == 0.5 {
            row.median(who, what)
        } else {
            row.quantile(who, what, share)
        }
    };
    let (Some(mine), Some(series)) = (value(who), row.series(who, what)) else {
        return "–".to_owned();
    };
    let unit = series.unit;
    let shown = unit.show(mine);
    let of = |reference: &str| (reference != who).then(|| value(reference)).flatten();
    let (reference, theirs) = match of(kind.reference) {
        Some(theirs) => (kind.reference, theirs),
        // The reference has no such figure: a bare runtime has no monitor.
        None if who != kind.reference && row.series(kind.reference, what).is_none() => {
            match of(HOLDFAST) {
                Some(theirs) => (HOLDFAST, theirs),
                None => return shown,
            }
        }
        None => return shown,
    };
    let times = if theirs <= 0.0 || mine <= 0.0 {
        String::new()
    } else {
        format!("×{}", digits(mine / theirs))
    };
    let over = (kind.compare == Compare::Over && reference == kind.reference)
        .then(|| row.over(who, reference, what))
        .flatten();
    match over {
        Some(over) => format!("{shown} ({}, {times})", signed(unit, over)),
        None if times.is_empty() => shown,
        None => format!("{shown} ({times})"),
    }
}

fn signed(unit: Unit, value: f64) -> String {
    let sign = if value < 0.0 { '−' } else { '+' };
    format!("{sign}{}", unit.show(value.abs()))
}

/// Where it was measured, and what.
fn machines(report: &Report) -> String {
    let mut text = String::from("## Machine and versions\n\n");
    // Rows that were measured again may come from another machine: each is told once, with its rows.
    type Told<'a> = (&'a BTreeMap<String, String>, &'a BTreeMap<String, String>);
    let mut told: Vec<(Told<'_>, Vec<&str>)> = Vec::new();
    for kind in ALL {
        let Some(row) = report.rows.get(kind.name) else {
            continue;
        };
        let this = (&row.taken.machine, &row.taken.versions);
        match told.iter_mut().find(|(told, _)| *told == this) {
            Some((_, rows)) => rows.push(kind.name),
            None => told.push((this, vec![kind.name])),
        }
    }
    for ((machine, versions), rows) in told {
        let _ = writeln!(text, "{}:\n", rows.join(", "));
        for (name, value) in machine.iter().chain(versions) {
            let _ = writeln!(text, "- {name}: {value}");
        }
        text.push('\n');
    }
    text.trim_end().to_owned() + "\n"
}
