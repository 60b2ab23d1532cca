//! Paths that go into state files, which are JSON: absolute and UTF-8.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A path as text.
pub(crate) fn utf8(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::NotUtf8 {
        path: path.to_owned(),
    })
}

/// A path that does not depend on the working directory. Links are left as they are.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(Error::io("find the path of", path))?;
    // "/b/." would be "/b/" to some and "/b/." to others.
    Ok(absolute.components().collect())
}

/// Both.
pub(crate) fn absolute_utf8(path: &Path) -> Result<String> {
    utf8(&absolute(path)?)
}
