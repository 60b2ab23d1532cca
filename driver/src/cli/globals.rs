//! The flags that go before the verb (and may stand after it), and the driver that they describe.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use holdfast::{Driver, DriverBuilder};

use super::error::{Error, Result};
use super::logging::LogFormat;

/// Where the root is preset.
pub const ROOT_VARIABLE: &str = "HOLDFAST_ROOT";

/// Flags of every verb.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// State directory [env: HOLDFAST_ROOT] [default: /run/holdfast, or $XDG_RUNTIME_DIR/holdfast if not root]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// OCI runtime: a path, or a name to find in $PATH [env: HOLDFAST_RUNTIME] [default: runc]
    #[arg(long, global = true, value_name = "RUNTIME")]
    runtime: Option<PathBuf>,
    /// Passed to the runtime as --root: its state directory [env: HOLDFAST_RUNTIME_ROOT] [default: the runtime's]
    #[arg(long, global = true, value_name = "DIR")]
    runtime_root: Option<PathBuf>,
    /// Shim executable [env: HOLDFAST_SHIM] [default: holdfast-shim beside this program, or in $PATH]
    #[arg(long, global = true, value_name = "PATH")]
    shim: Option<PathBuf>,
    /// Cgroup for shims, below the top of each hierarchy [env: HOLDFAST_SHIM_CGROUP] [default: ours]
    #[arg(long, global = true, value_name = "PATH")]
    shim_cgroup: Option<PathBuf>,
    /// Score of shims, not containers, for the out-of-memory killer: -1000 to 1000 [default: ours]
    #[arg(long, global = true, value_name = "N", allow_negative_numbers = true)]
    shim_oom_score_adj: Option<i16>,
    /// How long the runtime may take to create or start a process, such as 30s [default: 2m]
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        value_parser = humantime::parse_duration
    )]
    start_timeout: Option<Duration>,
    /// Append messages to this file, too
    #[arg(long, global = true, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Format of messages: text or json
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true
    )]
    pub log_format: LogFormat,
    /// Tell what is done, too
    #[arg(long, global = true)]
    pub debug: bool,
    /// Passed to the runtime: manage cgroups through systemd
    #[arg(long, global = true)]
    systemd_cgroup: bool,
    /// Passed to the runtime: ignore what is not permitted with cgroups: auto, true or false [default: the runtime's]
    #[arg(
        long,
        global = true,
        hide_possible_values = true,
        value_name = "MODE",
        value_parser = ["auto", "true", "false"]
    )]
    rootless: Option<String>,
    /// Passed to the runtime: the criu executable for checkpoints [env: HOLDFAST_CRIU]
    #[arg(long, global = true, value_name = "PATH")]
    criu: Option<PathBuf>,
}

impl Globals {
    /// The driver that the flags and the environment describe.
    ///
    /// # Errors
    /// There is no usable root; a path cannot be made absolute, or is not UTF-8.
    pub fn driver(&self) -> Result<Driver> {
        let mut builder = self.builder()?;
        if let Some(root) = or_preset(&self.root, ROOT_VARIABLE) {
            builder = builder.root(absolute(&root)?);
        }
        Ok(builder.build()?)
    }

    /// A driver for what is about no container: it works where there is no root.
    ///
    /// # Errors
    /// A path cannot be made absolute, or is not UTF-8.
    pub fn driver_without_root(&self) -> Result<Driver> {
        Ok(self.builder()?.root("/nonexistent").build()?)
    }

    fn builder(&self) -> Result<DriverBuilder> {
        let mut builder = Driver::builder().runtime_args(self.runtime_args()?);
        if let Some(runtime) = or_preset(&self.runtime, "HOLDFAST_RUNTIME") {
            builder = builder.runtime(program(&runtime)?);
        }
        if let Some(shim) = self.shim()? {
            builder = builder.shim(shim);
        }
        if let Some(cgroup) = or_preset(&self.shim_cgroup, "HOLDFAST_SHIM_CGROUP") {
            builder = builder.shim_cgroup(cgroup);
        }
        if let Some(score) = self.shim_oom_score_adj {
            builder = builder.shim_oom_score_adj(score);
        }
        if let Some(criu) = or_preset(&self.criu, "HOLDFAST_CRIU") {
            builder = builder.criu(program(&criu)?);
        }
        if let Some(timeout) = self.start_timeout {
            builder = builder.start_timeout(timeout);
        }
        Ok(builder)
    }

    /// The shim's executable, if one was named.
    ///
    /// # Errors
    /// Its path cannot be made absolute, or is not UTF-8.
    pub fn shim(&self) -> Result<Option<PathBuf>> {
        let named = or_preset(&self.shim, "HOLDFAST_SHIM");
        Ok(named
            .as_deref()
            .map(program)
            .transpose()?
            .map(PathBuf::from))
    }

    fn runtime_args(&self) -> Result<Vec<String>> {
        let mut args = Vec::new();
        if let Some(root) = or_preset(&self.runtime_root, "HOLDFAST_RUNTIME_ROOT") {
            args.extend(["--root".to_owned(), text(absolute(&root)?)?]);
        }
        if self.systemd_cgroup {
            args.push("--systemd-cgroup".to_owned());
        }
        if let Some(mode) = &self.rootless {
            args.extend(["--rootless".to_owned(), mode.clone()]);
        }
        Ok(args)
    }
}

/// What a flag says, else its variable. An empty variable is one that somebody meant to unset; an empty flag is a
/// mistake, which clap reports.
fn or_preset(flag: &Option<PathBuf>, variable: &str) -> Option<PathBuf> {
    let preset = || std::env::var_os(variable).filter(|value| !value.is_empty());
    flag.clone().or_else(|| preset().map(PathBuf::from))
}

/// A path that means the same in the shim's directory.
///
/// # Errors
/// It is empty, or the working directory is gone.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| Error::io("make absolute", path, e))
}

/// A program: a name to find in `$PATH` stays one, a path becomes absolute.
fn program(path: &Path) -> Result<String> {
    if path.as_os_str().as_bytes().contains(&b'/') {
        text(absolute(path)?)
    } else {
        text(path.to_owned())
    }
}

fn text(path: PathBuf) -> Result<String> {
    let not_utf8 = |path: OsString| holdfast::Error::NotUtf8 { path: path.into() };
    Ok(path.into_os_string().into_string().map_err(not_utf8)?)
}
