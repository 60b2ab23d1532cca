//! `holdfast top`: the processes of a container, its execs and their children among them, and what each of them uses.

use holdfast::{ContainerId, ProcessUsage};
use holdfast_tests::Sandbox;

fn usage(sandbox: &Sandbox, id: &str) -> Vec<ProcessUsage> {
    serde_json::from_str(&sandbox.run_ok(["top", "-f", "json", id])).unwrap()
}

#[test]
fn every_process_has_a_line_and_they_are_those_that_the_runtime_knows() {
    let sandbox = Sandbox::new("top");
    let id = sandbox.id("top");
    // The arguments of a process are its own to choose: they do nothing to a terminal.
    let bundle = sandbox
        .sh("sleep 1001 & sh -c 'sleep 1002 & wait' \"$(printf 'odd\\033[1m\\nname')\" & wait");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    sandbox.run_ok([
        "exec",
        "-d",
        "-u",
        "1234:5",
        "--exec-id",
        "job",
        &id,
        "sleep",
        "1003",
    ]);
    sandbox.wait_until("five processes", || usage(&sandbox, &id).len() == 5);

    let processes = usage(&sandbox, &id);
    let pids: Vec<i32> = processes.iter().map(|process| process.pid).collect();
    let mut runcs: Vec<i32> =
        serde_json::from_str(&sandbox.run_ok(["ps", "-f", "json", &id])).unwrap();
    runcs.sort_unstable();
    assert_eq!(pids, runcs);
    let of = |words: &[&str]| {
        let found = processes.iter().find(|process| process.command == words);
        found.unwrap_or_else(|| panic!("no {words:?} in {processes:#?}"))
    };
    let job = of(&["sleep", "1003"]);
    assert_eq!((job.uid, job.threads), (1234, 1));
    assert_eq!(of(&["sleep", "1002"]).uid, 0);
    assert!(processes.iter().all(|process| process.memory > 0));

    let table = sandbox.run_ok(["top", &id]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 6, "{table}");
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        [
            "PID", "USER", "CPU", "%", "CPU", "TIME", "MEMORY", "COMMAND"
        ]
    );
    let line = lines
        .iter()
        .find(|line| line.ends_with("sleep 1003"))
        .unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!((words[0], words[1]), (&*job.pid.to_string(), "1234"));
    let root = lines
        .iter()
        .find(|line| line.ends_with("sleep 1002"))
        .unwrap();
    assert_eq!(root.split_whitespace().nth(1), Some("root"));
    assert!(table.contains(r"odd\u{1b}[1m\nname"), "{table}");
}

#[test]
fn processor_time_is_whose_it_is() {
    let sandbox = Sandbox::new("top-busy");
    let id = sandbox.id("busy");
    let bundle = sandbox.sh("sleep 1000 & while :; do :; done");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let container = sandbox
        .driver()
        .load(&ContainerId::new(id.as_str()).unwrap())
        .unwrap();
    let used = sandbox.wait_for("a tenth of a second of work", || {
        let processes = container.process_usage().unwrap();
        let busy = processes
            .iter()
            .find(|process| process.command.first().is_some_and(|it| it == "sh"))?;
        (busy.cpu >= 100_000_000).then(|| processes.clone())
    });
    let sleeper = used
        .iter()
        .find(|process| process.command == ["sleep", "1000"])
        .unwrap();
    assert!(sleeper.cpu < 50_000_000, "{used:#?}");
    let all: u64 = used.iter().map(|process| process.cpu).sum();
    let stats = container.stats().unwrap();
    assert!(
        all <= stats.cpu.unwrap().usage.total + 50_000_000,
        "ticks are coarse"
    );
    assert!(
        used.iter()
            .all(|process| process.age().unwrap() <= container.uptime().unwrap().unwrap())
    );
}
