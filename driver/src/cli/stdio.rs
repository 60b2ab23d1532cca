//! `--stdio` and its kin: where a process's streams go, as flags.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use holdfast::{Policy, Stdio};

use super::error::{Error, Result};

const PRESET: &str = "HOLDFAST_STDIO";

/// A policy as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWord(Policy);

/// Why a word is no policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPolicy(String);

impl fmt::Display for BadPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no stdio policy: use fifo, inherit, null or file:PATH",
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
            _ => {
                let path = word.strip_prefix("file:").ok_or_else(bad)?;
                // The shim works in a directory of its own. An empty path cannot be made absolute.
                Policy::File(std::path::absolute(PathBuf::from(path)).map_err(|_| bad())?)
            }
        }))
    }
}

/// Where a process's streams go.
#[derive(Debug, Clone, Args)]
pub struct StdioArgs {
    /// Where the three streams go: fifo, inherit, null or file:PATH (stdin null) [env: HOLDFAST_STDIO] [default: fifo]
    #[arg(long, value_name = "POLICY")]
    stdio: Option<PolicyWord>,
    /// Where stdin comes from [default: as --stdio]
    #[arg(long, value_name = "POLICY")]
    stdin: Option<PolicyWord>,
    /// Where stdout goes [default: as --stdio]
    #[arg(long, value_name = "POLICY")]
    stdout: Option<PolicyWord>,
    /// Where stderr goes [default: as --stdio]
    #[arg(long, value_name = "POLICY")]
    stderr: Option<PolicyWord>,
}

impl StdioArgs {
    /// The policies that the flags and the environment ask for.
    ///
    /// # Errors
    /// `HOLDFAST_STDIO` is no policy.
    pub fn policies(&self) -> Result<Stdio> {
        self.with_preset(std::env::var(PRESET).ok().as_deref())
    }

    fn with_preset(&self, preset: Option<&str>) -> Result<Stdio> {
        let preset = match preset {
            Some(word) if !word.is_empty() => Some(word.parse().map_err(Error::BadPreset)?),
            _ => None,
        };
        let all = self.stdio.clone().or(preset);
        let all = all.map_or(Policy::default(), |word: PolicyWord| word.0);
        let own = |word: &Option<PolicyWord>| word.clone().map(|word| word.0);
        let stdin = match &all {
            // A log that a container writes is not what it should read.
            Policy::File(_) => Policy::Null,
            other => other.clone(),
        };
        Ok(Stdio {
            stdin: own(&self.stdin).unwrap_or(stdin),
            stdout: own(&self.stdout).unwrap_or_else(|| all.clone()),
            stderr: own(&self.stderr).unwrap_or(all),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(stdio: Option<&str>, stderr: Option<&str>) -> StdioArgs {
        let word = |text: &str| text.parse().unwrap();
        StdioArgs {
            stdio: stdio.map(word),
            stdin: None,
            stdout: None,
            stderr: stderr.map(word),
        }
    }

    #[test]
    fn words_that_are_no_policy_are_refused() {
        for word in ["", "fifo ", "file:", "file", "pipe", "FIFO", "/dev/null"] {
            assert!(word.parse::<PolicyWord>().is_err(), "{word:?}");
        }
    }

    #[test]
    fn a_stream_s_own_flag_goes_before_all_and_all_before_the_environment() {
        let null = Stdio::all(Policy::Null);
        let fifo = Stdio::default();
        assert_eq!(args(None, None).with_preset(None).unwrap(), fifo);
        assert_eq!(args(None, None).with_preset(Some("")).unwrap(), fifo);
        assert_eq!(args(None, None).with_preset(Some("null")).unwrap(), null);
        assert_eq!(
            args(Some("null"), None)
                .with_preset(Some("inherit"))
                .unwrap(),
            null
        );
        let mixed = args(Some("null"), Some("fifo")).with_preset(None).unwrap();
        assert_eq!((mixed.stdout, mixed.stderr), (Policy::Null, Policy::Fifo));
        assert!(args(None, None).with_preset(Some("nonsense")).is_err());
    }

    #[test]
    fn a_file_for_all_is_written_and_not_read() {
        let stdio = args(Some("file:/x/log"), None).with_preset(None).unwrap();
        assert_eq!(stdio.stdin, Policy::Null);
        assert_eq!(stdio.stdout, Policy::File("/x/log".into()));
        assert_eq!(stdio.stderr, Policy::File("/x/log".into()));
    }
}
