//! A runtime that is killed in the middle of what it does for a shim: what it has made by half, or left by half, goes. Where
//! it may be killed, and that there is nothing else, is the crash matrix's to find out.

use std::fs;

use holdfast_tests::command::show;
use holdfast_tests::{FakeRuntime, Proc, Sandbox};
use serde_json::json;

#[test]
fn a_delete_that_was_killed_is_made_once_more() {
    // Before it has done anything; when all was gone but its directory.
    for before in ["", r#"real "$@"; mkdir "$ROOT/$ID""#] {
        let sandbox = Sandbox::new("rk-delete");
        let body = format!(
            r#"if [ "$VERB" = delete ] && [ ! -e "$FAKE/killed" ]; then
                ROOT='{}'; {before}
                touch "$FAKE/killed"
                kill -KILL $$
            fi
            delegate "$@""#,
            sandbox.runtime_root().display()
        );
        let fake = FakeRuntime::script(&sandbox, &body);
        let (bundle, id) = (sandbox.sh("exit 7"), sandbox.id("web"));
        let run = ["run", "-d", "-b", bundle.arg(), &id];
        sandbox.run_ok([&["--runtime", &fake.arg()][..], &run].concat());

        assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
        let dir = sandbox.process_dir(&id, "init");
        sandbox.wait_until("the shim's end", || Proc::shim_of(&dir).is_none());
        assert!(fake.dir().join("killed").exists());
        let left = fs::read_dir(sandbox.runtime_root()).unwrap().count();
        assert_eq!(left, 0, "{before:?}: the runtime still knows of it");
        sandbox.run_ok(["delete", &id]);
        sandbox.assert_clean();
    }
}

#[test]
fn a_delete_that_is_killed_again_is_left_to_whoever_recovers() {
    for flags in [&[][..], &["--rm"]] {
        let sandbox = Sandbox::new("rk-again");
        let fake = FakeRuntime::script(
            &sandbox,
            r#"[ "$VERB" != delete ] || [ -e "$FAKE/enough" ] || kill -KILL $$
            delegate "$@""#,
        );
        let (bundle, id) = (sandbox.sh("exit 7"), sandbox.id("web"));
        let run = ["run", "-d", "-b", bundle.arg(), &id];
        let runtime = fake.arg();
        sandbox.run_ok(
            ["--runtime", &runtime]
                .iter()
                .chain(&run[..2])
                .chain(flags)
                .chain(&run[2..]),
        );
        let dir = sandbox.process_dir(&id, "init");
        sandbox.wait_file(&dir.join("exit.json"));
        sandbox.wait_until("the shim's end", || Proc::shim_of(&dir).is_none());

        // What the runtime still has has a name.
        assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
        fs::write(fake.dir().join("enough"), "").unwrap();
        sandbox.run_ok(["recover"]);
        sandbox.wait_until("the last shim's end", || Proc::shim_of(&dir).is_none());
        let left = fs::read_dir(sandbox.runtime_root()).unwrap().count();
        assert_eq!(left, 0, "the runtime still knows of it");
        if flags.is_empty() {
            sandbox.run_ok(["delete", &id]);
        }
        sandbox.assert_clean();
    }
}

#[test]
fn what_a_create_that_was_killed_had_made_goes_down_to_its_cgroups() {
    let sandbox = Sandbox::new("rk-create");
    // As it is when runc is killed between its cgroups and its state.json: a process that gives up, and nothing on record.
    let body = format!(
        r#"if [ "$VERB" = create ]; then
            real "$@" || exit
            kill -KILL "$(cat "$PIDFILE")"
            rm -r '{}'"/$ID" "$PIDFILE"
            kill -KILL $$
        fi
        delegate "$@""#,
        sandbox.runtime_root().display()
    );
    let fake = FakeRuntime::script(&sandbox, &body);
    for prefix in [None, Some(""), Some("/")] {
        let id = sandbox.id("web");
        let bundle = sandbox.sh("exit 7").edit(|config| {
            if let Some(prefix) = prefix {
                config["linux"]["cgroupsPath"] = json!(format!("{prefix}{id}"));
            }
        });
        let create = ["create", "-b", bundle.arg(), &id];
        let output = sandbox.output([&["--runtime", &fake.arg()][..], &create].concat());
        assert_eq!(output.status.code(), Some(125), "{}", show(&output));
        sandbox.assert_clean();
    }
}
