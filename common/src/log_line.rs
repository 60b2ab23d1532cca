//! One line of shim-log.json or log.json: `{"level":…,"msg":…,"time":…}`, the format of runc's and crun's `--log-format json`,
//! which containerd 0.2 reads too. youki's is read as well: `{"timestamp":…,"level":"ERROR","message":…}`.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// `debug`, `info`, `warning`, `error` or `fatal`.
    #[serde(default)]
    pub level: String,
    /// The message.
    #[serde(default, alias = "message")]
    pub msg: String,
    /// When, RFC 3339.
    #[serde(default, alias = "timestamp")]
    pub time: String,
}

impl LogLine {
    /// A message of this moment.
    pub fn now(level: &str, msg: String) -> Self {
        let time = humantime::format_rfc3339_nanos(SystemTime::now()).to_string();
        Self {
            level: level.to_owned(),
            msg,
            time,
        }
    }

    /// The line as bytes, end included, for one write.
    pub fn encode(&self) -> Vec<u8> {
        // A struct of strings cannot fail to serialize.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// Every message in a log, in order. What is not one (a torn line, a panic's text) is passed over.
    pub fn decode_all(log: &[u8]) -> impl Iterator<Item = LogLine> {
        log.split(|&byte| byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
    }

    /// The message of the last error in a log: what finally stopped a runtime.
    pub fn last_error(log: &[u8]) -> Option<String> {
        let is_error = |line: &Self| {
            let named = |level: &&str| line.level.eq_ignore_ascii_case(level);
            ["error", "fatal"].iter().any(named)
        };
        let last = Self::decode_all(log).filter(is_error).last()?;
        Some(in_a_row(&last.msg))
    }
}

/// What Rust's anyhow makes of an error (youki's are such), as other runtimes say it: `what: cause: its cause`. The addresses that
/// may follow say nothing to anybody.
pub fn in_a_row(message: &str) -> String {
    let (message, _) = message
        .split_once("\n\nStack backtrace:")
        .unwrap_or((message, ""));
    let Some((what, causes)) = message.split_once("\n\nCaused by:\n") else {
        return message.to_owned();
    };
    // One cause stands there as it is; of several, each is numbered: `   0: …`.
    let causes = causes.lines().map(|line| {
        let line = line.trim_start();
        let number = line.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
        line[number..].strip_prefix(": ").unwrap_or(line)
    });
    causes.fold(what.to_owned(), |row, cause| format!("{row}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_control_characters_are_escaped_and_come_back() {
        let line = LogLine::now("error", "exec: \"nope\"\n\t\u{1}\u{1F980}".to_owned());
        let bytes = line.encode();
        assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 1);
        assert_eq!(LogLine::decode_all(&bytes).collect::<Vec<_>>(), [line]);
    }

    #[test]
    fn the_last_error_counts_and_noise_is_passed_over() {
        let log = b"{\"level\":\"error\",\"msg\":\"first\"}\npanic: oh\n{\"level\":\"error\",\"msg\":\"last\",\"time\":\"x\"}\n{\"level\":\"warning\",\"msg\":\"w\"}\n{\"level\":\"err";
        assert_eq!(LogLine::last_error(log).as_deref(), Some("last"));
        assert_eq!(LogLine::last_error(b"\xff\0"), None);
        let youkis = br#"{"timestamp":"2026-11-26T16:39:57.259111Z","level":"INFO","message":"info","target":"youki"}
{"timestamp":"2026-11-26T16:39:57.259362Z","level":"ERROR","message":"failed: why\n\nStack backtrace:\n   0: <unknown>","target":"youki"}"#;
        assert_eq!(LogLine::last_error(youkis).as_deref(), Some("failed: why"));
    }

    #[test]
    fn causes_stand_in_a_row() {
        for (message, wanted) in [
            ("no\nsuch thing", "no\nsuch thing"),
            ("a\n\nCaused by:\n    b: c", "a: b: c"),
            (
                "a\n\nCaused by:\n    0: b\n    1: 7\n\nStack backtrace:\n   0: x",
                "a: b: 7",
            ),
            ("a\n\nStack backtrace:\n   0: x", "a"),
        ] {
            assert_eq!(in_a_row(message), wanted);
        }
    }
}
