//! `restore`: a container from a checkpoint; one that has ended and is still on record, in its own place.

use clap::Args;
use holdfast::{Container, CreateOptions, Driver, RestoreOptions};

use super::checkpoint::{CriuArgs, PlaceArgs};
use super::error::{Error, Result};
use super::globals::{Globals, absolute};
use super::launch::{LaunchArgs, Reader};
use super::logging::Reporter;
use super::progress::Progress;
use super::run::{Foreground, Run};
use super::session::DetachKeys;

/// Flags of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    launch: LaunchArgs,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    criu: CriuArgs,
    /// LSM profile, TYPE:NAME, in place of the one that it had
    #[arg(long, value_name = "PROFILE")]
    lsm_profile: Option<String>,
    /// LSM context for its mounts
    #[arg(long, value_name = "CONTEXT")]
    lsm_mount_context: Option<String>,
    /// Leave the container to its shim, and do not wait
    #[arg(short, long)]
    detach: bool,
    /// Do not remove the container at its end, as is done in the foreground
    #[arg(long)]
    keep: bool,
    /// Accepted for runc's sake: the shim is the subreaper
    #[arg(long)]
    no_subreaper: bool,
    /// Keys that detach from a terminal
    #[arg(long, value_name = "KEYS", default_value = super::session::DEFAULT_DETACH_KEYS)]
    detach_keys: DetachKeys,
}

/// Restores a container.
///
/// # Errors
/// The library's; our streams cannot be used.
pub fn restore(args: &RestoreArgs, globals: &Globals, reporter: Reporter) -> Result<u8> {
    args.criu.check("restore")?;
    let driver = globals.driver()?;
    let last = args.last(&driver)?;
    if !args.detach && args.launch.has_restart_policy() {
        return Err(Error::RestartInForeground);
    }
    let bundle = match &last {
        Some(last) => last.bundle(),
        None => args.launch.bundle(),
    };
    let path = absolute(&args.place.place()?.path(bundle))?;
    let options = CreateOptions {
        checkpoint: Some(path.clone()),
        notify: args.launch.notify(args.detach)?,
        restore: args.options()?,
        ..CreateOptions::default()
    };
    let run = Run {
        stays: last.is_some(),
        create: &|options| {
            let _progress = Progress::begin(format!("restore {}", args.launch.id()));
            match &last {
                Some(last) => {
                    last.restore(&path, &options.restore)?;
                    args.launch.write_pid_file(last)?;
                    Ok(last.clone())
                }
                None => args
                    .launch
                    .create(&driver, options, Reader::when(args.detach)),
            }
        },
    };
    let foreground = (!args.detach).then(|| Foreground {
        keys: args.detach_keys.clone(),
        keep: args.keep || last.is_some(),
    });
    run.run(&options, foreground, reporter)
}

impl RestoreArgs {
    /// The container that is to be restored in its place: one of this name that has ended, if nothing else is asked for.
    fn last(&self, driver: &Driver) -> Result<Option<Container>> {
        let id = self.launch.id();
        let last = match driver.load(id) {
            Err(holdfast::Error::NotFound { .. }) => return Ok(None),
            last => last?,
        };
        let same_bundle = self.launch.named_bundle().is_none_or(|bundle| {
            std::fs::canonicalize(bundle).is_ok_and(|bundle| bundle == last.bundle())
        });
        if self.launch.describes_another() || !same_bundle {
            return Err(Error::NotAsItWas { id: id.clone() });
        }
        Ok(Some(last))
    }

    fn options(&self) -> Result<RestoreOptions> {
        let criu = &self.criu;
        Ok(RestoreOptions {
            tcp: criu.tcp_established,
            unix_sockets: criu.ext_unix_sk,
            shell: criu.shell_job,
            empty_ns: criu.empty_ns.clone(),
            file_locks: criu.file_locks,
            manage_cgroups_mode: criu.manage_cgroups_mode,
            auto_dedup: criu.auto_dedup,
            lsm_profile: self.lsm_profile.clone(),
            lsm_mount_context: self.lsm_mount_context.clone(),
            work_path: criu.work_path.as_deref().map(absolute).transpose()?,
        })
    }
}
