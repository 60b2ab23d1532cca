//! A script that was written for runc runs with the name replaced: each of these is run with both, and says the same.

use std::fs;

use holdfast_tests::{FakeRuntime, Sandbox};
use serde_json::Value;

const LIFE: &str = r#"
refuses $TOOL state $ID
quietly $TOOL create -b $BUNDLE $ID;       says is created
refuses $TOOL create -b $BUNDLE $ID
says $TOOL start $ID;                      soon is running
refuses $TOOL start $ID
refuses $TOOL delete $ID
says $TOOL exec $ID echo hello
says $TOOL kill $ID KILL;                  soon is stopped
refuses $TOOL kill $ID
refuses $TOOL start $ID
refuses $TOOL exec $ID true
says $TOOL delete $ID
refuses $TOOL delete $ID
says $TOOL delete -f $ID
says $TOOL list -q
quietly $TOOL run -d -b $BUNDLE $ID;       says is running
says $TOOL delete --force $ID
quietly $TOOL create --bundle $BUNDLE $ID; says is created
says $TOOL delete $ID
quietly $TOOL create --bundle=$BUNDLE $ID; says is created
says $TOOL exec $ID echo early
says $TOOL delete -f $ID
refuses $TOOL state $ID
"#;

#[test]
fn a_life_takes_the_same_words() {
    let sandbox = Sandbox::new("rw-life");
    let said = sandbox.same_as_runc(&sandbox.bundle(["sleep", "1000"]), LIFE);
    assert_eq!(said.matches("hello\nyes").count(), 1, "{said}");
    assert!(!said.contains("no\n"), "{said}");
    sandbox.assert_clean();
}

#[test]
fn the_bundle_is_where_we_are_unless_it_is_named() {
    let sandbox = Sandbox::new("rw-cwd");
    let script = "cd $BUNDLE; says $TOOL run $ID; quietly $TOOL create $ID; is created && echo made; \
        $TOOL state $ID | grep '\"bundle\"'; $TOOL delete $ID; \
        cd ..; says $TOOL run -b ${BUNDLE##*/} $ID; says $TOOL run --bundle ./${BUNDLE##*/} $ID";
    let said = sandbox.same_as_runc(&sandbox.sh("echo hello"), script);
    assert_eq!(said.matches("hello").count(), 3, "{said}");
    assert!(said.contains("made"), "{said}");
}

#[test]
fn signals_go_by_the_same_names() {
    let sandbox = Sandbox::new("rw-kill");
    let shared = sandbox.path().join("shared");
    fs::create_dir(&shared).unwrap();
    let bundle = sandbox.sh(
        "for s in HUP INT USR1 USR2 TERM; do trap \"echo $s >>/host/seen\" $s; done; echo ready >/host/ready; \
         while :; do sleep 0.02; done",
    );
    let bundle = bundle.bind(&shared);
    let script = "rm -f $DIR/shared/*; quietly $TOOL run -d -b $BUNDLE $ID; soon [ -e $DIR/shared/ready ]
        n=0
        send() { n=$((n+1)); says $TOOL kill $ID \"$@\"; soon eval '[ \"$(cat $DIR/shared/seen | wc -l)\" = $n ]'; }
        touch $DIR/shared/seen
        send; send TERM; send SIGTERM; send 15; send sigterm; send HUP; send 2; send USR1; send usr2
        cat $DIR/shared/seen
        says $TOOL kill $ID 0
        refuses $TOOL kill $ID NOPE
        refuses $TOOL kill $ID 99
        is running && echo survived
        says $TOOL kill $ID SIGKILL; soon is stopped
        $TOOL delete $ID
        for signal in KILL 9; do
            quietly $TOOL run -d -b $BUNDLE $ID; says $TOOL kill $ID $signal; soon is stopped; $TOOL delete $ID
        done
        for all in -a --all; do
            quietly $TOOL run -d -b $BUNDLE $ID; says $TOOL kill $all $ID KILL; soon is stopped; $TOOL delete $ID
        done";
    let said = sandbox.same_as_runc(&bundle, script);
    assert!(
        said.contains("TERM\nTERM\nTERM\nTERM\nTERM\nHUP\nINT\nUSR1\nUSR2\n"),
        "{said}"
    );
    assert!(said.contains("survived"), "{said}");
    sandbox.assert_clean();
}

#[test]
fn a_foreground_run_ends_as_its_container_does() {
    let sandbox = Sandbox::new("rw-exit");
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -15 $$; exit 3", 3),
    ] {
        // The first process of a pid namespace dies of no signal of its own; a shell below it does.
        let script = if code == 137 {
            "exec 2>/dev/null; sh -c 'kill -9 $$'; exit $?"
        } else {
            script
        };
        let said = sandbox.same_as_runc(&sandbox.sh(&format!(
                "read line; echo out $line; echo err >&2; {script}"
            )),
            "echo in | $TOOL run -b $BUNDLE $ID 2>$DIR/err; echo $?; cat $DIR/err; refuses $TOOL state $ID",
        );
        assert_eq!(said, format!("out in\n{code}\nerr\nrefused\n"));
    }
    let sleep = sandbox.bundle(["sleep", "1000"]);
    let killed =
        "quietly $TOOL run -b $BUNDLE $ID & soon is running; $TOOL kill $ID KILL; wait $!; echo $?";
    assert_eq!(sandbox.same_as_runc(&sleep, killed), "137\n");
    let kept = "$TOOL run --keep -b $BUNDLE $ID; echo $?; is stopped && echo kept; $TOOL delete $ID; refuses $TOOL state $ID";
    assert_eq!(
        sandbox.same_as_runc(&sandbox.sh("exit 7"), kept),
        "7\nkept\nrefused\n"
    );
    sandbox.assert_clean();
}

#[test]
fn an_exec_takes_the_same_flags() {
    let sandbox = Sandbox::new("rw-exec");
    let bundle = sandbox.bundle(["sleep", "1000"]).env("FROM_BUNDLE=yes");
    let process = holdfast_tests::spec::process(&["sh", "-c", "echo from a file; exit 4"]);
    fs::write(sandbox.path().join("process.json"), process.to_string()).unwrap();
    let script = r#"quietly $TOOL run -d -b $BUNDLE $ID
        report='pwd; id; env | grep -v ^HOME | sort; grep -E "Cap|NoNewPrivs" /proc/self/status'
        says $TOOL exec $ID sh -c "$report"
        says $TOOL exec --cwd /tmp $ID pwd
        says $TOOL exec -e A=1 -e B=2 -e PATH=/bin $ID sh -c "$report"
        says $TOOL exec -u 1000 $ID sh -c "$report"
        says $TOOL exec --user 1000:1001 -g 5 -g 6 $ID sh -c "$report"
        says $TOOL exec -c CAP_NET_RAW -c CAP_SYS_TIME $ID sh -c "$report"
        says $TOOL exec --env=A=1 --additional-gids 7 --cap CAP_SYS_TIME $ID sh -c "$report"
        says $TOOL exec --no-new-privs $ID sh -c "$report"
        echo in | $TOOL exec $ID cat
        $TOOL exec $ID sh -c 'exit 9'; echo $?
        $TOOL exec $ID sh -c 'kill -9 $$'; echo $?
        $TOOL exec $ID ls -d --color=never /proc; echo $?
        $TOOL exec --process $DIR/process.json $ID; echo $?
        $TOOL exec -p $DIR/process.json $ID; echo $?
        quietly $TOOL exec -d --pid-file $DIR/pid $ID sleep 1001; echo $?
        tr -d '[0-9]' <$DIR/pid | wc -c
        $TOOL ps $ID -o pid,args | grep 1001 | grep -c "$(cat $DIR/pid)"
        quietly $TOOL exec --detach --pid-file $DIR/pid $ID sleep 1002; echo $?
        refuses $TOOL exec $ID
        $TOOL delete -f $ID"#;
    let said = sandbox.same_as_runc(&bundle, script);
    for words in [
        "FROM_BUNDLE=yes",
        "uid=1000",
        "from a file\n4\n",
        "/tmp\nyes",
        "in\n9\n137\n/proc\n0\n",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    sandbox.assert_clean();
}

#[test]
fn files_and_descriptors_are_handed_over_alike() {
    let sandbox = Sandbox::new("rw-files");
    let bundle =
        sandbox.sh("[ -e /proc/self/fd/3 ] && cat <&3; [ -e /proc/self/fd/4 ] && cat <&4; exit 0");
    for (name, words) in [("three", "third\n"), ("four", "fourth\n")] {
        fs::write(sandbox.path().join(name), words).unwrap();
    }
    let script = "cd $DIR
        $TOOL run --pid-file pid -b $BUNDLE $ID; tr -d '[0-9]' <pid | wc -c
        quietly $TOOL create --pid-file $DIR/pid -b $BUNDLE $ID
        $TOOL state $ID | grep -c \"\\\"pid\\\": $(cat pid),\"
        $TOOL delete -f $ID
        $TOOL run --preserve-fds 1 -b $BUNDLE $ID 3<three 4<four
        echo both; $TOOL run --preserve-fds=2 -b $BUNDLE $ID 3<three 4<four
        echo none; $TOOL run -b $BUNDLE $ID 3<three 4<four";
    assert_eq!(
        sandbox.same_as_runc(&bundle, script),
        "0\n1\nthird\nboth\nthird\nfourth\nnone\n"
    );

    let sleep = sandbox.bundle(["sleep", "1000"]);
    let script = "cd $DIR; quietly $TOOL run -d -b $BUNDLE $ID
        $TOOL exec --preserve-fds 1 $ID sh -c 'cat <&3; cat <&4' 3<three 4<four 2>/dev/null
        $TOOL delete -f $ID";
    assert_eq!(sandbox.same_as_runc(&sleep, script), "third\n");
    sandbox.assert_clean();
}

#[test]
fn what_only_a_runtime_can_do_it_is_told_to() {
    let sandbox = Sandbox::new("rw-told");
    let fake = FakeRuntime::script(&sandbox, r#"delegate "$@""#);
    let runtime = fake.arg();
    let bundle = sandbox.sh("exit 7");
    let told = ["--no-pivot", "--no-new-keyring"];
    for flags in [&[][..], &told] {
        for verb in [&["create"][..], &["run"]] {
            let id = sandbox.id("told");
            let words = [
                &["--runtime", &runtime],
                verb,
                flags,
                &["-b", bundle.arg(), &id],
            ]
            .concat();
            let code = sandbox.output(words).status.code();
            assert_eq!(code, Some(if verb == ["run"] { 7 } else { 0 }));
            let argv = fake.argv("create").unwrap();
            let has = told.map(|flag| argv.iter().any(|word| word == flag));
            assert_eq!(has, [!flags.is_empty(); 2], "{argv:?}");
            if verb == ["create"] {
                sandbox.run_ok(["start", &id]);
                assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
                sandbox.run_ok(["delete", &id]);
            }
        }
    }
    sandbox.assert_clean();
}

#[test]
fn the_log_has_the_same_words() {
    let sandbox = Sandbox::new("rw-log");
    let bundle = sandbox.bundle(["true"]);
    let script =
        "cd $DIR; rm -f log; refuses $TOOL --log $DIR/log --log-format json state $ID; cat log";
    let [runc, ours] = sandbox.beside_runc(&bundle, script).map(|said| {
        let line: Value = serde_json::from_str(said.lines().nth(1).unwrap()).unwrap();
        assert!(
            line["msg"].as_str().unwrap().contains("does not exist"),
            "{line}"
        );
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
        let mut keys: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
        keys.sort_unstable();
        (keys, line["level"].clone())
    });
    assert_eq!(ours, runc);
    // Appended to, and as text when nobody says otherwise.
    let script = "cd $DIR; echo first >log; refuses $TOOL --log $DIR/log state $ID
        refuses $TOOL --log=$DIR/log --log-format=text state $ID
        sed 's/time=\"[^\"]*Z\"/TIME/; s/msg=.*does not exist\"/MSG/' log";
    let said = sandbox.same_as_runc(&bundle, script);
    assert_eq!(
        said,
        "refused\nrefused\nfirst\nTIME level=error MSG\nTIME level=error MSG\n"
    );
    // What is in the way of the log is in the way of everything.
    let script = "refuses $TOOL --log /nowhere/log list";
    assert_eq!(sandbox.same_as_runc(&bundle, script), "refused\n");
}

#[test]
fn global_flags_stand_before_the_verb() {
    let sandbox = Sandbox::new("rw-global");
    let bundle = sandbox.sh("echo hello");
    let script = "cd $DIR; says $TOOL --debug --log log --log-format json --rootless auto --criu criu run -b $BUNDLE $ID
        grep -q '\"level\":\"debug\"' log && echo debugged
        refuses $TOOL --frobnicate list
        says $TOOL --version >/dev/null; says $TOOL -v >/dev/null; says $TOOL --help >/dev/null; says $TOOL -h >/dev/null
        says $TOOL help >/dev/null; says $TOOL run --help >/dev/null; says $TOOL help run >/dev/null";
    let said = sandbox.same_as_runc(&bundle, script);
    assert!(
        said.starts_with("hello\nyes\ndebugged\nrefused\n"),
        "{said}"
    );
}
