//! A log as it lies there: its files in their order, and the entries in them. Read as anybody would who knows the format, and who takes
//! nothing for granted: an entry that is torn, or is none, fails the test.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// An entry of Kubernetes' format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When, as it stands there.
    pub time: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Whether its line ends.
    pub ends: bool,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The files of a log, the oldest first.
///
/// # Panics
/// When the directory cannot be read.
#[must_use]
pub fn files(log: &Path) -> Vec<PathBuf> {
    let numbered = |number: usize| PathBuf::from(format!("{}.{number}", log.display()));
    let mut files: Vec<PathBuf> = (1..)
        .map(numbered)
        .take_while(|file| file.exists())
        .collect();
    files.reverse();
    files.extend(log.exists().then(|| log.to_owned()));
    files
}

/// The entries of one file; none if it is not there, since a shim may have rotated it away after it was found.
///
/// # Panics
/// When something in it is none.
#[must_use]
pub fn of_file(file: &Path) -> Vec<LogEntry> {
    let bytes = match fs::read(file) {
        Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
        read => read.unwrap_or_else(|e| panic!("{}: {e}", file.display())),
    };
    let torn = |what: &[u8]| -> ! { panic!("{}: torn: {}", file.display(), what.escape_ascii()) };
    let mut lines = bytes.split(|&byte| byte == b'\n').collect::<Vec<_>>();
    match lines.pop() {
        Some([]) | None => (),
        Some(rest) => torn(rest),
    }
    lines
        .into_iter()
        .map(|line| {
            let mut words = line.splitn(4, |&byte| byte == b' ');
            let (Some(time), Some(stream), Some(tag), Some(bytes)) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                torn(line)
            };
            let text =
                |word: &[u8]| String::from_utf8(word.to_vec()).unwrap_or_else(|_| torn(line));
            let (time, stream) = (text(time), text(stream));
            let is_time = time.len() == 30 && time.ends_with('Z') && time[4..5] == *"-";
            if !is_time || !["stdout", "stderr"].contains(&&*stream) {
                torn(line)
            }
            LogEntry {
                time,
                stream,
                ends: match tag {
                    b"F" => true,
                    b"P" => false,
                    _ => torn(line),
                },
                bytes: bytes.to_vec(),
            }
        })
        .collect()
}

/// What a stream's entries say that was written.
#[must_use]
pub fn written(entries: &[LogEntry], stream: &str) -> Vec<u8> {
    let mut written = Vec::new();
    for entry in entries.iter().filter(|entry| entry.stream == stream) {
        written.extend_from_slice(&entry.bytes);
        if entry.ends {
            written.push(b'\n');
        }
    }
    written
}

/// The entries of a log, of all its files.
///
/// # Panics
/// As [`of_file`].
#[must_use]
pub fn of_log(log: &Path) -> Vec<LogEntry> {
    files(log).iter().flat_map(|file| of_file(file)).collect()
}

/// The objects of a file in docker's format, as docker reads them: what is no text is U+FFFD.
///
/// # Panics
/// When something in it is none.
#[must_use]
pub fn of_json_file(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    assert!(text.is_empty() || text.ends_with('\n'), "torn: {text}");
    let object = |line: &str| {
        let mut text = line.to_owned();
        while let Some(at) = text.find("\\udc") {
            text.replace_range(at..at + 6, "\\ufffd");
        }
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{line}: {e}"))
    };
    text.lines().map(object).collect()
}
