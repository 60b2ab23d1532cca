//! What the command prints: formatted first, then written at once. A reader that has seen enough (`holdfast list | head
//! -1`) is no failure; a full disk is.

use std::io::{self, ErrorKind, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::error::{Error, Result};

/// How to print what can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Prints a text as it is.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print(text: &str) -> Result<()> {
    offer(text).map(drop)
}

/// Prints a text as it is; whether anybody wants more.
///
/// # Errors
/// Standard output cannot be written to.
pub fn offer(text: &str) -> Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Error::io("write", "stdout", e)),
        Ok(()) => Ok(true),
    }
}

/// A table for people, as wide as what is in it; the columns of these numbers end flush.
pub fn table<const N: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    flush_right: &[usize],
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header)
        .add_rows(rows);
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 3));
        if flush_right.contains(&number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{}\n", table.trim_fmt())
}

/// Prints a value as one line of JSON.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let mut text =
        serde_json::to_string(value).map_err(|e| Error::io("encode", "stdout", e.into()))?;
    text.push('\n');
    print(&text)
}

/// Prints a value as JSON for people, as `runc state` does.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print_json_indented(value: &impl Serialize) -> Result<()> {
    let mut text =
        serde_json::to_string_pretty(value).map_err(|e| Error::io("encode", "stdout", e.into()))?;
    text.push('\n');
    print(&text)
}
