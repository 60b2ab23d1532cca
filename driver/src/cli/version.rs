//! `version`: what of holdfast is here, and what it works with.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::Args;
use holdfast::versions::{self, Found, RuntimeVersion, Shim};
use serde::Serialize;

use super::error::Result;
use super::globals::Globals;
use super::logging::one_line;
use super::output::{Format, print, print_json_indented};

/// Known where a package is made (scripts/package).
const COMMIT: Option<&str> = option_env!("HOLDFAST_COMMIT");

/// Flags of `version`.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Output: table or json
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    format: Format,
}

/// What `--version` says after our name.
pub fn line() -> &'static str {
    static LINE: LazyLock<String> =
        LazyLock::new(|| with_commit(env!("CARGO_PKG_VERSION"), COMMIT));
    &LINE
}

#[derive(Debug, Serialize)]
struct Versions {
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<PathBuf>,
    protocols: Protocols,
    features: [&'static str; versions::PROCESS_KEYS.len()],
    shim: Found<Shim>,
    runtime: Found<RuntimeVersion>,
}

#[derive(Debug, Serialize)]
struct Protocols {
    control: Vec<u8>,
}

/// Prints the versions. A shim or a runtime that is not there is an answer, too.
///
/// # Errors
/// Standard output cannot be written to; a flag names no path.
pub fn version(args: &VersionArgs, globals: &Globals) -> Result<u8> {
    let driver = globals.driver_without_root()?;
    let versions = Versions {
        version: env!("CARGO_PKG_VERSION"),
        commit: COMMIT,
        executable: std::env::current_exe().ok(),
        protocols: Protocols {
            control: versions::control_types(),
        },
        features: versions::PROCESS_KEYS,
        shim: driver.shim_version(),
        runtime: driver.runtime_version(),
    };
    match args.format {
        Format::Table => print(&table(&versions))?,
        Format::Json => print_json_indented(&versions)?,
    }
    Ok(0)
}

fn with_commit(version: &str, commit: Option<&str>) -> String {
    match commit {
        Some(commit) => format!("{version} (commit {commit})"),
        None => version.to_owned(),
    }
}

fn table(versions: &Versions) -> String {
    let shim = match &versions.shim {
        Found::Known(shim) => {
            let version = with_commit(&shim.says.version, shim.says.commit.as_deref());
            let lacks = match shim.lacks.as_slice() {
                [] => String::new(),
                lacks => format!("; does not know {}", lacks.join(", ")),
            };
            format!("{version}, {}{lacks}", shim.executable.display())
        }
        Found::Unknown {
            executable,
            problem,
        } => unknown(executable.as_ref(), problem),
    };
    let runtime = match &versions.runtime {
        Found::Known(runtime) => {
            let spec = runtime.spec.as_ref().map(|spec| format!(", OCI {spec}"));
            format!(
                "{} {}, {}{}",
                runtime.name,
                runtime.version,
                runtime.executable.display(),
                spec.unwrap_or_default()
            )
        }
        Found::Unknown {
            executable,
            problem,
        } => unknown(executable.as_ref(), problem),
    };
    let ours = with_commit(versions.version, versions.commit);
    let lines = [
        ("holdfast", ours),
        ("holdfast-shim", shim),
        ("runtime", runtime),
    ];
    lines
        .map(|(name, text)| format!("{name:<13}  {}\n", one_line(&text)))
        .concat()
}

fn unknown(executable: Option<&PathBuf>, problem: &str) -> String {
    match executable {
        Some(executable) => format!("{}: {problem}", executable.display()),
        None => problem.to_owned(),
    }
}
