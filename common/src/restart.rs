//! Restart policies, as state.json and the command line spell them (docker's words), and how often a container was
//! restarted, as its process.json says it.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// When a supervisor restarts a container that has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When its exit code was not 0, or is not known.
    OnFailure {
        /// After this many restarts no more.
        most: Option<NonZeroU32>,
    },
    /// Always.
    Always,
    /// Always, until somebody stops it.
    UnlessStopped,
}

/// A word that is no restart policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRestartPolicy(String);

impl fmt::Display for BadRestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no restart policy: use no, on-failure[:N], always or unless-stopped",
            self.0
        )
    }
}

impl std::error::Error for BadRestartPolicy {}

impl RestartPolicy {
    /// Whether it never restarts anything.
    pub fn is_no(&self) -> bool {
        *self == RestartPolicy::No
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestartPolicy::No => f.pad("no"),
            RestartPolicy::OnFailure { most: None } => f.pad("on-failure"),
            RestartPolicy::OnFailure { most: Some(most) } => f.pad(&format!("on-failure:{most}")),
            RestartPolicy::Always => f.pad("always"),
            RestartPolicy::UnlessStopped => f.pad("unless-stopped"),
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = BadRestartPolicy;

    fn from_str(word: &str) -> Result<Self, BadRestartPolicy> {
        let bad = || BadRestartPolicy(word.to_owned());
        Ok(match word {
            "no" => RestartPolicy::No,
            "on-failure" => RestartPolicy::OnFailure { most: None },
            "always" => RestartPolicy::Always,
            "unless-stopped" => RestartPolicy::UnlessStopped,
            _ => {
                let most = word.strip_prefix("on-failure:").ok_or_else(bad)?;
                RestartPolicy::OnFailure {
                    most: Some(most.parse().map_err(|_| bad())?),
                }
            }
        })
    }
}

impl From<RestartPolicy> for String {
    fn from(policy: RestartPolicy) -> Self {
        policy.to_string()
    }
}

impl TryFrom<String> for RestartPolicy {
    type Error = BadRestartPolicy;

    fn try_from(word: String) -> Result<Self, BadRestartPolicy> {
        word.parse()
    }
}

/// How often a container was restarted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Restarts {
    /// All in all.
    pub count: u32,
    /// Without a time of running well in between.
    pub in_a_row: u32,
}

impl Restarts {
    /// Whether it never was.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for word in [
            "no",
            "on-failure",
            "on-failure:3",
            "always",
            "unless-stopped",
        ] {
            let policy: RestartPolicy = word.parse().unwrap();
            let json = serde_json::to_string(&policy).unwrap();
            assert_eq!(json, format!("{word:?}"));
            let back: RestartPolicy = serde_json::from_str(&json).unwrap();
            assert_eq!(back, policy);
        }
    }

    #[test]
    fn words_that_are_no_policy_are_refused() {
        for word in [
            "",
            "No",
            "on-failure:",
            "on-failure:0",
            "on-failure:-1",
            "on-failure:x",
            "always ",
        ] {
            assert!(word.parse::<RestartPolicy>().is_err(), "{word:?}");
        }
    }
}
