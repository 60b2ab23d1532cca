//! Output whose bytes the shim moves, as `process.json` asks for it: into a log, or into a FIFO with a file behind it for what
//! nobody reads. What is not named here goes where the process's own descriptors lead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::layout::{self, Stream};

/// The `output` object in the `holdfast` object of `process.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Output {
    /// Who moves stdout, or what a terminal shows; absent for the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<Moved>,
    /// Likewise stderr; always absent with a terminal, or where stderr is merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr: Option<Moved>,
    /// Descriptor 2 is what descriptor 1 is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub merge_stderr: bool,
    /// The log of the streams that are logged. An `asciicast` in it records what a terminal shows wherever that goes; where no
    /// stream is logged it is alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogOptions>,
    /// What becomes of what nobody reads, for the streams that are spilled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spill: Option<SpillOptions>,
}

/// What the shim does with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moved {
    /// Writes it to the log.
    Log,
    /// Passes it on to the stream's FIFO, and keeps in a file what that has no room for.
    Spill,
}

/// A log: one for both streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogOptions {
    /// Where it goes; each once.
    pub drivers: Vec<LogDriver>,
    /// Size at which a file is rotated, in bytes; 0 for never.
    pub max_size: u64,
    /// How many files are kept of each, the present one among them; at least 1.
    pub max_files: u32,
    /// What the container is called in the formats that have a word for it; empty for its id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// The caller's own words, in the formats that have a place for them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            drivers: vec![LogDriver::Cri { path: None }],
            max_size: 10 << 20,
            max_files: 3,
            tag: String::new(),
            labels: BTreeMap::new(),
        }
    }
}

/// One place that a log goes to. A path is absolute; without one the file is in the process directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "driver", rename_all = "kebab-case")]
pub enum LogDriver {
    /// Kubernetes' format, a line an entry: `TIME stdout|stderr P|F TEXT`.
    Cri {
        /// The file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<PathBuf>,
    },
    /// Docker's format, a JSON object an entry.
    JsonFile {
        /// The file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<PathBuf>,
    },
    /// The system's journal, by its native protocol.
    Journald {
        /// Its socket, if not the usual one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<PathBuf>,
    },
    /// A recording of a terminal (asciinema v2), which is never rotated.
    Asciicast {
        /// The file.
        path: PathBuf,
    },
}

impl LogDriver {
    /// Its name, as in `driver`.
    pub const fn word(&self) -> &'static str {
        match self {
            LogDriver::Cri { .. } => "cri",
            LogDriver::JsonFile { .. } => "json-file",
            LogDriver::Journald { .. } => "journald",
            LogDriver::Asciicast { .. } => "asciicast",
        }
    }

    /// Its file, for a process of this directory; `None` for the journal.
    pub fn file(&self, process_dir: &Path) -> Option<PathBuf> {
        let or = |path: &Option<PathBuf>, name: &str| match path {
            Some(path) => path.clone(),
            None => process_dir.join(name),
        };
        match self {
            LogDriver::Cri { path } => Some(or(path, layout::LOG_FILE)),
            LogDriver::JsonFile { path } => Some(or(path, layout::JSON_LOG_FILE)),
            LogDriver::Journald { .. } => None,
            LogDriver::Asciicast { path } => Some(path.clone()),
        }
    }
}

/// A bounded file between a process and a reader that is not there, or slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SpillOptions {
    /// The most that is kept of one stream, in bytes.
    pub max: u64,
    /// What happens then.
    pub full: WhenFull,
}

impl Default for SpillOptions {
    fn default() -> Self {
        Self {
            max: 64 << 20,
            full: WhenFull::Block,
        }
    }
}

/// What happens when a spill is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// The process waits, as for a full FIFO.
    #[default]
    Block,
    /// The oldest bytes go, and are counted.
    DropOldest,
}

impl LogOptions {
    /// Without the recording, which is not of the log's making; `None` when nothing else is left.
    pub fn without_record(mut self) -> Option<Self> {
        self.drivers
            .retain(|driver| !matches!(driver, LogDriver::Asciicast { .. }));
        (!self.drivers.is_empty()).then_some(self)
    }
}

impl Output {
    /// The file that a terminal is recorded in.
    pub fn record(&self) -> Option<&Path> {
        self.log
            .iter()
            .flat_map(|log| &log.drivers)
            .find_map(|driver| match driver {
                LogDriver::Asciicast { path } => Some(path.as_path()),
                _ => None,
            })
    }

    /// Who moves a stream; `None` for the kernel.
    pub fn moved(&self, stream: Stream) -> Option<Moved> {
        match stream {
            Stream::Stdin => None,
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let log = LogOptions {
            drivers: vec![
                LogDriver::Cri { path: None },
                LogDriver::JsonFile {
                    path: Some("/l/j".into()),
                },
                LogDriver::Journald { path: None },
            ],
            labels: [("a".to_owned(), "b".to_owned())].into(),
            ..LogOptions::default()
        };
        let output = Output {
            stdout: Some(Moved::Log),
            stderr: Some(Moved::Spill),
            log: Some(log),
            spill: Some(SpillOptions {
                full: WhenFull::DropOldest,
                ..SpillOptions::default()
            }),
            ..Output::default()
        };
        let text = serde_json::to_string(&output).unwrap();
        assert_eq!(serde_json::from_str::<Output>(&text).unwrap(), output);
        for part in [
            r#""drivers":[{"driver":"cri"},{"driver":"json-file","path":"/l/j"},{"driver":"journald"}]"#,
            r#""spill":{"max":67108864,"full":"drop-oldest"}"#,
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_file_without_a_path_is_the_process_directorys() {
        let dir = Path::new("/r/web/init");
        let file = |driver: LogDriver| driver.file(dir).unwrap().display().to_string();
        assert_eq!(file(LogDriver::Cri { path: None }), "/r/web/init/log");
        let elsewhere = Some("/var/log/web".into());
        assert_eq!(file(LogDriver::Cri { path: elsewhere }), "/var/log/web");
        let json = LogDriver::JsonFile { path: None };
        assert_eq!(file(json), "/r/web/init/json.log");
    }
}
