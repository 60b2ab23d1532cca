//! shim.json: which shim this is.

use std::path::{Path, PathBuf};

use holdfast_common::identity::Identity;
use holdfast_common::shim_record::{ShimRecord, boot_id};

use crate::error::Error;

/// Writes shim.json into the working directory. `asked` is how often a replacement was asked for, `refused` why the last
/// was not made.
pub fn write(executable: &Path, asked: u32, refused: Option<String>) -> Result<(), Error> {
    let stat = "/proc/self/stat";
    let pid = i32::try_from(std::process::id()).unwrap_or_default();
    let me = Identity::of(pid).map_err(Error::io("read the start time from", stat))?;
    let record = ShimRecord {
        pid: me.pid,
        start_time: me.start_time,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: boot_id().to_owned(),
        executable: executable.to_string_lossy().into_owned(),
        asked,
        refused,
    };
    Ok(record.write(Path::new("."))?)
}

/// As [`write`], for the executable that runs now, which is returned.
pub fn write_for_this_executable() -> Result<PathBuf, Error> {
    let executable = this_executable()?;
    write(&executable, 0, None)?;
    Ok(executable)
}

/// The executable that runs now.
pub fn this_executable() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(Error::io("find the path of", "/proc/self/exe"))
}
