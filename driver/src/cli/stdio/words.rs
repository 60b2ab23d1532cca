//! Policies and log drivers as they are written.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use holdfast::{LogDriver, Policy, WhenFull};

/// A policy as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWord(pub Policy);

/// Why a word is no policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPolicy(String);

impl fmt::Display for BadPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no stdio policy: use fifo, log, spill, inherit, null or file:PATH",
            self.0
        )
    }
}

impl std::error::Error for BadPolicy {}

impl FromStr for PolicyWord {
    type Err = BadPolicy;

    fn from_str(word: &str) -> std::result::Result<Self, BadPolicy> {
        let bad = || BadPolicy(word.to_owned());
        Ok(Self(match word {
            "fifo" => Policy::Fifo,
            "inherit" => Policy::Inherit,
            "null" => Policy::Null,
            "log" => Policy::Log,
            "spill" => Policy::Spill,
            _ => {
                let path = word.strip_prefix("file:").ok_or_else(bad)?;
                // The shim works in a directory of its own. An empty path cannot be made absolute.
                Policy::File(std::path::absolute(PathBuf::from(path)).map_err(|_| bad())?)
            }
        }))
    }
}

/// `DRIVER` or `DRIVER:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverWord(pub LogDriver);

/// Why a word is no log driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadDriver(String);

impl fmt::Display for BadDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no log driver: use cri, json-file or journald, or DRIVER:PATH",
            self.0
        )
    }
}

impl std::error::Error for BadDriver {}

impl FromStr for DriverWord {
    type Err = BadDriver;

    fn from_str(text: &str) -> Result<Self, BadDriver> {
        let bad = || BadDriver(text.to_owned());
        let (word, path) = match text.split_once(':') {
            Some((word, path)) => {
                // An empty path cannot be made absolute.
                let path = std::path::absolute(Path::new(path)).map_err(|_| bad())?;
                (word, Some(path))
            }
            None => (text, None),
        };
        Ok(Self(match word {
            // As conmon and podman call it.
            "cri" | "k8s-file" => LogDriver::Cri { path },
            "json-file" => LogDriver::JsonFile { path },
            "journald" => LogDriver::Journald { path },
            _ => return Err(bad()),
        }))
    }
}

/// `KEY=VALUE`.
///
/// # Errors
/// It is not.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give KEY=VALUE".to_owned()),
    }
}

/// What happens when a spill is full, as it is written.
///
/// # Errors
/// It is nothing of that.
pub fn when_full(text: &str) -> Result<WhenFull, String> {
    match text {
        "block" => Ok(WhenFull::Block),
        "drop-oldest" => Ok(WhenFull::DropOldest),
        _ => Err("use block or drop-oldest".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_no_policy_are_refused() {
        for word in [
            "",
            "fifo ",
            "file:",
            "file",
            "pipe",
            "FIFO",
            "/dev/null",
            "log:/x",
            "spilled",
        ] {
            assert!(word.parse::<PolicyWord>().is_err(), "{word:?}");
        }
    }

    #[test]
    fn drivers_have_the_names_that_others_give_them() {
        let path = Some(PathBuf::from("/x/y"));
        for (word, driver) in [
            ("cri", LogDriver::Cri { path: None }),
            ("k8s-file:/x/y", LogDriver::Cri { path: path.clone() }),
            ("json-file:/x/y", LogDriver::JsonFile { path: path.clone() }),
            ("journald", LogDriver::Journald { path: None }),
            ("journald:/x/y", LogDriver::Journald { path }),
        ] {
            assert_eq!(word.parse(), Ok(DriverWord(driver)));
        }
        for word in ["", "cri:", "syslog", "none", ":/x", "asciicast:/x"] {
            assert!(word.parse::<DriverWord>().is_err(), "{word:?}");
        }
        assert!(label("=x").is_err() && label("x").is_err());
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
    }
}
