//! Bad input on the command line: one clear line that names what is wrong, exit code 125, and nothing left behind. The
//! tables are the point; each case runs over the whole way from the command line to wherever it is refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use holdfast_tests::command::show;
use holdfast_tests::fake_runtime::install;
use holdfast_tests::{Bundle, DEADLINE, FakeRuntime, Sandbox, Snapshot, binaries, fifo, wait};

/// Nothing is in the root, and the root is what it was; whoever is on the way out is waited for.
#[track_caller]
fn assert_untouched(sandbox: &Sandbox, before: &Snapshot, what: &str) {
    before.assert_same(&Snapshot::of(&sandbox.root()), what);
}

/// Every verb that names a container, with arguments that are good otherwise.
fn verbs<'a>(bundle: &'a Bundle, id: &'a str) -> Vec<Vec<&'a str>> {
    let mut verbs: Vec<Vec<&str>> = vec![
        vec!["run", "-b", bundle.arg(), "--", id],
        vec!["run", "-d", "-b", bundle.arg(), "--", id],
        vec!["create", "-b", bundle.arg(), "--", id],
    ];
    verbs.extend(verbs_of_existing(id));
    verbs
}

fn verbs_of_existing(id: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["start", "--", id],
        vec!["exec", "--", id, "true"],
        vec!["exec", "-d", "--", id, "true"],
        vec!["attach", "--", id],
        vec!["wait", "--", id],
        vec!["kill", "--", id],
        vec!["kill", "-a", "--", id, "KILL"],
        vec!["delete", "--", id],
        vec!["ps", "--", id],
        vec!["state", "--", id],
        vec!["resize", "--", id, "80", "24"],
        vec!["close-stdin", "--", id],
    ]
}

#[test]
fn a_name_that_is_no_id_is_refused_by_every_verb() {
    let sandbox = Sandbox::new("badid");
    let bundle = sandbox.bundle(["true"]);
    let long = "x".repeat(129);
    let before = Snapshot::of(sandbox.path());
    for (id, words) in [
        ("", "may not be empty"),
        (".", "\".\" is not an id"),
        ("..", "\"..\" is not an id"),
        ("../x", "\"../x\" is not an id"),
        ("a/b", "\"a/b\" is not an id"),
        ("/etc", "\"/etc\" is not an id"),
        ("a b", "\"a b\" is not an id"),
        ("a\nb", "\"a\\nb\" is not an id"),
        ("a\u{1b}[1mb", "is not an id"),
        ("~abc", "\"~abc\" is not an id"),
        ("größe", "\"größe\" is not an id"),
        (&long, "this one has 129"),
    ] {
        for args in verbs(&bundle, id) {
            sandbox.refused(args, &[words]);
        }
        sandbox.refused(["delete", "-f", "--", id], &[words]);
    }
    before.assert_same(&Snapshot::of(sandbox.path()), "a bad id");
    sandbox.assert_clean();
}

#[test]
fn a_container_that_does_not_exist_is_named_by_every_verb() {
    let sandbox = Sandbox::new("unknown");
    let before = Snapshot::of(sandbox.path());
    for args in verbs_of_existing("nobody") {
        sandbox.refused(args, &["container nobody does not exist"]);
    }
    // As rm -f: it is enough that it is not there.
    let output = sandbox.output(["delete", "-f", "nobody"]);
    assert!(output.status.success(), "{}", show(&output));
    assert!(output.stderr.is_empty(), "{}", show(&output));
    before.assert_same(&Snapshot::of(sandbox.path()), "asking for nobody");
    sandbox.assert_clean();
}

#[test]
fn asking_does_not_make_a_root() {
    let sandbox = Sandbox::new("noroot");
    fs::remove_dir(sandbox.root()).unwrap();
    assert_eq!(sandbox.run_ok(["list", "-q"]), "");
    sandbox.refused(["state", "nobody"], &["container nobody does not exist"]);
    assert!(!sandbox.root().exists());
}

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
        assert_untouched(&sandbox, &before, "a bad bundle");
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

type Edit = fn(&mut serde_json::Value);

#[test]
fn what_a_runtime_refuses_is_refused_in_its_words() {
    let sandbox = Sandbox::new("refuses");
    let before = Snapshot::of(&sandbox.root());
    let edits: [(&str, Edit, &str); 4] = [
        (
            "no arguments",
            |c| c["process"]["args"] = serde_json::json!([]),
            "args",
        ),
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
                c["hooks"] =
                    serde_json::json!({"createRuntime": [{"path": "/bin/sh", "args": script}]});
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
            assert_untouched(&sandbox, &before, what);
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
fn a_root_that_others_could_change_is_refused_by_every_verb() {
    let sandbox = Sandbox::new("badroot");
    let bundle = sandbox.bundle(["true"]);
    let id = sandbox.id("badroot");
    let root = sandbox.root();
    let name = root.to_str().unwrap().to_owned();
    let all_refuse = |words: &[&str]| {
        let words = [&[name.as_str()][..], words].concat();
        let before = Snapshot::of(&root);
        for args in verbs(&bundle, &id) {
            sandbox.refused(args, &words);
        }
        sandbox.refused(["list"], &words);
        assert_untouched(&sandbox, &before, "a refused root");
    };
    for mode in [0o777, 0o770, 0o707, 0o1777] {
        fs::set_permissions(&root, Permissions::from_mode(mode)).unwrap();
        all_refuse(&[&format!("{mode:04o}"), "chmod 700"]);
    }
    fs::set_permissions(&root, Permissions::from_mode(0o700)).unwrap();
    chown(&root, Some(1000), None).unwrap();
    all_refuse(&["belongs to uid 1000"]);
    chown(&root, Some(0), None).unwrap();
    fs::remove_dir(&root).unwrap();
    fs::write(&root, "").unwrap();
    all_refuse(&["is not a directory"]);
    fs::remove_file(&root).unwrap();
    symlink("/nowhere/else", &root).unwrap();
    sandbox.refused(["create", "-b", bundle.arg(), &id], &[&name]);
    assert!(!Path::new("/nowhere").exists());
    fs::remove_file(&root).unwrap();
    fs::create_dir(&root).unwrap();
    sandbox.assert_clean();
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
            assert_untouched(&sandbox, &before, &runtime);
        }
        let id = sandbox.id("noruntime");
        let mut preset = sandbox.holdfast(["run", "-b", bundle.arg(), &id]);
        preset.env("HOLDFAST_RUNTIME", &runtime);
        sandbox.refused_command(preset, &[&runtime]);
    }
    assert_untouched(&sandbox, &before, "a bad runtime");
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
    assert_untouched(&sandbox, &before, "a wordless runtime");
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
            sandbox.refused(args, &["shim"]);
            assert_untouched(&sandbox, &before, &shim);
        }
        let id = sandbox.id("noshim");
        let mut preset = sandbox.holdfast(["run", "-b", bundle.arg(), &id]);
        preset.env("HOLDFAST_SHIM", &shim);
        sandbox.refused_command(preset, &["shim"]);
    }
    assert_untouched(&sandbox, &before, "a bad shim");
    sandbox.assert_clean();
}

#[test]
fn words_that_mean_nothing_are_refused() {
    let sandbox = Sandbox::new("words");
    let bundle = sandbox.bundle(["true"]);
    let b = bundle.arg();
    let before = Snapshot::of(sandbox.path());
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &["--help"]),
        (&["frobnicate"], &["'frobnicate'"]),
        (&["rnu", "web"], &["'rnu'"]),
        (&["--frobnicate", "list"], &["'--frobnicate'"]),
        (&["list", "--frobnicate"], &["'--frobnicate'"]),
        (&["list", "web"], &["'web'"]),
        (&["list", "-f", "xml"], &["'xml'"]),
        (&["--log-format", "xml", "list"], &["'xml'"]),
        (&["--root", "", "list"], &["--root"]),
        (&["--start-timeout", "soon", "list"], &["'soon'"]),
        (&["--rootless", "maybe", "list"], &["'maybe'"]),
        (&["--log", "/nowhere/log", "list"], &["/nowhere/log"]),
        (&["run"], &["<ID>"]),
        (&["run", "web", "db"], &["'db'"]),
        (&["run", "--bundle"], &["--bundle"]),
        (&["run", "-b", b, "--preserve-fds", "x", "web"], &["'x'"]),
        (&["run", "-b", b, "--preserve-fds", "-1", "web"], &["-1"]),
        (
            &["run", "-b", b, "--rm", "--keep", "web"],
            &["--rm", "--keep"],
        ),
        (
            &["run", "-b", b, "--detach-keys", "ctrl-1", "web"],
            &["\"ctrl-1\""],
        ),
        (&["run", "-b", b, "-t", "web"], &[b, "has no terminal"]),
        (
            &["run", "-b", b, "--stdio", "pipe", "web"],
            &["\"pipe\" is no stdio policy"],
        ),
        (
            &["run", "-b", b, "--stdio", "file:", "web"],
            &["\"file:\" is no stdio policy"],
        ),
        (
            &["run", "-b", b, "--stdin", "fifo:x", "web"],
            &["\"fifo:x\" is no stdio policy"],
        ),
        (
            &["run", "-b", b, "--stdin", "file:/nowhere/in", "web"],
            &["/nowhere/in"],
        ),
        (
            &["run", "-b", b, "--stdout", "file:/nowhere/out", "web"],
            &["/nowhere/out"],
        ),
        (
            &["run", "-b", b, "--stderr", "file:/", "web"],
            &["stderr", "/"],
        ),
        (&["exec"], &["<ID>"]),
        (&["exec", "web"], &["web"]),
        (
            &["exec", "--user", "root", "web", "true"],
            &["'root'", "UID"],
        ),
        (&["exec", "--user", "1:", "web", "true"], &["'1:'", "UID"]),
        (&["exec", "--user", "-1", "web", "true"], &["-1"]),
        (
            &["exec", "--user", "4294967296", "web", "true"],
            &["'4294967296'"],
        ),
        (&["exec", "-g", "wheel", "web", "true"], &["'wheel'"]),
        (
            &["exec", "--exec-id", "../x", "web", "true"],
            &["\"../x\" is not an id"],
        ),
        (
            &["exec", "--exec-id", "lock", "web", "true"],
            &["\"lock\" is reserved"],
        ),
        (
            &["wait", "web", "state.json"],
            &["\"state.json\" is reserved"],
        ),
        (&["kill", "web", "NOPE"], &["unknown signal \"NOPE\""]),
        (&["kill", "web", ""], &["unknown signal \"\""]),
        (
            &["kill", "web", "SIGSIGTERM"],
            &["unknown signal \"SIGSIGTERM\""],
        ),
        (&["kill", "web", "65"], &["unknown signal \"65\""]),
        (&["kill", "web", "-9"], &["-9"]),
        (&["kill", "web", "9x"], &["unknown signal \"9x\""]),
        (&["kill", "web", "TERM", "KILL"], &["'KILL'"]),
        (&["kill"], &["<ID>"]),
        (&["delete"], &["<ID>"]),
        (&["resize", "web"], &["<COLS>"]),
        (&["resize", "web", "80"], &["<ROWS>"]),
        (&["resize", "web", "eighty", "24"], &["'eighty'"]),
        (&["resize", "web", "65536", "24"], &["'65536'"]),
        (&["resize", "web", "-1", "24"], &["-1"]),
        (&["attach", "--sig-proxy=perhaps", "web"], &["'perhaps'"]),
    ];
    for (args, words) in cases {
        sandbox.refused(*args, words);
    }
    let mut preset = sandbox.holdfast(["run", "-b", b, "web"]);
    preset.env("HOLDFAST_STDIO", "pipe");
    sandbox.refused_command(preset, &["HOLDFAST_STDIO", "\"pipe\""]);
    before.assert_same(&Snapshot::of(sandbox.path()), "words that mean nothing");
    sandbox.assert_clean();
}

#[test]
fn an_environment_entry_without_a_name_is_refused() {
    let sandbox = Sandbox::new("badenv");
    let id = sandbox.id("badenv");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let before = Snapshot::of(&sandbox.container_dir(&id));
    for entry in ["", "=value", "novalue"] {
        sandbox.refused(["exec", "--env", entry, &id, "true"], &["environment"]);
    }
    before.assert_same(
        &Snapshot::of(&sandbox.container_dir(&id)),
        "a bad environment",
    );
    sandbox.run_ok(["exec", "--env", "EMPTY=", &id, "true"]);
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
            (&terminal, ["--console-socket", &no_socket], &["no.sock"]),
        ] {
            let id = sandbox.id("undone");
            let args = [verb, &flags[..], &["-b", bundle.arg(), &id]].concat();
            sandbox.refused(args, words);
            assert_untouched(&sandbox, &before, &format!("{verb:?} {flags:?}"));
        }
    }
    sandbox.assert_clean();
}

#[test]
fn a_container_in_another_state_says_so() {
    let sandbox = Sandbox::new("state");
    let sleep = sandbox.bundle(["sleep", "1000"]);
    let b = sleep.arg();
    let (created, running, stopped) = (
        sandbox.id("created"),
        sandbox.id("running"),
        sandbox.id("stopped"),
    );
    sandbox.run_ok(["create", "-b", b, &created]);
    sandbox.run_ok(["run", "-d", "-b", b, &running]);
    sandbox.run_ok(["run", "-d", "-b", b, &stopped]);
    sandbox.run_ok(["exec", "-d", "--exec-id", "job", &running, "sleep", "1000"]);
    sandbox.run_ok(["exec", "-d", "--exec-id", "done", &running, "true"]);
    assert_eq!(sandbox.run_ok(["wait", &running, "done"]), "0\n");
    sandbox.run_ok(["kill", &stopped, "KILL"]);
    assert_eq!(sandbox.run_ok(["wait", &stopped]), "137\n");
    // Its shim removes what it has in the runtime, and is then done with it.
    let shim = sandbox.process_dir(&stopped, "init").join("shim.lock");
    assert!(wait::until(DEADLINE, || holdfast_tests::process::under(
        shim.parent().unwrap()
    )
    .is_empty()));

    let before = Snapshot::of(&sandbox.root());
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["create", "-b", b, &created],
            &[&created, "already exists"],
        ),
        (
            &["run", "-d", "-b", b, &running],
            &[&running, "already exists"],
        ),
        (&["run", "-b", b, &stopped], &[&stopped, "already exists"]),
        (&["start", &running], &[&running, "is running"]),
        (&["start", &stopped], &[&stopped, "is stopped"]),
        (&["delete", &running], &[&running, "is not stopped"]),
        (&["exec", &stopped, "true"], &[&stopped]),
        (&["exec", "-d", &stopped, "true"], &[&stopped]),
        (&["kill", &stopped], &[&stopped, "has exited"]),
        (
            &["kill", "--process", "done", &running, "KILL"],
            &["done", &running, "has exited"],
        ),
        (&["close-stdin", &stopped], &[&stopped, "has exited"]),
        (
            &["close-stdin", "--process", "done", &running],
            &["done", "has exited"],
        ),
        (
            &["resize", &running, "80", "24"],
            &[&running, "has no terminal"],
        ),
        (
            &["resize", &stopped, "80", "24"],
            &[&stopped, "has no terminal"],
        ),
        (
            &["resize", "--process", "job", &running, "80", "24"],
            &["job", "has no terminal"],
        ),
        (
            &["exec", "--exec-id", "job", &running, "true"],
            &[&running, "job", "already"],
        ),
        (
            &["exec", "--exec-id", "done", &running, "true"],
            &[&running, "done", "already"],
        ),
        (
            &["exec", "--exec-id", "init", &running, "true"],
            &[&running, "init", "already"],
        ),
        (
            &["attach", &running, "nope"],
            &[&running, "no process nope"],
        ),
        (&["wait", &running, "nope"], &[&running, "no process nope"]),
        (
            &["kill", "--process", "nope", &running],
            &[&running, "no process nope"],
        ),
        (
            &["resize", "--process", "nope", &running, "80", "24"],
            &[&running, "no process nope"],
        ),
        (
            &["close-stdin", "--process", "nope", &running],
            &[&running, "no process nope"],
        ),
        (&["exec", &running], &[&running, "no command"]),
        (
            &["exec", "--process", "p.json", &running, "true"],
            &[&running, "not both"],
        ),
        (
            &["exec", "--process", "/nowhere/p.json", &running],
            &["/nowhere/p.json", "no such file"],
        ),
        (
            &["exec", "--process", "/", &running],
            &["process file /", "is a directory"],
        ),
        (
            &[
                "exec",
                "--pid-file",
                "/nowhere/pid",
                &running,
                "sleep",
                "1000",
            ],
            &["/nowhere/pid"],
        ),
        (
            &["exec", "--preserve-fds", "3", &running, "true"],
            &["descriptor 3 is not open"],
        ),
        (
            &["exec", "--stdin", "file:/nowhere/in", &running, "true"],
            &["/nowhere/in"],
        ),
        (&["ps", &running, "-o", "args"], &["PID"]),
        (&["ps", &running, "--frobnicate"], &["ps: "]),
    ];
    for (args, words) in cases {
        sandbox.refused(*args, words);
        // An exec that was undone is gone when its shim is.
        let same = || Snapshot::of(&sandbox.root());
        wait::until(DEADLINE, || before == same());
        before.assert_same(&same(), &format!("{args:?}"));
    }
    let left = |id: &str| {
        sandbox
            .run_ok(["state", id])
            .contains("\"status\": \"stopped\"")
    };
    assert_eq!(
        [&created, &running, &stopped].map(|id| left(id)),
        [false, false, true]
    );
}

#[test]
fn a_process_file_that_cannot_be_used_says_where() {
    let sandbox = Sandbox::new("procfile");
    let id = sandbox.id("procfile");
    sandbox.run_ok([
        "run",
        "-d",
        "-b",
        sandbox.bundle(["sleep", "1000"]).arg(),
        &id,
    ]);
    let before = Snapshot::of(&sandbox.root());
    let file = sandbox.path().join("process.json");
    let name = file.to_str().unwrap();
    for (text, words) in [
        ("", "is empty"),
        ("{\n]", "line 2 column 1"),
        ("[]", "line 1 column"),
        ("{}", "oci runtime: "),
        ("{\"args\": \"sh\"}", ""),
        ("{\"args\": [], \"cwd\": \"/\"}", "oci runtime: "),
    ] {
        fs::write(&file, text).unwrap();
        let line = sandbox.refused(["exec", "--process", name, &id], &[words]);
        assert!(
            line.contains(name) || line.contains("oci runtime: "),
            "{line}"
        );
        wait::until(DEADLINE, || before == Snapshot::of(&sandbox.root()));
        before.assert_same(&Snapshot::of(&sandbox.root()), text);
    }
}
