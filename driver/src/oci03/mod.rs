//! OCI's runtime-spec 0.3.0 (February 2016): its types, as containerd 0.2 and the runc of its time read and wrote them, and
//! the [way of a bundle](upgrade()) from then to now.
//!
//! The specification's `Spec` says nothing of Linux: what is special to it stood in an object `linux`, which is translated key by
//! key in [`upgrade()`].

mod file;
mod linux;
mod translate;

pub use file::{Upgraded, upgrade};

use serde::{Deserialize, Serialize};

use crate::state::State as CurrentState;

/// The version that these types are of (`Version`; `VersionMajor`, `VersionMinor`, `VersionPatch` joined by dots, and
/// `VersionDev`, which is empty, after them).
pub const VERSION: &str = "0.3.0";

/// config.json.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The version of the specification.
    #[serde(rename = "ociVersion")]
    pub version: String,
    /// The host that the bundle is for.
    #[serde(default, deserialize_with = "nullable")]
    pub platform: Platform,
    /// The container's own process.
    pub process: Process,
    /// Its root file system.
    pub root: Root,
    /// Its host name.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "String::is_empty"
    )]
    pub hostname: String,
    /// What is mounted in it, in this order.
    #[serde(default, deserialize_with = "nullable")]
    pub mounts: Vec<Mount>,
    /// What is run at certain moments of its life.
    #[serde(default, deserialize_with = "nullable")]
    pub hooks: Hooks,
}

/// The host that a bundle is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Go's name of the operating system, such as `linux`.
    #[serde(default, deserialize_with = "nullable")]
    pub os: String,
    /// Go's name of the architecture, such as `amd64`.
    #[serde(default, deserialize_with = "nullable")]
    pub arch: String,
}

/// A program to start in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Whether it has a terminal.
    #[serde(default, deserialize_with = "nullable")]
    pub terminal: bool,
    /// Who it runs as.
    #[serde(default, deserialize_with = "nullable")]
    pub user: User,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=VALUE`s.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub env: Vec<String>,
    /// Its working directory, relative to the container's root.
    #[serde(default, deserialize_with = "nullable")]
    pub cwd: String,
}

/// Who a process runs as, on Linux.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id in the container.
    #[serde(default, deserialize_with = "nullable")]
    pub uid: u32,
    /// Group id in the container.
    #[serde(default, deserialize_with = "nullable")]
    pub gid: u32,
    /// Supplementary groups.
    #[serde(
        rename = "additionalGids",
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub additional_gids: Vec<u32>,
}

/// The container's root file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Its path.
    pub path: String,
    /// Whether it is read-only for the container.
    #[serde(default, deserialize_with = "nullable")]
    pub readonly: bool,
}

/// Something to mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, relative to the container's root.
    pub destination: String,
    /// The kind of file system.
    #[serde(rename = "type", default, deserialize_with = "nullable")]
    pub kind: String,
    /// What.
    #[serde(default, deserialize_with = "nullable")]
    pub source: String,
    /// Options, as in fstab(5).
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub options: Vec<String>,
}

/// What is run at certain moments of a container's life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// Before the container's process is executed, after its namespaces were made.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub prestart: Vec<Hook>,
    /// After it was started.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub poststart: Vec<Hook>,
    /// After it exited.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub poststop: Vec<Hook>,
}

/// A command to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The program.
    pub path: String,
    /// Its argv.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub args: Vec<String>,
    /// Its environment.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub env: Vec<String>,
}

/// The state of a container (`state.json` of then).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The version of the specification.
    pub version: String,
    /// The container's id.
    pub id: String,
    /// The pid of its process; 0 when it has none.
    pub pid: i32,
    /// Path of its bundle.
    pub bundle_path: String,
}

impl From<&CurrentState> for State {
    fn from(state: &CurrentState) -> Self {
        Self {
            version: VERSION.to_owned(),
            id: state.id.clone(),
            pid: state.pid,
            bundle_path: state.bundle.clone(),
        }
    }
}

/// What Go had no value for, it wrote as null.
fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
