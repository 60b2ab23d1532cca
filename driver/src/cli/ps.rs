//! `ps`: the host's ps(1), cut down to a container's processes, as runc does it.

use std::process::Command;

use clap::Args;
use holdfast::ContainerId;

use super::error::{Error, Result};
use super::globals::Globals;
use super::output::{Format, print, print_json};

/// Flags of `ps`.
#[derive(Debug, Args)]
pub struct PsArgs {
    /// Output: table or json (the pids)
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    format: Format,
    /// The container, then options for ps(1) [default: -ef]
    #[arg(value_names = ["ID", "PS OPTIONS"], required = true, num_args = 1.., trailing_var_arg = true)]
    words: Vec<String>,
}

/// Lists a container's processes.
///
/// # Errors
/// The library's; ps(1) fails or prints no PID column.
pub fn ps(args: &PsArgs, globals: &Globals) -> Result<u8> {
    let (id, options) = args
        .words
        .split_first()
        .map_or(("", &[][..]), |(id, rest)| (id.as_str(), rest));
    let id = ContainerId::new(id).map_err(holdfast::Error::from)?;
    let pids = globals.driver()?.load(&id)?.pids()?;
    match args.format {
        Format::Json => print_json(&pids)?,
        Format::Table => {
            let default = ["-ef".to_owned()];
            let options = if options.is_empty() {
                &default
            } else {
                options
            };
            print(&only(&pids, &run_ps(options)?)?)?;
        }
    }
    Ok(0)
}

fn run_ps(options: &[String]) -> Result<String> {
    let output = Command::new("ps")
        .args(options)
        .output()
        .map_err(|e| Error::io("execute", "ps", e))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let first = words.lines().map(str::trim).find(|line| !line.is_empty());
        let status = output.status.to_string();
        return Err(Error::Ps(first.unwrap_or(&status).to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The title and the lines of these processes.
fn only(pids: &[i32], listing: &str) -> Result<String> {
    let mut lines = listing.lines().filter(|line| !line.trim().is_empty());
    let title = lines.next().unwrap_or_default();
    let column = title
        .split_whitespace()
        .position(|name| name == "PID")
        .ok_or_else(|| Error::Ps("it prints no PID column with these options".to_owned()))?;
    let is_ours = |line: &&str| {
        let pid = line
            .split_whitespace()
            .nth(column)
            .and_then(|word| word.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    let mut kept = format!("{title}\n");
    for line in lines.filter(is_ours) {
        kept.push_str(line);
        kept.push('\n');
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_lines_are_kept() {
        let listing =
            "UID   PID  PPID CMD\nroot    7     1 a 12\nroot   12     7 b\n\nroot   70     1 c\n";
        assert_eq!(
            only(&[7, 70], listing).unwrap(),
            "UID   PID  PPID CMD\nroot    7     1 a 12\nroot   70     1 c\n"
        );
        assert!(only(&[7], "CMD\nsh\n").is_err());
        assert!(only(&[7], "").is_err());
    }
}
