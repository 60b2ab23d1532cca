//! The one line that a shim writes on the pipe its launcher gave it: ready, or why not.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identity::Identity;

/// How a launch ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Report {
    /// The process exists.
    Ready {
        /// Its pid.
        pid: i32,
        /// Field 22 of its /proc/PID/stat.
        #[serde(rename = "startTime")]
        start_time: u64,
    },
    /// It had ended when its directory was adopted: its end is on record, and in order. Or it had never come to be,
    /// and the directory is gone.
    Ended {},
    /// It does not, and nothing of it is left.
    Failed {
        /// Whose failure it is.
        cause: Cause,
        /// What happened: the runtime's own words where it had some.
        message: String,
    },
}

/// Whose failure ended a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The runtime refused; the message is its own.
    Runtime,
    /// The runtime did not finish in time.
    Timeout,
    /// Another launch of the same id was first; another shim looks after the directory already.
    Exists,
    /// The launcher went away before anything had begun.
    Launcher,
    /// The shim could not do its part.
    Shim,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Runtime => "oci runtime",
            Cause::Timeout => "timeout",
            Cause::Exists => "exists",
            Cause::Launcher => "launcher",
            Cause::Shim => "shim",
        })
    }
}

impl Report {
    /// A report that the process exists.
    pub fn ready(identity: Identity) -> Self {
        Report::Ready {
            pid: identity.pid,
            start_time: identity.start_time,
        }
    }

    /// A report that it does not.
    pub fn failed(cause: Cause, message: String) -> Self {
        Report::Failed { cause, message }
    }

    /// The line as bytes, end included, for one write.
    pub fn encode(&self) -> Vec<u8> {
        // Strings and numbers cannot fail to serialize.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// The report in a line; `None` for a torn one.
    pub fn decode(line: &[u8]) -> Option<Self> {
        line.ends_with(b"\n")
            .then(|| serde_json::from_slice(line).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_the_documented_lines_and_come_back() {
        let ready = Report::ready(Identity {
            pid: 4711,
            start_time: 182_736,
        });
        assert_eq!(
            ready.encode(),
            b"{\"ready\":{\"pid\":4711,\"startTime\":182736}}\n"
        );
        let failed = Report::Failed {
            cause: Cause::Runtime,
            message: "exec: \"nope\": not found".to_owned(),
        };
        for report in [ready, failed, Report::Ended {}] {
            let line = report.encode();
            assert_eq!(Report::decode(&line), Some(report));
            assert_eq!(Report::decode(&line[..line.len() - 1]), None);
        }
    }
}
