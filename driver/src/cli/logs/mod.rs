//! `logs`: what a process has written, and with `-f` what it writes, each stream to ours of the same name.

mod leftover;
mod printer;

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use holdfast::{Container, ContainerId, LogQuery, Logs, Missing, ProcessId, Stream};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::{Error, Result};
use super::globals::Globals;
use super::logging::Reporter;
use super::moment::Moment;
use super::supervise::policy::{Case, Decision};
use printer::Printer;

/// Flags of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Go on with what comes, until the process has ended
    #[arg(short, long)]
    follow: bool,
    /// Only the last N lines; all: every line
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value = "all",
        allow_negative_numbers = true
    )]
    tail: Tail,
    /// Only lines from then on: a time (2026-01-02T03:04:05Z), seconds since 1970, or how long ago (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only lines before then
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Put its time before each line
    #[arg(short, long)]
    timestamps: bool,
    /// Only stdout, or only stderr
    #[arg(long, value_name = "STREAM")]
    stream: Option<OneStream>,
    /// The container
    #[arg(value_name = "ID")]
    id: ContainerId,
    /// Its process: an exec's name
    #[arg(value_name = "PROCESS", default_value = "init")]
    process: ProcessId,
}

/// How many lines of what was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail(pub Option<u64>);

impl FromStr for Tail {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        match text {
            // docker's word, and kubectl's number.
            "all" | "-1" => Ok(Self(None)),
            _ => match text.parse() {
                Ok(lines) => Ok(Self(Some(lines))),
                Err(_) => Err("use a number of lines, or all"),
            },
        }
    }
}

/// One of the two streams of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OneStream(Stream);

impl FromStr for OneStream {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        match text {
            "stdout" => Ok(Self(Stream::Stdout)),
            "stderr" => Ok(Self(Stream::Stderr)),
            _ => Err("use stdout or stderr"),
        }
    }
}

/// Prints them.
///
/// # Errors
/// There is no log, and nothing was left unread; the library's; our streams cannot be written to.
pub fn logs(args: &LogsArgs, globals: &Globals, reporter: Reporter) -> Result<u8> {
    if let (Some(Moment(since)), Some(Moment(until))) = (args.since, args.until)
        && until <= since
    {
        return Err(Error::NoTimeBetween);
    }
    let container = globals.driver()?.load(&args.id)?;
    let process = container.process(&args.process)?;
    let query = LogQuery {
        stream: args.stream.map(|OneStream(stream)| stream),
        tail: args.tail.0,
        since: args.since.map(|Moment(time)| time),
        until: args.until.map(|Moment(time)| time),
        follow: args.follow,
        ..LogQuery::default()
    };
    let mut printer = Printer::new(args.timestamps)?;
    let printed = match process.logs(&query) {
        Ok(logs) => print(args, &container, logs, &mut printer, reporter),
        Err(no_log @ holdfast::Error::NotLogged { .. }) => {
            leftover::print(args, &process, no_log, &mut printer)
        }
        Err(e) => return Err(e.into()),
    };
    match printed {
        // Nobody wants more: `| head`, or a pager that was left.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => Ok(0),
        printed => printed.map(|()| 0),
    }
}

fn print(
    args: &LogsArgs,
    container: &Container,
    mut logs: Logs,
    printer: &mut Printer,
    reporter: Reporter,
) -> Result<()> {
    let mut told = Missing::default();
    loop {
        let next = logs.next(Some(Duration::ZERO));
        let missing = logs.missing();
        if missing != told {
            // It was between what has been printed and what comes.
            printer.flush()?;
            let news = Missing {
                files: missing.files - told.files,
                ..missing
            };
            reporter.warning(&said(news));
            told = missing;
        }
        match next {
            Ok(Some(entry)) => {
                printer.push(&entry)?;
                continue;
            }
            Ok(None) => printer.flush()?,
            Err(e) => {
                printer.flush()?;
                return Err(e.into());
            }
        }
        if !logs.is_over() {
            wait(&logs, printer)?;
        } else if args.follow && args.process.is_init() && is_restarted(container)? {
            logs.expect_restart();
        } else {
            break;
        }
    }
    if logs.skipped() > 0 {
        let (path, count) = (logs.path().display(), logs.skipped());
        reporter.warning(&format!("{path}: {count} lines are no entries: skipped"));
    }
    Ok(())
}

/// What is missing, in words.
pub fn said(missing: Missing) -> String {
    let count = match (missing.files, missing.or_more) {
        (0, _) => "some".to_owned(),
        (count, false) => count.to_string(),
        (count, true) => format!("{count} or more"),
    };
    format!("{count} files of the log were rotated away before they were read")
}

/// Whether a container that has ended will be restarted: its policy says so, and there is a supervisor.
fn is_restarted(container: &Container) -> Result<bool> {
    if container.driver().supervisor().is_none() {
        return Ok(false);
    }
    let init = match container.init() {
        // It is being deleted.
        Err(holdfast::Error::ProcessNotFound { .. }) => return Ok(false),
        init => init?,
    };
    Ok(match init.exit_record()? {
        Some(record) => Case::of(container, &init, &record).decide() == Decision::Restart,
        // It has been.
        None => true,
    })
}

/// Waits until there is more, or nobody takes it any more: who has left a pager should not have to wait for another line.
fn wait(logs: &Logs, printer: &Printer) -> Result<()> {
    let mut fds = [
        PollFd::new(logs.as_fd(), PollFlags::POLLIN),
        // Errors are always told.
        PollFd::new(printer.stdout(), PollFlags::empty()),
    ];
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(e) => return Err(Error::io("wait for", logs.path(), e.into())),
    }
    match fds[1].any() {
        Some(true) => Err(Error::io("write", "stdout", ErrorKind::BrokenPipe.into())),
        _ => Ok(()),
    }
}
