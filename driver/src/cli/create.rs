//! `create` and `start`: a launch in two steps.

use clap::Args;
use holdfast::{ContainerId, CreateOptions};

use super::error::Result;
use super::globals::Globals;
use super::launch::LaunchArgs;

/// Flags of `create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    launch: LaunchArgs,
}

/// Flags of `start`.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// The container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

/// Creates a container.
///
/// # Errors
/// The library's.
pub fn create(args: &CreateArgs, globals: &Globals) -> Result<u8> {
    let driver = globals.driver()?;
    let options = CreateOptions {
        notify: args.launch.notify(true)?,
        ..CreateOptions::default()
    };
    args.launch.create_and_leave(&driver, options)
}

/// Starts a created container.
///
/// # Errors
/// The library's.
pub fn start(args: &StartArgs, globals: &Globals) -> Result<u8> {
    globals.driver()?.load(&args.id)?.start()?;
    Ok(0)
}
