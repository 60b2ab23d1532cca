//! `top`: the processes of a container, as a table or as JSON.

use std::time::Duration;

use clap::Args;
use holdfast::{ContainerId, ProcessUsage};
use nix::unistd::{Uid, User};

use super::error::Result;
use super::globals::Globals;
use super::logging::one_line;
use super::output::{self, Format, print, print_json};
use super::stats::amounts::{percent, size, time};

/// Flags of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// The container
    #[arg(value_name = "ID")]
    id: ContainerId,
    /// Output: table or json
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    format: Format,
}

/// Prints the processes of a container.
///
/// # Errors
/// The library's.
pub fn top(args: &TopArgs, globals: &Globals) -> Result<u8> {
    let processes = globals.driver()?.load(&args.id)?.process_usage()?;
    match args.format {
        Format::Table => print(&table(&processes))?,
        Format::Json => print_json(&processes)?,
    }
    Ok(0)
}

fn table(processes: &[ProcessUsage]) -> String {
    let header = ["PID", "USER", "CPU %", "CPU TIME", "MEMORY", "COMMAND"];
    output::table(header, processes.iter().map(row), &[0, 2, 3, 4])
}

fn row(process: &ProcessUsage) -> [String; 6] {
    let used = Duration::from_nanos(process.cpu);
    let age = process.age().filter(|age| !age.is_zero());
    let share = age.map(|age| percent(used.as_secs_f64() / age.as_secs_f64()));
    [
        process.pid.to_string(),
        user(process.uid),
        share.unwrap_or_else(|| "-".to_owned()),
        time(used),
        size(process.memory),
        // A command line is its process's to choose.
        one_line(&command(process)),
    ]
}

/// As ps(1) shows it: the host's name for the user, else the number.
fn user(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

/// As ps(1) shows it: one without a command line by its name, in brackets.
fn command(process: &ProcessUsage) -> String {
    if process.command.is_empty() {
        format!("[{}]", process.name)
    } else {
        process.command.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_line_whatever_is_in_its_command_line() {
        let process = |command: &[&str]| ProcessUsage {
            pid: 4711,
            uid: 4_000_000_000,
            start_time: 0,
            cpu: 1_230_000_000,
            memory: 1 << 20,
            threads: 1,
            name: "sh".to_owned(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
        };
        let text = table(&[process(&["sh", "-c", "a\n\u{1b}[1mb"]), process(&[])]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(
            lines[1].contains(" 0:01.23   1.0MiB   sh -c a\\n\\u{1b}[1mb"),
            "{text}"
        );
        assert!(
            lines[1].trim_start().starts_with("4711   4000000000   "),
            "{text}"
        );
        assert!(lines[2].ends_with("[sh]"), "{text}");
    }
}
