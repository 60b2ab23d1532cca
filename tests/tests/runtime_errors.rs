//! What goes wrong in the runtime is told in its own words, however many and whatever is in them; and a runtime that never
//! comes back is given up, with everything that it had begun.

use std::fs;
use std::time::{Duration, Instant};

use holdfast::{Container, ContainerId, CreateOptions, Driver, Error, ExecOptions, ProcessId};
use holdfast_tests::daemon::quiet;
use holdfast_tests::{Bundle, FakeRuntime, Sandbox, Snapshot, process, runtime};

/// What the creation of a container fails with. Nothing is left of it.
#[track_caller]
fn failure(sandbox: &Sandbox, driver: &Driver, bundle: &Bundle, options: &CreateOptions) -> Error {
    let id = ContainerId::new(sandbox.id("fails")).unwrap();
    let before = Snapshot::of(&sandbox.root());
    let error = driver.create(&id, bundle.dir(), options).unwrap_err();
    before.assert_unchanged(&format!("a failure ({error})"));
    error
}

fn message(error: &Error) -> &str {
    match error {
        Error::Runtime { message } => message,
        other => panic!("not the runtime's: {other}"),
    }
}

fn driver_of(sandbox: &Sandbox, fake: &FakeRuntime) -> Driver {
    let builder = sandbox.driver_builder().runtime(fake.arg());
    builder.build().unwrap()
}

/// Streams of a container that the runtime's own words may go through.
fn kinds(sandbox: &Sandbox) -> [(&'static str, Bundle, CreateOptions); 3] {
    let plain = || sandbox.bundle(["true"]);
    [
        ("fifos", plain(), CreateOptions::default()),
        ("terminal", plain().terminal(), CreateOptions::default()),
        ("null", plain(), quiet()),
    ]
}

#[test]
fn a_command_that_is_not_there_is_the_runtimes_to_tell() {
    let sandbox = Sandbox::new("err-nope");
    let driver = sandbox.driver();
    for (args, words, code) in [
        (["nope"], runtime::not_found("nope"), 127),
        (["/etc/passwd"], runtime::not_executable("/etc/passwd"), 126),
    ] {
        for bundle in [sandbox.bundle(args), sandbox.bundle(args).terminal()] {
            let error = failure(&sandbox, &driver, &bundle, &CreateOptions::default());
            assert!(message(&error).contains(&words), "{error}");
            assert!(error.to_string().starts_with("oci runtime: "), "{error}");
            let kinds = (error.is_command_not_found(), error.is_not_executable());
            assert_eq!(kinds, (code == 127, code == 126), "{error}");
            let id = sandbox.id("fails");
            let output = sandbox.output(["run", "-b", bundle.arg(), &id]);
            assert_eq!(output.status.code(), Some(code));
        }
    }
    let container = sandbox.started(&driver, &sandbox.bundle(["sleep", "1000"]), "runs");
    let before = Snapshot::of(container.dir());
    let spec = container.exec_spec().unwrap().args(["nope"]);
    let name = ProcessId::new("job").unwrap();
    let error = container
        .exec(&name, &spec, &ExecOptions::default())
        .unwrap_err();
    assert!(error.is_command_not_found(), "{error}");
    before.assert_unchanged("an exec that failed");
    container.delete(true).unwrap();
    sandbox.assert_clean();
}

#[test]
fn quotes_line_ends_and_umlauts_come_through() {
    let sandbox = Sandbox::new("err-words");
    let fake = FakeRuntime::script(
        &sandbox,
        r#"
        [ $VERB = create ] || exit 0
        cat "$FAKE/log" >>"$LOG"
        cat "$FAKE/stderr" >&2
        exit 1
        "#,
    );
    let driver = driver_of(&sandbox, &fake);
    let said = "say \"hi\": C:\\x\n\tzweite Zeile – größe 🦀\u{7}";
    let line =
        |level: &str, msg: &str| format!("{}\n", serde_json::json!({"level": level, "msg": msg}));
    let both = [
        line("error", "first"),
        line("error", said),
        line("warning", "last"),
    ]
    .concat();
    let torn = [
        line("error", said),
        "{\"level\":\"error\",\"msg\":\"to".to_owned(),
    ]
    .concat();
    for (log, stderr, wanted) in [
        (line("error", said), String::new(), said),
        (both, "noise".to_owned(), said),
        (torn, String::new(), said),
        (line("fatal", "the end"), String::new(), "the end"),
        (String::new(), format!("\n{said}\n"), said),
        ("no JSON at all\n".to_owned(), said.to_owned(), said),
    ] {
        fs::write(fake.dir().join("log"), log).unwrap();
        fs::write(fake.dir().join("stderr"), stderr).unwrap();
        for (kind, bundle, options) in kinds(&sandbox) {
            // Without a log and without stderr nobody hears it.
            if kind == "null" && fs::read(fake.dir().join("log")).unwrap().first() != Some(&b'{') {
                continue;
            }
            let error = failure(&sandbox, &driver, &bundle, &options);
            assert_eq!(message(&error), wanted, "{kind}");
        }
    }
    sandbox.assert_clean();
}

#[test]
fn a_long_error_is_neither_lost_nor_in_the_way() {
    let sandbox = Sandbox::new("err-long");
    let fake = FakeRuntime::script(
        &sandbox,
        r#"
        [ $VERB = create ] || exit 0
        text=$(head -c 200000 /dev/zero | tr '\0' x)
        if [ -e "$FAKE/with-log" ]; then
            printf '{"level":"error","msg":"begins %s the cause"}\n' "$text" >>"$LOG"
        fi
        printf 'begins %s the cause\n' "$text" >&2
        exit 1
        "#,
    );
    let driver = driver_of(&sandbox, &fake);
    for with_log in [false, true] {
        for (kind, bundle, options) in kinds(&sandbox) {
            let error = failure(&sandbox, &driver, &bundle, &options);
            if kind == "null" && !with_log {
                assert!(message(&error).contains("exit status: 1"), "{error}");
                continue;
            }
            let said = message(&error);
            assert!(
                said.ends_with("xxx the cause"),
                "{kind}: {} bytes",
                said.len()
            );
            assert!(said.len() > 1000, "{kind}: {said}");
        }
        fake.let_go("with-log");
    }
    let id = sandbox.id("fails");
    let bundle = sandbox.bundle(["true"]);
    sandbox.refused(
        ["--runtime", &fake.arg(), "run", "-b", bundle.arg(), &id],
        &["oci runtime: ", "xxx the cause"],
    );
    sandbox.assert_clean();
}

/// Gives up on everything after a second.
fn impatient(sandbox: &Sandbox, fake: &FakeRuntime) -> Driver {
    let builder = sandbox.driver_builder().runtime(fake.arg());
    builder
        .start_timeout(Duration::from_secs(1))
        .build()
        .unwrap()
}

/// Leaves processes of every kind: a child, a grandchild, one in its own session, one whose parent is gone.
const HANG: &str = r#"cd "$FAKE"; sleep 1000 & sh -c "sh -c 'sleep 1000; true'; true" & setsid sleep 1000 & (setsid sh -c '(sleep 1000 &)' &); echo >"$FAKE/hangs"; sleep 1000"#;

#[test]
fn a_runtime_that_hangs_in_create_is_given_up_with_all_its_children() {
    let sandbox = Sandbox::new("hang-create");
    let fake = FakeRuntime::script(&sandbox, &format!("case $VERB in create) {HANG};; esac"));
    let driver = impatient(&sandbox, &fake);
    for (kind, bundle, options) in kinds(&sandbox) {
        let begun = Instant::now();
        let error = failure(&sandbox, &driver, &bundle, &options);
        assert!(
            matches!(error, Error::StartTimeout { .. }),
            "{kind}: {error}"
        );
        assert!(begun.elapsed() < Duration::from_secs(10), "{kind}");
        assert!(fake.dir().join("hangs").exists());
        sandbox.assert_clean();
    }
}

#[test]
fn a_runtime_that_hangs_in_everything_is_given_up_all_the_same() {
    let sandbox = Sandbox::new("hang-all");
    let fake = FakeRuntime::script(&sandbox, HANG);
    let driver = impatient(&sandbox, &fake);
    let bundle = sandbox.bundle(["true"]);
    let error = failure(&sandbox, &driver, &bundle, &CreateOptions::default());
    assert!(matches!(error, Error::StartTimeout { .. }), "{error}");
    sandbox.assert_clean();
}

#[test]
fn a_runtime_that_hangs_later_costs_only_what_was_asked_of_it() {
    let sandbox = Sandbox::new("hang-later");
    let fake = FakeRuntime::script(
        &sandbox,
        &format!(r#"case $VERB in start|exec|ps) {HANG};; esac; delegate "$@""#),
    );
    let driver = impatient(&sandbox, &fake);
    let container = sandbox.created(&driver, &sandbox.bundle(["sleep", "1000"]), "hangs");
    let error = container.start().unwrap_err();
    assert!(
        matches!(error, Error::RuntimeTimeout { verb: "start", .. }),
        "{error}"
    );
    let error = container.pids().unwrap_err();
    assert!(
        matches!(error, Error::RuntimeTimeout { verb: "ps", .. }),
        "{error}"
    );
    let before = Snapshot::of(container.dir());
    let error = exec_true(&container).unwrap_err();
    assert!(matches!(error, Error::StartTimeout { .. }), "{error}");
    before.assert_unchanged("an exec that was given up");
    // It is as it was, for a runtime that works.
    let container = sandbox.driver().load(container.id()).unwrap();
    assert_eq!(container.status().unwrap(), holdfast::Status::Created);
    assert!(container.init().unwrap().shim_lives().unwrap());
    container.delete(true).unwrap();
    // What `start` and `ps` left running is the runtime's own affair: nobody of ours was its subreaper.
    let hangs = process::under(sandbox.path());
    assert!(
        hangs
            .iter()
            .all(|p| ["sh", "sleep"].contains(&p.comm().as_str())),
        "{hangs:?}"
    );
}

fn exec_true(container: &Container) -> Result<(), Error> {
    let spec = container.exec_spec()?.args(["true"]);
    let options = ExecOptions::default();
    container
        .exec(&ProcessId::new("job")?, &spec, &options)
        .map(drop)
}
