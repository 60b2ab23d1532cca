use super::*;
use crate::testing::scratch;
use serde_json::{Value, json};

/// In the shape of what runc wrote for 0.3.0, where `linux` had what the process has now.
fn config() -> Value {
    json!({
        "ociVersion": "0.3.0",
        "platform": { "os": "linux", "arch": "amd64" },
        "process": {
            "terminal": true,
            "user": {},
            "args": ["sh"],
            "env": ["TERM=xterm"],
            "cwd": ""
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "shell",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "data", "type": "bind", "source": "/srv", "options": null },
            { "destination": "/more", "type": "bind", "source": "/srv", "options": ["rbind", "ro"] }
        ],
        "hooks": { "prestart": [{ "path": "/bin/true", "args": ["true"], "env": ["A=1"] }], "poststop": null },
        "linux": {
            "capabilities": ["CAP_KILL", "audit_write"],
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
            "apparmorProfile": "",
            "selinuxProcessLabel": "l",
            "uidMappings": null,
            "resources": {
                "devices": [{ "allow": false, "type": null, "access": "rwm" }],
                "disableOOMKiller": false,
                "oomScoreAdj": 10,
                "memory": { "limit": 67108864, "reservation": 0, "swap": null, "swappiness": -1 },
                "cpu": { "shares": 0, "quota": 50000, "cpus": "" },
                "pids": { "limit": 0 },
                "blockIO": { "blkioWeight": 500, "blkioThrottleReadBpsDevice": null },
                "hugepageLimits": null,
                "network": { "classID": "0x100001", "priorities": null }
            },
            "cgroupsPath": null,
            "namespaces": [{ "type": "pid", "path": "" }, { "type": "network", "path": "/run/netns/a" }],
            "devices": [{ "path": "/dev/fuse", "type": 99, "major": 10, "minor": 229, "permissions": "rw", "fileMode": 438, "uid": null },
                { "path": "/dev/null", "type": 99, "major": 1, "minor": 3 }, { "path": "/dev/kmsg", "type": 99, "major": 1, "minor": 11 }],
            "seccomp": { "defaultAction": "SCMP_ACT_ALLOW", "architectures": null,
                "syscalls": [{ "name": "mkdir", "action": "SCMP_ACT_ERRNO", "args": null }] },
            "rootfsPropagation": ""
        }
    })
}

fn translated(config: Value) -> Result<Value, String> {
    let Value::Object(config) = config else {
        panic!("not an object");
    };
    translate::config(config).map(|(config, _)| Value::Object(config))
}

#[test]
fn every_key_finds_its_place() {
    let config = translated(config()).unwrap();
    let sets = json!(["CAP_KILL", "CAP_AUDIT_WRITE"]);
    assert_eq!(
        config["process"],
        json!({
            "terminal": true,
            "args": ["sh"],
            "env": ["TERM=xterm"],
            "cwd": "/",
            "user": { "uid": 0, "gid": 0 },
            "capabilities": { "bounding": sets, "effective": sets, "permitted": sets },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
            "selinuxLabel": "l",
            "oomScoreAdj": 10
        })
    );
    assert_eq!(
        config["mounts"],
        json!([
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/data", "type": "bind", "source": "/srv", "options": ["bind"] },
            { "destination": "/more", "type": "bind", "source": "/srv", "options": ["rbind", "ro"] }
        ])
    );
    assert_eq!(
        config["hooks"],
        json!({ "prestart": [{ "path": "/bin/true", "args": ["true"], "env": ["A=1"] }] })
    );
    assert_eq!(
        config["linux"],
        json!({
            "devices": [
                { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438 },
                { "path": "/dev/null", "type": "c", "major": 1, "minor": 3 },
                { "path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11 }
            ],
            "resources": {
                "devices": [
                    { "allow": false, "access": "rwm" },
                    { "allow": true, "access": "rw", "type": "c", "major": 10, "minor": 229 },
                    { "allow": true, "access": "rwm", "type": "c", "major": 1, "minor": 3 }
                ],
                "memory": { "limit": 67108864, "disableOOMKiller": false },
                "cpu": { "quota": 50000 },
                "blockIO": { "weight": 500 },
                "network": { "classID": 0x10_0001 }
            },
            "namespaces": [{ "type": "pid" }, { "type": "network", "path": "/run/netns/a" }],
            "seccomp": { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }] },
            "maskedPaths": crate::template::MASKED_PATHS,
            "readonlyPaths": crate::template::READONLY_PATHS
        })
    );
    assert!(config.get("platform").is_none());
    assert_eq!(config["ociVersion"], "1.0.2");
    let typed: oci_spec::runtime::Spec = serde_json::from_value(config).unwrap();
    assert_eq!(typed.hostname().as_deref(), Some("shell"));
}

/// From 0.4 on the process has what `linux` had; a key that nobody knows, such as `annotations` to 0.3, stays.
#[test]
fn what_is_in_its_new_place_already_stays_there() {
    let mut old = config();
    old["ociVersion"] = json!("1.0.0-rc1");
    old["annotations"] = json!({ "a": "1" });
    let linux = old["linux"].as_object_mut().unwrap();
    let capabilities = linux.shift_remove("capabilities").unwrap();
    linux["seccomp"] = json!({ "defaultAction": "", "architectures": null });
    linux.insert("maskedPaths".to_owned(), json!(["/proc/kcore"]));
    old["process"]["capabilities"] = capabilities;
    let config = translated(old).unwrap();
    assert_eq!(
        config["process"]["capabilities"]["bounding"],
        json!(["CAP_KILL", "CAP_AUDIT_WRITE"])
    );
    assert_eq!(config["annotations"], json!({ "a": "1" }));
    assert_eq!(config["linux"]["maskedPaths"], json!(["/proc/kcore"]));
    assert!(config["linux"].get("seccomp").is_none());
}

#[test]
fn what_cannot_be_translated_is_named() {
    let cases: &[(&str, Value, &str)] = &[
        ("/ociVersion", json!("1.0.2"), "needs no upgrade"),
        ("/ociVersion", json!("0.2.0"), "older than 0.3"),
        ("/ociVersion", json!("soon"), "is not a version"),
        ("/ociVersion", json!(3), "ociVersion: is missing"),
        ("/platform/os", json!("solaris"), "\"solaris\" is not linux"),
        ("/process", json!(null), "invalid type: null"),
        ("/process/args", json!([]), "process.args: is empty"),
        ("/process/args", json!("sh"), "invalid type: string \"sh\""),
        ("/root", json!({}), "missing field \"path\""),
        ("/root/path", json!(""), "root.path: is empty"),
        ("/mounts/0/destination", json!(""), "no destination"),
        (
            "/hooks/prestart/0/path",
            json!("true"),
            "hooks.prestart[0].path: \"true\" is not absolute",
        ),
        ("/linux", json!([]), "linux: is not an object"),
        (
            "/linux/capabilities",
            json!([1]),
            "capabilities: is not a list of names",
        ),
        (
            "/linux/rlimits/0/type",
            json!(7),
            "rlimits[0].type: 7 is not a name",
        ),
        (
            "/linux/devices/0/type",
            json!(1),
            "devices[0].type: 1 is no kind",
        ),
        (
            "/linux/namespaces/0/type",
            json!("time travel"),
            "is no namespace",
        ),
        ("/linux/seccomp/syscalls/0", json!({}), "has no name"),
        (
            "/linux/resources/network/classID",
            json!("0xg"),
            "is not a number",
        ),
    ];
    for (pointer, value, words) in cases {
        let mut config = config();
        *config.pointer_mut(pointer).unwrap() = value.clone();
        let refusal = translated(config).unwrap_err();
        assert!(refusal.contains(words), "{pointer}: {refusal}");
        assert!(
            !refusal.contains('\n') && !refusal.contains('`'),
            "{refusal}"
        );
    }
}

#[test]
fn the_types_read_and_write_what_they_are_given() {
    let mut wanted = config();
    wanted.as_object_mut().unwrap().shift_remove("linux");
    let spec: Spec = serde_json::from_value(wanted.clone()).unwrap();
    assert_eq!(spec.platform.arch, "amd64");
    assert_eq!(spec.hooks.prestart[0].env, ["A=1"]);
    let again = serde_json::to_value(&spec).unwrap();
    assert_eq!(serde_json::from_value::<Spec>(again.clone()).unwrap(), spec);
    for key in ["ociVersion", "platform", "root", "hostname"] {
        assert_eq!(again[key], wanted[key]);
    }
    let state = r#"{"version":"0.3.0","id":"web","pid":7,"bundlePath":"/b"}"#;
    let typed: State = serde_json::from_str(state).unwrap();
    assert_eq!(serde_json::to_string(&typed).unwrap(), state);
}

#[test]
fn an_upgrade_that_was_cut_off_is_finished_and_another_is_refused() {
    let dir = scratch("oci03");
    let file = dir.join("config.json");
    let text = config().to_string();
    std::fs::write(&file, &text).unwrap();
    let backup = dir.join("config.json.0.3.0");
    // Killed between the two steps.
    std::fs::hard_link(&file, &backup).unwrap();
    let upgraded = upgrade(&dir).unwrap();
    assert_eq!(
        (upgraded.backup.as_path(), upgraded.has_hooks),
        (backup.as_path(), true)
    );
    assert_eq!(std::fs::read_to_string(&backup).unwrap(), text);
    let error = upgrade(&dir).unwrap_err().to_string();
    assert!(error.contains("1.0.2 needs no upgrade"), "{error}");
    // Another old one, and the name of its backup is taken.
    std::fs::write(&file, &text).unwrap();
    let error = upgrade(&dir).unwrap_err().to_string();
    assert!(
        error.contains("config.json.0.3.0 is there already"),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    assert_eq!(std::fs::read_dir(&*dir).unwrap().count(), 2);
}
