//! `stats`: what containers use, once or again and again. What the library reads is shown here in one of three ways; nothing is
//! measured here.

pub mod amounts;
mod prometheus;
mod screen;
mod table;
mod watch;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use holdfast::{Container, ContainerId, Driver, Stats, Status};
use serde::Serialize;

use super::error::{Error, Result};
use super::globals::Globals;
use super::logging::Reporter;
use super::output::print;

/// Flags of `stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// The containers [default: all that run or are paused]
    #[arg(value_name = "ID")]
    ids: Vec<ContainerId>,
    /// Show them again and again until Ctrl-C: redrawn on a terminal, appended elsewhere
    #[arg(short, long)]
    watch: bool,
    /// Time between two looks, with --watch [default: 1s]
    #[arg(long, value_name = "DURATION", requires = "watch", value_parser = interval)]
    interval: Option<Duration>,
    /// Output: table, json (a line each, as runc events --stats) or prometheus
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    format: StatsFormat,
}

/// How to print them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StatsFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For Prometheus.
    Prometheus,
}

fn interval(text: &str) -> std::result::Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    if interval.is_zero() {
        return Err("must be longer than nothing".to_owned());
    }
    Ok(interval)
}

/// A container's stats, and what is needed to make sense of them.
#[derive(Debug)]
struct Sample {
    id: String,
    bundle: PathBuf,
    stats: Stats,
    taken: Instant,
    /// How long its process has been there; `None` when the kernel does not tell.
    age: Option<Duration>,
}

impl Sample {
    fn take(container: &Container) -> holdfast::Result<Self> {
        let stats = container.stats()?;
        let taken = Instant::now();
        Ok(Self {
            id: container.id().to_string(),
            bundle: container.bundle().to_owned(),
            stats,
            taken,
            age: container.uptime()?,
        })
    }
}

/// runc's line of `events --stats`.
#[derive(Serialize)]
struct Line<'a> {
    r#type: &'static str,
    id: &'a str,
    data: &'a Stats,
}

/// Prints what containers use.
///
/// # Errors
/// The library's, of one of the containers at least that were named.
pub fn stats(args: &StatsArgs, globals: &Globals, reporter: Reporter) -> Result<u8> {
    let driver = globals.driver()?;
    if args.watch && args.format == StatsFormat::Prometheus {
        return Err(Error::WatchedPrometheus);
    }
    if args.watch {
        return watch::watch(args, &driver, reporter);
    }
    let (samples, failed) = gather(args, &driver, reporter)?;
    print(&shown(args.format, &samples, &[])?)?;
    if failed { Err(Error::Reported) } else { Ok(0) }
}

/// Samples of what was asked for, and whether one that was named has none; that is reported.
fn gather(args: &StatsArgs, driver: &Driver, reporter: Reporter) -> Result<(Vec<Sample>, bool)> {
    if args.ids.is_empty() {
        return Ok((of_all(driver, Some(reporter))?, false));
    }
    let mut samples = Vec::new();
    let mut failed = false;
    for id in &args.ids {
        match driver
            .load(id)
            .and_then(|container| Sample::take(&container))
        {
            Ok(sample) => samples.push(sample),
            Err(e) if args.ids.len() == 1 => return Err(e.into()),
            Err(e) => {
                reporter.failure(&e.to_string());
                failed = true;
            }
        }
    }
    Ok((samples, failed))
}

/// Of every container that runs. One that cannot be understood, or counted, is reported, if to anybody, and hides no other.
fn of_all(driver: &Driver, reporter: Option<Reporter>) -> Result<Vec<Sample>> {
    let sample = |container: &Container| match container.status()? {
        Status::Running | Status::Pausing | Status::Paused => Sample::take(container).map(Some),
        Status::Creating | Status::Created | Status::Stopped => Ok(None),
    };
    let mut samples = Vec::new();
    for entry in driver.list()? {
        match entry.container.and_then(|container| sample(&container)) {
            Ok(found) => samples.extend(found),
            Err(e) if is_gone(&e) => {}
            Err(e) => {
                if let Some(reporter) = reporter {
                    reporter.warning(&format!("container {}: {e}", entry.id));
                }
            }
        }
    }
    Ok(samples)
}

/// Whether it ended or was deleted while we looked.
fn is_gone(error: &holdfast::Error) -> bool {
    matches!(
        error,
        holdfast::Error::NotFound { .. }
            | holdfast::Error::ContainerExited { .. }
            | holdfast::Error::ProcessNotFound { .. }
    )
}

fn shown(format: StatsFormat, samples: &[Sample], before: &[Sample]) -> Result<String> {
    Ok(match format {
        StatsFormat::Table => table::table(samples, before),
        StatsFormat::Json => lines(samples)?,
        StatsFormat::Prometheus => prometheus::exposition(samples),
    })
}

fn lines(samples: &[Sample]) -> Result<String> {
    let mut text = String::new();
    for sample in samples {
        let line = Line {
            r#type: "stats",
            id: &sample.id,
            data: &sample.stats,
        };
        let line = serde_json::to_string(&line);
        text.push_str(&line.map_err(|e| Error::io("encode", "stdout", e.into()))?);
        text.push('\n');
    }
    Ok(text)
}
