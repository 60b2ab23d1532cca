//! `holdfast supervise` and restarts: what is restarted is what it was, and what fails is on record.

use std::fs;

use holdfast_tests::command::{show, text};
use holdfast_tests::supervisor::{counting, runs};
use holdfast_tests::{FakeRuntime, Sandbox};

fn delete(sandbox: &Sandbox, id: &str) {
    sandbox.run_ok(["delete", "-f", id]);
}

#[test]
fn a_restarted_container_is_what_it_was() {
    let sandbox = Sandbox::new("sup-same");
    let supervisor = sandbox.supervise().ready();
    let log = sandbox.path().join("log");
    let bundle = sandbox.sh("echo out; echo err >&2; exit 1");
    let id = sandbox.id("same");
    let stdio = format!("file:{}", log.display());
    let args = ["run", "-d", "--label", "a=b", "--restart", "on-failure:2"];
    let more = ["--stdio", &stdio, "-b", bundle.arg(), &id];
    sandbox.run_ok(args.iter().chain(&more));
    let state = || fs::read(sandbox.container_dir(&id).join("state.json")).unwrap();
    let before = state();
    supervisor.wait_event(&id, "gave-up");
    assert_eq!(state(), before);
    assert_eq!(fs::read_to_string(&log).unwrap(), "out\nerr\n".repeat(3));
    // Nothing is left of the processes before but what the event log says of them.
    let left: Vec<_> = fs::read_dir(sandbox.container_dir(&id)).unwrap().collect();
    assert_eq!(left.len(), 4, "{left:?}");
    delete(&sandbox, &id);
    supervisor.leave();
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn a_restart_that_fails_is_on_record_and_tried_again() {
    let sandbox = Sandbox::new("sup-fails");
    // The second and third process fail to come: refused by the runtime, then cut off with their shim.
    let fake = FakeRuntime::script(
        &sandbox,
        r#"if [ $VERB = create ]; then
            echo >>"$FAKE/creates"
            case $(wc -l <"$FAKE/creates") in
            2) log_error "no such luck"; exit 1 ;;
            3) kill -9 $PPID; exec sleep 1000 ;;
            esac
        fi
        delegate "$@""#,
    );
    let supervisor = sandbox.supervise().ready();
    let (bundle, file) = counting(&sandbox, "fails", "exit 1");
    let id = sandbox.id("fails");
    let runtime = fake.arg();
    let args = ["--runtime", &runtime, "run", "-d", "--stdio=null"];
    let more = ["--restart", "on-failure:3", "-b", bundle.arg(), &id];
    sandbox.run_ok(args.iter().chain(&more));
    supervisor.wait_event(&id, "gave-up");
    let failed = supervisor.wait_events(&id, "failed", 2);
    let why = failed[0]["error"].as_str().unwrap();
    assert!(why.contains("no such luck"), "{why}");
    // Of four processes two ran, and there is an end on record for each.
    assert_eq!(runs(&file), 2);
    assert_eq!(supervisor.events_of(&id, "exit").len(), 2);
    assert_eq!(supervisor.wait_event(&id, "restart")["count"], 3);
    delete(&sandbox, &id);
    supervisor.leave();
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn what_cannot_be_had_again_cannot_be_restarted() {
    let sandbox = Sandbox::new("sup-refused");
    let bundle = sandbox.bundle(["true"]);
    for (flags, why) in [
        (&["run", "-d", "--rm"][..], "removed when it ends"),
        (
            &["run", "-d", "--stdio", "inherit"],
            "its creator's own streams",
        ),
        (&["run"], "needs --detach"),
    ] {
        let id = sandbox.id("refused");
        let more = ["--restart", "always", "-b", bundle.arg(), &id];
        let output = sandbox.output(flags.iter().chain(&more));
        assert_eq!(output.status.code(), Some(125), "{}", show(&output));
        assert!(text(&output.stderr).contains(why), "{}", show(&output));
    }
    sandbox.assert_clean();
}
