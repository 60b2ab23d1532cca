//! `processes`: a container's own process and its execs, by their names, whether they run or have ended. What else runs in it
//! is `ps`'s to tell.

use clap::Args;
use holdfast::{Container, ContainerId, ExitRecord, Process, Status};
use serde::Serialize;
use serde_json::Value;

use super::error::Result;
use super::globals::Globals;
use super::logging::{Reporter, one_line};
use super::output::{Format, print, print_json, table};

/// Flags of `processes`.
#[derive(Debug, Args)]
pub struct ProcessesArgs {
    /// Output: table or json
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    format: Format,
    /// The container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

/// A line.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    /// 0 when it has none.
    pid: i32,
    status: Status,
    exec: bool,
    terminal: bool,
    args: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<ExitRecord>,
}

impl Row {
    fn of(container: &Container, process: &Process) -> holdfast::Result<Self> {
        let status = container.status_of(process)?;
        let exit = process.exit_record()?;
        let pid = match status {
            Status::Stopped => 0,
            _ => process.identity()?.map_or(0, |identity| identity.pid),
        };
        let args = process.process_state().process.get("args");
        Ok(Self {
            id: process.id().to_string(),
            pid,
            status,
            exec: process.is_exec(),
            terminal: process.terminal(),
            args: args.cloned().unwrap_or_default(),
            exit,
        })
    }

    fn cells(&self) -> [String; 5] {
        let exit = self
            .exit
            .as_ref()
            .map(|record| record.status.number().to_string());
        let words = self.args.as_array().into_iter().flatten();
        let words: Vec<_> = words.filter_map(Value::as_str).collect();
        [
            self.id.clone(),
            self.pid.to_string(),
            self.status.to_string(),
            exit.unwrap_or_else(|| "-".to_owned()),
            one_line(&words.join(" ")),
        ]
    }
}

/// Lists a container's processes. One that cannot be understood is reported and hides no other.
///
/// # Errors
/// The library's.
pub fn processes(args: &ProcessesArgs, globals: &Globals, reporter: Reporter) -> Result<u8> {
    let container = globals.driver()?.load(&args.id)?;
    let mut rows = Vec::new();
    for (name, process) in container.processes()? {
        match process.and_then(|process| Row::of(&container, &process)) {
            Ok(row) => rows.push(row),
            // It was deleted while we looked.
            Err(holdfast::Error::ProcessNotFound { .. }) => {}
            Err(e) => reporter.warning(&format!("process {}: {e}", one_line(&name))),
        }
    }
    match args.format {
        Format::Json => print_json(&rows)?,
        Format::Table => {
            let header = ["PROCESS", "PID", "STATUS", "EXIT", "COMMAND"];
            print(&table(header, rows.iter().map(Row::cells), &[]))?;
        }
    }
    Ok(0)
}
