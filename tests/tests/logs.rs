//! `holdfast logs`: what a container has written comes back as it was written, whoever rotates, kills, upgrades or fills up
//! what in the meantime.

use std::fs;
use std::process::Command;
use std::time::Duration;

use holdfast_tests::command::{show, text};
use holdfast_tests::{Bundle, Gate, Random, Running, Sandbox, disk, fifo};
use nix::sys::signal::Signal;

/// Long enough for a command to begin to wait.
const SOON: Duration = Duration::from_millis(300);

fn numbers(from: u32, to: u32) -> String {
    (from..=to).map(|number| format!("{number}\n")).collect()
}

/// A directory that containers see as /host.
fn shared(sandbox: &Sandbox) -> std::path::PathBuf {
    let dir = sandbox.path().join("shared");
    fs::create_dir(&dir).unwrap();
    dir
}

/// Runs a container in the background, whose output is logged.
fn run_logged(sandbox: &Sandbox, bundle: &Bundle, flags: &[&str]) -> String {
    let id = sandbox.id("logged");
    let args = ["run", "-d", "--stdio", "log", "-b", bundle.arg()];
    sandbox.run_ok(args.iter().chain(flags).copied().chain([id.as_str()]));
    id
}

/// Lets one go on that reads a line.
fn let_go(sandbox: &Sandbox, id: &str) {
    let stdin = sandbox.open_writer(&sandbox.process_dir(id, "init").join("stdin"));
    sandbox.write_all(&stdin, b"go\n");
}

fn follow<'a>(sandbox: &'a Sandbox, id: &str) -> Running<'a> {
    sandbox.spawn(sandbox.holdfast(["logs", "-f", id]))
}

#[test]
fn what_was_written_comes_back_byte_for_byte() {
    let sandbox = Sandbox::new("logs-bytes");
    let dir = shared(&sandbox);
    let bundle = sandbox
        .sh("cat /host/out & cat /host/err >&2; wait")
        .bind(&dir);
    for seed in 1..=4 {
        let mut random = Random::new(seed);
        let (out, err) = (random.output(3 << 20), random.output(300_000));
        fs::write(dir.join("out"), &out).unwrap();
        fs::write(dir.join("err"), &err).unwrap();
        let format = ["cri", "json-file"][random.index(2)];
        let id = run_logged(
            &sandbox,
            &bundle,
            &["--log-driver", format, "--log-max-size", "-1"],
        );
        // One that follows, one that comes late.
        for follow in ["--follow", "--tail=all"] {
            let output = sandbox.output(["logs", follow, &id]);
            assert!(output.status.success(), "{}", text(&output.stderr));
            if follow == "--follow" {
                assert_eq!(sandbox.run_ok(["wait", &id]), "0\n");
            }
            assert!(
                output.stdout == out,
                "seed {seed}, {format}, {follow}: stdout differs"
            );
            assert!(
                output.stderr == err,
                "seed {seed}, {format}, {follow}: stderr differs"
            );
        }
        let only = sandbox.output(["logs", "--stream", "stderr", &id]);
        assert!(only.stdout.is_empty() && only.stderr == err, "seed {seed}");
        sandbox.run_ok(["delete", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn a_follower_loses_and_doubles_nothing_at_full_speed_over_rotations() {
    let sandbox = Sandbox::new("logs-speed");
    let dir = shared(&sandbox);
    let lines = numbers(1, 1_500_000);
    fs::write(dir.join("out"), &lines).unwrap();
    let bundle = sandbox.sh("read go; cat /host/out").bind(&dir);
    // More files than there will be: who is slow today is not overtaken.
    let flags = ["--log-max-size", "2M", "--log-max-files", "60"];
    let id = run_logged(&sandbox, &bundle, &flags);
    let follower = follow(&sandbox, &id);
    let_go(&sandbox, &id);
    let output = follower.wait();
    assert!(text(&output.stderr).is_empty(), "{}", text(&output.stderr));
    assert!(
        output.stdout == lines.as_bytes(),
        "{} bytes",
        output.stdout.len()
    );
    assert!(sandbox.process_dir(&id, "init").join("log.20").exists());
    // The last lines, from the end.
    assert_eq!(
        sandbox.run_ok(["logs", "-n", "3", &id]),
        numbers(1_499_998, 1_500_000)
    );
    assert!(sandbox.run_ok(["logs", &id]) == lines);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_follower_that_is_overtaken_says_so_and_goes_on() {
    let sandbox = Sandbox::new("logs-overtaken");
    let dir = shared(&sandbox);
    let lines = numbers(1, 400_000);
    fs::write(dir.join("out"), &lines).unwrap();
    let wait = Gate::WAIT;
    let gate = sandbox.gate();
    let script = format!("echo begin; {wait}; cat /host/out; {wait}; echo end");
    let bundle = sandbox.sh(&script).bind(gate.dir());
    fs::copy(dir.join("out"), gate.dir().join("out")).unwrap();
    let flags = ["--log-max-size", "100k", "--log-max-files", "3"];
    let id = run_logged(&sandbox, &bundle, &flags);
    let follower = follow(&sandbox, &id);
    follower.wait_stdout("begin\n");
    follower.signal(Signal::SIGSTOP);
    gate.open();
    let log = sandbox.process_dir(&id, "init").join("log");
    sandbox.wait_until("the last line to be logged", || {
        fs::read_to_string(&log).is_ok_and(|text| text.ends_with(" 400000\n"))
    });
    follower.signal(Signal::SIGCONT);
    follower.wait_stdout("\n400000\n");
    gate.open();
    let output = follower.wait();
    let said = text(&output.stderr);
    assert!(
        said.contains("files of the log were rotated away"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    // What it has is in order, and to the end.
    let out = text(&output.stdout);
    let rest = out
        .strip_prefix("begin\n")
        .and_then(|out| out.strip_suffix("end\n"));
    let seen: Vec<u32> = rest
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert!(seen.is_sorted_by(|a, b| a < b), "out of order, or twice");
    assert!(seen.len() < 400_000 && seen.last() == Some(&400_000));
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn many_follow_and_nobody_feels_one_that_stops_or_is_killed() {
    let sandbox = Sandbox::new("logs-many");
    let dir = shared(&sandbox);
    let lines = numbers(1, 300_000);
    fs::write(dir.join("out"), &lines).unwrap();
    let bundle = sandbox.sh("read go; cat /host/out").bind(&dir);
    let id = run_logged(&sandbox, &bundle, &[]);
    let followers: Vec<Running<'_>> = (0..6).map(|_| follow(&sandbox, &id)).collect();
    // One never reads, one is stopped, one is killed.
    let pipe = sandbox.path().join("pipe");
    fifo::make(&pipe);
    let never_read = fifo::both(&pipe);
    let stuck = sandbox.in_shell("exec \"$@\" > pipe", ["logs", "-f", &id]);
    let stuck = sandbox.spawn(stuck);
    followers[0].signal(Signal::SIGSTOP);
    let_go(&sandbox, &id);
    assert_eq!(sandbox.run_ok(["wait", &id]), "0\n");
    let mut followers = followers.into_iter();
    let stopped = followers.next().unwrap();
    followers.next().unwrap().kill();
    for follower in followers {
        let output = follower.wait();
        assert!(
            output.stdout == lines.as_bytes(),
            "{} bytes",
            output.stdout.len()
        );
    }
    assert!(stuck.process().is_alive());
    stuck.kill();
    drop(never_read);
    stopped.signal(Signal::SIGCONT);
    assert!(stopped.wait().stdout == lines.as_bytes());
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_follower_goes_on_over_an_upgrade_an_adoption_and_a_restart() {
    let sandbox = Sandbox::new("logs-on");
    let supervisor = sandbox.supervise().ready();
    let gate = sandbox.gate();
    let wait = Gate::WAIT;
    let script = format!("{wait}; echo one; {wait}; echo two; {wait}; echo three; exit 5");
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let id = run_logged(&sandbox, &bundle, &["--restart", "on-failure:1"]);
    let dir = sandbox.process_dir(&id, "init");
    let follower = follow(&sandbox, &id);
    gate.open();
    follower.wait_stdout("one\n");
    sandbox.run_ok(["upgrade", &id]);
    gate.open();
    follower.wait_stdout("two\n");
    sandbox.kill_shim(&dir);
    supervisor.wait_event(&id, "adopted");
    gate.open();
    // It ends, and is restarted.
    follower.wait_stdout("three\n");
    for word in ["one\n", "two\n", "three\n"] {
        gate.open();
        sandbox.wait_until("the second life", || {
            follower.stdout().matches(word).count() == 2
        });
    }
    // As often as it may be.
    let output = follower.wait();
    assert!(output.status.success(), "{}", show(&output));
    assert_eq!(text(&output.stdout), "one\ntwo\nthree\n".repeat(2));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    // A late reader has both lives, too.
    assert_eq!(sandbox.run_ok(["logs", &id]), "one\ntwo\nthree\n".repeat(2));
    supervisor.leave();
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn a_follower_of_what_waits_for_its_restart_ends_when_there_will_be_none() {
    let sandbox = Sandbox::new("logs-waits");
    let supervisor = sandbox.supervise().ready();
    let bundle = sandbox.sh("echo once; read go");
    let id = run_logged(&sandbox, &bundle, &["--restart", "unless-stopped"]);
    let follower = follow(&sandbox, &id);
    follower.wait_stdout("once\n");
    // There is a supervisor, which will take its time.
    supervisor.process().signal(Signal::SIGSTOP);
    let_go(&sandbox, &id);
    sandbox.run_ok(["wait", &id]);
    // As `kill` does, which has nobody to signal any more.
    fs::write(sandbox.container_dir(&id).join("stopped"), "").unwrap();
    let output = follower.wait();
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), "once\n".to_owned())
    );
    supervisor.process().signal(Signal::SIGCONT);
    supervisor.leave();
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean_but_for_supervision();
}

#[test]
fn a_log_on_a_disk_that_was_full_is_followed_when_there_is_room_again() {
    let sandbox = Sandbox::new("logs-full");
    let small = sandbox.path().join("small");
    fs::create_dir(&small).unwrap();
    disk::mount(&small, "size=128k");
    let gate = sandbox.gate();
    let wait = Gate::WAIT;
    let beat = "until [ -e /host/enough ]; do echo beat; sleep 0.05; done";
    // Too much for the room beside the filler, and not for all of it, whenever the shim comes to that.
    let fill = "seq 1 1200; touch /host/through";
    let script = format!("echo before; {wait}; {fill}; {wait}; {beat}; echo after");
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let log = small.join("web.log");
    let id = run_logged(&sandbox, &bundle, &["--log-path", log.to_str().unwrap()]);
    let follower = follow(&sandbox, &id);
    follower.wait_stdout("before\n");
    let filler = small.join("filler");
    fs::write(&filler, vec![b'x'; 100 << 10]).unwrap();
    gate.open();
    // The container goes on, whatever becomes of its log.
    let through = gate.dir().join("through");
    sandbox.wait_until("all to be written", || through.exists());
    let shim_log = sandbox.process_dir(&id, "init").join("shim-log.json");
    let is_full =
        || fs::read_to_string(&shim_log).is_ok_and(|text| text.contains("output is dropped"));
    sandbox.wait_until("the shim to find the disk full", is_full);
    fs::remove_file(&filler).unwrap();
    gate.open();
    follower.wait_stdout("beat\n");
    fs::write(gate.dir().join("enough"), "").unwrap();
    assert_eq!(sandbox.run_ok(["wait", &id]), "0\n");
    let output = follower.wait();
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    let out = text(&output.stdout);
    assert!(
        out.starts_with("before\n1\n") && out.ends_with("beat\nafter\n"),
        "{out}"
    );
    // Some are missing; what is there is whole, in order, and once.
    let seen: Vec<u32> = out.lines().filter_map(|line| line.parse().ok()).collect();
    let counted = out
        .lines()
        .filter(|line| line.bytes().all(|byte| byte.is_ascii_digit()));
    assert!(
        seen.is_sorted_by(|a, b| a < b) && seen.len() < 1200,
        "{out}"
    );
    assert_eq!(counted.count(), seen.len());
    sandbox.run_ok(["delete", &id]);
    let unmounted = Command::new("umount").arg(&small).status();
    assert!(unmounted.unwrap().success());
    sandbox.assert_clean();
}

#[test]
fn a_prompt_is_shown_before_it_is_answered_and_lines_have_times() {
    let sandbox = Sandbox::new("logs-prompt");
    let bundle = sandbox.sh("printf 'name? '; read name; echo \"hello $name\"; echo bye >&2");
    let id = run_logged(&sandbox, &bundle, &[]);
    let follower = follow(&sandbox, &id);
    follower.wait_stdout("name? ");
    let_go(&sandbox, &id);
    let output = follower.wait();
    assert_eq!(text(&output.stdout), "name? hello go\n");
    assert_eq!(text(&output.stderr), "bye\n");
    let output = sandbox.output(["logs", "-t", &id]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    for (line, said) in [(&out, "name? hello go\n"), (&err, "bye\n")] {
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!((rest, time.len()), (said, 30), "{line}");
        humantime::parse_rfc3339(time).unwrap();
    }
    // Its time chooses a line, as every notation has it.
    let (time, _) = out.split_once(' ').unwrap();
    let since = |time: &str| sandbox.output(["logs", "--since", time, &id]).stdout;
    let until = |time: &str| sandbox.output(["logs", "--until", time, &id]).stdout;
    assert_eq!(text(&since(time)), "name? hello go\n");
    assert_eq!(text(&until(time)), "");
    assert_eq!(text(&since("1h")), "name? hello go\n");
    assert_eq!(text(&until("1h")), "");
    assert_eq!(text(&since("4102444800")), "");
    // Until a moment that is to come, and no longer, also where nothing comes.
    let begun = std::time::Instant::now();
    let id = run_logged(&sandbox, &sandbox.sh("echo up; exec sleep 1000"), &[]);
    let soon = humantime::format_rfc3339_nanos(std::time::SystemTime::now() + SOON).to_string();
    let output = sandbox.output(["logs", "-f", "--until", &soon, &id]);
    assert_eq!(text(&output.stdout), "up\n");
    assert!(begun.elapsed() >= SOON);
    for id in sandbox.run_ok(["list", "-q"]).lines() {
        sandbox.run_ok(["delete", "-f", id]);
    }
    sandbox.assert_clean();
}

#[test]
fn a_reader_that_has_enough_ends_the_command_also_while_nothing_comes() {
    let sandbox = Sandbox::new("logs-pipe");
    let bundle = sandbox.sh("seq 1 100000; exec sleep 1000");
    let id = run_logged(&sandbox, &bundle, &[]);
    for (script, out) in [
        ("\"$@\" | head -n 1", "1\n"),
        // It leaves when everything was written, and nothing more will come.
        (
            "\"$@\" | { until read line && [ $line = 100000 ]; do :; done; }",
            "",
        ),
    ] {
        let command = sandbox.in_shell(&format!("{script}; echo gone"), ["logs", "-f", &id]);
        let output = sandbox.output_of(command);
        assert_eq!(text(&output.stdout), format!("{out}gone\n"));
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    }
    // Who is interrupted leaves as everybody does.
    let follower = follow(&sandbox, &id);
    follower.wait_stdout("\n100000\n");
    follower.signal(Signal::SIGINT);
    let status = follower.wait().status;
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(2)
    );
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn what_nobody_had_read_is_shown_of_what_was_not_logged() {
    let sandbox = Sandbox::new("logs-left");
    let script = "printf '1\\n2\\n3'; echo bad >&2; read go";
    for policy in ["fifo", "spill"] {
        let id = sandbox.id("left");
        let args = ["run", "-d", "--stdio", policy, "-b"];
        let bundle = sandbox.sh(script);
        sandbox.run_ok(args.iter().copied().chain([bundle.arg(), &id]));
        // While it runs, its output is somebody's to read.
        let attach = format!("holdfast attach {id}");
        sandbox.refused(["logs", &id], &["no log", &attach, "--stdio log"]);
        let_go(&sandbox, &id);
        assert_eq!(sandbox.run_ok(["wait", &id]), "0\n");
        // Once it has ended, it is there for everybody, again and again.
        for _ in 0..2 {
            let output = sandbox.output(["logs", &id]);
            assert_eq!(text(&output.stdout), "1\n2\n3", "{policy}");
            assert_eq!(text(&output.stderr), "bad\n", "{policy}");
        }
        assert_eq!(sandbox.run_ok(["logs", "-f", "--tail", "2", &id]), "2\n3");
        sandbox.refused(["logs", "-t", &id], &["no times"]);
        // Who attaches has it all the same.
        let output = sandbox.output(["attach", &id]);
        assert_eq!(text(&output.stdout), "1\n2\n3", "{policy}");
        sandbox.run_ok(["delete", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn where_there_is_no_log_it_is_said_what_to_do_instead() {
    let sandbox = Sandbox::new("logs-none");
    let bundle = sandbox.sh("read go");
    let file = sandbox.path().join("out");
    let to_file = format!("file:{}", file.display());
    for (flags, words) in [
        (&["--stdio", "null"][..], "/dev/null"),
        (&["--stdio", &to_file], file.to_str().unwrap()),
        (
            &["--stdio", "log", "--log-driver", "journald"],
            "journalctl CONTAINER_ID_FULL=",
        ),
    ] {
        let id = sandbox.id("none");
        let args = ["run", "-d", "--stdin", "fifo", "-b", bundle.arg()];
        sandbox.run_ok(args.iter().chain(flags).copied().chain([id.as_str()]));
        sandbox.refused(["logs", &id], &[&id, words]);
        sandbox.run_ok(["delete", "-f", &id]);
    }
    let id = sandbox.id("one");
    let args = [
        "--stdout",
        "log",
        "--stderr",
        "null",
        "-b",
        bundle.arg(),
        &id,
    ];
    sandbox.run_ok(["run", "-d"].iter().chain(&args));
    sandbox.refused(["logs", "--stream", "stderr", &id], &[&id, "/dev/null"]);
    for (flags, words) in [
        (&["--tail", "few"][..], "a number of lines, or all"),
        (&["--tail", "-2"], "a number of lines, or all"),
        (&["--since", "yesterday"], "how long ago"),
        (&["--until", ""], "how long ago"),
        (&["--since", "10m", "--until", "1h"], "not later than"),
        (&["--stream", "stdin"], "stdout or stderr"),
        (&["--stream", "both"], "stdout or stderr"),
        (&["--frobnicate"], "--frobnicate"),
    ] {
        sandbox.refused(
            ["logs"].iter().chain(flags).copied().chain([id.as_str()]),
            &[words],
        );
    }
    sandbox.refused(["logs"], &["<ID>"]);
    sandbox.refused(["logs", "nobody"], &["nobody", "does not exist"]);
    sandbox.refused(["logs", &id, "nothing"], &["nothing"]);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn an_exec_has_a_log_of_its_own() {
    let sandbox = Sandbox::new("logs-exec");
    let id = run_logged(&sandbox, &sandbox.sh("echo init; read go"), &[]);
    let exec = [
        "exec",
        "-d",
        "--stdio",
        "log",
        "--exec-id",
        "job",
        &id,
        "sh",
        "-c",
    ];
    sandbox.run_ok(exec.iter().chain(&["echo job; echo sorry >&2; exit 4"]));
    let output = sandbox.output(["logs", "-f", &id, "job"]);
    assert_eq!(
        (text(&output.stdout), text(&output.stderr)),
        ("job\n".into(), "sorry\n".into())
    );
    assert_eq!(sandbox.run_ok(["wait", &id, "job"]), "4\n");
    assert_eq!(sandbox.run_ok(["logs", &id]), "init\n");
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}
