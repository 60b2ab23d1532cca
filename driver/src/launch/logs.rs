//! The log's files in a process directory that is being staged. Where the shim is to remove the directory in the end, the log is
//! there before the shim writes it, so that the launcher has it open whatever comes first. A restart's takes the log along: the same files under the same names, so that
//! whoever follows them sees no difference, and nothing is lost with the old directory.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use holdfast_common::layout::{JSON_LOG_FILE, LOG_FILE};
use holdfast_common::output::LogDriver;
use holdfast_common::process_state::ProcessState;

use crate::error::{Error, Result};

/// Makes the log that a reader looks for first, if it is going to be removed with the directory, and opens it to read.
pub(super) fn make(state: &ProcessState, staged: &Path) -> Result<Option<File>> {
    if !state.holdfast.as_ref().is_some_and(|ours| ours.auto_remove) {
        return Ok(None);
    }
    let options = state.output().and_then(|output| output.log.as_ref());
    let drivers = options.into_iter().flat_map(|log| &log.drivers);
    let first = drivers.into_iter().find_map(|driver| match driver {
        LogDriver::Cri { path } | LogDriver::JsonFile { path } => Some((driver, path)),
        LogDriver::Journald { .. } | LogDriver::Asciicast { .. } => None,
    });
    let Some((driver, None)) = first else {
        return Ok(None);
    };
    let Some(path) = driver.file(staged) else {
        return Ok(None);
    };
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o640);
    options
        .open(&path)
        .map(Some)
        .map_err(Error::io("make log", path))
}

/// Links the log's files into a directory that is being staged. One that cannot be had is told of, and no reason not to
/// restart.
pub(super) fn carry(from: &Path, staged: &Path) {
    let Ok(entries) = fs::read_dir(from) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_file || !name.to_str().is_some_and(is_log) {
            continue;
        }
        let to = staged.join(&name);
        if let Err(e) = fs::hard_link(entry.path(), &to) {
            let from = entry.path();
            log::warn!("take {} along to {}: {e}", from.display(), to.display());
        }
    }
}

/// `log`, `log.1` …
fn is_log(name: &str) -> bool {
    [LOG_FILE, JSON_LOG_FILE].into_iter().any(|log| {
        let Some(rest) = name.strip_prefix(log) else {
            return false;
        };
        let number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        let numbered = rest.strip_prefix('.');
        rest.is_empty() || numbered.is_some_and(|rest| !rest.is_empty() && number(rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_known_by_its_name() {
        for name in ["log", "log.1", "log.12", "json.log", "json.log.2"] {
            assert!(is_log(name), "{name}");
        }
        for name in [
            "log.json",
            "log.",
            "log.1x",
            "logs",
            "events.log",
            "shim-log.json",
        ] {
            assert!(!is_log(name), "{name}");
        }
    }
}
