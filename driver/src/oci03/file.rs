//! The upgrade of a bundle's config.json, in this order, so that whoever is killed in between leaves the old one or the new one:
//! 1. read and translate it;
//! 2. keep the old one under a second name (a link: it never has none);
//! 3. put the new one in its place (a temporary file, renamed).

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use holdfast_common::state_file::{self, DOCUMENT_LIMIT};
use serde_json::{Map, Value};

use super::translate;
use crate::error::{Error, Result};
use crate::template;
use crate::text;

/// What an upgrade did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgraded {
    /// The bundle's config.json.
    pub config: PathBuf,
    /// What it was for.
    pub from: String,
    /// What it is for now.
    pub to: String,
    /// Where the old one is.
    pub backup: PathBuf,
    /// Whether it has hooks: they find `bundle` on their stdin, where `bundlePath` was until 0.4.
    pub has_hooks: bool,
}

/// Turns the config.json of a bundle that was made for OCI's runtime-spec 0.3 (0.4, 0.5, 1.0.0-rc) into one for 1.0.2.
///
/// # Errors
/// [`Error::BadBundle`]: it cannot be read, or not be translated; then nothing was changed. The system's.
pub fn upgrade(bundle: &Path) -> Result<Upgraded> {
    let bundle = text::absolute(bundle)?;
    let file = bundle.join("config.json");
    let bad = |cause: String| Error::BadBundle {
        path: file.clone(),
        cause,
    };
    let meta =
        fs::symlink_metadata(&file).map_err(|e| bad(holdfast_common::sys::errno_text(&e)))?;
    if meta.is_symlink() {
        return Err(bad("is a link; upgrade the bundle that it is in".to_owned()));
    }
    let config: Map<String, Value> =
        state_file::read_json(&file, DOCUMENT_LIMIT).map_err(|e| bad(e.cause.to_string()))?;
    let (config, from) = translate::config(config).map_err(bad)?;

    let backup = bundle.join(format!("config.json.{from}"));
    match fs::hard_link(&file, &backup) {
        Ok(()) => (),
        // An upgrade that was killed in between.
        Err(e) if e.kind() == ErrorKind::AlreadyExists && is_same(&file, &backup) => (),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            let cause = format!("{} is there already; move it away", backup.display());
            return Err(Error::BadBundle { path: file, cause });
        }
        Err(e) => return Err(Error::io("make", backup)(e)),
    }
    let has_hooks = config.contains_key("hooks");
    template::write(
        &file,
        &Value::Object(config),
        meta.mode() & 0o777,
        template::Name::Taken,
    )?;
    Ok(Upgraded {
        config: file,
        from,
        to: template::OCI_VERSION.to_owned(),
        backup,
        has_hooks,
    })
}

fn is_same(one: &Path, other: &Path) -> bool {
    let node = |path: &Path| {
        fs::symlink_metadata(path)
            .map(|meta| (meta.dev(), meta.ino()))
            .ok()
    };
    node(one).is_some() && node(one) == node(other)
}
