//! The exit command: a program that runs after a process has ended and its shim has taken all other steps. What `process.json` asks
//! for, and the variables in which it is told whose end it was.

use serde::{Deserialize, Serialize};

/// A program to run at a process's end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExitCommand {
    /// The program's absolute path.
    pub program: String,
    /// Its arguments, without its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// How long after the end it is run, in seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delay: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(seconds: &u32) -> bool {
    *seconds == 0
}

/// The state directory's root, as `holdfast` commands understand it.
pub const ROOT: &str = "HOLDFAST_ROOT";
/// The container's id.
pub const ID: &str = "HOLDFAST_ID";
/// The process: `init`, or an exec's name.
pub const PROCESS: &str = "HOLDFAST_PROCESS";
/// The bundle's path.
pub const BUNDLE: &str = "HOLDFAST_BUNDLE";
/// The pid that the process had.
pub const PID: &str = "HOLDFAST_PID";
/// When it ended, RFC 3339.
pub const EXITED_AT: &str = "HOLDFAST_EXITED_AT";
/// How it ended, as in `exitStatus`: the code, 128 + signal, or 255 when unknown.
pub const EXIT_STATUS: &str = "HOLDFAST_EXIT_STATUS";
/// The signal that ended it; only then.
pub const EXIT_SIGNAL: &str = "HOLDFAST_EXIT_SIGNAL";
/// Why it is not known how it ended; only then.
pub const EXIT_REASON: &str = "HOLDFAST_EXIT_REASON";
/// `true` or `false`: whether the kernel killed it for want of memory; only where that is known.
pub const OOM_KILLED: &str = "HOLDFAST_OOM_KILLED";
/// `true` when its time was over.
pub const TIMED_OUT: &str = "HOLDFAST_TIMED_OUT";
/// How often its container had been restarted; only if it had.
pub const RESTARTS: &str = "HOLDFAST_RESTARTS";

/// All of them.
pub const VARIABLES: [&str; 12] = [
    ROOT,
    ID,
    PROCESS,
    BUNDLE,
    PID,
    EXITED_AT,
    EXIT_STATUS,
    EXIT_SIGNAL,
    EXIT_REASON,
    OOM_KILLED,
    TIMED_OUT,
    RESTARTS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let command = ExitCommand {
            program: "/bin/echo".to_owned(),
            args: vec!["-n".to_owned(), String::new()],
            delay: 5,
        };
        let text = serde_json::to_string(&command).unwrap();
        assert_eq!(
            text,
            r#"{"program":"/bin/echo","args":["-n",""],"delay":5}"#
        );
        assert_eq!(serde_json::from_str::<ExitCommand>(&text).unwrap(), command);
        let least = r#"{"program":"/bin/true"}"#;
        let command: ExitCommand = serde_json::from_str(least).unwrap();
        assert_eq!(serde_json::to_string(&command).unwrap(), least);
    }
}
