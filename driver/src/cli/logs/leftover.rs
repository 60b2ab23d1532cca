//! What nobody had read of a process that has ended, where its output is not logged: who asks for its logs wants to see it. It
//! stays where it is, for who asks again.

use std::io::{self, BufRead, BufReader};
use std::time::Duration;

use holdfast::{Leftover, Process, Stream};

use super::printer::Printer;
use super::{LogsArgs, OneStream};
use crate::cli::error::{Error, Result};

/// How long a shim may take to keep what is left, once its process has ended.
const PATIENCE: Duration = Duration::from_secs(45);

/// Prints it, as far as it is wanted.
///
/// # Errors
/// `no_log` when there is nothing; there are no times to choose by; the library's; our streams cannot be written to.
pub fn print(
    args: &LogsArgs,
    process: &Process,
    no_log: holdfast::Error,
    printer: &mut Printer,
) -> Result<()> {
    if process.exit_record()?.is_none() {
        return Err(no_log.into());
    }
    process.wait_gone(Some(PATIENCE))?;
    let mut found = false;
    for stream in [Stream::Stdout, Stream::Stderr] {
        let wanted = args.stream.is_none_or(|OneStream(only)| only == stream);
        let Some(leftover) = process.leftover(stream)?.filter(|_| wanted) else {
            continue;
        };
        if args.timestamps || args.since.is_some() || args.until.is_some() {
            return Err(Error::NoTimes {
                id: args.id.clone(),
            });
        }
        found = true;
        let failed = |e| Error::io("read the rest of", process.dir().join(stream.name()), e);
        let skip = match (args.tail.0, process.leftover(stream)?) {
            (Some(lines), Some(again)) => count(again).map_err(failed)?.saturating_sub(lines),
            _ => 0,
        };
        let mut rest = BufReader::new(leftover);
        for _ in 0..skip {
            rest.skip_until(b'\n').map_err(failed)?;
        }
        loop {
            let bytes = rest.fill_buf().map_err(failed)?;
            if bytes.is_empty() {
                break;
            }
            printer.print(stream, bytes)?;
            let count = bytes.len();
            rest.consume(count);
        }
        printer.flush()?;
    }
    if found { Ok(()) } else { Err(no_log.into()) }
}

/// How many lines there are; the last need not end.
fn count(leftover: Leftover) -> io::Result<u64> {
    let mut all = BufReader::new(leftover);
    let mut lines = 0;
    while all.skip_until(b'\n')? > 0 {
        lines += 1;
    }
    Ok(lines)
}
