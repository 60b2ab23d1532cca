//! `--stdio` and its kin: where a process's streams go, as flags.

mod words;

use std::path::PathBuf;

use clap::Args;
use holdfast::{LogDriver, LogOptions, Policy, SpillOptions, Stdio, WhenFull};

use super::error::{Error, Result};
use super::size::{bytes, limit};
pub use words::BadPolicy;
use words::{DriverWord, PolicyWord, label, when_full};

const PRESET: &str = "HOLDFAST_STDIO";

/// Where a process's streams go.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct StdioArgs {
    /// Where the streams go: fifo, log, spill, inherit, null or file:PATH [env: HOLDFAST_STDIO] [default: fifo; log with --detach]
    #[arg(long, value_name = "POLICY")]
    stdio: Option<PolicyWord>,
    /// Where stdin comes from [default: as --stdio; null for file]
    #[arg(long, value_name = "POLICY")]
    stdin: Option<PolicyWord>,
    /// Where stdout goes [default: as --stdio]
    #[arg(long, value_name = "POLICY")]
    stdout: Option<PolicyWord>,
    /// Where stderr goes [default: as --stdio]
    #[arg(long, value_name = "POLICY")]
    stderr: Option<PolicyWord>,
    /// Stderr goes where stdout goes
    #[arg(long, conflicts_with = "stderr")]
    merge_stderr: bool,
    /// Log to cri, json-file, journald, or DRIVER:PATH; may be repeated
    #[arg(long, value_name = "DRIVER")]
    log_driver: Vec<DriverWord>,
    /// File of the log [default: in the process directory]
    #[arg(long, value_name = "FILE")]
    log_path: Option<PathBuf>,
    /// Size to rotate it at, such as 64M; -1 for never [default: 10M]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = limit)]
    log_max_size: Option<i64>,
    /// Number of its files, with the present one [default: 3]
    #[arg(long, value_name = "N")]
    log_max_files: Option<u32>,
    /// Name of the container in logs [default: its id]
    #[arg(long, value_name = "TAG")]
    log_tag: Option<String>,
    /// Label in json-file and journal; may be repeated
    #[arg(long = "log-label", value_name = "KEY=VALUE", value_parser = label)]
    log_labels: Vec<(String, String)>,
    /// Most to keep of a spilled stream, such as 1G [default: 64M]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    spill_max: Option<u64>,
    /// Then what: block or drop-oldest [default: block]
    #[arg(long, value_name = "WHAT", value_parser = when_full)]
    spill_full: Option<WhenFull>,
    /// File to record the terminal in, for asciinema
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

impl StdioArgs {
    /// Whether a flag says anything.
    pub fn is_named(&self) -> bool {
        *self != Self::default()
    }

    /// The policies that the flags and the environment ask for, or else `usual`.
    ///
    /// # Errors
    /// `HOLDFAST_STDIO` is no policy.
    pub fn policies(&self, usual: Policy) -> Result<Stdio> {
        self.resolve(usual, std::env::var(PRESET).ok().as_deref())
    }

    fn resolve(&self, usual: Policy, preset: Option<&str>) -> Result<Stdio> {
        let preset = match preset {
            Some(word) if !word.is_empty() => Some(word.parse().map_err(Error::BadPreset)?),
            _ => None,
        };
        let log = self.log()?;
        let spill = self.spill();
        let streams = [&self.stdin, &self.stdout, &self.stderr];
        let otherwise = preset.map_or(usual, |word: PolicyWord| word.0);
        let all = match &self.stdio {
            Some(PolicyWord(policy)) => policy.clone(),
            None if streams.into_iter().any(Option::is_some) => otherwise,
            // Whoever says how a log is written means that there is one.
            None => match (&log, &spill) {
                (Some(_), None) => Policy::Log,
                (None, Some(_)) => Policy::Spill,
                _ => otherwise,
            },
        };
        let own = |word: &Option<PolicyWord>| word.clone().map(|word| word.0);
        let stdin = match &all {
            // A log that a container writes is not what it should read.
            Policy::File(_) => Policy::Null,
            Policy::Log | Policy::Spill => Policy::Fifo,
            other => other.clone(),
        };
        Ok(Stdio {
            stdin: own(&self.stdin).unwrap_or(stdin),
            stdout: own(&self.stdout).unwrap_or_else(|| all.clone()),
            stderr: own(&self.stderr).unwrap_or(all),
            merge_stderr: self.merge_stderr,
            log,
            spill,
            record: self.record.clone(),
        })
    }

    /// The log that the flags ask for; `None` when they do not speak of one.
    fn log(&self) -> Result<Option<LogOptions>> {
        let usual = LogOptions::default();
        let options = LogOptions {
            drivers: self.drivers(&usual)?,
            max_size: match self.log_max_size {
                // Never, in docker's and conmon's words.
                Some(size) => u64::try_from(size).unwrap_or(0),
                None => usual.max_size,
            },
            max_files: self.log_max_files.unwrap_or(usual.max_files),
            tag: self.log_tag.clone().unwrap_or_default(),
            labels: self.log_labels.iter().cloned().collect(),
        };
        let asked = self.log_max_size.is_some()
            || self.log_max_files.is_some()
            || self.log_tag.is_some()
            || self.log_path.is_some()
            || !(self.log_driver.is_empty() && self.log_labels.is_empty());
        Ok(asked.then_some(options))
    }

    fn drivers(&self, usual: &LogOptions) -> Result<Vec<LogDriver>> {
        let mut drivers: Vec<LogDriver> = self.log_driver.iter().map(|it| it.0.clone()).collect();
        if drivers.is_empty() {
            drivers.clone_from(&usual.drivers);
        }
        let Some(file) = &self.log_path else {
            return Ok(drivers);
        };
        let mut places = drivers.iter_mut().filter_map(|driver| match driver {
            LogDriver::Cri { path } | LogDriver::JsonFile { path } => Some(path),
            LogDriver::Journald { .. } | LogDriver::Asciicast { .. } => None,
        });
        match (places.next(), places.next()) {
            (Some(path @ None), None) => *path = Some(file.clone()),
            _ => return Err(Error::WhoseLogPath { path: file.clone() }),
        }
        Ok(drivers)
    }

    /// The spill that the flags ask for; `None` when they do not speak of one.
    fn spill(&self) -> Option<SpillOptions> {
        let usual = SpillOptions::default();
        let asked = self.spill_max.is_some() || self.spill_full.is_some();
        asked.then(|| SpillOptions {
            max: self.spill_max.unwrap_or(usual.max),
            full: self.spill_full.unwrap_or(usual.full),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast::LogDriver;

    fn args(stdio: Option<&str>, stderr: Option<&str>) -> StdioArgs {
        let word = |text: &str| text.parse().unwrap();
        StdioArgs {
            stdio: stdio.map(word),
            stdin: None,
            stdout: None,
            stderr: stderr.map(word),
            ..StdioArgs::default()
        }
    }

    #[test]
    fn options_of_one_policy_ask_for_it_where_nothing_else_does() {
        let logged = StdioArgs {
            log_max_size: Some(0),
            ..args(None, None)
        };
        let stdio = logged.resolve(Policy::Fifo, None).unwrap();
        assert_eq!((&stdio.stdin, &stdio.stdout), (&Policy::Fifo, &Policy::Log));
        assert_eq!(stdio.log.unwrap().max_size, 0);
        assert_eq!(stdio.spill, None);
        assert_eq!(
            logged.resolve(Policy::Fifo, Some("spill")).unwrap().stdout,
            Policy::Log
        );
        let own = StdioArgs {
            stdout: Some(PolicyWord(Policy::Fifo)),
            ..logged
        };
        assert_eq!(
            own.resolve(Policy::Fifo, None).unwrap().stderr,
            Policy::Fifo
        );
        let spilled = StdioArgs {
            spill_max: Some(7),
            ..args(None, None)
        };
        let stdio = spilled.resolve(Policy::Fifo, None).unwrap();
        assert_eq!((stdio.stderr, stdio.spill.unwrap().max), (Policy::Spill, 7));
    }

    #[test]
    fn what_is_usual_is_so_for_streams_of_which_nothing_else_is_said() {
        let usual = |args: StdioArgs, preset| args.resolve(Policy::Log, preset).unwrap();
        assert_eq!(usual(args(None, None), None), Stdio::all(Policy::Log));
        assert_eq!(usual(args(None, None), Some("fifo")), Stdio::default());
        let mixed = usual(args(None, Some("null")), None);
        assert_eq!((mixed.stdout, mixed.stderr), (Policy::Log, Policy::Null));
    }

    #[test]
    fn one_path_is_that_of_the_one_file() {
        let drivers = |words: &[&str], path: &str| {
            let args = StdioArgs {
                log_driver: words.iter().map(|word| word.parse().unwrap()).collect(),
                log_path: Some(path.into()),
                ..StdioArgs::default()
            };
            args.resolve(Policy::Fifo, None)
                .map(|stdio| stdio.log.unwrap().drivers)
        };
        let file = |path: &str| LogDriver::Cri {
            path: Some(path.into()),
        };
        assert_eq!(drivers(&[], "/l").unwrap(), [file("/l")]);
        let journal = LogDriver::Journald { path: None };
        assert_eq!(
            drivers(&["journald", "cri"], "/l").unwrap(),
            [journal, file("/l")]
        );
        for words in [&["journald"][..], &["cri", "json-file"], &["cri:/m"]] {
            assert!(drivers(words, "/l").is_err());
        }
    }

    #[test]
    fn a_stream_s_own_flag_goes_before_all_and_all_before_the_environment() {
        let null = Stdio::all(Policy::Null);
        let fifo = Stdio::default();
        assert_eq!(args(None, None).resolve(Policy::Fifo, None).unwrap(), fifo);
        assert_eq!(
            args(None, None).resolve(Policy::Fifo, Some("")).unwrap(),
            fifo
        );
        assert_eq!(
            args(None, None)
                .resolve(Policy::Fifo, Some("null"))
                .unwrap(),
            null
        );
        assert_eq!(
            args(Some("null"), None)
                .resolve(Policy::Fifo, Some("inherit"))
                .unwrap(),
            null
        );
        let mixed = args(Some("null"), Some("fifo"))
            .resolve(Policy::Fifo, None)
            .unwrap();
        assert_eq!((mixed.stdout, mixed.stderr), (Policy::Null, Policy::Fifo));
        assert!(
            args(None, None)
                .resolve(Policy::Fifo, Some("nonsense"))
                .is_err()
        );
    }

    #[test]
    fn a_file_for_all_is_written_and_not_read() {
        let stdio = args(Some("file:/x/log"), None)
            .resolve(Policy::Fifo, None)
            .unwrap();
        assert_eq!(stdio.stdin, Policy::Null);
        assert_eq!(stdio.stdout, Policy::File("/x/log".into()));
        assert_eq!(stdio.stderr, Policy::File("/x/log".into()));
    }
}
