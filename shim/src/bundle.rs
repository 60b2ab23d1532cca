//! What a shim must know of a bundle's `config.json` (runtime-spec, config.md and config-linux.md). What cannot be understood is as if it
//! were not there: the runtime refuses it, or knows better.

use std::path::{Path, PathBuf};

use holdfast_common::state_file::{self, DOCUMENT_LIMIT};
use memchr::arch::all::twoway::Finder;
use serde::Deserialize;

const CONFIG: &str = "config.json";

#[derive(Deserialize)]
struct Config {
    linux: Option<Linux>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: Option<Vec<Namespace>>,
    cgroups_path: Option<String>,
    seccomp: Option<Seccomp>,
}

#[derive(Deserialize)]
struct Namespace {
    r#type: String,
    path: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    listener_path: Option<PathBuf>,
}

/// Whether a container has a pid namespace of its own, so that the kernel kills all of it with its init
/// (pid_namespaces(7)). A configuration that cannot be read says no: killing once more harms nobody.
pub fn has_private_pids(bundle: &Path) -> bool {
    let namespaces = read(bundle).namespaces.unwrap_or_default();
    let own = |ns: &Namespace| ns.r#type == "pid" && ns.path.as_deref().unwrap_or("").is_empty();
    namespaces.iter().any(own)
}

/// `linux.cgroupsPath`; empty where there is none.
pub fn cgroups_path(bundle: &Path) -> String {
    read(bundle).cgroups_path.unwrap_or_default()
}

/// Where the bundle has its runtime send listeners (`linux.seccomp.listenerPath`), absolute. Relative, it is relative to the
/// bundle, in which the runtime runs.
pub fn listener_path(bundle: &Path) -> Option<PathBuf> {
    let config = state_file::read_bytes(&bundle.join(CONFIG), DOCUMENT_LIMIT).ok()?;
    // Nearly none has the word, and a launch waits for this: only what may have it, escaped perhaps, is understood.
    let has = |word: &[u8]| Finder::new(word).find(&config, word).is_some();
    if !has(b"listenerPath") && !has(b"\\u") {
        return None;
    }
    let path = read(bundle).seccomp?.listener_path?;
    (!path.as_os_str().is_empty()).then(|| bundle.join(path))
}

fn read(bundle: &Path) -> Linux {
    let config = state_file::read_json::<Config>(&bundle.join(CONFIG), DOCUMENT_LIMIT);
    config
        .ok()
        .and_then(|config| config.linux)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_config<T>(name: &str, config: &str, look: impl FnOnce(&Path) -> T) -> T {
        let name = format!("holdfast-bundle-{}-{name}", std::process::id());
        let bundle = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&bundle).unwrap();
        std::fs::write(bundle.join(CONFIG), config).unwrap();
        let seen = look(&bundle);
        std::fs::remove_dir_all(bundle).unwrap();
        seen
    }

    #[test]
    fn a_pid_namespace_is_a_containers_own_if_it_is_nobody_elses() {
        let private = |namespaces: &str| {
            let config = format!(r#"{{"linux":{{"namespaces":{namespaces},"seccomp":null}}}}"#);
            with_config("pids", &config, has_private_pids)
        };
        assert!(private(r#"[{"type":"mount"},{"type":"pid"}]"#));
        assert!(private(r#"[{"type":"pid","path":""}]"#));
        assert!(!private(r#"[{"type":"pid","path":"/proc/1/ns/pid"}]"#));
        assert!(!private(r#"[{"type":"mount"}]"#) && !private("null") && !private("7"));
        assert!(!has_private_pids(Path::new("/no/such/bundle")));
    }

    #[test]
    fn a_listener_path_is_found_however_it_is_written() {
        let found = |key: &str, path: &str| {
            let config = format!(r#"{{"linux":{{"seccomp":{{"{key}":"{path}"}}}}}}"#);
            with_config("listener", &config, |bundle| {
                let path = listener_path(bundle)?;
                Some(
                    path.strip_prefix(bundle)
                        .map_or(path.clone(), Path::to_owned),
                )
            })
        };
        let agent = |path: &str| Some(PathBuf::from(path));
        assert_eq!(found("listenerPath", "/run/agent"), agent("/run/agent"));
        assert_eq!(found("listenerPath", "agent"), agent("agent"));
        assert_eq!(found(r"listener\u0050ath", "agent"), agent("agent"));
        assert_eq!(found("listenerPath", ""), None);
        assert_eq!(found("listenerMetadata", "listenerPath"), None);
        assert_eq!(found("defaultAction", "SCMP_ACT_ALLOW"), None);
    }

    #[test]
    fn a_cgroup_has_the_name_that_the_bundle_gives_it() {
        let path = |linux: &str| {
            let config = format!(r#"{{"linux":{linux}}}"#);
            with_config("cgroup", &config, cgroups_path)
        };
        assert_eq!(path(r#"{"cgroupsPath":"/a/b"}"#), "/a/b");
        assert_eq!((path("{}"), path("null")), (String::new(), String::new()));
    }
}
