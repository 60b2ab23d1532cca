//! What the command prints: formatted first, then written at once. A reader that has seen enough (`holdfast list | head
//! -1`) is no failure; a full disk is.

use std::io::{self, ErrorKind, Write};

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
