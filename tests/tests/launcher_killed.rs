//! Whoever launches may be killed at any moment. Afterwards either nothing is there, or what is there is found, started,
//! waited for and removed by somebody else, with its exact exit status. The steps are those of docs/architecture.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use holdfast_tests::command::{show, text};
use holdfast_tests::process::{SHIM, under};
use holdfast_tests::strace::Moment;
use holdfast_tests::{Bundle, FakeRuntime, Gate, Proc, Sandbox, binaries, fifo};
use serde_json::Value;

/// At so many moments of one kind of launch, at most, it is killed. More than there are today: every one.
const CASES: usize = 120;

/// What every container and every exec here ends with.
const CODE: &str = "7\n";

/// Waits until nothing is under way any more: what is left of ours are shims that hold.
fn settle(sandbox: &Sandbox) {
    sandbox.wait_until("launches to come to an end", || {
        under(sandbox.path())
            .iter()
            .all(|process| is_holding(*process))
    });
}

fn is_holding(process: Proc) -> bool {
    process.comm() == SHIM && process.argv().get(4).is_some_and(|word| word == "hold")
}

/// Id and status of every container that `list` shows.
fn listed(sandbox: &Sandbox) -> Vec<(String, String)> {
    let list = sandbox.run_ok(["list", "-f", "json"]);
    let list: Vec<Value> = serde_json::from_str(&list).expect("list -f json prints a list");
    let word = |state: &Value, key: &str| state[key].as_str().expect("a string").to_owned();
    list.iter()
        .map(|state| (word(state, "id"), word(state, "status")))
        .collect()
}

fn entries(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).expect("read a directory");
    names
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

/// Asserts what must hold when the launch of a container has been cut short, and removes what it left. Returns in
/// which state that was.
#[track_caller]
fn nothing_or_a_container(sandbox: &Sandbox, id: &str) -> String {
    settle(sandbox);
    let status = match listed(sandbox).as_slice() {
        [] => {
            // A shim that has done everything may need a moment more to end.
            let nobody = || under(sandbox.path()).is_empty();
            sandbox.wait_until("shims that nobody knows of to end", nobody);
            assert_eq!(entries(&sandbox.runtime_root()), [""; 0]);
            assert!(!sandbox.container_dir(id).exists());
            return "nothing".to_owned();
        }
        [(found, status)] if found == id => status.clone(),
        other => panic!("{other:?} is listed"),
    };
    if status == "created" {
        start(sandbox, id);
    }
    assert_eq!(sandbox.run_ok(["wait", id]), CODE);
    sandbox.run_ok(["delete", id]);
    status
}

/// Starts a created container. That may be refused: the launcher may have been killed when the runtime had told the
/// process to go on, and the process have followed only now. Whether it runs is seen by its end.
fn start(sandbox: &Sandbox, id: &str) {
    let output = sandbox.output(["start", id]);
    if !output.status.success() {
        println!("start {id}: {}", show(&output));
    }
}

/// The same for an exec of the running container `id`.
#[track_caller]
fn nothing_or_an_exec(sandbox: &Sandbox, id: &str, exec: &str) -> String {
    settle(sandbox);
    let dir = sandbox.process_dir(id, exec);
    if dir.exists() {
        assert_eq!(sandbox.run_ok(["wait", id, exec]), CODE);
        return "an exec".to_owned();
    }
    let nobody = || Proc::shim_of(&dir).is_none();
    sandbox.wait_until("a shim that nobody knows of to end", nobody);
    let pids = sandbox.run_ok(["ps", "-f", "json", id]);
    let pids: Vec<i32> = serde_json::from_str(&pids).expect("ps -f json prints a list");
    assert_eq!(pids.len(), 1, "only init");
    "nothing".to_owned()
}

/// After an unharmed launch nothing is left, not even of those that were killed.
fn one_more_leaves_nothing(sandbox: &Sandbox, bundle: &Bundle) {
    let id = sandbox.id("last");
    let output = sandbox.output(["run", "-b", bundle.arg(), &id]);
    assert_eq!(output.status.code(), Some(7), "{}", show(&output));
    sandbox.assert_clean();
}

/// Kills a launch at moments evenly spread over all of it. `launch` gives the command for an id; `check` says what
/// was left of it.
fn sweep(
    sandbox: &Sandbox,
    what: &str,
    launch: impl Fn(&str) -> Command,
    check: impl Fn(&str) -> String,
) {
    let id = sandbox.id("whole");
    let moments = sandbox.moments(&launch(&id));
    check(&id);
    let cases = moments.len().min(CASES);
    let mut found = BTreeMap::<String, usize>::new();
    for case in 0..cases {
        let moment: &Moment = &moments[case * moments.len() / cases];
        let id = sandbox.id("cut");
        println!("{what}: right before {moment}: {id}");
        sandbox.killed_at(moment, &launch(&id));
        *found.entry(check(&id)).or_default() += 1;
    }
    let all = moments.len();
    println!("{what}: killed at {cases} of {all} moments, found {found:?}");
    // A sweep that always comes too early, or too late, is none.
    assert!(found.len() > 1, "{found:?}");
}

#[test]
fn a_run_in_the_background_is_killed_anywhere() {
    let sandbox = Sandbox::new("run-d");
    let bundle = sandbox.sh("exit 7");
    sweep(
        &sandbox,
        "run -d",
        |id| sandbox.holdfast(["run", "-d", "-b", bundle.arg(), id]),
        |id| nothing_or_a_container(&sandbox, id),
    );
    one_more_leaves_nothing(&sandbox, &bundle);
}

#[test]
fn a_run_in_the_foreground_is_killed_anywhere() {
    let sandbox = Sandbox::new("run");
    let bundle = sandbox.sh("exit 7");
    sweep(
        &sandbox,
        "run",
        |id| sandbox.holdfast(["run", "-b", bundle.arg(), id]),
        |id| nothing_or_a_container(&sandbox, id),
    );
    one_more_leaves_nothing(&sandbox, &bundle);
}

#[test]
fn a_create_is_killed_anywhere() {
    let sandbox = Sandbox::new("create");
    let bundle = sandbox.sh("exit 7");
    sweep(
        &sandbox,
        "create",
        |id| sandbox.holdfast(["create", "-b", bundle.arg(), id]),
        |id| nothing_or_a_container(&sandbox, id),
    );
    one_more_leaves_nothing(&sandbox, &bundle);
}

#[test]
fn an_exec_is_killed_anywhere() {
    let sandbox = Sandbox::new("exec");
    let id = sandbox.id("host");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let exec = |args: &[&str], name: &str| {
        let words = [args, &["--exec-id", name, &id, "sh", "-c", "exit 7"]];
        sandbox.holdfast([&["exec"], words.concat().as_slice()].concat())
    };
    for (what, args) in [("exec", &[][..]), ("exec -d", &["-d"])] {
        sweep(
            &sandbox,
            what,
            |name| exec(args, name),
            |name| nothing_or_an_exec(&sandbox, &id, name),
        );
    }
    let output = sandbox.output_of(exec(&[], "last"));
    assert_eq!(output.status.code(), Some(7), "{}", show(&output));
    let left = entries(&sandbox.container_dir(&id));
    assert!(left.iter().all(|name| !name.starts_with('~')), "{left:?}");
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

/// A stand-in for the shim or the runtime meets the test in the middle of a step: there the launcher is killed.
struct Step {
    name: &'static str,
    /// `--shim` or `--runtime`: what has a stand-in.
    stand_in: &'static str,
    body: String,
    /// What becomes of a container, and of an exec.
    found: &'static str,
}

/// The steps that are not the launcher's own, so that killing it between its system calls does not hit them for sure.
fn steps(verb: &'static str) -> Vec<Step> {
    let meet = r#": >"$FAKE/here"; wait_for "$FAKE/go""#;
    let runtime = |verb: &str, lines: &str| {
        format!(r#"if [ $VERB = {verb} ]; then {lines}; fi; delegate "$@""#)
    };
    let after = format!(r#"real "$@"; code=$?; {meet}; exit $code"#);
    let mut steps = vec![
        Step {
            name: "2, before the shim commits",
            stand_in: "--shim",
            body: format!(r#"{meet}; exec {} "$@" 9<&-"#, binaries::shim().display()),
            found: "nothing",
        },
        Step {
            name: "4, before the runtime creates",
            stand_in: "--runtime",
            body: runtime(verb, meet),
            found: "created",
        },
        Step {
            name: "4, and then the runtime fails",
            stand_in: "--runtime",
            body: runtime(verb, &format!("{meet}; log_error full; exit 1")),
            found: "nothing",
        },
        Step {
            name: "5, when the runtime has created",
            stand_in: "--runtime",
            body: runtime(verb, &after),
            found: "created",
        },
    ];
    if verb == "create" {
        steps.push(Step {
            name: "7, before the runtime starts",
            stand_in: "--runtime",
            body: runtime("start", meet),
            found: "stopped",
        });
        steps.push(Step {
            name: "7, when the runtime has started",
            stand_in: "--runtime",
            body: runtime("start", &after),
            found: "stopped",
        });
    }
    steps
}

/// Kills the launcher where the stand-in meets us, and lets the stand-in go on.
fn kill_in_the_middle(sandbox: &Sandbox, fake: &FakeRuntime, launch: Command) {
    let launcher = sandbox.spawn(launch);
    sandbox.wait_until("the step", || fake.dir().join("here").exists());
    launcher.kill();
    fake.let_go("go");
}

#[test]
fn a_run_is_killed_in_the_middle_of_each_step() {
    for flags in [&["-d"][..], &[]] {
        for step in steps("create") {
            println!("run {flags:?}, step {}", step.name);
            let sandbox = Sandbox::new("steps");
            let fake = FakeRuntime::script(&sandbox, &step.body);
            let bundle = sandbox.sh("exit 7");
            let id = sandbox.id("step");
            let run = [&[step.stand_in, &fake.arg(), "run"], flags];
            let args = [run.concat().as_slice(), &["-b", bundle.arg(), &id]].concat();

            kill_in_the_middle(&sandbox, &fake, sandbox.holdfast(args));

            settle(&sandbox);
            if step.found == "stopped" {
                sandbox.wait_file(&sandbox.process_dir(&id, "init").join("exitStatus"));
            }
            assert_eq!(nothing_or_a_container(&sandbox, &id), step.found);
            // No need for another launch: the shim cleans up after a launcher that died before the commit.
            sandbox.assert_clean();
        }
    }
}

#[test]
fn an_exec_is_killed_in_the_middle_of_each_step() {
    for flags in [&["-d"][..], &[]] {
        for step in steps("exec") {
            println!("exec {flags:?}, step {}", step.name);
            let sandbox = Sandbox::new("steps");
            let fake = FakeRuntime::script(&sandbox, &step.body);
            let bundle = sandbox.bundle(["sleep", "1000"]);
            let id = sandbox.id("step");
            // Execs use the runtime that their container was made with.
            let runtime = Some(fake.arg()).filter(|_| step.stand_in == "--runtime");
            let runtime = runtime.unwrap_or("runc".to_owned());
            sandbox.run_ok(["--runtime", &runtime, "run", "-d", "-b", bundle.arg(), &id]);
            let exec = [&[step.stand_in, &fake.arg(), "exec"], flags];
            let words = ["--exec-id", "job", &id, "sh", "-c", "exit 7"];

            let exec = sandbox.holdfast([exec.concat().as_slice(), &words].concat());
            kill_in_the_middle(&sandbox, &fake, exec);

            let found = nothing_or_an_exec(&sandbox, &id, "job");
            assert_eq!(found == "nothing", step.found == "nothing", "{found}");
            let left = entries(&sandbox.container_dir(&id));
            assert!(left.iter().all(|name| !name.starts_with('~')), "{left:?}");
            sandbox.run_ok(["delete", "-f", &id]);
            sandbox.assert_clean();
        }
    }
}

#[test]
fn an_attached_launcher_is_killed_and_the_container_talks_to_the_next() {
    let sandbox = Sandbox::new("attached");
    let gate = sandbox.gate();
    let script = format!(
        "read a; echo 1 $a; read b; echo 2 $b; {}; echo 3; read c; echo 4 $c; exit 7",
        Gate::WAIT
    );
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let id = sandbox.id("attached");
    let mut run = sandbox.spawn(sandbox.holdfast(["run", "-b", bundle.arg(), &id]));
    run.write("one\n");
    run.wait_stdout("1 one\n");

    run.kill();

    assert_eq!(listed(&sandbox), [(id.clone(), "running".to_owned())]);
    // By hand, as from a shell; and the output waits for a reader meanwhile.
    let stdin = fifo::writer(&sandbox.process_dir(&id, "init").join("stdin"));
    sandbox.write_all(&stdin.expect("the container reads its stdin"), b"two\n");
    gate.open();
    let waiter = sandbox.spawn(sandbox.holdfast(["wait", &id]));
    let mut attach = sandbox.spawn(sandbox.holdfast(["attach", &id]));
    attach.wait_stdout("2 two\n3\n");
    attach.write("four\n");
    let output = attach.wait();
    assert_eq!(output.status.code(), Some(7), "{}", show(&output));
    assert_eq!(text(&output.stdout), "2 two\n3\n4 four\n");
    assert_eq!(text(&waiter.wait().stdout), CODE);
    assert_eq!(sandbox.run_ok(["wait", &id]), CODE);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_container_that_shall_remove_itself_does_so_without_its_launcher() {
    let sandbox = Sandbox::new("rm");
    let gate = sandbox.gate();
    let script = format!("echo ready; {}; exit 7", Gate::WAIT);
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let id = sandbox.id("rm");
    let run = sandbox.spawn(sandbox.holdfast(["run", "--rm", "-b", bundle.arg(), &id]));
    run.wait_stdout("ready\n");

    run.kill();

    let waiter = sandbox.spawn(sandbox.holdfast(["wait", &id]));
    let exit = sandbox.process_dir(&id, "init").join("exit");
    sandbox.wait_until("a waiter to open exit", || {
        waiter.process().fds().values().any(|path| *path == exit)
    });
    gate.open();
    assert_eq!(text(&waiter.wait().stdout), CODE);
    sandbox.assert_clean();
}

#[test]
fn a_second_process_works_beside_an_attached_launcher_without_disturbing_it() {
    let sandbox = Sandbox::new("beside");
    let bundle = sandbox.bundle(["cat"]);
    let id = sandbox.id("beside");
    let mut run = sandbox.spawn(sandbox.holdfast(["run", "--keep", "-b", bundle.arg(), &id]));
    run.write("one\n");
    run.wait_stdout("one\n");

    let refused = sandbox.output(["attach", &id]);

    assert_eq!(refused.status.code(), Some(125), "{}", show(&refused));
    let complaint = text(&refused.stderr);
    let holder = format!("process {}", run.process().pid());
    assert!(complaint.contains(&holder), "{complaint} is not {holder}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert_eq!(text(&refused.stdout), "");
    assert_eq!(listed(&sandbox), [(id.clone(), "running".to_owned())]);
    let waiter = sandbox.spawn(sandbox.holdfast(["wait", &id]));
    // Many lines, of which one that somebody else got would be missed.
    let lines: String = (0..1000).map(|n| format!("line {n}\n")).collect();
    run.write(&lines);
    run.wait_stdout("line 999\n");
    assert_eq!(run.stdout(), format!("one\n{lines}"));
    sandbox.run_ok(["kill", &id, "KILL"]);
    let output = run.wait();
    assert_eq!(output.status.code(), Some(137), "{}", show(&output));
    assert_eq!(text(&output.stdout), format!("one\n{lines}"));
    assert_eq!(text(&waiter.wait().stdout), "137\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}
