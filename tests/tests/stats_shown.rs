//! How `holdfast stats` shows what it counts: which containers, once or again and again, for people, for Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use holdfast_tests::Sandbox;
use holdfast_tests::command::{show, text};
use holdfast_tests::worker::limited;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// How a terminal is taken: its alternate screen, without cursor, without wrapping.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
/// How it is put back.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

fn ours(sandbox: &Sandbox, id: &str) -> Value {
    let line = sandbox.run_ok(["stats", "-f", "json", id]);
    let event: Value = serde_json::from_str(&line).unwrap();
    event["data"].clone()
}

#[test]
fn all_that_run_are_shown_when_none_is_named() {
    let sandbox = Sandbox::new("stats-all");
    assert_eq!(sandbox.run_ok(["stats", "-f", "json"]), "");
    let header = sandbox.run_ok(["stats"]);
    assert!(
        header.starts_with("ID ") && header.matches('\n').count() == 1,
        "{header}"
    );
    let bundle = limited(sandbox.bundle(["sleep", "1000"]));
    let id = |name| sandbox.id(name);
    let (running, created, stopped) = (id("running"), id("created"), id("stopped"));
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &running]);
    sandbox.run_ok(["create", "-b", bundle.arg(), &created]);
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &stopped]);
    sandbox.run_ok(["kill", &stopped, "KILL"]);
    sandbox.run_ok(["wait", &stopped]);
    std::fs::create_dir(sandbox.root().join("broken")).unwrap();
    let output = sandbox.output(["stats"]);
    assert!(output.status.success(), "{}", show(&output));
    assert!(text(&output.stderr).contains("broken"), "{}", show(&output));
    let table = text(&output.stdout);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    let words: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(
        words.len(),
        lines[0].split("  ").filter(|word| !word.is_empty()).count()
    );
    assert_eq!(
        (words[0], words[4], words[6]),
        (&*running, "16.0MiB", "1"),
        "{table}"
    );
    // One that is named is shown though it does not run yet.
    assert_eq!(ours(&sandbox, &created)["pids"]["limit"], 50);
}

#[test]
fn what_cannot_be_shown_is_said_and_the_others_are_shown() {
    let sandbox = Sandbox::new("stats-bad");
    let (running, stopped) = (sandbox.id("running"), sandbox.id("stopped"));
    let bundle = sandbox.bundle(["sleep", "1000"]);
    for id in [&running, &stopped] {
        sandbox.run_ok(["run", "-d", "-b", bundle.arg(), id]);
    }
    sandbox.run_ok(["kill", &stopped, "KILL"]);
    sandbox.run_ok(["wait", &stopped]);
    for verb in ["stats", "top"] {
        sandbox.refused([verb, &stopped], &[&stopped, "has exited"]);
        sandbox.refused([verb, "nobody"], &["nobody", "does not exist"]);
        sandbox.refused([verb, "a/b"], &["a/b"]);
        sandbox.refused([verb, "-f", "xml", &running], &["xml"]);
    }
    sandbox.refused(["stats", "--watch", &stopped], &[&stopped, "has exited"]);
    sandbox.refused(["stats", "--watch", "--interval", "0s", &running], &["0s"]);
    sandbox.refused(
        ["stats", "--watch", "--interval", "soon", &running],
        &["soon"],
    );
    sandbox.refused(["stats", "--interval", "1s", &running], &["--watch"]);
    sandbox.refused(["stats", "--watch", "-f", "prometheus"], &["--watch"]);
    let output = sandbox.output(["stats", "-f", "json", &stopped, "nobody", &running]);
    assert_eq!(output.status.code(), Some(125), "{}", show(&output));
    assert_eq!(text(&output.stderr).lines().count(), 2, "{}", show(&output));
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["id"], json!(running));
}

#[test]
fn watched_without_a_terminal_samples_follow_each_other_until_a_signal() {
    let sandbox = Sandbox::new("stats-plain");
    let id = sandbox.id("plain");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let watch = sandbox.holdfast(["stats", "--watch", "--interval", "20ms"]);
        let watch = sandbox.spawn(watch);
        sandbox.wait_until("three tables", || {
            watch.stdout().matches("CPU %").count() >= 3
        });
        watch.signal(signal);
        let output = watch.wait();
        assert_eq!(output.status.code(), Some(0), "{}", show(&output));
        assert!(output.stderr.is_empty(), "{}", show(&output));
        let printed = text(&output.stdout);
        assert!(
            !printed.contains('\x1b') && printed.ends_with('\n'),
            "{printed:?}"
        );
        assert!(printed.contains(&id));
    }
    // A reader that has seen enough.
    let script = "\"$@\" | head -n 2 | wc -l";
    let head = ["stats", "--watch", "--interval", "20ms", "-f", "json", &id];
    let output = sandbox.output_of(sandbox.in_shell(script, head));
    assert_eq!(
        (text(&output.stdout).trim(), text(&output.stderr).as_str()),
        ("2", "")
    );
    // What was named has ended.
    let watch = sandbox.spawn(sandbox.holdfast(["stats", "--watch", "--interval", "20ms", &id]));
    watch.wait_stdout(&id);
    sandbox.run_ok(["kill", &id, "KILL"]);
    let output = watch.wait();
    assert_eq!(output.status.code(), Some(0), "{}", show(&output));
}

#[test]
fn watched_on_a_terminal_the_table_is_redrawn_and_the_terminal_put_back() {
    let sandbox = Sandbox::new("stats-tty");
    let id = sandbox.id("tty");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let endings: [(&str, Option<Signal>); 3] = [
        ("\x03", None),
        ("", Some(Signal::SIGTERM)),
        ("", Some(Signal::SIGHUP)),
    ];
    for (keys, signal) in endings {
        let watch = sandbox.holdfast(["stats", "--watch", "--interval", "20ms"]);
        let mut terminal = sandbox.spawn_on_terminal(&watch, 100, 5);
        let modes = terminal.modes();
        let before = terminal.expect(ENTER);
        assert_eq!(before, "");
        for _ in 0..3 {
            terminal.expect("\x1b[H");
            terminal.expect(&id);
            terminal.expect("\x1b[J");
        }
        terminal.type_in(keys);
        if let Some(signal) = signal {
            terminal.process().signal(signal);
        }
        terminal.expect(LEAVE);
        assert_eq!(terminal.modes(), modes);
        let (status, rest) = terminal.wait();
        assert_eq!((status.code(), rest.as_str()), (Some(0), ""));
    }
}

#[test]
fn stopped_by_its_key_the_shell_gets_its_terminal_back_meanwhile() {
    let sandbox = Sandbox::new("stats-stop");
    let watch = sandbox.holdfast(["stats", "--watch", "--interval", "20ms"]);
    let mut terminal = sandbox.spawn_on_terminal(&watch, 100, 5);
    terminal.expect(ENTER);
    terminal.expect("\x1b[J");
    // Of a session leader's own key the kernel makes nothing (its process group is orphaned): a shell's job gets the signal.
    terminal.process().signal(Signal::SIGTSTP);
    terminal.expect(LEAVE);
    let state = || terminal.process().stat(3);
    sandbox.wait_until("it is stopped", || state().as_deref() == Some("T"));
    terminal.process().signal(Signal::SIGCONT);
    terminal.expect(ENTER);
    terminal.expect("\x1b[J");
    terminal.type_in("\x03");
    terminal.expect(LEAVE);
    let (status, rest) = terminal.wait();
    assert_eq!((status.code(), rest.as_str()), (Some(0), ""));
}

/// Every line of the format: the grammar, and that lines of one metric stand together after its HELP and TYPE.
fn check_exposition(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut begun = BTreeSet::new();
    let (mut metric, mut kind) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a help text");
            assert!(begun.insert(name.to_owned()), "{name} begins twice");
            assert!(!help.is_empty() && !name.is_empty());
            (metric, kind) = (name.to_owned(), String::new());
        } else if let Some(of) = line.strip_prefix("# TYPE ") {
            let (name, of) = of.split_once(' ').expect("a type");
            assert_eq!(name, metric, "TYPE after HELP");
            assert!(["gauge", "counter"].contains(&of), "{line}");
            assert_eq!(of == "counter", name.ends_with("_total"), "{line}");
            kind = of.to_owned();
        } else {
            assert!(!kind.is_empty(), "no type before {line}");
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let labels = series
                .strip_prefix(&*metric)
                .expect("a sample of the metric");
            check_labels(labels);
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(value >= 0.0 && value.is_finite(), "{line}");
            assert!(
                samples.insert(series.to_owned(), value).is_none(),
                "twice: {series}"
            );
        }
    }
    samples
}

/// `{name="value",…}`, with `\\`, `\"` and `\n` for what a value must not have.
fn check_labels(labels: &str) {
    let inner = labels
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    let mut rest = inner.unwrap_or_else(|| panic!("not in braces: {labels}"));
    loop {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{rest}"));
        assert!(
            name.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
            "{name}"
        );
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().unwrap_or_else(|| panic!("no end: {after}")) {
                (at, '"') => break at,
                (_, '\\') => assert!(
                    matches!(chars.next(), Some((_, '\\' | '"' | 'n'))),
                    "{after}"
                ),
                (_, c) => assert_ne!(c, '\n'),
            }
        };
        match after[end + 1..].strip_prefix(',') {
            Some(next) => rest = next,
            None => return assert_eq!(&after[end + 1..], "", "{labels}"),
        }
    }
}

#[test]
fn an_exposition_is_what_a_collector_can_read() {
    let sandbox = Sandbox::new("stats-prom");
    let (worker, _gate) = sandbox.worker("prom");
    // A bundle with everything in its path that a label must not have.
    let other = sandbox.id("odd");
    let plain = sandbox.bundle(["sleep", "1000"]);
    let odd = sandbox.path().join("a \"quoted\\\" {name=\"x\"}\nline");
    assert!(
        Command::new("cp")
            .arg("-r")
            .arg(plain.dir())
            .arg(&odd)
            .status()
            .unwrap()
            .success()
    );
    sandbox.run_ok(["run", "-d", "-b", odd.to_str().unwrap(), &other]);

    let before = ours(&sandbox, &worker);
    let exposition = sandbox.run_ok(["stats", "-f", "prometheus"]);
    let after = ours(&sandbox, &worker);
    assert!(exposition.ends_with('\n'));
    let samples = check_exposition(&exposition);
    let odd = odd.to_str().unwrap();
    let escaped = odd
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n");
    let info = format!("holdfast_container_info{{id=\"{other}\",bundle=\"{escaped}\"}}");
    assert_eq!(samples.get(&info), Some(&1.0), "{exposition}");

    let value = |name: &str, labels: &str| {
        let series = format!("holdfast_container_{name}{{id=\"{worker}\"{labels}}}");
        *samples
            .get(&series)
            .unwrap_or_else(|| panic!("no {series} in {exposition}"))
    };
    let seconds = |data: &Value| data["cpu"]["usage"]["total"].as_u64().unwrap() as f64 / 1e9;
    let total = value("cpu_seconds_total", "");
    assert!(seconds(&before) <= total && total <= seconds(&after));
    assert_eq!(
        value("memory_limit_bytes", ",kind=\"memory\""),
        f64::from(16 << 20)
    );
    assert!(value("memory_failures_total", ",kind=\"memory\"") > 0.0);
    assert_eq!(value("pids_limit", ""), 50.0);
    assert!(value("network_receive_bytes_total", ",interface=\"lo\"") > 0.0);
    value("pressure_waiting_seconds_total", ",resource=\"cpu\"");
    // Unlimited: no line, rather than a number that no machine has.
    assert!(!exposition.contains("limit_bytes{id=\"odd"), "{exposition}");
    assert!(!exposition.contains("9223372036854"), "{exposition}");
}
