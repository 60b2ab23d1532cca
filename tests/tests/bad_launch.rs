//! What a launch needs and does not get: a bundle, a runtime, a shim, a place for the pid. One clear line that names it, exit
//! code 125, and nothing left behind.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

use holdfast_tests::fake_runtime::install;
use holdfast_tests::{FakeRuntime, Sandbox, Snapshot, binaries, fifo};
use serde_json::{Value, json};

#[test]
fn a_bundle_that_cannot_be_used_is_named_and_why() {
    let sandbox = Sandbox::new("badbundle");
    let id = sandbox.id("badbundle");
    let dir = sandbox.path().join("bundle");
    let config = dir.join("config.json");
    let before = Snapshot::of(&sandbox.root());
    let refused = |words: &[&str]| {
        let bundle = dir.to_str().unwrap();
        for verb in [&["run"][..], &["run", "-d"], &["run", "-t"], &["create"]] {
            let args = [verb, &["-b", bundle, &id]].concat();
            sandbox.refused(args, &[&[bundle][..], words].concat());
        }
        before.assert_unchanged("a bad bundle");
    };

    refused(&["no such file or directory"]);
    fs::write(&dir, "").unwrap();
    refused(&["is not a directory"]);
    fs::remove_file(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    refused(&["config.json: no such file or directory"]);

    fs::create_dir(&config).unwrap();
    refused(&["config.json: is a directory, not a file"]);
    fs::remove_dir(&config).unwrap();
    fifo::make(&config);
    refused(&["config.json: is a fifo, not a file"]);
    fs::remove_file(&config).unwrap();
    let socket = UnixListener::bind(&config).unwrap();
    refused(&["config.json: is a socket, not a file"]);
    drop(socket);
    for (target, words) in [
        ("nowhere", "no such file or directory"),
        ("config.json", "config.json: "),
        ("/dev/zero", "is a device, not a file"),
    ] {
        fs::remove_file(&config).unwrap();
        symlink(target, &config).unwrap();
        refused(&["config.json", words]);
    }
    fs::remove_file(&config).unwrap();

    let huge = fs::File::create(&config).unwrap();
    huge.set_len(100 << 20).unwrap();
    refused(&["config.json: has 104857600 bytes"]);

    for (text, words) in [
        ("", &["config.json: is empty"][..]),
        ("  \n", &["config.json: is empty"]),
        ("{", &["config.json: ", "line 1 column 1"]),
        ("{\n  \"process\": {,\n}", &["line 2 column 15"]),
        ("{\"process\": {}}\nx", &["line 2 column 1"]),
        ("\u{0}\u{1}\u{7f}", &["line 1 column 1"]),
        ("[]", &["config.json: "]),
        ("null", &["config.json: "]),
        ("{\"process\": \"sh\"}", &["line 1 column"]),
        ("{\"root\": 7}", &["line 1 column"]),
        ("{}", &["config.json has no process"]),
        ("{\"process\": null}", &["config.json has no process"]),
    ] {
        fs::write(&config, text).unwrap();
        refused(words);
    }
    sandbox.assert_clean();
}

type Edit = fn(&mut Value);

#[test]
fn what_a_runtime_refuses_is_refused_in_its_words() {
    let sandbox = Sandbox::new("refuses");
    let before = Snapshot::of(&sandbox.root());
    let edits: [(&str, Edit, &str); 4] = [
        ("no arguments", |c| c["process"]["args"] = json!([]), "args"),
        (
            "no root file system",
            |c| c["root"]["path"] = "/nowhere".into(),
            "/nowhere",
        ),
        (
            "a relative directory",
            |c| c["process"]["cwd"] = "tmp".into(),
            "must be an absolute path",
        ),
        (
            "a hook that complains in two lines",
            |c| {
                let script = ["sh", "-c", "echo first >&2; echo second >&2; exit 3"];
                c["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": script}]});
            },
            "second",
        ),
    ];
    for (what, edit, words) in edits {
        let bundle = sandbox.bundle(["true"]).edit(edit);
        for verb in [&["run"][..], &["run", "-d"], &["create"]] {
            let id = sandbox.id("refuses");
            let args = [verb, &["-b", bundle.arg(), &id]].concat();
            sandbox.refused(args, &["oci runtime: ", words]);
            before.assert_unchanged(what);
        }
    }
    sandbox.assert_clean();
}

#[test]
fn a_config_that_we_may_not_read_is_refused() {
    let sandbox = Sandbox::new("unreadable");
    let bundle = sandbox.bundle(["true"]);
    let config = bundle.dir().join("config.json");
    fs::set_permissions(&config, Permissions::from_mode(0o600)).unwrap();
    // Root may read everything, so somebody else asks, with a copy of the program and a root of their own.
    let program = sandbox.path().join("holdfast");
    let mut copy = Command::new("cp");
    copy.arg(binaries::holdfast()).arg(&program);
    assert!(copy.status().unwrap().success());
    let root = sandbox.path().join("theirs");
    fs::create_dir(&root).unwrap();
    chown(&root, Some(1000), Some(1000)).unwrap();
    fs::set_permissions(&root, Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(sandbox.path(), Permissions::from_mode(0o755)).unwrap();
    let bundles = bundle.dir().parent().unwrap();
    fs::set_permissions(bundles, Permissions::from_mode(0o755)).unwrap();

    let mut command = Command::new(program);
    command.args(["run", "-b", bundle.arg(), "web"]);
    command.env("HOLDFAST_ROOT", &root);
    command.env("HOLDFAST_SHIM", binaries::shim());
    command.current_dir(sandbox.path()).uid(1000).gid(1000);
    sandbox.refused_command(command, &[config.to_str().unwrap(), "permission denied"]);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
}

#[test]
fn a_runtime_that_cannot_be_run_is_named() {
    let sandbox = Sandbox::new("noruntime");
    let bundle = sandbox.bundle(["true"]);
    let before = Snapshot::of(&sandbox.root());
    let path = |name: &str| sandbox.path().join(name);
    fs::write(path("plain"), "#!/bin/sh\n").unwrap();
    fs::create_dir(path("directory")).unwrap();
    install(&path("nonsense"), "\u{1}\u{2}\u{3}");
    install(&path("no-interpreter"), "#!/nowhere/sh\n");
    symlink("nowhere", path("dangling")).unwrap();
    for runtime in [
        "no-such-runtime".to_owned(),
        "/nowhere/runc".to_owned(),
        path("plain").display().to_string(),
        path("directory").display().to_string(),
        path("nonsense").display().to_string(),
        path("no-interpreter").display().to_string(),
        path("dangling").display().to_string(),
    ] {
        for verb in [&["run"][..], &["run", "-d"], &["create"]] {
            let id = sandbox.id("noruntime");
            let flags = ["--runtime", runtime.as_str()];
            let args = [&flags[..], verb, &["-b", bundle.arg(), &id]].concat();
            sandbox.refused(args, &[&runtime]);
            before.assert_unchanged(&runtime);
        }
        let id = sandbox.id("noruntime");
        let mut preset = sandbox.holdfast(["run", "-b", bundle.arg(), &id]);
        preset.env("HOLDFAST_RUNTIME", &runtime);
        sandbox.refused_command(preset, &[&runtime]);
    }
    before.assert_unchanged("a bad runtime");
    sandbox.assert_clean();
}

#[test]
fn a_runtime_that_fails_without_a_word_is_named() {
    let sandbox = Sandbox::new("wordless");
    let fake = FakeRuntime::script(&sandbox, "[ $VERB = delete ] || exit 3");
    let bundle = sandbox.bundle(["true"]);
    let before = Snapshot::of(&sandbox.root());
    let id = sandbox.id("wordless");
    let args = ["--runtime", &fake.arg(), "run", "-b", bundle.arg(), &id];
    sandbox.refused(args, &["oci runtime: ", "3"]);
    before.assert_unchanged("a wordless runtime");
    sandbox.assert_clean();
}

#[test]
fn a_shim_that_cannot_be_run_is_named() {
    let sandbox = Sandbox::new("noshim");
    let bundle = sandbox.bundle(["true"]);
    let before = Snapshot::of(&sandbox.root());
    let path = |name: &str| sandbox.path().join(name);
    fs::write(path("plain"), "#!/bin/sh\n").unwrap();
    fs::create_dir(path("directory")).unwrap();
    install(&path("nonsense"), "\u{1}\u{2}\u{3}");
    install(&path("wordless"), "#!/bin/sh\nexit 7\n");
    // What it was given stays open in a child of it.
    install(&path("leaves"), "#!/bin/sh\nexec true\n");
    for shim in [
        "no-such-shim".to_owned(),
        "/nowhere/holdfast-shim".to_owned(),
        path("plain").display().to_string(),
        path("directory").display().to_string(),
        path("nonsense").display().to_string(),
        path("wordless").display().to_string(),
        path("leaves").display().to_string(),
    ] {
        for verb in [&["run"][..], &["run", "-d"], &["create"]] {
            let id = sandbox.id("noshim");
            let args = [&["--shim", &shim], verb, &["-b", bundle.arg(), &id]].concat();
            sandbox.refused(args, &["shim", &shim]);
            before.assert_unchanged(&shim);
        }
        let id = sandbox.id("noshim");
        let mut preset = sandbox.holdfast(["run", "-b", bundle.arg(), &id]);
        preset.env("HOLDFAST_SHIM", &shim);
        sandbox.refused_command(preset, &["shim", &shim]);
    }
    before.assert_unchanged("a bad shim");
    sandbox.assert_clean();
}

#[test]
fn a_launch_whose_caller_cannot_be_served_is_undone() {
    let sandbox = Sandbox::new("undone");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let terminal = sandbox.bundle(["sleep", "1000"]).terminal();
    let before = Snapshot::of(&sandbox.root());
    let no_socket = sandbox.path().join("no.sock").display().to_string();
    for verb in [&["run"][..], &["run", "-d"], &["create"]] {
        for (bundle, flags, words) in [
            (
                &bundle,
                ["--pid-file", "/nowhere/pid"],
                &["/nowhere/pid"][..],
            ),
            (&bundle, ["--pid-file", "/"], &["pid file /"]),
            (
                &bundle,
                ["--preserve-fds", "3"],
                &["descriptor 3 is not open"],
            ),
            (
                &terminal,
                ["--console-socket", &no_socket],
                &["console socket", "no.sock", "no such file"],
            ),
            (
                &terminal,
                ["--console-socket", "/"],
                &["console socket /", "non-socket"],
            ),
        ] {
            let id = sandbox.id("undone");
            let args = [verb, &flags[..], &["-b", bundle.arg(), &id]].concat();
            sandbox.refused(args, words);
            before.assert_unchanged(&format!("{verb:?} {flags:?}"));
        }
    }
    sandbox.assert_clean();
}
