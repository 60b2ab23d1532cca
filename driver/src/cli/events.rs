//! `events`: what happened, and with `-f` what happens, to containers.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use holdfast::{ContainerId, Cursor, Events, Since, StateChange};
use serde::Serialize;

use super::error::{Error, Result};
use super::globals::Globals;
use super::logging::Reporter;
use super::moment::Moment;
use super::output::{Format, offer};

/// Flags of `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Go on as they come, also with those of containers that are yet to come
    #[arg(short, long)]
    follow: bool,
    /// Only those since: a time (2026-01-02T03:04:05Z), a duration ago (10m), or a cursor
    #[arg(long, value_name = "TIME|CURSOR")]
    since: Option<From>,
    /// Begin after the cursor in this file, if it is there, and keep it up to date
    #[arg(long, value_name = "FILE", conflicts_with = "since")]
    cursor_file: Option<PathBuf>,
    /// Output: table or json (a line each)
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    format: Format,
    /// The containers [default: all]
    #[arg(value_name = "ID")]
    ids: Vec<ContainerId>,
}

/// From when on.
#[derive(Debug, Clone)]
struct From(Since);

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "-" || text.contains('@') {
            let cursor = text.parse::<Cursor>().map_err(|e| e.to_string())?;
            return Ok(Self(Since::Cursor(cursor)));
        }
        let Moment(time) = text
            .parse()
            .map_err(|words| format!("{words}, or a cursor"))?;
        Ok(Self(Since::Time(time)))
    }
}

/// One event, for programs: docker's `StateInfo`, and whose it is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    id: &'a str,
    time: String,
    state: &'static str,
    #[serde(rename = "processID")]
    process_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(rename = "oomKilled", skip_serializing_if = "Option::is_none")]
    oom_killed: Option<bool>,
    #[serde(rename = "timedOut", skip_serializing_if = "std::ops::Not::not")]
    timed_out: bool,
    #[serde(rename = "oomKills", skip_serializing_if = "Option::is_none")]
    oom_kills: Option<u64>,
    cursor: String,
}

/// Prints them.
///
/// # Errors
/// A container that is named is not there, and nobody waits for it; a log cannot be read, and the others were; the root cannot
/// be read.
pub fn events(args: &EventsArgs, globals: &Globals, reporter: Reporter) -> Result<u8> {
    let driver = globals.driver()?;
    let since = match (&args.since, &args.cursor_file) {
        (Some(From(since)), _) => since.clone(),
        (None, Some(file)) => kept(file)?,
        (None, None) => Since::Beginning,
    };
    let events = if args.follow {
        driver.events(since)?
    } else {
        for id in &args.ids {
            driver.load(id)?;
        }
        driver.past_events(since)?
    };
    let events = if args.ids.is_empty() {
        events
    } else {
        events.only(args.ids.iter().cloned())
    };
    print_all(args, events, reporter)
}

fn print_all(args: &EventsArgs, mut events: Events, reporter: Reporter) -> Result<u8> {
    if args.format == Format::Table {
        offer(&row(["TIME", "STATE", "PID", "CONTAINER"], ""))?;
    }
    let (mut skipped, mut failed) = (0, false);
    loop {
        let mut text = String::new();
        loop {
            match events.next(Some(Duration::ZERO)) {
                Ok(Some(change)) => text.push_str(&shown(&change, args.format)?),
                Ok(None) => break,
                Err(e) => {
                    reporter.warning(&e.to_string());
                    failed = true;
                }
            }
        }
        if !offer(&text)? {
            return Ok(0);
        }
        // Printed before it is said to have been.
        if let Some(file) = &args.cursor_file {
            keep(file, &events.cursor())?;
        }
        let now = events.skipped();
        if now > skipped {
            reporter.warning(&format!("{} lines are no events: skipped", now - skipped));
            skipped = now;
        }
        if !args.follow {
            return if failed { Err(Error::Reported) } else { Ok(0) };
        }
        wait(&events)?;
    }
}

fn wait(events: &Events) -> Result<()> {
    use std::os::fd::AsFd;
    let mut fds = [nix::poll::PollFd::new(
        events.as_fd(),
        nix::poll::PollFlags::POLLIN,
    )];
    match nix::poll::poll(&mut fds, nix::poll::PollTimeout::NONE) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(e) => Err(Error::io("wait for", "events", e.into())),
    }
}

/// Where the last one who kept its place in this file had got to.
fn kept(file: &Path) -> Result<Since> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Since::Beginning),
        Err(e) => return Err(Error::io("read", file, e)),
    };
    let cursor = text.trim().parse().map_err(|e| Error::BadCursorFile {
        path: file.to_owned(),
        source: e,
    })?;
    Ok(Since::Cursor(cursor))
}

/// All of it or none: who reads it next must not find a half.
fn keep(file: &Path, cursor: &Cursor) -> Result<()> {
    let failed = |e| Error::io("write", file, e);
    let mut draft = file.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let written = std::fs::File::create(&draft)
        .and_then(|mut file| file.write_all(format!("{cursor}\n").as_bytes()))
        .and_then(|()| std::fs::rename(&draft, file));
    written.map_err(|e| {
        let _ = std::fs::remove_file(&draft);
        failed(e)
    })
}

fn shown(change: &StateChange, format: Format) -> Result<String> {
    let info = &change.info;
    let time = humantime::format_rfc3339_nanos(info.time).to_string();
    match format {
        Format::Json => {
            let line = Line {
                id: change.container.as_str(),
                time,
                state: info.word.word(),
                process_id: info.process.as_str(),
                pid: info.identity.map(|identity| identity.pid),
                // One of another boot has none that means anything.
                start_time: info
                    .identity
                    .filter(|identity| !identity.is_of_another_boot())
                    .map(|identity| identity.start_time),
                exit_code: info.exit_code,
                reason: info.reason.as_deref(),
                oom_killed: info.oom_killed,
                timed_out: info.timed_out,
                oom_kills: info.oom_kills,
                cursor: change.cursor.to_string(),
            };
            let line = serde_json::to_string(&line);
            let line = line.map_err(|e| Error::io("encode", "stdout", e.into()))?;
            Ok(format!("{line}\n"))
        }
        Format::Table => {
            let pid = info
                .identity
                .map_or_else(|| "-".to_owned(), |identity| identity.pid.to_string());
            let whose = if info.process.is_init() {
                change.container.to_string()
            } else {
                format!("{}/{}", change.container, info.process)
            };
            Ok(row(
                [&time, info.word.word(), &pid, &whose],
                &detail(change),
            ))
        }
    }
}

/// Columns as wide as what is usual: lines come one by one, and wait for no wider one.
fn row([time, state, pid, whose]: [&str; 4], detail: &str) -> String {
    let mut line = format!("{time:<30}  {state:<15}  {pid:>7}  {whose}");
    if !detail.is_empty() {
        let _ = write!(line, "  {detail}");
    }
    line.push('\n');
    line
}

fn detail(change: &StateChange) -> String {
    let info = &change.info;
    let mut words = Vec::new();
    match (&info.reason, info.exit_code) {
        (Some(reason), _) => words.push(format!("exit status unknown: {reason}")),
        (None, Some(code)) => words.push(format!("exit status {code}")),
        (None, None) => (),
    }
    if info.oom_killed == Some(true) {
        words.push("out of memory".to_owned());
    }
    if info.timed_out {
        words.push("its time was over".to_owned());
    }
    if let Some(kills) = info.oom_kills {
        words.push(format!("killed so far: {kills}"));
    }
    super::logging::one_line(&words.join(", "))
}
