//! The policy `log`: what a container writes is in a file, whole, in the order in which it came, in the format that was asked for,
//! whatever becomes of readers and shims.

use std::fs;

use holdfast_tests::entries;
use holdfast_tests::logged::{end, lines, log_of, logged, run};
use holdfast_tests::{Gate, Proc, Sandbox, fifo};
use serde_json::{Value, json};

#[test]
fn what_is_written_is_an_entry_a_line_in_each_format_that_was_asked_for() {
    let sandbox = Sandbox::new("log-formats");
    // Every byte; a line without an end; an empty one; a carriage return.
    let script =
        r#"printf 'one\n\ncr\r\n'; printf 'caf\351\000\n'; echo two >&2; printf 'no end'; exit 3"#;
    let bundle = sandbox.sh(script);
    let id = sandbox.id("formats");
    let flags = ["--stdio", "log", "--log-driver", "cri", "--log-driver"];
    let more = [
        "json-file",
        "--log-tag",
        "a \"tag\"",
        "--log-label",
        "k=v=w",
    ];
    run(&sandbox, &[&flags[..], &more].concat(), bundle.arg(), &id);
    assert_eq!(end(&sandbox, &id), "3");

    let dir = sandbox.process_dir(&id, "init");
    let entries = entries::of_log(&dir.join("log"));
    let out: &[u8] = b"one\n\ncr\r\ncaf\xe9\0\nno end";
    assert_eq!(entries::written(&entries, "stdout"), out);
    assert_eq!(entries::written(&entries, "stderr"), b"two\n");
    let whole = entries.iter().filter(|entry| entry.ends);
    assert_eq!((whole.count(), entries.len()), (5, 6));
    let times: Vec<_> = entries.iter().map(|entry| &entry.time).collect();
    assert!(times.is_sorted(), "{times:?}");

    let objects = entries::of_json_file(&dir.join("json.log"));
    let of = |stream: &str| -> Vec<&str> {
        let objects = objects.iter().filter(|object| object["stream"] == stream);
        objects
            .map(|object| object["log"].as_str().unwrap())
            .collect()
    };
    // As docker and jq read it.
    assert_eq!(
        of("stdout"),
        ["one\n", "\n", "cr\r\n", "caf\u{fffd}\0\n", "no end"]
    );
    assert_eq!(of("stderr"), ["two\n"]);
    let text = fs::read_to_string(dir.join("json.log")).unwrap();
    assert!(
        text.contains(r#"{"log":"caf\udce9\u0000\n","stream":"stdout","#),
        "{text}"
    );
    for object in &objects {
        assert_eq!(object["attrs"], json!({"k": "v=w", "tag": "a \"tag\""}));
        assert_eq!(object["time"].as_str().unwrap().len(), 30);
    }
    let record: Value = serde_json::from_slice(&fs::read(dir.join("exit.json")).unwrap()).unwrap();
    assert_eq!(record["dropped"], Value::Null);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn streams_go_their_own_ways_or_stderr_goes_along_with_stdout() {
    let sandbox = Sandbox::new("log-mixed");
    let both = "echo out; echo err >&2; echo out again";
    let (_, entries) = logged(
        &sandbox,
        "mixed",
        both,
        &["--stdio", "log", "--stdout", "null"],
    );
    assert_eq!(
        (lines(&entries, "stdout"), lines(&entries, "stderr")),
        (String::new(), "err\n".into())
    );
    // In one FIFO they keep their order.
    let (_, merged) = logged(
        &sandbox,
        "merged",
        both,
        &["--stdio", "log", "--merge-stderr"],
    );
    assert_eq!(lines(&merged, "stdout"), "out\nerr\nout again\n");
    assert_eq!(lines(&merged, "stderr"), "");

    // Whatever stdout is.
    let bundle = sandbox.sh(both);
    let file = sandbox.path().join("file");
    let to_file = format!("file:{}", file.display());
    for (name, policy) in [("file", to_file.as_str()), ("inherit", "inherit")] {
        let args = [
            "run",
            "--keep",
            "--stdout",
            policy,
            "--merge-stderr",
            "-b",
            bundle.arg(),
        ];
        let id = sandbox.id(name);
        let output = sandbox.output(args.into_iter().chain([id.as_str()]));
        assert!(output.status.success(), "{output:?}");
        let written = match name {
            "file" => fs::read(&file).unwrap(),
            _ => output.stdout,
        };
        assert_eq!(String::from_utf8(written).unwrap(), "out\nerr\nout again\n");
        sandbox.run_ok(["delete", &id]);
    }
}

#[test]
fn an_exec_has_a_log_of_its_own_and_one_with_a_path_has_it_there() {
    let sandbox = Sandbox::new("log-exec");
    let id = sandbox.id("exec");
    let path = sandbox.path().join("elsewhere");
    let there = path.to_str().unwrap();
    let bundle = sandbox.sh("echo init; read end");
    run(
        &sandbox,
        &["--stdio", "log", "--log-path", there],
        bundle.arg(),
        &id,
    );
    let exec = ["exec", "-d", "--exec-id", "job", "--stdio", "log", &id];
    sandbox.run_ok(
        exec.into_iter()
            .chain(["sh", "-c", "echo exec; echo of it >&2"]),
    );
    sandbox.run_ok(["wait", &id, "job"]);
    let job = log_of(&sandbox, &id, "job");
    sandbox.wait_until("the exec's log", || {
        job.exists() && entries::of_log(&job).len() == 2
    });
    assert_eq!(lines(&entries::of_log(&job), "stderr"), "of it\n");
    sandbox.wait_until("the container's log", || entries::of_log(&path).len() == 1);
    assert!(!log_of(&sandbox, &id, "init").exists());
    sandbox.run_ok(["delete", "-f", &id]);
    // What is not ours stays.
    assert_eq!(lines(&entries::of_log(&path), "stdout"), "init\n");
    sandbox.assert_clean();
}

#[test]
fn a_shim_that_is_killed_takes_no_more_along_than_it_was_reading_and_tears_nothing() {
    const KILLS: usize = 12;
    let sandbox = Sandbox::new("log-killed");
    let writer = sandbox.writer("killed", 1 << 20);
    let id = sandbox.id("killed");
    let flags = ["--stdin", "fifo", "--stderr", "null", "--stdout", "log"];
    let flags = [&flags[..], &["--log-max-files", "1000"]].concat();
    run(&sandbox, &flags, writer.bundle().arg(), &id);
    let dir = sandbox.process_dir(&id, "init");
    // The writer must not see the end of its stdin while nobody holds it.
    let stdin = sandbox.open_writer(&dir.join("stdin"));
    let mut lost_at_most = 0;
    for kill in 0..KILLS {
        sandbox.write_all(&stdin, &[b'x'; 8]);
        std::thread::sleep(std::time::Duration::from_millis(kill as u64 / 2));
        sandbox.kill_shim(&dir);
        assert!(sandbox.recovered(&id).starts_with("adopted"));
        lost_at_most += 128 << 10;
    }
    sandbox.run_ok(["close-stdin", &id]);
    drop(stdin);
    sandbox.run_ok(["wait", &id]);
    sandbox.wait_done(&dir);
    let report = writer.report();
    let read = entries::written(&entries::of_log(&dir.join("log")), "stdout");
    let lost = report.bytes - read.len() as u64;
    println!("{KILLS} kills, {} bytes, {lost} lost", report.bytes);
    assert!(lost <= lost_at_most, "{lost} bytes lost");
    assert!(in_order(&read), "something came twice, or out of order");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

/// Whether bytes are those of the sequence of words, with gaps.
fn in_order(bytes: &[u8]) -> bool {
    let (mut at, mut word, mut shift) = (0, 0u64, 0);
    while at + 16 <= bytes.len() {
        let here = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let next = u64::from_le_bytes(bytes[at + 8..at + 16].try_into().unwrap());
        if next == here + 1 {
            if here < word {
                return false;
            }
            (at, word, shift) = (at + 8, here + 1, 0);
        } else {
            // A gap: it may begin and end in the middle of a word.
            (at, shift) = (at + 1, shift + 1);
            if shift > 32 {
                return false;
            }
        }
    }
    true
}

#[test]
fn what_makes_no_sense_is_refused_in_one_line_and_nothing_is_made() {
    let sandbox = Sandbox::new("log-refused");
    let (plain, terminal) = (sandbox.sh("true"), sandbox.sh("true").terminal());
    let there = sandbox.path().join("there");
    fs::write(&there, "something\n").unwrap();
    let there = there.to_str().unwrap();
    let nowhere = sandbox.path().join("none/log");
    let nowhere = nowhere.to_str().unwrap();
    let pipe = sandbox.path().join("pipe");
    fifo::make(&pipe);
    let pipe = pipe.to_str().unwrap();
    let twice = format!("cri:{there}");
    let twice = twice.as_str();
    let id = sandbox.id("refused");
    let cases: [(&[&str], &str); 22] = [
        (&["--stdin", "log"], "it is read"),
        (&["--stdin", "spill"], "it is read"),
        (&["--stdout", "fifo", "--log-tag", "x"], "nothing to log"),
        (&["--stdio", "log", "--spill-max", "1M"], "nothing to spill"),
        (&["--log-tag", "x", "--spill-max", "1M"], "nothing to log"),
        (&["--stdio", "spill", "--spill-max", "0"], "spill's most 0"),
        (
            &["--stdio", "spill", "--spill-full", "wait"],
            "block or drop-oldest",
        ),
        (
            &["--stdio", "log", "--log-max-files", "0"],
            "number of log files 0",
        ),
        (
            &["--stdio", "log", "--log-max-size", "much"],
            "a size such as 64M",
        ),
        (&["--stdio", "log", "--log-label", "x"], "KEY=VALUE"),
        (&["--log-driver", "syslog"], "no log driver"),
        (
            &["--log-driver", "cri", "--log-driver", "k8s-file"],
            "two logs would go to",
        ),
        (
            &["--log-driver", twice, "--log-driver", twice],
            "two logs would go to",
        ),
        (
            &["--log-driver", "journald", "--log-path", there],
            "whose path",
        ),
        (&["--log-path", nowhere], "no such file or directory"),
        (&["--log-path", "/dev/null"], "not a regular file"),
        (&["--log-path", pipe], "not a regular file"),
        (&["--log-path", "/proc/self"], "is a directory"),
        (&["--stdio", "logs"], "no stdio policy"),
        (&["--record", there], "no terminal"),
        (
            &["--merge-stderr", "--stderr", "null"],
            "cannot be used with",
        ),
        (&["--stdio", "log:x"], "no stdio policy"),
    ];
    for (flags, words) in cases {
        for verb in ["create", "run"] {
            let args = [&[verb][..], flags, &["-b", plain.arg(), &id]].concat();
            sandbox.refused(args, &[words]);
        }
    }
    for (flags, words) in [
        (&["--merge-stderr"][..], "stderr cannot be merged"),
        (&["--record", there], "it exists already"),
        (
            &["--stdout", "log", "--console-socket", there],
            "console socket",
        ),
    ] {
        let args = [&["create"][..], flags, &["-b", terminal.arg(), &id]].concat();
        sandbox.refused(args, &[words]);
    }
    assert_eq!(fs::read_to_string(there).unwrap(), "something\n");
    sandbox.assert_clean();
}

#[test]
fn a_shim_that_has_logged_much_is_as_small_as_before_and_sleeps() {
    let sandbox = Sandbox::new("log-idle");
    let gate = sandbox.gate();
    let script = format!("{}; seq 1 500000; touch /host/done; sleep 1000", Gate::WAIT);
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let id = sandbox.id("idle");
    let drivers = ["--log-driver", "cri", "--log-driver", "json-file"];
    run(
        &sandbox,
        &[&["--stdio", "log"][..], &drivers].concat(),
        bundle.arg(),
        &id,
    );
    let dir = sandbox.process_dir(&id, "init");
    let shim = sandbox.shim_of(&dir);
    settle(&sandbox, shim);
    let before = shim.private_dirty_kib();
    gate.open();
    sandbox.wait_until("the lines to be written", || {
        gate.dir().join("done").exists() && {
            let last = entries::of_file(&dir.join("log")).pop();
            last.is_some_and(|entry| entry.bytes == b"500000")
        }
    });
    settle(&sandbox, shim);
    let after = shim.private_dirty_kib();
    println!("private and dirty: {before} KiB before, {after} KiB after");
    assert!(
        after <= before + 24,
        "{before} KiB before, {after} KiB after"
    );
    let wake_ups = shim.wake_ups();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(shim.wake_ups(), wake_ups);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

/// Waits until a shim has had nothing to do for a while.
fn settle(sandbox: &Sandbox, shim: Proc) {
    sandbox.wait_until("the shim to be quiet", || {
        let before = shim.wake_ups();
        std::thread::sleep(std::time::Duration::from_millis(300));
        shim.wake_ups() == before
    });
}
