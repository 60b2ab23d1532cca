//! shim-log.json: what a shim has to say, as JSON lines that containerd 0.2 reads too. Bounded: after [`MOST_LINES`] it
//! falls silent, and over a log of [`ENOUGH_BYTES`] it never begins, so that nothing a peer does, a re-exec between its
//! bad lines included, can fill the disk. Views, which somebody asked for, are written beyond that, up to a bound of their own.
//! A log that cannot be written is no reason to stop.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use holdfast_common::layout;
use holdfast_common::log_line::LogLine;
use log::{Level, LevelFilter, Metadata, Record};

/// How many lines one shim writes.
const MOST_LINES: u32 = 256;
/// How long a log may be for a shim to add to it.
const ENOUGH_BYTES: u64 = 64 << 10;
/// How long it may be for a view to be added: messages alone never get there. Whoever empties it makes room again.
const ENOUGH_VIEWS: u64 = 256 << 10;

struct ShimLog {
    file: OnceLock<File>,
    lines: AtomicU32,
}

static LOG: ShimLog = ShimLog {
    file: OnceLock::new(),
    lines: AtomicU32::new(0),
};

/// Opens (makes) the log in the working directory, and sends every message there.
///
/// # Errors
/// The file cannot be opened.
pub fn open() -> io::Result<()> {
    let mut options = OpenOptions::new();
    // It must be there even when empty: containerd 0.2 takes its absence for a failure of its own.
    let file = options
        .append(true)
        .create(true)
        .mode(0o600)
        .open(layout::SHIM_LOG_FILE)?;
    if file.metadata()?.len() >= ENOUGH_BYTES {
        LOG.lines.store(MOST_LINES + 1, Ordering::Relaxed);
    }
    let _ = LOG.file.set(file);
    // Opened twice (launch going on into hold without a re-exec), the first stays.
    let _ = log::set_logger(&LOG);
    log::set_max_level(LevelFilter::Info);
    Ok(())
}

/// Adds a line that somebody asked for, whatever else the log has been told.
pub fn view(line: &[u8]) {
    if let Some(mut file) = LOG.file.get()
        && file.metadata().is_ok_and(|meta| meta.len() < ENOUGH_VIEWS)
    {
        let _ = file.write_all(line);
    }
}

impl log::Log for ShimLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let Some(mut file) = self.file.get() else {
            return;
        };
        let written = self.lines.fetch_add(1, Ordering::Relaxed);
        let line = match written {
            0..MOST_LINES => LogLine::now(word(record.level()), record.args().to_string()),
            MOST_LINES => LogLine::now(
                "warning",
                format!("{MOST_LINES} messages are enough: silent from here on"),
            ),
            _ => {
                self.lines.store(MOST_LINES + 1, Ordering::Relaxed);
                return;
            }
        };
        // One write a line; a full disk costs the line, nothing else.
        let _ = file.write_all(&line.encode());
    }

    fn flush(&self) {}
}

/// logrus's words, as in the runtime's log.
fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug | Level::Trace => "debug",
    }
}
