//! What can be had here: the runtime's own account (`RUNTIME features`, runtime-spec features.md), and beside it, in an object
//! `holdfast`, what we and the kernel can do.

use std::path::Path;

use holdfast_common::control;
use holdfast_common::sys::pidfd;
use nix::sys::utsname::uname;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::oci03;
use crate::runtime::Runtime;
use crate::stdio::Policy;
use crate::template;

/// OCI's features document, and ours in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Features {
    /// The runtime's, key by key; empty when it has no such verb.
    #[serde(flatten)]
    pub runtime: Map<String, Value>,
    /// Ours.
    pub holdfast: Abilities,
}

/// What we can do, and what we do it with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Abilities {
    /// Our version.
    pub version: &'static str,
    /// The runtime, as it was named.
    pub runtime: String,
    /// Why there is nothing of the runtime's: its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_message: Option<String>,
    /// The version of the specification that `spec` writes.
    pub spec_version: &'static str,
    /// Those that `state` can be printed as.
    pub state_versions: [&'static str; 2],
    /// Where streams can go.
    pub stdio_policies: &'static [&'static str],
    /// What the control FIFO takes, by name, and the number of its type.
    pub control_types: Map<String, Value>,
    /// When a supervisor restarts.
    pub restart_policies: [&'static str; 4],
    /// The kernel's part.
    pub kernel: Kernel,
}

/// What the kernel can do that matters to us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kernel {
    /// As uname(2) says.
    pub release: String,
    /// Whether it answers `PIDFD_GET_INFO`; asked of this process.
    pub pidfd_get_info: bool,
    /// Whether the answer has the exit status of a process that somebody else reaped (`PIDFD_INFO_EXIT`, Linux ≥ 6.15): an
    /// adopted container's status is exact then, and unknown otherwise.
    pub pidfd_info_exit: bool,
    /// How its cgroups are mounted here: `v1`, `v2`, `hybrid`, or `none`.
    pub cgroups: &'static str,
}

impl Driver {
    /// What the runtime, we and the kernel can do. A runtime that has no verb `features`, as those before 2022, leaves its part
    /// empty.
    ///
    /// # Errors
    /// [`Error::RuntimeNotFound`]; [`Error::RuntimeTimeout`].
    pub fn features(&self) -> Result<Features> {
        let (runtime, runtime_message) = match self.runtime_features() {
            Ok(features) => (features, None),
            Err(Error::Runtime { message }) => (Map::new(), Some(message)),
            Err(e) => return Err(e),
        };
        Ok(Features {
            runtime,
            holdfast: Abilities {
                version: env!("CARGO_PKG_VERSION"),
                runtime: self.runtime().to_owned(),
                runtime_message,
                spec_version: template::OCI_VERSION,
                state_versions: [oci03::VERSION, template::OCI_VERSION],
                stdio_policies: Policy::WORDS,
                control_types: control::TYPES
                    .map(|(name, number)| (name.to_owned(), Value::from(number)))
                    .into_iter()
                    .collect(),
                restart_policies: ["no", "on-failure", "always", "unless-stopped"],
                kernel: kernel(),
            },
        })
    }

    fn runtime_features(&self) -> Result<Map<String, Value>> {
        let runtime = Runtime {
            program: self.runtime(),
            args: self.runtime_args(),
            // It is about no process, and so there is no log.
            log_dir: Path::new(""),
            timeout: self.start_timeout(),
            stdin: None,
        };
        let output = runtime.run("features", [""; 0])?;
        serde_json::from_slice(&output).map_err(|e| Error::Runtime {
            message: format!("{} features: {e}", self.runtime()),
        })
    }
}

fn kernel() -> Kernel {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned());
    let release = release.unwrap_or_default();
    let pidfd_get_info = pidfd::answers_get_info();
    Kernel {
        pidfd_info_exit: pidfd_get_info && is_at_least(&release, (6, 15)),
        pidfd_get_info,
        cgroups: cgroups(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()),
        release,
    }
}

fn is_at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    matches!((number(), number()), (Some(major), Some(minor)) if (major, minor) >= wanted)
}

fn cgroups(mounts: &str) -> &'static str {
    // proc_pid_mountinfo(5): after " - " comes the type.
    let has = |kind: &str| {
        let kinds = mounts.lines().filter_map(|line| line.split_once(" - "));
        kinds
            .filter_map(|(_, rest)| rest.split(' ').next())
            .any(|it| it == kind)
    };
    match (has("cgroup"), has("cgroup2")) {
        (true, true) => "hybrid",
        (true, false) => "v1",
        (false, true) => "v2",
        (false, false) => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        for (release, wanted) in [
            ("6.15.0", true),
            ("6.18.5-generic", true),
            ("7.0-rc1", true),
            ("6.9.1", false),
            ("5.10.0", false),
            ("", false),
        ] {
            assert_eq!(is_at_least(release, (6, 15)), wanted, "{release}");
        }
    }

    #[test]
    fn cgroups_are_what_is_mounted() {
        let v1 = "37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n";
        let v2 = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroups(v1), "v1");
        assert_eq!(cgroups(v2), "v2");
        assert_eq!(cgroups(&format!("{v1}{v2}")), "hybrid");
        assert_eq!(
            cgroups("31 23 0:28 / /sys/fs/cgroup rw - tmpfs cgroup rw\n"),
            "none"
        );
    }
}
