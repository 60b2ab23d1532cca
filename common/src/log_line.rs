//! One line of shim-log.json or log.json: `{"level":…,"msg":…,"time":…}`, the format of the runtimes' `--log-format json`,
//! which containerd 0.2 reads too.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// `debug`, `info`, `warning`, `error` or `fatal`.
    #[serde(default)]
    pub level: String,
    /// The message.
    #[serde(default)]
    pub msg: String,
    /// When, RFC 3339.
    #[serde(default)]
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
        Self::decode_all(log)
            .filter(|line| matches!(line.level.as_str(), "error" | "fatal"))
            .map(|line| line.msg)
            .last()
    }
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
    }
}
