//! Pictures of a row: bars, one for each figure, longest last. One form is all that they need, so they are written by hand; a plotting
//! library would bring axes and text metrics that nobody looks at.

use std::fmt::Write;

use crate::figures::{Row, Unit};
use crate::peers::{BARE, HOLDFAST, ORDER};
use crate::rows::{
    BARE_READ, CHARGED, EACH, EXEC_CPU, EXIT_TIME, Kind, LAUNCH_TIME, OUTPUTS, PRIVATE_DIRTY,
};

/// One bar.
struct Bar {
    group: String,
    who: String,
    unit: Unit,
    value: f64,
}

/// The picture of a row; `None` for one that needs none.
pub fn of(kind: &Kind, row: &Row) -> Option<String> {
    let mut bars = Vec::new();
    let mut add = |group: &str, who: &str, unit, value: Option<f64>| {
        bars.extend(value.map(|value| Bar {
            group: group.to_owned(),
            who: who.to_owned(),
            unit,
            value: value.max(0.0),
        }));
    };
    match kind.name {
        "memory" => {
            for who in row.everybody(ORDER) {
                add(
                    "private dirty",
                    who,
                    Unit::Bytes,
                    row.median(who, PRIVATE_DIRTY),
                );
            }
            for who in row.everybody(ORDER).into_iter().filter(|who| *who != BARE) {
                let over = row.over(who, BARE, CHARGED);
                add("charged beyond the runtime's", who, Unit::Bytes, over);
            }
        }
        "launch" => {
            for who in row.everybody(ORDER).into_iter().filter(|who| *who != BARE) {
                let over = row.over(who, BARE, LAUNCH_TIME);
                add("launch beyond the runtime's", who, Unit::Seconds, over);
            }
        }
        "exit" => {
            for (share, group) in kind.quantiles {
                for who in row.everybody(ORDER) {
                    let value = row.quantile(who, EXIT_TIME, *share);
                    add(group, who, Unit::Seconds, value);
                }
            }
        }
        "exec" => {
            for who in row.everybody(ORDER) {
                add(EXEC_CPU, who, Unit::Seconds, row.median(who, EXEC_CPU));
            }
        }
        "reattach" => {
            for what in row.everything().iter().filter(|what| what.ends_with(EACH)) {
                for who in [HOLDFAST, BARE_READ] {
                    add(what, who, Unit::Seconds, row.median(who, what));
                }
            }
        }
        "stdio" => {
            for io in OUTPUTS {
                for who in row.everybody(ORDER) {
                    add(io.name(), who, Unit::Throughput, row.median(who, io.name()));
                }
            }
        }
        _ => (),
    }
    (!bars.is_empty()).then(|| draw(kind.title, &bars))
}

/// Pixels: a bar with the room around it, a group's heading, the left edge of the bars, their greatest length, the whole.
const LINE: usize = 22;
const HEADING: usize = 30;
const LEFT: usize = 240;
const LENGTH: f64 = 400.0;
const WIDTH: usize = 780;

fn draw(title: &str, bars: &[Bar]) -> String {
    let mut groups: Vec<&str> = Vec::new();
    for bar in bars {
        if !groups.contains(&bar.group.as_str()) {
            groups.push(&bar.group);
        }
    }
    let height = HEADING * (groups.len() + 1) + LINE * bars.len() + 10;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{}</text>\n",
        escape(title)
    );
    let mut y = HEADING;
    for group in groups {
        let bars: Vec<&Bar> = bars.iter().filter(|bar| bar.group == group).collect();
        let longest = bars
            .iter()
            .map(|bar| bar.value)
            .fold(f64::MIN_POSITIVE, f64::max);
        y += HEADING;
        let _ = writeln!(
            svg,
            "<text x=\"10\" y=\"{}\" font-weight=\"bold\" fill=\"#444\">{}</text>",
            y - 10,
            escape(group)
        );
        for bar in bars {
            let length = (bar.value / longest * LENGTH).max(1.0);
            let colour = if bar.who.starts_with(HOLDFAST) {
                "#2b6cb0"
            } else {
                "#a0aec0"
            };
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"16\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{}</text>",
                LEFT - 8,
                y + 13,
                escape(&bar.who),
                f64::from(u32::try_from(LEFT).unwrap_or(0)) + length + 6.0,
                y + 13,
                bar.unit.show(bar.value)
            );
            y += LINE;
        }
    }
    svg + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
