//! `spec` and `features`: what a bundle's config.json may say, and what can be made of it here.

use std::path::PathBuf;

use clap::Args;
use holdfast::{Owner, oci03};
use nix::unistd::{getegid, geteuid};

use super::error::Result;
use super::globals::{Globals, absolute};
use super::output::{print, print_json_indented};

/// What `--rootless` is after the verb; before it, it has another value.
const OURS: &str = "ours";

/// Flags of `spec`.
#[derive(Debug, Args)]
pub struct SpecArgs {
    /// Directory to write config.json to
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Write it for a container of a user without privileges: us
    // runc has two flags of this name, and one of them goes before the verb; for clap they are one, with one type.
    #[arg(long, num_args = 0, default_missing_value = OURS)]
    rootless: Option<String>,
    /// Turn this bundle's config.json, of OCI 0.3 to 1.0.0-rc, into one of today; the old one is kept
    #[arg(long, value_name = "BUNDLE", conflicts_with_all = ["bundle", "rootless"])]
    upgrade: Option<PathBuf>,
}

/// Flags of `features`.
#[derive(Debug, Args)]
pub struct FeaturesArgs {}

/// Writes a config.json to start from, or upgrades an old one.
///
/// # Errors
/// The library's.
pub fn spec(args: &SpecArgs) -> Result<u8> {
    if let Some(bundle) = &args.upgrade {
        let upgraded = oci03::upgrade(&absolute(bundle)?)?;
        let mut said = format!(
            "{}: from {} to {}; the old one is {}\n",
            upgraded.config.display(),
            upgraded.from,
            upgraded.to,
            upgraded.backup.display()
        );
        if upgraded.has_hooks {
            said.push_str(
                "its hooks find \"bundle\" and \"ociVersion\" on their stdin, not \"bundlePath\" and \"version\"\n",
            );
        }
        print(&said)?;
        return Ok(0);
    }
    let owner = match args.rootless.as_deref() == Some(OURS) {
        true => Owner::User {
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
        },
        false => Owner::Root,
    };
    holdfast::write_default_config(&absolute(&args.bundle)?, owner)?;
    Ok(0)
}

/// Prints what can be had here.
///
/// # Errors
/// The library's.
pub fn features(_args: &FeaturesArgs, globals: &Globals) -> Result<u8> {
    print_json_indented(&globals.driver_without_root()?.features()?)?;
    Ok(0)
}
