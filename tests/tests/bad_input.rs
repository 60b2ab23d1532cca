//! Bad input on the command line: one clear line that names what is wrong, exit code 125, and nothing left behind. The
//! tables are the point; each case goes the whole way from the command line to wherever it is refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use holdfast_tests::command::show;
use holdfast_tests::{Bundle, Sandbox, Snapshot};

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
        vec!["pause", "--", id],
        vec!["resume", "--", id],
        vec!["delete", "--", id],
        vec!["ps", "--", id],
        vec!["processes", "--", id],
        vec!["state", "--oci-version", "0.3", "--", id],
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
    before.assert_unchanged("a bad id");
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
    before.assert_unchanged("asking for nobody");
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
        before.assert_unchanged("a refused root");
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
    before.assert_unchanged("words that mean nothing");
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
    before.assert_unchanged("a bad environment");
    sandbox.run_ok(["exec", "--env", "EMPTY=", &id, "true"]);
}
