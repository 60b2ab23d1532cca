//! The files of a log: full at an entry's end, no more than were asked for, moved and emptied by others, and gone on in by whichever shim
//! comes next.

use std::fs;
use std::path::Path;

use holdfast_tests::entries;
use holdfast_tests::logged::{end, lines, log_of, logged, run};
use holdfast_tests::{Gate, Sandbox};

#[test]
fn files_are_full_at_an_entrys_end_whichever_shim_writes_them() {
    const MOST: u64 = 4096;
    let sandbox = Sandbox::new("log-rotate");
    let gate = sandbox.gate();
    let wait = Gate::WAIT;
    let script = format!("seq 1 300; {wait}; seq 301 600; {wait}; seq 601 900; {wait}");
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let id = sandbox.id("rotate");
    let flags = [
        "--stdio",
        "log",
        "--log-max-size",
        "4k",
        "--log-max-files",
        "50",
    ];
    run(&sandbox, &flags, bundle.arg(), &id);
    let dir = sandbox.process_dir(&id, "init");
    let log = dir.join("log");
    let has = |last: &str| {
        sandbox.wait_until(last, || {
            lines(&entries::of_log(&log), "stdout").ends_with(last)
        });
    };
    has("\n300\n");
    sandbox.run_ok(["upgrade", &id]);
    gate.open();
    has("\n600\n");
    sandbox.kill_shim(&dir);
    gate.open();
    // What it writes meanwhile waits for whoever takes over.
    assert!(sandbox.recovered(&id).starts_with("adopted"));
    has("\n900\n");
    gate.open();
    sandbox.wait_until("the end", || dir.join("exit.json").exists());

    let wanted: String = (1..=900).map(|line| format!("{line}\n")).collect();
    assert_eq!(lines(&entries::of_log(&log), "stdout"), wanted);
    let files = entries::files(&log);
    assert!(files.len() >= 10, "{files:?}");
    let (last, full) = files.split_last().unwrap();
    assert!(fs::metadata(last).unwrap().len() <= MOST);
    for file in full {
        let size = fs::metadata(file).unwrap().len();
        // Each was left for an entry of 41 to 43 bytes that it had no room for.
        assert!(
            (MOST - 43..=MOST).contains(&size),
            "{}: {size}",
            file.display()
        );
    }
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn no_more_files_are_kept_than_were_asked_for() {
    let sandbox = Sandbox::new("log-keep");
    for (files, flags) in [(3, &[][..]), (1, &["--log-max-files", "1"])] {
        let flags = [&["--stdio", "log", "--log-max-size", "1k"][..], flags].concat();
        let name = format!("keep-{files}");
        let (log, entries) = logged(&sandbox, &name, "seq 1 1000", &flags);
        assert_eq!(entries::files(&log).len(), files);
        assert!(!log.with_file_name(format!("log.{files}")).exists());
        // What is there are the last lines, without a gap.
        let first = 1000 - entries.len() + 1;
        let wanted: String = (first..=1000).map(|line| format!("{line}\n")).collect();
        assert_eq!(lines(&entries, "stdout"), wanted);
    }
    // An entry that is larger than a file may be has one for itself.
    let long = "printf 'short\\n'; head -c 5000 /dev/zero | tr '\\0' x; echo; printf 'short\\n'";
    let flags = [
        "--stdio",
        "log",
        "--log-max-size",
        "1k",
        "--log-max-files",
        "9",
    ];
    let (log, entries) = logged(&sandbox, "long", long, &flags);
    let wanted = format!("short\n{}\nshort\n", "x".repeat(5000));
    assert_eq!(lines(&entries, "stdout"), wanted);
    assert!(entries::files(&log).len() >= 3);
}

#[test]
fn somebody_else_may_move_the_files_away() {
    let sandbox = Sandbox::new("log-reopen");
    let gate = sandbox.gate();
    let wait = Gate::WAIT;
    let script = format!("echo one; {wait}; echo two; {wait}; echo three");
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let id = sandbox.id("reopen");
    let drivers = ["--log-driver", "cri", "--log-driver", "json-file"];
    run(
        &sandbox,
        &[&["--stdio", "log"][..], &drivers].concat(),
        bundle.arg(),
        &id,
    );
    let dir = sandbox.process_dir(&id, "init");
    let (log, away) = (dir.join("log"), dir.join("away"));
    let has = |file: &Path, text: &str| {
        sandbox.wait_until(text, || {
            file.exists() && lines(&entries::of_file(file), "stdout") == text
        });
    };
    has(&log, "one\n");
    fs::rename(&log, &away).unwrap();
    fs::rename(dir.join("json.log"), dir.join("json.away")).unwrap();
    gate.open();
    // It has not been told: it goes on where it was.
    has(&away, "one\ntwo\n");
    fs::write(dir.join("control"), "2 0 0\n").unwrap();
    sandbox.wait_until("new files", || {
        log.exists() && dir.join("json.log").exists()
    });
    gate.open();
    has(&log, "three\n");
    assert_eq!(end(&sandbox, &id), "0");
    assert_eq!(lines(&entries::of_file(&away), "stdout"), "one\ntwo\n");
    assert_eq!(entries::of_json_file(&dir.join("json.away")).len(), 2);
    assert_eq!(entries::of_json_file(&dir.join("json.log")).len(), 1);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_log_that_somebody_empties_goes_on_at_its_beginning() {
    let sandbox = Sandbox::new("log-emptied");
    let gate = sandbox.gate();
    let script = format!("seq 1 40; {}; seq 41 100", Gate::WAIT);
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let id = sandbox.id("emptied");
    run(
        &sandbox,
        &["--stdio", "log", "--log-max-size", "2k"],
        bundle.arg(),
        &id,
    );
    let log = log_of(&sandbox, &id, "init");
    sandbox.wait_until("the first lines", || entries::of_log(&log).len() == 40);
    assert_eq!(entries::files(&log).len(), 1);
    fs::File::create(&log).unwrap();
    gate.open();
    assert_eq!(end(&sandbox, &id), "0");
    let wanted: String = (41..=100).map(|line| format!("{line}\n")).collect();
    assert_eq!(lines(&entries::of_log(&log), "stdout"), wanted);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_restart_goes_on_in_the_same_log_and_begins_a_line_of_its_own() {
    let sandbox = Sandbox::new("log-restart");
    let supervisor = sandbox.supervise();
    let id = sandbox.id("restart");
    let script =
        "seq 1 50; printf 'no end'; test -e /host/once && read end; touch /host/once; exit 1";
    let gate = sandbox.gate();
    let bundle = sandbox.sh(script).bind(gate.dir());
    let flags = [
        "--restart",
        "always",
        "--stdio",
        "log",
        "--log-max-size",
        "1k",
    ];
    let flags = [&flags[..], &["--log-max-files", "9"]].concat();
    run(&sandbox, &flags, bundle.arg(), &id);
    let once: String = (1..=50).map(|line| format!("{line}\n")).collect();
    let log = log_of(&sandbox, &id, "init");
    let wanted = format!("{once}no end\n{once}no end");
    sandbox.wait_until("the second run's log", || {
        log.exists() && lines(&entries::of_log(&log), "stdout") == wanted
    });
    drop(supervisor);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean_but_for_supervision();
}
