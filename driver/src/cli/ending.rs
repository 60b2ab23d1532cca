//! Flags of `create`, `run` and `exec` for how a process ends: when its time is over, and what is run when it has.

use std::path::PathBuf;

use clap::Args;
use holdfast::{ExitCommand, TimeLimit};

use super::signal_name::SignalNumber;

/// The flags.
#[derive(Debug, Default, PartialEq, Args)]
pub struct EndingArgs {
    /// End it when it has run for this long, in seconds or such as 1h30m; 0 for no limit
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<u32>,
    /// What it is sent then [default: TERM]
    #[arg(long, value_name = "SIGNAL", requires = "timeout")]
    stop_signal: Option<SignalNumber>,
    /// How long it has from then on before it is killed; 0 kills at once [default: 10]
    #[arg(long, value_name = "SECONDS", requires = "timeout", value_parser = seconds)]
    stop_timeout: Option<u32>,
    /// Run this once it has ended and all else is done; HOLDFAST_ID, HOLDFAST_EXIT_STATUS … tell it
    #[arg(long, value_name = "PROGRAM")]
    exit_command: Option<PathBuf>,
    /// An argument for it; may be repeated
    #[arg(
        long,
        value_name = "ARG",
        requires = "exit_command",
        allow_hyphen_values = true
    )]
    exit_command_arg: Vec<String>,
    /// Run it so long after the end
    #[arg(long, value_name = "SECONDS", requires = "exit_command", value_parser = seconds)]
    exit_delay: Option<u32>,
}

impl EndingArgs {
    /// Whether a flag says anything.
    pub fn is_named(&self) -> bool {
        *self != Self::default()
    }

    /// How long it may run.
    pub fn time_limit(&self) -> Option<TimeLimit> {
        let mut limit = TimeLimit::new(self.timeout.filter(|&seconds| seconds > 0)?);
        if let Some(SignalNumber(signal)) = self.stop_signal {
            limit.signal = signal;
        }
        if let Some(grace) = self.stop_timeout {
            limit.grace = grace;
        }
        Some(limit)
    }

    /// What is run at its end.
    pub fn exit_command(&self) -> Option<ExitCommand> {
        Some(ExitCommand {
            program: self.exit_command.clone()?,
            args: self.exit_command_arg.clone(),
            delay: self.exit_delay.unwrap_or(0),
        })
    }
}

/// A number of seconds, or a duration with units, rounded up to whole seconds.
fn seconds(text: &str) -> Result<u32, &'static str> {
    const HOW: &str = "use seconds, or units as in 1h30m; at most 4294967295 seconds";
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| HOW);
    }
    let duration = humantime::parse_duration(text).map_err(|_| HOW)?;
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    u32::try_from(whole).map_err(|_| HOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_have_units() {
        for (text, wanted) in [
            ("0", Ok(0)),
            ("90", Ok(90)),
            ("1m30s", Ok(90)),
            ("1500ms", Ok(2)),
            ("4294967295", Ok(u32::MAX)),
        ] {
            assert_eq!(seconds(text), wanted, "{text}");
        }
        for text in ["", "-1", "1.5", "soon", "4294967296", "200y"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
