//! A bundle's config.json: written as `runc spec` writes it, and brought from 2016 to today; and what can be made of one
//! here.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_tests::command::{show, text};
use holdfast_tests::{FakeRuntime, Sandbox, Snapshot, kernel, rootfs};
use serde_json::{Value, json};

fn read(file: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// A directory with a root file system, as a bundle has.
fn bundle(sandbox: &Sandbox, name: &str) -> PathBuf {
    let dir = sandbox.path().join(name);
    fs::create_dir(&dir).unwrap();
    // A runtime takes no link for it.
    let copied = Command::new("cp")
        .arg("-a")
        .args([rootfs::path(), &dir.join("rootfs")])
        .status();
    assert!(copied.unwrap().success());
    dir
}

fn run(sandbox: &Sandbox, dir: &Path) -> String {
    let id = sandbox.id("spec");
    let output = sandbox.output(["run", "-b", dir.to_str().unwrap(), &id]);
    assert!(output.status.success(), "{}", show(&output));
    text(&output.stdout)
}

/// Where ours differs, and nowhere else; docs/decisions.md says why.
fn as_ours(mut runcs: Value) -> Value {
    runcs["ociVersion"] = json!("1.0.2");
    runcs["hostname"] = json!("holdfast");
    let masked = runcs["linux"]["maskedPaths"].as_array_mut().unwrap();
    let powercap = json!("/sys/devices/virtual/powercap");
    if !masked.contains(&powercap) {
        masked.push(powercap);
    }
    sort(&mut runcs);
    runcs
}

fn sort(config: &mut Value) {
    let masked = config["linux"]["maskedPaths"].as_array_mut().unwrap();
    masked.sort_by_key(Value::to_string);
}

#[test]
fn a_default_config_is_runcs_and_runs() {
    let sandbox = Sandbox::new("spec");
    for flags in [&[][..], &["--rootless"]] {
        let name = format!("bundle{}", flags.len());
        let (ours, runcs) = (
            bundle(&sandbox, &name),
            bundle(&sandbox, &format!("{name}-runc")),
        );
        let words = ["spec", "-b", ours.to_str().unwrap()];
        assert_eq!(sandbox.run_ok(words.iter().chain(flags)), "");
        let mut runc = sandbox.runc(["spec", "-b", runcs.to_str().unwrap()]);
        runc.args(flags);
        assert!(sandbox.output_of(runc).status.success());
        let (ours, runcs) = (ours.join("config.json"), runcs.join("config.json"));
        let mut config = read(&ours);
        sort(&mut config);
        assert_eq!(config, as_ours(read(&runcs)), "{flags:?}");
        let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&runcs));

        // As one would edit it.
        let mut config = read(&ours);
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sh", "-c", "hostname; id -u; ls -d /sys/firmware"]);
        fs::write(&ours, config.to_string()).unwrap();
        let said = run(&sandbox, ours.parent().unwrap());
        assert_eq!(said, "holdfast\n0\n/sys/firmware\n");
    }
    sandbox.assert_clean();
}

#[test]
fn a_config_is_written_where_there_is_none() {
    let sandbox = Sandbox::new("spec-not");
    let dir = bundle(&sandbox, "bundle");
    let arg = dir.to_str().unwrap();
    let mut here = sandbox.holdfast(["spec"]);
    here.current_dir(&dir);
    assert!(sandbox.output_of(here).status.success());
    assert_eq!(
        read(&dir.join("config.json"))["process"]["args"],
        json!(["sh"])
    );
    // The runtime's flag, which has the same name, stands before the verb and is for the runtime.
    let other = bundle(&sandbox, "other");
    sandbox.run_ok(["--rootless", "auto", "spec", "-b", other.to_str().unwrap()]);
    assert!(
        read(&other.join("config.json"))["linux"]
            .get("uidMappings")
            .is_none()
    );
    let before = Snapshot::of(&dir);
    sandbox.refused(["spec", "-b", arg], &["config.json", "is there already"]);
    sandbox.refused(
        ["spec", "--rootless", "--bundle", arg],
        &["is there already"],
    );
    sandbox.refused(["spec", "-b", "/nowhere"], &["/nowhere", "no such file"]);
    sandbox.refused(
        ["spec", "--rootless", "--upgrade", arg],
        &["cannot be used"],
    );
    sandbox.refused(["spec", "-b", ""], &[]);
    sandbox.refused(["spec", "more"], &["more"]);
    before.assert_unchanged("a config that was there");
}

/// A config.json of then for a shell script: as runc wrote it for 0.3.0, down to what it wrote for nothing.
fn old(script: &str, shared: &Path) -> Value {
    let hook = format!("cat >{}/hook", shared.display());
    json!({
        "ociVersion": "0.3.0",
        "platform": { "os": "linux", "arch": "amd64" },
        "process": {
            "terminal": false,
            "user": {},
            "args": ["sh", "-c", script],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "tmp"
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "shell",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "host", "type": "bind", "source": shared }
        ],
        "hooks": { "prestart": [{ "path": "/bin/sh", "args": ["sh", "-c", hook] }] },
        "linux": {
            "capabilities": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1000, "soft": 1000 }],
            "resources": {
                "devices": [{ "allow": false, "type": null, "major": null, "minor": null, "access": "rwm" }],
                "disableOOMKiller": false,
                "memory": { "limit": 67108864, "reservation": 0, "swap": 0, "kernel": 0 },
                "cpu": { "shares": 512, "quota": 0, "period": 0, "cpus": "", "mems": "" },
                "pids": { "limit": 32 },
                "hugepageLimits": null,
                "network": null
            },
            "namespaces": [
                { "type": "pid", "path": "" }, { "type": "network", "path": "" }, { "type": "ipc", "path": "" },
                { "type": "uts", "path": "" }, { "type": "mount", "path": "" }
            ],
            "devices": [
                { "path": "/dev/null", "type": 99, "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0 },
                { "path": "/dev/kmsg", "type": 99, "major": 1, "minor": 11, "fileMode": 384, "uid": 0, "gid": 0 }
            ],
            "apparmorProfile": "",
            "selinuxProcessLabel": "",
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW", "architectures": null,
                "syscalls": [{ "name": "mkdir", "action": "SCMP_ACT_ERRNO", "args": null }]
            },
            "rootfsPropagation": "",
            "noNewPrivileges": true
        }
    })
}

const REPORT: &str = "pwd; hostname; ulimit -n; grep -E 'CapInh|CapPrm|CapEff|CapBnd|NoNewPrivs' /proc/self/status; \
    ls -l /dev/kmsg | cut -c1-10; mkdir /dev/shm/x 2>/dev/null || echo no mkdir; \
    cat /proc/kcore | wc -c; touch /x 2>/dev/null || echo read-only; echo shared >/host/out; \
    echo 1 2>/dev/null >/proc/sys/kernel/domainname || echo protected";

const SAID: &str = "/tmp\nshell\n1000\nCapInh:\t0000000000000000\nCapPrm:\t0000000020000420\nCapEff:\t0000000020000420\n\
    CapBnd:\t0000000020000420\nNoNewPrivs:\t1\ncrw-------\nno mkdir\n0\nread-only\nprotected\n";

#[test]
fn a_bundle_of_2016_is_upgraded_and_runs() {
    let sandbox = Sandbox::new("upgrade");
    let shared = sandbox.path().join("shared");
    fs::create_dir(&shared).unwrap();
    let of_0_3 = old(REPORT, &shared);
    // 0.4 moved what is the process's to the process.
    let mut of_0_4 = of_0_3.clone();
    of_0_4["ociVersion"] = json!("0.4.0");
    for key in [
        "capabilities",
        "rlimits",
        "noNewPrivileges",
        "apparmorProfile",
    ] {
        let moved = of_0_4["linux"]
            .as_object_mut()
            .unwrap()
            .remove(key)
            .unwrap();
        of_0_4["process"][key] = moved;
    }
    of_0_4["linux"]["devices"][1]["type"] = json!("c");
    for (version, config) in [("0.3.0", of_0_3), ("0.4.0", of_0_4)] {
        let dir = bundle(&sandbox, version);
        let file = dir.join("config.json");
        let old_text = config.to_string();
        fs::write(&file, &old_text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();

        // The runtime of today does not run it, or not as it was meant.
        let id = sandbox.id("old");
        let bare = sandbox.output_of(sandbox.runc(["run", "-b", dir.to_str().unwrap(), &id]));
        assert_ne!(text(&bare.stdout), SAID, "no upgrade is needed");

        let said = sandbox.run_ok(["spec", "--upgrade", dir.to_str().unwrap()]);
        assert!(said.contains(version) && said.contains("1.0.2"), "{said}");
        assert!(said.contains("its hooks find \"bundle\""), "{said}");
        let backup = dir.join(format!("config.json.{version}"));
        assert_eq!(fs::read_to_string(&backup).unwrap(), old_text);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);

        assert_eq!(run(&sandbox, &dir), SAID, "{version}");
        assert_eq!(fs::read_to_string(shared.join("out")).unwrap(), "shared\n");
        let hook = read(&shared.join("hook"));
        assert_eq!(hook["bundle"], dir.to_str().unwrap());
        let before = Snapshot::of(&dir);
        let again = ["spec", "--upgrade", dir.to_str().unwrap()];
        sandbox.refused(again, &["config.json", "1.0.2 needs no upgrade"]);
        before.assert_unchanged("an upgrade of what is new");
    }
    sandbox.assert_clean();
}

#[test]
fn what_cannot_be_upgraded_is_named_and_left_alone() {
    let sandbox = Sandbox::new("upgrade-not");
    let dir = bundle(&sandbox, "bundle");
    let (arg, file) = (dir.to_str().unwrap(), dir.join("config.json"));
    sandbox.refused(["spec", "--upgrade", arg], &["config.json", "no such file"]);
    let edited = |pointer: &str, value: Value| {
        let mut config = old("true", &dir);
        *config.pointer_mut(pointer).unwrap() = value;
        config.to_string()
    };
    let cases = [
        ("{\n]".to_owned(), "line 2 column 1"),
        ("[]".to_owned(), "line 1"),
        ("{}".to_owned(), "ociVersion: is missing"),
        ("{\"version\": \"0.2.0\"}".to_owned(), "older than OCI 0.3"),
        (
            edited("/platform/os", json!("windows")),
            "\"windows\" is not linux",
        ),
        (
            edited("/linux/rlimits/0/type", json!(7)),
            "is not a name like RLIMIT_NOFILE",
        ),
        (
            edited("/hooks/prestart/0/path", json!("sh")),
            "is not absolute",
        ),
        (
            edited("/linux/namespaces/0/type", json!("moon")),
            "\"moon\" is no namespace",
        ),
        (edited("/process/args", json!([])), "process.args: is empty"),
    ];
    for (config, words) in cases {
        fs::write(&file, &config).unwrap();
        let before = Snapshot::of(&dir);
        sandbox.refused(["spec", "--upgrade", arg], &["config.json: ", words]);
        before.assert_unchanged(&config);
    }
    // The name of the old one is taken by another, or config.json is somewhere else.
    fs::write(&file, old("true", &dir).to_string()).unwrap();
    fs::write(dir.join("config.json.0.3.0"), "mine").unwrap();
    let before = Snapshot::of(&dir);
    sandbox.refused(
        ["spec", "--upgrade", arg],
        &["config.json.0.3.0 is there already"],
    );
    before.assert_unchanged("an upgrade without a name for the old one");
    let linked = bundle(&sandbox, "linked");
    symlink(&file, linked.join("config.json")).unwrap();
    let before = Snapshot::of(sandbox.path());
    sandbox.refused(
        ["spec", "--upgrade", linked.to_str().unwrap()],
        &["is a link"],
    );
    before.assert_unchanged("an upgrade of a link");
}

#[test]
fn the_features_are_the_runtimes_ours_and_the_kernels() {
    let sandbox = Sandbox::new("features");
    let ours: Value = serde_json::from_str(&sandbox.run_ok(["features"])).unwrap();
    let runc = sandbox.output_of(sandbox.runc(["features"]));
    let runcs: Value = serde_json::from_slice(&runc.stdout).unwrap();
    let mut without = ours.clone();
    without.as_object_mut().unwrap().remove("holdfast");
    assert_eq!(without, runcs);

    let holdfast = &ours["holdfast"];
    assert_eq!(
        holdfast["controlTypes"],
        json!({ "closeStdin": 0, "resize": 1, "reopenLogs": 2, "reexec": 3, "deadline": 4 })
    );
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(holdfast["kernel"]["release"], release.trim());
    let kernel = &holdfast["kernel"];
    assert_eq!(kernel["pidfdGetInfo"], kernel::version() >= (6, 13));
    assert_eq!(kernel["pidfdInfoExit"], kernel::keeps_exit_statuses());
    // Each policy that is named is one that a launch takes.
    let file = sandbox.path().join("out");
    for policy in holdfast["stdioPolicies"].as_array().unwrap() {
        let policy = match policy.as_str().unwrap() {
            plain @ ("fifo" | "null" | "inherit" | "log" | "spill") => plain.to_owned(),
            "path" => continue, // An absolute path, without a word before it.
            word => format!("{word}:{}", file.display()),
        };
        let id = sandbox.id("policy");
        let bundle = sandbox.bundle(["true"]);
        let args = ["run", "-d", "-b", bundle.arg(), "--stdout", &policy, &id];
        let output = sandbox.output(args);
        assert!(output.status.success(), "{policy}: {}", show(&output));
        assert_eq!(sandbox.run_ok(["wait", &id]), "0\n");
        sandbox.run_ok(["delete", &id]);
    }

    let fake = FakeRuntime::script(&sandbox, r#"echo "what is $VERB?" >&2; exit 1"#);
    let said = sandbox.run_ok(["--runtime", &fake.arg(), "features"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said.as_object().unwrap().len(), 1);
    assert_eq!(said["holdfast"]["runtimeMessage"], "what is features?");
    assert_eq!(said["holdfast"]["runtime"], fake.arg());
    let words = ["--runtime", "/nowhere/runc", "features"];
    sandbox.refused(words, &["/nowhere/runc", "not found"]);
    sandbox.assert_clean();
}
