//! What the driver reads of a bundle's config.json. Only what it needs is looked at: whether the rest makes sense is for
//! the runtime to say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use holdfast_common::container_state::Extension;
use holdfast_common::restart::RestartPolicy;
use holdfast_common::state_file::{self, Cause, DOCUMENT_LIMIT};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::text;

/// A bundle that can be used.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Absolute path.
    pub path: String,
    /// `ociVersion`.
    pub oci_version: String,
    /// `process`.
    pub process: Map<String, Value>,
    /// Absolute path of the root file system.
    pub rootfs: String,
    /// `annotations`.
    pub annotations: BTreeMap<String, String>,
    /// Host uid of the container's root.
    pub root_uid: u32,
    /// Host gid of the container's root.
    pub root_gid: u32,
    /// Whether its runtime sends seccomp listeners anywhere.
    pub has_listener_path: bool,
}

/// config.json (runtime-spec, config.md), as far as it is looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Config {
    #[serde(default)]
    oci_version: String,
    process: Option<Map<String, Value>>,
    root: Option<Root>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct Root {
    path: PathBuf,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Linux {
    uid_mappings: Option<Vec<Mapping>>,
    gid_mappings: Option<Vec<Mapping>>,
    seccomp: Option<Seccomp>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Seccomp {
    listener_path: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    #[serde(rename = "containerID")]
    container_id: u32,
    #[serde(rename = "hostID")]
    host_id: u32,
}

impl Bundle {
    /// Reads a bundle.
    ///
    /// # Errors
    /// [`Error::BadBundle`], for JSON with line and column; [`Error::NoProcess`].
    pub fn read(bundle: &Path) -> Result<Self> {
        let bad = |path: &Path, cause: Cause| Error::BadBundle {
            path: path.to_owned(),
            cause: cause.to_string(),
        };
        // Without links, as runtimes know it: they ask the kernel for the name of their working directory.
        let bundle = std::fs::canonicalize(bundle).map_err(|e| bad(bundle, Cause::Io(e)))?;
        if !bundle.is_dir() {
            let cause = Cause::Malformed("is not a directory".to_owned());
            return Err(bad(&bundle, cause));
        }
        let file = bundle.join("config.json");
        // A state file may be no link; a config.json may well be one.
        let target = std::fs::canonicalize(&file).map_err(|e| bad(&file, Cause::Io(e)))?;
        let config: Config =
            state_file::read_json(&target, DOCUMENT_LIMIT).map_err(|e| bad(&file, e.cause))?;
        let Some(process) = config.process else {
            return Err(Error::NoProcess { path: bundle });
        };
        let linux = config.linux.unwrap_or_default();
        let rootfs = config.root.map_or_else(PathBuf::new, |root| root.path);
        Ok(Self {
            rootfs: text::utf8(&text::absolute(&bundle.join(rootfs))?)?,
            path: text::utf8(&bundle)?,
            oci_version: config.oci_version,
            process,
            annotations: config.annotations.unwrap_or_default(),
            has_listener_path: linux
                .seccomp
                .and_then(|seccomp| seccomp.listener_path)
                .is_some_and(|path| !path.is_empty()),
            root_uid: host_id(linux.uid_mappings),
            root_gid: host_id(linux.gid_mappings),
        })
    }

    /// As state.json would say it, had it been created by us.
    pub fn recorded(self) -> Extension {
        Extension {
            created_at: String::new(),
            oci_version: self.oci_version,
            rootfs: self.rootfs,
            annotations: self.annotations,
            restart_policy: RestartPolicy::No,
        }
    }
}

/// The host's id of the container's root; 0 without a user namespace.
fn host_id(mappings: Option<Vec<Mapping>>) -> u32 {
    let mappings = mappings.unwrap_or_default();
    let root = mappings.iter().find(|mapping| mapping.container_id == 0);
    root.map_or(0, |mapping| mapping.host_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    fn read(config: &str) -> Result<Bundle> {
        let dir = scratch(&format!("bundle-{}", config.len()));
        std::fs::write(dir.join("config.json"), config).unwrap();
        Bundle::read(&dir)
    }

    #[test]
    fn what_is_needed_is_found() {
        let bundle = read(
            r#"{"ociVersion":"1.0.2","process":{"args":["sh"]},"root":{"path":"rootfs"},"annotations":{"b":"2","a":"1"},
            "linux":{"uidMappings":[{"containerID":5,"hostID":1,"size":1},{"containerID":0,"hostID":100000,"size":9}],"gidMappings":null}}"#,
        )
        .unwrap();
        assert_eq!(bundle.rootfs, format!("{}/rootfs", bundle.path));
        assert_eq!((bundle.root_uid, bundle.root_gid), (100_000, 0));
        assert_eq!(
            bundle.annotations.into_keys().collect::<Vec<_>>(),
            ["a", "b"]
        );
    }

    #[test]
    fn what_is_wrong_is_said_and_where() {
        for (config, wanted) in [
            ("", "is empty"),
            ("{\n  \"process\": {,\n}", "line 2 column 15"),
            ("{\"process\":\n\"sh\"}", "line 2 column 4"),
            ("[]", "expected an object at line 1 column 2"),
        ] {
            let error = read(config).unwrap_err().to_string();
            assert!(
                error.contains("config.json: ") && error.contains(wanted),
                "{error}"
            );
        }
        assert!(matches!(
            read("{\"process\":null}"),
            Err(Error::NoProcess { .. })
        ));
        assert!(matches!(read("{}"), Err(Error::NoProcess { .. })));
    }

    #[test]
    fn a_bundle_that_is_not_there_is_named() {
        let dir = scratch("bundle-absent");
        let error = Bundle::read(&dir).unwrap_err().to_string();
        let file = dir.join("config.json");
        assert_eq!(
            error,
            format!("bundle {}: no such file or directory", file.display())
        );
        let error = Bundle::read(&dir.join("nope")).unwrap_err().to_string();
        assert!(
            error.ends_with("/nope: no such file or directory"),
            "{error}"
        );
        std::fs::create_dir(&file).unwrap();
        let error = Bundle::read(&dir).unwrap_err().to_string();
        assert!(error.contains("is a directory, not a file"), "{error}");
    }

    #[test]
    fn a_config_that_is_a_link_is_read() {
        let dir = scratch("bundle-link");
        std::fs::write(dir.join("real.json"), r#"{"process":{}}"#).unwrap();
        std::os::unix::fs::symlink("real.json", dir.join("config.json")).unwrap();
        assert!(Bundle::read(&dir).unwrap().process.is_empty());
    }
}
