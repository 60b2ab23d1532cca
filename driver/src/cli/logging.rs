//! Where messages go. Failures: one line on stderr, and into `--log FILE`. What the library logs: into the file, else on
//! stderr, in runc's two formats, so that what parses runc's log parses ours.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use clap::ValueEnum;
use env_logger::{Builder, Target};
use log::{Level, LevelFilter};
use serde_json::json;

use super::error::{Error, Result};

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `time="…" level=… msg="…"`.
    Text,
    /// One JSON object a line.
    Json,
}

/// Says what is wrong, to whoever reads.
#[derive(Debug, Clone, Copy)]
pub struct Reporter {
    to_file: bool,
    format: LogFormat,
}

impl Reporter {
    /// For what goes wrong before the log is open.
    pub const BARE: Self = Self {
        to_file: false,
        format: LogFormat::Text,
    };

    /// Opens the log.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(file: Option<&Path>, format: LogFormat, debug: bool) -> Result<Self> {
        let mut builder = Builder::new();
        builder.filter_level(if debug {
            LevelFilter::Debug
        } else {
            LevelFilter::Info
        });
        builder.format(move |to, record| {
            to.write_all(line(format, record.level(), &record.args().to_string()).as_bytes())
        });
        if let Some(path) = file {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .map_err(|e| Error::io("open log", path, e))?;
            builder.target(Target::Pipe(Box::new(file)));
        } else {
            builder.target(Target::Stderr);
        }
        // A second logger is a mistake of ours that costs nothing but the log.
        let _ = builder.try_init();
        Ok(Self {
            to_file: file.is_some(),
            format,
        })
    }

    /// Reports a failure.
    pub fn failure(self, message: &str) {
        self.report(Level::Error, message);
    }

    /// Reports something that did not stop us.
    pub fn warning(self, message: &str) {
        self.report(Level::Warn, message);
    }

    fn report(self, level: Level, message: &str) {
        if self.to_file {
            log::log!(level, "{message}");
        }
        let text = if !self.to_file && self.format == LogFormat::Json {
            line(self.format, level, message)
        } else {
            format!("holdfast: {}\n", one_line(message))
        };
        // Nobody is left to be told if this fails.
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

/// A runtime's words, and names that somebody gave, may have line ends and worse in them: a failure is one line, and does
/// nothing to a terminal.
pub fn one_line(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for c in message.trim_end().chars() {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

fn line(format: LogFormat, level: Level, message: &str) -> String {
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    // logrus's words.
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    match format {
        LogFormat::Text => format!("time={time:?} level={level} msg={message:?}\n"),
        LogFormat::Json => format!(
            "{}\n",
            json!({"level": level, "msg": message, "time": time})
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_json_survives_any_message() {
        let text = line(LogFormat::Json, Level::Error, "a \"b\"\n\u{1b}c");
        let value: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(value["msg"], "a \"b\"\n\u{1b}c");
        assert_eq!(value["level"], "error");
        assert_eq!(text.matches('\n').count(), 1);
    }

    #[test]
    fn a_failure_is_one_line_whatever_is_in_it() {
        assert_eq!(
            one_line("exec \"ä\": first\nsecond\u{1b}[1m\n\n"),
            "exec \"ä\": first\\nsecond\\u{1b}[1m"
        );
    }

    #[test]
    fn a_line_of_text_stays_one_line() {
        let text = line(LogFormat::Text, Level::Warn, "a\nb");
        assert!(text.contains(r#"level=warning msg="a\nb""#), "{text}");
    }
}
