//! What packages are made of is whole, and works where it is put. The Debian package itself is installed, used and removed by
//! `scripts/package --check`, which takes minutes where its tools are not there yet.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_tests::Sandbox;
use holdfast_tests::command::{show, text};
use holdfast_tests::pages;
use serde_json::Value;

/// Every file below a directory, by its path from there.
fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            } else {
                found.insert(entry.path().strip_prefix(dir).unwrap().to_owned());
            }
        }
    }
    found
}

fn stage(sandbox: &Sandbox) -> PathBuf {
    let stage = sandbox.path().join("stage");
    let mut package = Command::new(pages::top().join("scripts/package"));
    package.arg("--stage").arg(&stage);
    package.current_dir(sandbox.path());
    let output = sandbox.output_of(package);
    assert!(output.status.success(), "{}", show(&output));
    stage
}

#[test]
fn everything_that_is_installed_is_there_and_works_where_it_is_put() {
    let sandbox = Sandbox::new("package");
    let stage = stage(&sandbox);
    let files = files(&stage);
    let has = |name: &str| files.contains(Path::new(name));
    for name in [
        "usr/bin/holdfast",
        "usr/bin/holdfast-shim",
        "usr/lib/systemd/system/holdfast.service",
        "usr/share/man/man1/holdfast.1.gz",
        "usr/share/man/man1/holdfast-run.1.gz",
        "usr/share/man/man5/holdfast-state-directory.5.gz",
        "usr/share/man/man8/holdfast-shim.8.gz",
        "usr/share/bash-completion/completions/holdfast",
        "usr/share/zsh/vendor-completions/_holdfast",
        "usr/share/fish/vendor_completions.d/holdfast.fish",
        "usr/share/doc/holdfast/copyright",
        "usr/share/doc/holdfast/third-party-licences.gz",
        "usr/share/doc/holdfast/docs/state-directory.md.gz",
    ] {
        assert!(has(name), "{name} of {files:#?}");
    }
    for file in &files {
        let mode = stage.join(file).metadata().unwrap().permissions().mode();
        let is_program = file.starts_with("usr/bin");
        let expected = if is_program { 0o755 } else { 0o644 };
        assert_eq!(mode & 0o7777, expected, "{}", file.display());
    }

    // It finds its shim beside itself.
    let holdfast = |words: &[&str]| {
        let mut command = Command::new(stage.join("usr/bin/holdfast"));
        command.args(words).current_dir(sandbox.path());
        command.envs(
            sandbox
                .holdfast([""; 0])
                .get_envs()
                .filter_map(|(name, value)| (name != "HOLDFAST_SHIM").then_some((name, value?))),
        );
        command.env_remove("HOLDFAST_SHIM");
        sandbox.output_of(command)
    };
    let version: Value =
        serde_json::from_slice(&holdfast(&["version", "-f", "json"]).stdout).unwrap();
    let shim = stage.join("usr/bin/holdfast-shim");
    assert_eq!(version["shim"]["executable"], *shim.to_str().unwrap());
    let ldd = sandbox.output_of({
        let mut ldd = Command::new("ldd");
        ldd.arg(&shim);
        ldd
    });
    assert!(
        show(&ldd).contains("not a dynamic executable"),
        "{}",
        show(&ldd)
    );
    let id = sandbox.id("packaged");
    let bundle = sandbox.sh("echo packaged; exit 7");
    let output = holdfast(&["run", "-b", bundle.arg(), &id]);
    assert_eq!(output.status.code(), Some(7), "{}", show(&output));
    assert_eq!(text(&output.stdout), "packaged\n");

    // The unit starts what is there, with flags that it has.
    let unit = fs::read_to_string(stage.join("usr/lib/systemd/system/holdfast.service")).unwrap();
    let start = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .unwrap();
    let words: Vec<&str> = start.split(' ').collect();
    assert!(has(&words[0][1..]), "{start}");
    let output = holdfast(&[&words[1..], &["--help"]].concat());
    assert!(output.status.success(), "{start}: {}", show(&output));
    sandbox.assert_clean();
}

#[test]
fn everything_that_is_staged_is_packed() {
    let sandbox = Sandbox::new("packed");
    let manifest = fs::read_to_string(pages::top().join("driver/Cargo.toml")).unwrap();
    let (_, metadata) = manifest.split_once("[package.metadata.deb]").unwrap();
    let root = "../target/holdfast/package/root/";
    let assets = metadata.lines().filter_map(|line| line.split_once(root));
    let packed: Vec<&str> = assets
        .map(|(_, asset)| asset.split('*').next().unwrap())
        .collect();
    assert_eq!(packed.len(), 3, "{packed:?}");
    for file in files(&stage(&sandbox)) {
        let is_packed = packed.iter().any(|begin| file.starts_with(begin));
        assert!(is_packed, "{} is in no asset", file.display());
    }
    // Who makes a package passes the licences on.
    let licences = sandbox
        .path()
        .join("stage/usr/share/doc/holdfast/third-party-licences.gz");
    let mut zcat = Command::new("zcat");
    zcat.arg(licences);
    let licences = text(&sandbox.output_of(zcat).stdout);
    for words in [
        "== serde_json ",
        "== nix ",
        "== mio ",
        "Permission is hereby granted",
    ] {
        assert!(licences.contains(words), "{words}");
    }
    for part in licences.split("\n== ").skip(1) {
        let (title, texts) = part.split_once('\n').unwrap();
        assert!(texts.len() > 500, "{title} has no licence: {texts}");
    }
}
