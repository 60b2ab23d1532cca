//! `list` and `state`: what there is.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use clap::Args;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use holdfast::{ContainerId, Entry, State, oci03};
use nix::unistd::User;
use serde::Serialize;

use super::care::Care;
use super::colour;
use super::error::Result;
use super::globals::Globals;
use super::logging::{Reporter, one_line};
use super::output::{Format, print, print_json, print_json_indented};

/// Flags of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Output: table or json
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
    /// Version of the specification: 1.0, with runc's keys, or 0.3
    #[arg(
        long,
        value_name = "VERSION",
        default_value = "1.0",
        hide_possible_values = true
    )]
    oci_version: OciVersion,
    /// The container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

/// The forms that a state is printed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OciVersion {
    /// `{version,id,pid,bundlePath}`
    #[value(name = "0.3", alias = "0.3.0")]
    V0_3,
    /// As runc's.
    #[value(name = "1.0", aliases = ["1", "1.0.0", "1.0.1", "1.0.2"])]
    V1_0,
}

/// A line of the list. A healthy container's is runc's, key for key and column for column; what runc could not have to say
/// stands after that.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    oci_version: String,
    id: String,
    pid: i32,
    /// runc's words, and `corrupt`.
    status: String,
    bundle: String,
    rootfs: String,
    created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    owner: String,
    #[serde(rename = "holdfast", skip_serializing_if = "Option::is_none")]
    care: Option<Care>,
}

impl Row {
    fn new(state: State, owner: String, care: Option<Care>) -> Self {
        Self {
            oci_version: state.oci_version,
            id: state.id,
            pid: state.pid,
            status: state.status.to_string(),
            bundle: state.bundle,
            rootfs: state.rootfs,
            created: state.created,
            annotations: state.annotations,
            owner,
            care,
        }
    }

    fn corrupt(root: &Path, id: String, owner: String, why: String) -> Self {
        Self {
            oci_version: String::new(),
            pid: 0,
            status: "corrupt".to_owned(),
            bundle: String::new(),
            rootfs: String::new(),
            created: String::new(),
            annotations: BTreeMap::new(),
            owner,
            care: Some(Care::corrupt(root, &id, why)),
            id,
        }
    }

    fn is_corrupt(&self) -> bool {
        self.status == "corrupt"
    }
}

/// Lists the containers. One that cannot be understood is reported and hides no other.
///
/// # Errors
/// The root cannot be read.
pub fn list(args: &ListArgs, globals: &Globals, reporter: Reporter) -> Result<u8> {
    let driver = globals.driver()?;
    let found: Vec<Row> = driver
        .list()?
        .into_iter()
        .filter_map(|entry| row(entry, driver.root()))
        .collect();
    if args.quiet {
        // Elsewhere it stands with what is listed.
        for row in found.iter().filter(|row| row.is_corrupt()) {
            let why = row.care.as_ref().map(Care::reason).unwrap_or_default();
            reporter.warning(&format!("container {}: {why}", row.id));
        }
        // To be given to other verbs, which need a container.
        let ids: String = found
            .iter()
            .filter(|row| !row.is_corrupt())
            .map(|row| format!("{}\n", row.id))
            .collect();
        print(&ids)?;
    } else {
        match args.format {
            Format::Table => print(&coloured(&table(&found), &found))?,
            Format::Json => print_json(&found)?,
        }
    }
    Ok(0)
}

fn row(entry: Entry, root: &Path) -> Option<Row> {
    let owner = owner(&root.join(&entry.id));
    let found = entry
        .container
        .and_then(|container| Ok((container.state()?, Care::of(&container)?)));
    match found {
        Ok((state, care)) => Some(Row::new(state, owner, care)),
        // It was deleted while we looked.
        Err(holdfast::Error::NotFound { .. }) => None,
        Err(e) => Some(Row::corrupt(root, entry.id, owner, e.to_string())),
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

/// runc's table, to the space: scripts cut it at columns. Only where there is something to say, one more column.
fn table(found: &[Row]) -> String {
    let mut header = vec!["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
    let notes = found.iter().any(|row| row.care.is_some());
    header.extend(notes.then_some("NOTE"));
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    for row in found {
        let pid = row.pid.to_string();
        let id = one_line(&row.id);
        let mut cells = vec![
            &*id,
            &pid,
            &row.status,
            &row.bundle,
            &row.created,
            &row.owner,
        ];
        let note = row.care.as_ref().map(|care| one_line(&care.note()));
        cells.extend(notes.then_some(note.as_deref().unwrap_or_default()));
        table.add_row(cells);
    }
    for column in table.column_iter_mut() {
        column
            .set_padding((0, 3))
            .set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(12)));
    }
    format!("{}\n", table.trim_fmt())
}

/// The line of each container that needs care in its colour, if there are any: columns stay where they are.
fn coloured(table: &str, found: &[Row]) -> String {
    if !colour::wanted() {
        return table.to_owned();
    }
    let tones = found.iter().map(|row| row.care.as_ref().map(Care::tone));
    let lines = table.lines().zip([None].into_iter().chain(tones));
    let lines = lines.map(|(line, tone)| match tone {
        Some(tone) => format!("{}\n", colour::painted(tone, line)),
        None => format!("{line}\n"),
    });
    lines.collect()
}

/// Prints a container's OCI state.
///
/// # Errors
/// The library's.
pub fn state(args: &StateArgs, globals: &Globals) -> Result<u8> {
    let state = globals.driver()?.load(&args.id)?.state()?;
    match args.oci_version {
        OciVersion::V1_0 => print_json_indented(&state)?,
        OciVersion::V0_3 => print_json_indented(&oci03::State::from(&state))?,
    }
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
        let row = |care| Row::new(state.clone(), "root".to_owned(), care);
        assert_eq!(
            serde_json::to_string(&row(None)).unwrap(),
            serde_json::to_string(&state).unwrap()
        );
        assert_eq!(
            table(&[]),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
        );
        assert_eq!(
            table(&[row(None)]),
            "ID          PID         STATUS      BUNDLE                  CREATED                          OWNER\n\
             abc         9504        running     /srv/bundles/webfront   2026-11-22T17:23:01.944252548Z   root\n"
        );
        let noted = table(&[row(Some(Care::corrupt(
            "/r".as_ref(),
            "abc",
            "why".to_owned(),
        )))]);
        let mut lines = noted.lines();
        assert!(
            lines.next().unwrap().ends_with("   OWNER       NOTE"),
            "{noted}"
        );
        let line = lines.next().unwrap();
        assert!(
            line.ends_with("   root        corrupt: why; holdfast --root /r inspect abc"),
            "{noted}"
        );
    }
}
