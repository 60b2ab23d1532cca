//! The exit command runs when everything else is done, knows whose end it was, and is never lost: at least once, whoever is killed.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use holdfast_tests::command::show;
use holdfast_tests::{AtEnd, Bundle, Gate, Proc, Sandbox, binaries, fake_runtime, wait};
use nix::sys::signal::Signal;

/// At so many moments, at most, the shim is killed.
const CASES: usize = 24;

/// A script of the test's own as the exit command, and the file that it appends a line to when it has run.
struct Hook {
    program: PathBuf,
    told: PathBuf,
}

impl Hook {
    /// `$TOLD` is the file.
    fn new(sandbox: &Sandbox, script: &str) -> Self {
        let program = sandbox.path().join("hook");
        let told = sandbox.path().join("told");
        let text = format!("#!/bin/sh\nTOLD='{}'\n{script}\n", told.display());
        fake_runtime::install(&program, &text);
        Self { program, told }
    }

    /// Says who ended and how.
    fn saying(sandbox: &Sandbox) -> Self {
        Self::new(
            sandbox,
            r#"echo "$HOLDFAST_ID $HOLDFAST_PROCESS $HOLDFAST_EXIT_STATUS" >> "$TOLD""#,
        )
    }

    fn flags(&self) -> [&str; 2] {
        ["--exit-command", self.program.to_str().unwrap()]
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.told).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn wait(&self, sandbox: &Sandbox, lines: usize) -> Vec<String> {
        sandbox.wait_until("the exit command", || self.lines().len() >= lines);
        self.lines()
    }
}

fn run(sandbox: &Sandbox, flags: &[&str], bundle: &Bundle, id: &str) {
    let words = [&["run", "-d"], flags, &["-b", bundle.arg(), id]].concat();
    sandbox.run_ok(words);
}

#[test]
fn it_runs_when_all_else_is_done_and_is_told_everything() {
    let sandbox = Sandbox::new("hook");
    let hook = Hook::new(
        &sandbox,
        r#"
        {
            env
            echo "arguments: $# [$1] [$2]"
            echo "directory: $PWD"
            runc --root "$HOLDFAST_RUNTIME_ROOT" list -q
            cat "$HOLDFAST_ROOT/$HOLDFAST_ID/$HOLDFAST_PROCESS/stdout.unread"
            cat "$HOLDFAST_ROOT/$HOLDFAST_ID/$HOLDFAST_PROCESS/exitStatus"
            echo
        } > "$TOLD.new"
        mv "$TOLD.new" "$TOLD"
        "#,
    );
    let bundle = sandbox.sh("echo output; exit 7");
    let id = sandbox.id("hook");
    let args = ["--exit-command-arg", "--one", "--exit-command-arg", ""];
    let flags = [&hook.flags()[..], &args].concat();
    let words = [&["run", "-d"], &flags[..], &["-b", bundle.arg(), &id]].concat();
    let mut command = sandbox.holdfast(words);
    // What is meant for the launcher alone does not get there, nor what says something else.
    command.env("NOTIFY_SOCKET", "/no/where");
    command.env("HOLDFAST_EXIT_SIGNAL", "9").env("HOOK", "kept");
    assert!(sandbox.output_of(command).status.success());
    let told = sandbox.wait_file(&hook.told);
    let has = |line: &str| assert!(told.lines().any(|l| l == line), "{line:?} is not in {told}");
    let root = sandbox.root();
    has(&format!("HOLDFAST_ROOT={}", root.display()));
    has(&format!("HOLDFAST_ID={id}"));
    has("HOLDFAST_PROCESS=init");
    has(&format!("HOLDFAST_BUNDLE={}", bundle.arg()));
    let record = sandbox.exit_json(&id, "init");
    has(&format!("HOLDFAST_PID={}", record["pid"]));
    has(&format!(
        "HOLDFAST_EXITED_AT={}",
        record["exitedAt"].as_str().unwrap()
    ));
    has("HOLDFAST_EXIT_STATUS=7");
    has("HOLDFAST_OOM_KILLED=false");
    has("HOOK=kept");
    for name in [
        "NOTIFY_SOCKET",
        "HOLDFAST_EXIT_SIGNAL",
        "HOLDFAST_TIMED_OUT",
        "HOLDFAST_RESTARTS",
    ] {
        assert!(!told.contains(&format!("{name}=")), "{told}");
    }
    has("arguments: 2 [--one] []");
    has("directory: /");
    has("output");
    assert!(
        told.ends_with("\noutput\n7\n"),
        "the runtime still knows it: {told}"
    );
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn it_has_nothing_of_the_shims() {
    let sandbox = Sandbox::new("hook-leak");
    let script = r#"echo $$ > "$TOLD.new"; mv "$TOLD.new" "$TOLD"; exec sleep 1000"#;
    let hook = Hook::new(&sandbox, script);
    let id = sandbox.id("leak");
    let score = ["--shim-oom-score-adj", "-500"];
    let flags = [&score[..], &hook.flags()].concat();
    run(&sandbox, &flags, &sandbox.bundle(["true"]), &id);
    sandbox.wait_file(&hook.told);
    let command = Proc::from_file(&hook.told).unwrap();
    let _end = AtEnd(|| command.signal(Signal::SIGKILL));
    sandbox.wait_until("sleep", || {
        command.comm() == "sleep" && command.waits_in("nanosleep")
    });
    let null = PathBuf::from("/dev/null");
    let streams = [0, 1, 2].map(|number| (number, null.clone()));
    assert_eq!(command.fds(), streams.into());
    for mask in ["SigBlk", "SigIgn"] {
        assert_eq!(command.status(mask).unwrap(), "0000000000000000", "{mask}");
    }
    let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", command.pid()));
    assert_eq!(score.unwrap(), "0\n");
    // And it does not keep whoever waits for the shim.
    sandbox.run_ok(["delete", &id]);
    assert!(command.is_alive());
    sandbox.assert_clean();
}

#[test]
fn a_signal_a_time_that_is_over_and_an_end_that_nobody_saw_are_told_as_what_they_are() {
    let sandbox = Sandbox::new("hook-ends");
    let script = r#"
        echo "$HOLDFAST_EXIT_STATUS [$HOLDFAST_EXIT_SIGNAL] [$HOLDFAST_TIMED_OUT] [$HOLDFAST_EXIT_REASON]" >> "$TOLD"
    "#;
    let hook = Hook::new(&sandbox, script);
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("killed");
    run(&sandbox, &hook.flags(), &bundle, &id);
    sandbox.run_ok(["kill", &id, "KILL"]);
    assert_eq!(hook.wait(&sandbox, 1)[0], "137 [9] [] []");

    let late = sandbox.id("late");
    let time = ["--timeout", "1", "--stop-timeout", "0"];
    run(
        &sandbox,
        &[&hook.flags()[..], &time].concat(),
        &bundle,
        &late,
    );
    assert_eq!(hook.wait(&sandbox, 2)[1], "137 [9] [true] []");

    let unseen = sandbox.id("unseen");
    run(&sandbox, &hook.flags(), &bundle, &unseen);
    sandbox.kill_shim(&sandbox.process_dir(&unseen, "init"));
    let process = Proc::from_file(&sandbox.process_dir(&unseen, "init").join("pid")).unwrap();
    sandbox.run_ok(["kill", &unseen, "KILL"]);
    sandbox.wait_until("its end, and whoever reaps it", || {
        process.stat(3).is_none()
    });
    let said = sandbox.recovered(&unseen);
    assert!(said.starts_with("finished"), "{said}");
    let reason = "its shim was killed, and it ended before another took over";
    assert_eq!(hook.wait(&sandbox, 3)[2], format!("255 [] [] [{reason}]"));
    for id in [&id, &late, &unseen] {
        sandbox.run_ok(["delete", id]);
    }
    sandbox.assert_clean();
}

#[test]
fn an_exec_has_one_of_its_own_and_removal_does_not_lose_it() {
    let sandbox = Sandbox::new("hook-exec");
    let hook = Hook::saying(&sandbox);
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("exec");
    run(&sandbox, &["--rm"], &bundle, &id);
    let flags = hook.flags();
    let background = [&["exec", "-d", "--rm", "--exec-id", "job"], &flags[..]].concat();
    sandbox.run_ok([&background[..], &[&id, "sh", "-c", "exit 3"]].concat());
    assert_eq!(hook.wait(&sandbox, 1)[0], format!("{id} job 3"));
    let foreground = [&["exec", "--exec-id", "fore"], &flags[..]].concat();
    let output = sandbox.output([&foreground[..], &[&id, "sh", "-c", "exit 4"]].concat());
    assert_eq!(output.status.code(), Some(4), "{}", show(&output));
    assert_eq!(hook.wait(&sandbox, 2)[1], format!("{id} fore 4"));
    sandbox.run_ok(["delete", "-f", &id]);

    let gone = sandbox.id("gone");
    let shell = sandbox.sh("exit 5");
    run(&sandbox, &[&flags[..], &["--rm"]].concat(), &shell, &gone);
    assert_eq!(hook.wait(&sandbox, 3)[2], format!("{gone} init 5"));
    let fore = sandbox.id("fore");
    let words = [&["run"], &flags[..], &["-b", shell.arg(), &fore]].concat();
    assert_eq!(sandbox.output(words).status.code(), Some(5));
    assert_eq!(hook.wait(&sandbox, 4)[3], format!("{fore} init 5"));
    sandbox.assert_clean();
}

#[test]
fn it_may_be_holdfast_itself() {
    let sandbox = Sandbox::new("hook-self");
    let bundle = sandbox.sh("exit 7");
    let id = sandbox.id("self");
    let holdfast = binaries::holdfast();
    let mut flags = vec!["--exit-command", holdfast.to_str().unwrap()];
    for arg in ["delete", id.as_str()] {
        flags.extend(["--exit-command-arg", arg]);
    }
    run(&sandbox, &flags, &bundle, &id);
    sandbox.wait_until("the container to delete itself", || {
        !sandbox.container_dir(&id).exists()
    });
    sandbox.assert_clean();
}

#[test]
fn whoever_deletes_or_waits_does_not_wait_for_its_delay() {
    let sandbox = Sandbox::new("hook-delay");
    let hook = Hook::saying(&sandbox);
    let bundle = sandbox.sh("exit 7");
    let id = sandbox.id("delay");
    let flags = [&hook.flags()[..], &["--exit-delay", "2"]].concat();
    run(&sandbox, &flags, &bundle, &id);
    let init = sandbox.process_dir(&id, "init");
    let shim = sandbox.shim_of(&init);
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    sandbox.wait_until("all steps but the last", || {
        fs::read(init.join("shim.lock")).is_ok_and(|lock| lock == b"left\n")
    });
    let said = sandbox.run_ok(["inspect", &id]);
    assert!(
        said.contains("its shim waits to run the exit command"),
        "{said}"
    );
    // Recovering it would run the command twice.
    sandbox.run_ok(["recover", &id]);
    assert!(shim.is_alive() && hook.lines().is_empty());
    sandbox.run_ok(["delete", &id]);
    assert!(shim.is_alive() && hook.lines().is_empty());
    // Another of its name has nothing to do with it.
    let sleeps = sandbox.bundle(["sleep", "1000"]);
    run(&sandbox, &[], &sleeps, &id);
    assert_eq!(hook.wait(&sandbox, 1), [format!("{id} init 7")]);
    sandbox.wait_until("the shim's end", || !shim.is_alive());
    assert!(sandbox.run_ok(["list", "-q"]).contains(&id));
    sandbox.run_ok(["delete", "-f", &id]);

    // In the foreground neither.
    let fore = sandbox.id("fore");
    let hour = [&hook.flags()[..], &["--exit-delay", "1h"]].concat();
    let words = [&["run"], &hour[..], &["-b", bundle.arg(), &fore]].concat();
    let output = sandbox.output(words);
    assert_eq!(output.status.code(), Some(7), "{}", show(&output));
    assert!(output.stderr.is_empty() && !sandbox.container_dir(&fore).exists());
    // Not gone, and not awake.
    let shims = holdfast_tests::process::under(sandbox.path());
    let shim = shims
        .into_iter()
        .find(|p| p.comm() == holdfast_tests::process::SHIM);
    let shim = shim.expect("a shim waits for an hour");
    let before = shim.wake_ups();
    assert!(!wait::until(Duration::from_millis(300), || shim.wake_ups() != before));
    shim.signal(Signal::SIGKILL);
    sandbox.assert_clean();
}

#[test]
fn a_shim_that_is_killed_in_the_delay_is_followed_by_one_that_waits_for_the_rest() {
    let sandbox = Sandbox::new("hook-rest");
    let hook = Hook::saying(&sandbox);
    let bundle = sandbox.sh("exit 7");
    let flags = [&hook.flags()[..], &["--exit-delay", "2"]].concat();
    let left = |id: &str| {
        let init = sandbox.process_dir(id, "init");
        sandbox.wait_until("all steps but the last", || {
            fs::read(init.join("shim.lock")).is_ok_and(|lock| lock == b"left\n")
        });
        init
    };
    let id = sandbox.id("by-hand");
    run(&sandbox, &flags, &bundle, &id);
    sandbox.kill_shim(&left(&id));
    let said = sandbox.run_ok(["inspect", &id]);
    assert!(
        said.contains("before it had run the exit command"),
        "{said}"
    );
    assert!(hook.lines().is_empty());
    let log =
        || fs::read_to_string(sandbox.process_dir(&id, "init").join("shim-log.json")).unwrap();
    let before = log();
    assert!(sandbox.recovered(&id).starts_with("finished"));
    assert_eq!(hook.wait(&sandbox, 1), [format!("{id} init 7")]);
    assert_eq!(log(), before, "the other steps were not taken once more");
    sandbox.run_ok(["delete", &id]);

    // A supervisor sees it by itself, and has not waited either.
    let supervisor = sandbox.supervise().ready();
    let watched = sandbox.id("watched");
    run(&sandbox, &flags, &bundle, &watched);
    supervisor.wait_event(&watched, "exit");
    sandbox.kill_shim(&left(&watched));
    assert_eq!(hook.wait(&sandbox, 2)[1], format!("{watched} init 7"));
    supervisor.kill();
    sandbox.run_ok(["delete", &watched]);
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn a_restarted_container_runs_it_at_each_end_and_its_restart_waits_for_no_delay() {
    let sandbox = Sandbox::new("hook-restart");
    let hook = Hook::new(
        &sandbox,
        r#"echo "$HOLDFAST_EXIT_STATUS [$HOLDFAST_RESTARTS]" >> "$TOLD""#,
    );
    let bundle = sandbox.sh("exit 7");
    let supervisor = sandbox.supervise().ready();
    let id = sandbox.id("restart");
    let policy = ["--restart", "on-failure:2", "--exit-delay", "3"];
    run(
        &sandbox,
        &[&hook.flags()[..], &policy].concat(),
        &bundle,
        &id,
    );
    supervisor.wait_event(&id, "gave-up");
    assert_eq!(hook.lines(), Vec::<String>::new());
    let mut told = hook.wait(&sandbox, 3);
    told.sort();
    assert_eq!(told, ["7 [1]", "7 [2]", "7 []"]);
    supervisor.kill();
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn a_shim_is_killed_anywhere_on_its_way_out_and_the_command_runs_all_the_same() {
    let sandbox = Sandbox::new("hook-kill");
    // One that runs a second time may do so while the next is looked at.
    let script = r#"echo "$HOLDFAST_PROCESS $HOLDFAST_EXIT_STATUS" >> "$TOLD.$HOLDFAST_ID""#;
    let hook = Hook::new(&sandbox, script);
    let told = |id: &str| {
        let file = hook.told.with_file_name(format!("told.{id}"));
        sandbox.wait_until("the exit command", || {
            fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n'))
        });
        let text = fs::read_to_string(&file).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let gate = sandbox.gate();
    let bundle = sandbox
        .sh(&format!("{}; exit 7", Gate::WAIT))
        .bind(gate.dir());
    let start = |flags: &[&str]| {
        let id = sandbox.id("kill");
        run(&sandbox, &[&hook.flags()[..], flags].concat(), &bundle, &id);
        let shim = sandbox.idle_shim_of(&sandbox.process_dir(&id, "init"));
        (id, shim)
    };
    for flags in [&[][..], &["--rm"]] {
        let (id, shim) = start(flags);
        let moments = sandbox.moments_of(shim, || gate.open());
        told(&id);
        if flags.is_empty() {
            sandbox.run_ok(["delete", &id]);
        }
        let cases = moments.len().min(CASES);
        let mut unknown = 0;
        for case in 0..cases {
            let moment = &moments[case * moments.len() / cases];
            let (id, shim) = start(flags);
            println!("right before {moment}: {id}");
            sandbox.kill_at(moment, shim, || gate.open());
            let process = Proc::from_file(&sandbox.process_dir(&id, "init").join("pid"));
            if let Some(process) = process {
                sandbox.wait_until("the container's end", || !process.is_alive());
            }
            // With --rm its directory may be gone: then it had run.
            if sandbox.container_dir(&id).exists() {
                sandbox.run_ok(["recover", &id]);
            }
            let told = told(&id);
            let right = |line: &String| ["init 7", "init 255"].contains(&line.as_str());
            assert!(told.iter().all(right), "{told:?}");
            unknown += usize::from(told[0] == "init 255");
            if flags.is_empty() {
                sandbox.run_ok(["delete", &id]);
            } else {
                // By whoever has adopted what was still there to be reaped, and is not done when `recover` is.
                sandbox.wait_until("its directory to go", || {
                    !sandbox.container_dir(&id).exists()
                });
            }
        }
        // The next launch removes what was half removed.
        sandbox.run_ok([
            "run",
            "-b",
            sandbox.bundle(["true"]).arg(),
            &sandbox.id("sweep"),
        ]);
        sandbox.assert_clean();
        println!("killed at {cases} moments, end unknown {unknown}");
    }
}

#[test]
fn what_cannot_be_run_is_refused_at_launch_or_else_said_in_one_line() {
    let sandbox = Sandbox::new("hook-bad");
    let bundle = sandbox.sh("exit 7");
    let plain = sandbox.path().join("plain");
    fs::write(&plain, "").unwrap();
    let plain = plain.to_str().unwrap();
    let id = sandbox.id("bad");
    for (flags, words) in [
        (
            &["--exit-command", "/no/such/program"][..],
            &["exit command /no/such/program", "no such file"][..],
        ),
        (
            &["--exit-command", "no-such-program"],
            &["no-such-program", "not found in $PATH"],
        ),
        (
            &["--exit-command", "/tmp"],
            &["exit command /tmp", "is a directory"],
        ),
        (&["--exit-command", plain], &["plain", "is not executable"]),
        (&["--exit-command", ""], &["exit"]),
        (&["--exit-command-arg", "x"], &["--exit-command"]),
        (&["--exit-delay", "5"], &["--exit-command"]),
        (
            &["--exit-command", "true", "--exit-delay", "soon"],
            &["--exit-delay", "soon"],
        ),
    ] {
        for verb in ["run", "create"] {
            let args = [&[verb, "-b", bundle.arg()], flags, &[&id]].concat();
            sandbox.refused(args, words);
        }
    }
    let hook = Hook::saying(&sandbox);
    sandbox.run_ok([&["create"], &hook.flags()[..], &["-b", bundle.arg(), &id]].concat());
    fs::remove_file(&hook.program).unwrap();
    sandbox.run_ok(["start", &id]);
    let init = sandbox.process_dir(&id, "init");
    sandbox.wait_done(&init);
    let log = fs::read_to_string(init.join("shim-log.json")).unwrap();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("exit command"))
        .collect();
    assert!(
        matches!(lines[..], [line] if line.contains("hook: no such file or directory")),
        "{log}"
    );
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}
