//! Why a process did not start, found out as containerd 0.2 does: from the logs that a dead shim left.

use std::fs;
use std::path::Path;

use serde_json::{Deserializer, Value};

/// Why a process did not start. The messages are containerd's.
#[derive(Debug, PartialEq, Eq)]
pub enum StartError {
    /// The shim is gone and its `shim-log.json` cannot be read, which containerd does not forgive.
    NoShimLog(String),
    /// `shim error: …`, from `shim-log.json`.
    Shim(String),
    /// `oci runtime error: …`, from `log.json`.
    Runtime(String),
    /// The shim is gone, and neither log has an error in it.
    NotStarted,
    /// No pid within the time given; the shim has been killed.
    Timeout,
    /// `runtime start` failed, with this output.
    Start(String),
}

/// Why there is no pid, from the shim's log first and then from the runtime's.
pub(super) fn of(dir: &Path) -> StartError {
    let shim = match errors(&dir.join("shim-log.json")) {
        Ok(errors) => errors,
        Err(e) => return StartError::NoShimLog(e),
    };
    if let Some(message) = shim.into_iter().next() {
        return StartError::Shim(message);
    }
    match errors(&dir.join("log.json")) {
        Ok(errors) if !errors.is_empty() => StartError::Runtime(errors[0].clone()),
        _ => StartError::NotStarted,
    }
}

/// The messages of level `error` in a log of JSON objects.
fn errors(log: &Path) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(log).map_err(|e| format!("open {}: {e}", log.display()))?;
    let mut errors = Vec::new();
    for entry in Deserializer::from_str(&text).into_iter::<Value>() {
        let entry = entry.map_err(|e| format!("decode {}: {e}", log.display()))?;
        if entry["level"] == "error" {
            errors.push(entry["msg"].as_str().unwrap_or_default().to_owned());
        }
    }
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_read_from_the_shims_log_first() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        assert!(matches!(of(dir.path()), StartError::NoShimLog(_)));
        write("shim-log.json", "");
        assert_eq!(of(dir.path()), StartError::NotStarted);
        write(
            "log.json",
            "{\"level\":\"error\",\"msg\":\"no such file\"}\n",
        );
        assert_eq!(
            of(dir.path()),
            StartError::Runtime("no such file".to_owned())
        );
        write(
            "shim-log.json",
            "{\"level\":\"info\",\"msg\":\"a\"}{\"level\":\"error\",\"msg\":\"b\"}",
        );
        assert_eq!(of(dir.path()), StartError::Shim("b".to_owned()));
    }
}
