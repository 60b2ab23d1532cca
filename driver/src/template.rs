//! A config.json to start from, as `runc spec` writes one; docs/decisions.md says where it differs and why. It is there under its
//! name completely, or not at all.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::directory;
use crate::error::{Error, Result};
use crate::text;

/// The version of runtime-spec that is written.
pub(crate) const OCI_VERSION: &str = "1.0.2";
/// What no container should look into.
pub(crate) const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/proc/scsi",
];
/// What no container should change.
pub(crate) const READONLY_PATHS: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Who runs a container, as far as its bundle must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Root.
    Root,
    /// A user without privileges, who is root in the container.
    User {
        /// Their user id.
        uid: u32,
        /// Their group id.
        gid: u32,
    },
}

/// A config.json (runtime-spec 1.0.2) that runs `sh` on a terminal, in the directory `rootfs` beside it.
pub fn default_config(owner: Owner) -> Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    json!({
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
                "ambient": capabilities,
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "holdfast",
        "mounts": mounts(owner),
        "linux": linux(owner),
    })
}

fn linux(owner: Owner) -> Value {
    let mut linux = match owner {
        Owner::Root => json!({
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": namespaces(&["pid", "network", "ipc", "uts", "mount"]),
        }),
        // No network of its own, for nobody could connect it to anything; no resources, for they need a cgroup.
        Owner::User { uid, gid } => json!({
            "uidMappings": [{ "containerID": 0, "hostID": uid, "size": 1 }],
            "gidMappings": [{ "containerID": 0, "hostID": gid, "size": 1 }],
            "namespaces": namespaces(&["pid", "ipc", "uts", "mount", "user"]),
        }),
    };
    linux["maskedPaths"] = json!(MASKED_PATHS);
    linux["readonlyPaths"] = json!(READONLY_PATHS);
    linux
}

fn namespaces(kinds: &[&str]) -> Vec<Value> {
    kinds.iter().map(|kind| json!({ "type": kind })).collect()
}

fn mounts(owner: Owner) -> Value {
    let mut pts = vec![
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ];
    let mut sys = vec!["nosuid", "noexec", "nodev", "ro"];
    let (kind, source) = match owner {
        Owner::Root => {
            pts.push("gid=5");
            ("sysfs", "sysfs")
        }
        // Group 5 is not mapped, and sysfs belongs to the network namespace, which is not theirs.
        Owner::User { .. } => {
            sys.insert(0, "rbind");
            ("none", "/sys")
        }
    };
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &pts),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", kind, source, &sys),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ])
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

/// Writes the [default config](default_config) into a bundle; returns its path.
///
/// # Errors
/// [`Error::BadBundle`]: the bundle is not there, or has a config.json; the system's.
pub fn write_default_config(bundle: &Path, owner: Owner) -> Result<PathBuf> {
    let file = text::absolute(bundle)?.join("config.json");
    write(&file, &default_config(owner), umasked(), Name::Free)?;
    Ok(file)
}

/// Whether there may be a file of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// There must be none.
    Free,
    /// There is, and it is replaced.
    Taken,
}

/// Left to the umask, which open(2) applies.
fn umasked() -> u32 {
    0o666
}

/// Writes a document under a temporary name beside it, and then gives it its name.
pub(crate) fn write(file: &Path, document: &Value, mode: u32, name: Name) -> Result<()> {
    let bundle = file.parent().unwrap_or(file);
    let failed = |source| Error::io("write", file)(source);
    let draft = directory::unfinished_in(bundle);
    let mut text = serde_json::to_vec_pretty(document).map_err(|e| failed(e.into()))?;
    text.push(b'\n');
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(mode).open(&draft);
    let mut open = opened.map_err(failed)?;
    let written = open.write_all(&text).and_then(|()| {
        if name == Name::Taken {
            // As it was, whatever the umask.
            open.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        // A bundle may be on a disk, which keeps names before it keeps what is in them.
        open.sync_all()?;
        match name {
            Name::Free => fs::hard_link(&draft, file),
            Name::Taken => fs::rename(&draft, file),
        }
    });
    // After a rename it is not there.
    let _ = fs::remove_file(&draft);
    match written {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(Error::BadBundle {
            path: file.to_owned(),
            cause: "is there already; move it away".to_owned(),
        }),
        written => written.map_err(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    #[test]
    fn the_default_is_what_the_specifications_types_are() {
        for owner in [Owner::Root, Owner::User { uid: 1, gid: 2 }] {
            let config = default_config(owner);
            let spec: oci_spec::runtime::Spec = serde_json::from_value(config.clone()).unwrap();
            assert_eq!(spec.version(), "1.0.2");
            assert_eq!(
                serde_json::to_value(&spec).unwrap()["mounts"],
                config["mounts"]
            );
        }
    }

    #[test]
    fn what_is_there_is_kept_and_nothing_is_left_beside_it() {
        let dir = scratch("template");
        let file = write_default_config(&dir, Owner::Root).unwrap();
        std::fs::write(&file, "mine").unwrap();
        let error = write_default_config(&dir, Owner::Root)
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("config.json: is there already; move it away"),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
        assert_eq!(std::fs::read_dir(&*dir).unwrap().count(), 1);
    }
}
