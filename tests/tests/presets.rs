//! What a `HOLDFAST_…` variable presets, a flag overrides; and what a container was created with, it keeps.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use holdfast_tests::command::{show, text};
use holdfast_tests::{FakeRuntime, Sandbox, binaries, process};
use serde_json::Value;

#[test]
fn the_root_is_what_the_flag_says_or_the_variable() {
    let sandbox = Sandbox::new("pre-root");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("root");
    let mut create = sandbox.holdfast(["create", "-b", bundle.arg(), &id]);
    create.env("HOLDFAST_ROOT", "relative/to/us");
    assert!(sandbox.output_of(create).status.success());
    let root = sandbox.path().join("relative/to/us");
    assert!(root.join(&id).join("state.json").exists());
    assert_eq!(
        fs::metadata(&root).unwrap().permissions().mode() & 0o777,
        0o700
    );

    let named = root.to_str().unwrap();
    let flag = format!("--root={named}");
    for args in [
        &["--root", named, "list", "-q"][..],
        &["list", "--root", named, "-q"],
        &["list", "-q", &flag],
    ] {
        assert_eq!(sandbox.run_ok(args), format!("{id}\n"));
    }
    assert_eq!(
        sandbox.run_ok(["list", "-q"]),
        "",
        "the variable counts without a flag"
    );
    // An empty variable is one that somebody meant to unset; then there is the default, for whoever has one.
    sandbox.run_ok(["--root", named, "delete", &id]);
}

#[test]
fn without_root_privileges_the_root_is_below_the_users_own_directory() {
    let sandbox = Sandbox::new("pre-user");
    let program = sandbox.path().join("holdfast");
    let copied = Command::new("cp")
        .arg(binaries::holdfast())
        .arg(&program)
        .status();
    assert!(copied.unwrap().success());
    fs::set_permissions(sandbox.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let theirs = sandbox.path().join("user");
    let root = theirs.join("holdfast");
    fs::create_dir_all(&root).unwrap();
    for dir in [&theirs, &root] {
        chown(dir, Some(1000), Some(1000)).unwrap();
    }
    let as_user = || {
        let mut command = Command::new(&program);
        command
            .env_clear()
            .arg("list")
            .current_dir("/")
            .uid(1000)
            .gid(1000);
        command
    };
    sandbox.refused_command(as_user(), &["XDG_RUNTIME_DIR", "--root", "HOLDFAST_ROOT"]);
    let mut command = as_user();
    command.env("XDG_RUNTIME_DIR", &theirs);
    let output = sandbox.output_of(command);
    assert!(output.status.success(), "{}", show(&output));
    fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = as_user();
    command.env("XDG_RUNTIME_DIR", &theirs);
    sandbox.refused_command(command, &[root.to_str().unwrap(), "chmod 700"]);
}

#[test]
fn the_runtime_and_its_words_are_what_the_flags_say_or_the_variables() {
    let sandbox = Sandbox::new("pre-runtime");
    let fake = FakeRuntime::script(
        &sandbox,
        r#"echo "$HOLDFAST_MARK" >>"$FAKE/marks"; delegate "$@""#,
    );
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let (preset, flagged) = (sandbox.id("preset"), sandbox.id("flagged"));
    let mut create = sandbox.holdfast(["create", "-b", bundle.arg(), &preset]);
    create.env("HOLDFAST_RUNTIME", fake.path());
    let output = sandbox.output_of(create);
    assert!(output.status.success(), "{}", show(&output));
    let argv = fake.argv("create").unwrap();
    let root = sandbox.runtime_root();
    assert!(
        argv.windows(2)
            .any(|two| two == ["--root", root.to_str().unwrap()]),
        "{argv:?}"
    );

    let own_root = sandbox.path().join("own");
    let mut create = sandbox.holdfast(["--runtime", &fake.arg(), "--runtime-root"]);
    create
        .arg(&own_root)
        .args(["--systemd-cgroup", "--rootless", "auto", "--criu", "./criu"]);
    create.args(["create", "-b", bundle.arg(), &flagged]);
    create.env("HOLDFAST_RUNTIME", "/nowhere/runc");
    // This runc may or may not be able to do that here; what counts is what it was told.
    sandbox.output_of(create);
    let argv = fake.argv("create").unwrap().join(" ");
    let criu = sandbox.path().join("criu");
    for words in [
        format!("--root {}", own_root.display()),
        "--systemd-cgroup".to_owned(),
        "--rootless auto".to_owned(),
        format!("--criu {}", criu.display()),
    ] {
        assert!(argv.contains(&words), "{words}: {argv}");
    }

    // What it was made with goes on, whatever the variables say by then.
    let calls = fake.calls().len();
    sandbox.run_ok(["start", &preset]);
    assert_eq!(fake.calls()[calls..], [format!("start {preset}")]);
    sandbox.run_ok(["exec", &preset, "true"]);
    assert!(
        fake.calls().contains(&format!("exec {preset}")),
        "{:?}",
        fake.calls()
    );
    sandbox.run_ok(["delete", "-f", &preset]);
    assert!(
        fake.calls().contains(&format!("delete {preset}")),
        "{:?}",
        fake.calls()
    );
    sandbox.output(["delete", "-f", &flagged]);
}

fn shim_executable(sandbox: &Sandbox, id: &str) -> String {
    let file = sandbox.process_dir(id, "init").join("shim.json");
    let record: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    record["executable"].as_str().unwrap().to_owned()
}

#[test]
fn the_shim_is_what_the_flag_says_or_the_variable_or_the_one_beside_us() {
    let sandbox = Sandbox::new("pre-shim");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let copy = |dir: &str, file: &Path| {
        let dir = sandbox.path().join(dir);
        fs::create_dir_all(&dir).unwrap();
        let copy = dir.join(file.file_name().unwrap());
        let copied = Command::new("cp").arg(file).arg(&copy).status();
        assert!(copied.unwrap().success());
        copy
    };
    let (own, other) = (
        copy("own", &binaries::shim()),
        copy("other", &binaries::shim()),
    );
    let program = copy("own", &binaries::holdfast());
    let launch = |program: &Path, preset: &str, flags: &[&str]| {
        let id = sandbox.id("shim");
        let holdfast =
            sandbox.holdfast(
                flags
                    .iter()
                    .copied()
                    .chain(["run", "-d", "-b", bundle.arg(), &id]),
            );
        let mut command = Command::new(program);
        command
            .args(holdfast.get_args())
            .current_dir(sandbox.path());
        command
            .env("HOLDFAST_ROOT", sandbox.root())
            .env("HOLDFAST_RUNTIME_ROOT", sandbox.runtime_root());
        command.env("HOLDFAST_SHIM", preset);
        let output = sandbox.output_of(command);
        assert!(output.status.success(), "{}", show(&output));
        shim_executable(&sandbox, &id)
    };
    let other = other.to_str().unwrap();
    assert_eq!(launch(&program, "", &[]), own.to_str().unwrap());
    assert_eq!(launch(&program, other, &[]), other);
    assert_eq!(launch(&program, "/nowhere/shim", &["--shim", other]), other);
    assert_eq!(
        launch(
            &program,
            "/nowhere/shim",
            &["--shim", "other/holdfast-shim"]
        ),
        other
    );
    let shims = process::under(&sandbox.root())
        .into_iter()
        .filter(|p| p.comm() == process::SHIM);
    assert_eq!(shims.count(), 4);
}

#[test]
fn stdio_is_what_the_flags_say_or_the_variable() {
    let sandbox = Sandbox::new("pre-stdio");
    let bundle = sandbox.sh("echo out; echo err >&2; readlink /proc/self/fd/0");
    let run = |preset: &str, flags: &[&str]| {
        let id = sandbox.id("stdio");
        let mut command =
            sandbox.holdfast(
                ["run"]
                    .iter()
                    .chain(flags)
                    .chain(&["-b", bundle.arg(), &id]),
            );
        command.env("HOLDFAST_STDIO", preset);
        let output = sandbox.output_of(command);
        assert_eq!(output.status.code(), Some(0), "{}", show(&output));
        (text(&output.stdout), text(&output.stderr))
    };
    let said = |stdin: &str| format!("out\n{stdin}\n");
    let (out, err) = run("", &[]);
    assert!(
        out.starts_with("out\n/") && out.ends_with("/init/stdin\n"),
        "{out}"
    );
    assert_eq!(err, "err\n");
    assert_eq!(run("null", &[]), (String::new(), String::new()));
    assert_eq!(run("inherit", &[]), (said("/dev/null"), "err\n".to_owned()));
    assert_eq!(
        run("null", &["--stdio", "inherit"]),
        (said("/dev/null"), "err\n".to_owned())
    );
    assert_eq!(
        run("null", &["--stderr", "inherit"]),
        (String::new(), "err\n".to_owned())
    );
    assert_eq!(
        run("inherit", &["--stdio=null", "--stdout=fifo"]),
        (said("/dev/null"), String::new())
    );

    let file = |name: &str| fs::read_to_string(sandbox.path().join(name)).unwrap_or_default();
    assert_eq!(run("file:all", &[]), (String::new(), String::new()));
    assert_eq!(file("all"), "out\nerr\n/dev/null\n");
    // Appended to.
    run("file:all", &["--stderr", "file:err"]);
    assert_eq!(file("all"), "out\nerr\n/dev/null\nout\n/dev/null\n");
    assert_eq!(file("err"), "err\n");
    fs::write(sandbox.path().join("in"), "from a file").unwrap();
    let (out, _) = run("fifo", &["--stdin", "file:in"]);
    assert_eq!(out, said(sandbox.path().join("in").to_str().unwrap()));
    sandbox.assert_clean();
}

#[test]
fn output_in_the_background_is_logged_unless_somebody_says_otherwise() {
    let sandbox = Sandbox::new("pre-log");
    let bundle = sandbox.sh("echo out; echo err >&2");
    let policies = |preset: Option<&str>, words: &[&str]| {
        let id = sandbox.id("log");
        let end = ["-b", bundle.arg(), &id];
        let mut command = sandbox.holdfast(words.iter().chain(&end));
        match preset {
            Some(preset) => command.env("HOLDFAST_STDIO", preset),
            None => command.env_remove("HOLDFAST_STDIO"),
        };
        let output = sandbox.output_of(command);
        assert_eq!(output.status.code(), Some(0), "{}", show(&output));
        let state = fs::read(sandbox.process_dir(&id, "init").join("process.json")).unwrap();
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
        sandbox.run_ok(["delete", "-f", &id]);
        let of = |stream: &str| {
            state["holdfast"]["output"][stream]
                .as_str()
                .unwrap_or("-")
                .to_owned()
        };
        let stdin = state["containerdStdin"].as_str().unwrap();
        (stdin.ends_with("/init/stdin"), of("stdout"), of("stderr"))
    };
    let words =
        |fifo: bool, stdout: &str, stderr: &str| (fifo, stdout.to_owned(), stderr.to_owned());
    let logged = words(true, "log", "log");
    assert_eq!(policies(None, &["run", "-d"]), logged);
    assert_eq!(policies(Some(""), &["run", "-d"]), logged);
    assert_eq!(
        policies(None, &["run", "-d", "--stderr", "null"]),
        words(true, "log", "-")
    );
    assert_eq!(
        policies(Some("fifo"), &["run", "-d"]),
        words(true, "-", "-")
    );
    assert_eq!(
        policies(None, &["run", "-d", "--stdio", "fifo"]),
        words(true, "-", "-")
    );
    assert_eq!(
        policies(None, &["run", "-d", "--spill-max", "1M"]),
        words(true, "spill", "spill")
    );
    // A flag that speaks of a log goes before the variable.
    assert_eq!(
        policies(Some("fifo"), &["run", "-d", "--log-tag", "x"]),
        logged
    );
    assert_eq!(policies(None, &["create"]), words(true, "-", "-"));
    assert_eq!(policies(None, &["create", "--log-tag", "x"]), logged);

    let id = sandbox.id("exec");
    let sleeps = sandbox.sh("exec sleep 1000");
    sandbox.run_ok(["run", "-d", "-b", sleeps.arg(), &id]);
    let of_exec = |name: &str, words: &[&str]| {
        let mut command = sandbox.holdfast(["exec", "--exec-id", name]);
        command.args(words).args([&id, "true"]);
        command.env_remove("HOLDFAST_STDIO");
        let output = sandbox.output_of(command);
        assert_eq!(output.status.code(), Some(0), "{}", show(&output));
        let state = fs::read(sandbox.process_dir(&id, name).join("process.json")).unwrap();
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
        sandbox.run_ok(["wait", &id, name]);
        state["holdfast"]["output"]["stdout"]
            .as_str()
            .map(str::to_owned)
    };
    assert_eq!(of_exec("logged", &["-d"]).as_deref(), Some("log"));
    assert_eq!(of_exec("fifo", &["-d", "--stdio", "fifo"]), None);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}
