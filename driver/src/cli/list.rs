//! `list` and `state`: what there is.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use clap::Args;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use holdfast::{ContainerId, Entry, State};
use nix::unistd::User;

use super::error::Result;
use super::globals::Globals;
use super::logging::Reporter;
use super::output::{Format, print, print_json, print_json_indented};

/// Flags of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// table or json
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    format: Format,
    /// Only the ids
    #[arg(short, long)]
    quiet: bool,
}

/// Flags of `state`.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// The container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

/// Lists the containers. One that cannot be understood is reported and hides no other.
///
/// # Errors
/// The root cannot be read.
pub fn list(args: &ListArgs, globals: &Globals, reporter: Reporter) -> Result<u8> {
    let found: Vec<State> = globals
        .driver()?
        .list()?
        .into_iter()
        .filter_map(|entry| state_of(entry, reporter))
        .collect();
    if args.quiet {
        let ids: String = found
            .iter()
            .map(|state| format!("{}\n", state.id))
            .collect();
        print(&ids)?;
    } else {
        match args.format {
            Format::Table => print(&table(&found))?,
            Format::Json => print_json(&found)?,
        }
    }
    Ok(0)
}

fn state_of(entry: Entry, reporter: Reporter) -> Option<State> {
    let found = entry.container.and_then(|container| {
        let state = container.state()?;
        let owner = owner(container.dir());
        Ok(State { owner, ..state })
    });
    match found {
        Ok(state) => Some(state),
        // It was deleted while we looked.
        Err(holdfast::Error::NotFound { .. }) => None,
        Err(e) => {
            reporter.warning(&format!("container {}: {e}", entry.id));
            None
        }
    }
}

/// The name of the user whose directory it is, or the number of one without a name; as runc, only in lists.
fn owner(dir: &Path) -> String {
    let Ok(meta) = dir.metadata() else {
        return String::new();
    };
    match User::from_uid(meta.uid().into()) {
        Ok(Some(user)) => user.name,
        _ => format!("#{}", meta.uid()),
    }
}

/// runc's table, to the space: scripts cut it at columns.
fn table(found: &[State]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    for state in found {
        table.add_row([
            state.id.as_str(),
            &state.pid.to_string(),
            &state.status.to_string(),
            &state.bundle,
            &state.created,
            &state.owner,
        ]);
    }
    for column in table.column_iter_mut() {
        column
            .set_padding((0, 3))
            .set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(12)));
    }
    format!("{}\n", table.trim_fmt())
}

/// Prints a container's OCI state.
///
/// # Errors
/// The library's.
pub fn state(args: &StateArgs, globals: &Globals) -> Result<u8> {
    print_json_indented(&globals.driver()?.load(&args.id)?.state()?)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast::Status;

    #[test]
    fn the_table_is_runcs() {
        let state = State {
            oci_version: "1.0.2-dev".into(),
            id: "abc".into(),
            pid: 9504,
            status: Status::Running,
            bundle: "/srv/bundles/webfront".into(),
            rootfs: "/srv/bundles/webfront/rootfs".into(),
            created: "2026-11-22T17:23:01.944252548Z".into(),
            annotations: Default::default(),
            owner: "root".into(),
        };
        assert_eq!(
            table(&[]),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
        );
        assert_eq!(
            table(&[state]),
            "ID          PID         STATUS      BUNDLE                  CREATED                          OWNER\n\
             abc         9504        running     /srv/bundles/webfront   2026-11-22T17:23:01.944252548Z   root\n"
        );
    }
}
