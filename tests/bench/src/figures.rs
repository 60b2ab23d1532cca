//! Raw figures, as they are kept in docs/benchmarks.json, and what is computed from them. Everything that docs/benchmarks.md says is
//! computed from these when it is written, and nothing else is.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// All rows that were ever measured and not measured again.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// By name.
    pub rows: BTreeMap<String, Row>,
}

/// One row: everybody's figures from one run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// When and where.
    pub taken: Taken,
    /// How much of it: names and values, in words.
    pub parameters: BTreeMap<String, String>,
    /// The figures.
    pub series: Vec<Series>,
}

/// The circumstances of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Taken {
    /// RFC 3339, UTC.
    pub at: String,
    /// /proc/loadavg's first figure, before and after.
    pub load: [f64; 2],
    /// Processor, memory, kernel.
    pub machine: BTreeMap<String, String>,
    /// Of all that was measured.
    pub versions: BTreeMap<String, String>,
}

/// What was measured of somebody, one value a round; the n-th values of one row's series are of the same round.
#[derive(Debug, Serialize, Deserialize)]
pub struct Series {
    /// Of whom.
    pub who: String,
    /// What.
    pub what: String,
    /// Of what unit.
    pub unit: Unit,
    /// The values, in their order.
    pub values: Vec<f64>,
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    Throughput,
    /// Anything else.
    Count,
}

impl Unit {
    /// A value, as people write it.
    pub fn show(self, value: f64) -> String {
        // Each step: from where on, what one of its unit is, and its name.
        let scaled = |steps: &[(f64, f64, &str)]| {
            let last = steps[steps.len() - 1];
            let step = steps.iter().find(|(from, ..)| value.abs() >= *from);
            let (_, one, unit) = step.unwrap_or(&last);
            format!("{} {unit}", digits(value / one))
        };
        const KIB: f64 = 1024.0;
        const MIB: f64 = KIB * KIB;
        const GIB: f64 = MIB * KIB;
        match self {
            Unit::Seconds => scaled(&[(1.0, 1.0, "s"), (1e-3, 1e-3, "ms"), (0.0, 1e-6, "µs")]),
            Unit::Bytes => scaled(&[
                (GIB, GIB, "GiB"),
                (10.0 * MIB, MIB, "MiB"),
                (0.0, KIB, "KiB"),
            ]),
            Unit::Throughput => scaled(&[(GIB, GIB, "GiB/s"), (0.0, MIB, "MiB/s")]),
            Unit::Count => digits(value),
        }
    }
}

/// Three digits that mean something.
pub fn digits(value: f64) -> String {
    let places = match value.abs() {
        size if size == 0.0 || size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.places$}")
}

/// The value below which a share of the values lie, the nearest there is; of no values, none.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index of a few thousand, rounded"
    )]
    let at = (last as f64 * share).round() as usize;
    Some(sorted[at.min(last)])
}

/// The middle value, or the mean of the two.
pub fn median(values: &[f64]) -> Option<f64> {
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(f64::midpoint(sorted[low], sorted[high]))
}

impl Row {
    /// A row without figures.
    pub fn new(taken: Taken) -> Self {
        Self {
            taken,
            parameters: BTreeMap::new(),
            series: Vec::new(),
        }
    }

    /// Adds one value.
    pub fn add(&mut self, who: &str, what: &str, unit: Unit, value: f64) {
        // Nine digits are more than any of these has.
        let value = format!("{value:.9}").parse().unwrap_or(value);
        match self
            .series
            .iter_mut()
            .find(|it| it.who == who && it.what == what)
        {
            Some(series) => series.values.push(value),
            None => self.series.push(Series {
                who: who.to_owned(),
                what: what.to_owned(),
                unit,
                values: vec![value],
            }),
        }
    }

    /// Says how much was measured.
    pub fn parameter(&mut self, name: &str, value: impl ToString) {
        self.parameters.insert(name.to_owned(), value.to_string());
    }

    /// The figures of somebody.
    pub fn series(&self, who: &str, what: &str) -> Option<&Series> {
        self.series
            .iter()
            .find(|it| it.who == who && it.what == what)
    }

    /// The median of somebody's.
    pub fn median(&self, who: &str, what: &str) -> Option<f64> {
        median(&self.series(who, what)?.values)
    }

    /// A quantile of somebody's.
    pub fn quantile(&self, who: &str, what: &str, share: f64) -> Option<f64> {
        quantile(&self.series(who, what)?.values, share)
    }

    /// The median of one's less another's, round by round: what the machine did else in a round happened to both.
    pub fn over(&self, who: &str, reference: &str, what: &str) -> Option<f64> {
        let (mine, theirs) = (self.series(who, what)?, self.series(reference, what)?);
        let pairs = mine.values.iter().zip(&theirs.values);
        median(
            &pairs
                .map(|(mine, theirs)| mine - theirs)
                .collect::<Vec<_>>(),
        )
    }

    /// Everybody: whoever is named first, then others in the order of their first figures.
    pub fn everybody(&self, first: &[&str]) -> Vec<&str> {
        let mut names = unique(self.series.iter().map(|series| series.who.as_str()));
        let place = |name: &&str| first.iter().position(|it| name.starts_with(it));
        names.sort_by_key(|name| place(name).unwrap_or(first.len()));
        names
    }

    /// Everything that was measured, likewise.
    pub fn everything(&self) -> Vec<&str> {
        unique(self.series.iter().map(|series| series.what.as_str()))
    }
}

fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

impl Report {
    /// What was kept; nothing, if there is no such file yet.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(format!("read {}: {e}", path.display())),
        };
        serde_json::from_slice(&text).map_err(|e| format!("read {}: {e}", path.display()))
    }

    /// Keeps it: a line for each series, so that a change shows as one.
    pub fn encode(&self) -> String {
        let mut text = String::from("{\"rows\": {");
        for (n, (name, row)) in self.rows.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let part = |value: serde_json::Result<String>| value.expect("strings and numbers");
            text += &format!(
                "{comma}\n\"{name}\": {{\n \"taken\": {},\n \"parameters\": {},\n \"series\": [",
                part(serde_json::to_string(&row.taken)),
                part(serde_json::to_string(&row.parameters)),
            );
            for (n, series) in row.series.iter().enumerate() {
                let comma = if n > 0 { "," } else { "" };
                text += &format!("{comma}\n  {}", part(serde_json::to_string(series)));
            }
            text += "\n ]\n}";
        }
        text + "\n}}\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles_are_of_the_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        let hundred: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.99), Some(99.0));
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
    }

    #[test]
    fn differences_are_taken_round_by_round() {
        let mut row = Row::new(Taken {
            at: String::new(),
            load: [0.0; 2],
            machine: BTreeMap::new(),
            versions: BTreeMap::new(),
        });
        for (bare, ours) in [(50.0, 51.0), (90.0, 91.5), (60.0, 62.0)] {
            row.add("bare", "time", Unit::Seconds, bare);
            row.add("ours", "time", Unit::Seconds, ours);
        }
        assert_eq!(row.over("ours", "bare", "time"), Some(1.5));
        assert_eq!(row.everybody(&["ours"]), ["ours", "bare"]);
        let kept = Report {
            rows: BTreeMap::from([("launch".to_owned(), row)]),
        };
        let read: Report = serde_json::from_str(&kept.encode()).unwrap();
        assert_eq!(read.encode(), kept.encode());
    }

    #[test]
    fn values_are_shown_as_people_write_them() {
        for (unit, value, shown) in [
            (Unit::Seconds, 0.000_212, "212 µs"),
            (Unit::Seconds, 0.0521, "52.1 ms"),
            (Unit::Bytes, 65536.0, "64.0 KiB"),
            (Unit::Bytes, 3.0 * 1_073_741_824.0, "3.00 GiB"),
            (Unit::Bytes, 20.0 * 1_048_576.0, "20.0 MiB"),
            (Unit::Throughput, 524_288.0, "0.50 MiB/s"),
            (Unit::Count, 0.0, "0"),
        ] {
            assert_eq!(unit.show(value), shown);
        }
    }
}
