//! From facts to a verdict in one line, and to the command that mends what is broken. A table from top to bottom: the first
//! line that fits counts. Commands are such as can be typed: they name a root that is not the usual one, and they do what they
//! are said to (a test types each of them).

use std::path::Path;

use holdfast_common::exit_record::{ExitRecord, ExitStatus};
use holdfast_common::id::ContainerId;
use holdfast_common::layout;
use serde::Serialize;

use super::facts::{Descriptor, Existence, Fifo, Inspection, LockFacts, RuntimeFacts, Seen};

/// What to make of what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// In one word.
    pub condition: Condition,
    /// In one line.
    pub summary: String,
    /// The command that mends it; none where nothing is to be done.
    pub mend: Option<String>,
}

/// What condition something is in. In the order of who needs care most, the last first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Condition {
    /// It has ended, and how is on record.
    Exited,
    /// It has ended, and it is on record that nobody knows how.
    Unknown,
    /// It runs and is held.
    Running,
    /// It is frozen.
    Paused,
    /// It waits for its start.
    Created,
    /// It is being launched.
    Launching,
    /// It has ended, and its shim is about to finish.
    Ending,
    /// It runs and is held by a shim whose executable has been replaced.
    Outdated,
    /// It has ended, and its shim was killed before it had tidied up.
    Unfinished,
    /// It never came to be: its shim was killed during the launch.
    CutOff,
    /// It is gone, so is its shim, and how it ended is not on record.
    Lost,
    /// No shim of ours was ever here.
    Foreign,
    /// It has ended, and its shim finds no room to say how.
    Unrecorded,
    /// Its shim does nothing.
    Stuck,
    /// It runs, and its shim was killed.
    Orphaned,
    /// Its directory cannot be understood, or something is missing from it.
    Corrupt,
}

impl Diagnosis {
    /// While facts are being collected.
    pub(super) fn none() -> Self {
        Self {
            condition: Condition::Launching,
            summary: String::new(),
            mend: None,
        }
    }

    fn new(condition: Condition, summary: impl Into<String>, mend: Option<String>) -> Self {
        Self {
            condition,
            summary: summary.into(),
            mend,
        }
    }
}

/// `holdfast WORDS`, for a shell, with the root where it is not the usual one.
pub fn command(root: &Path, words: &str) -> String {
    if layout::default_root().is_some_and(|usual| usual == root) {
        format!("holdfast {words}")
    } else {
        format!("holdfast --root {} {words}", quoted(root))
    }
}

fn holdfast(root: &Path, words: &str) -> Option<String> {
    Some(command(root, words))
}

/// A path as a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+~:".contains(c);
    if text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What to make of a container: of its own files first, then of the process that needs care most.
pub(super) fn of_container(
    root: &Path,
    id: &ContainerId,
    dir: &Path,
    problem: Option<&str>,
    runtime: &RuntimeFacts,
    processes: &[Inspection],
) -> Diagnosis {
    if let Some(problem) = problem {
        let rm = format!("rm -r {}", quoted(dir));
        let runs = |found: &Inspection| found.kernel.existence == Existence::Runs;
        let (also, mend) = match processes.iter().find_map(rewritten) {
            Some(text) => (
                "; its shim lives, and knows what belongs there",
                format!("echo '{text}' > {}", quoted(&dir.join(layout::STATE_FILE))),
            ),
            // Without its directory nobody would know of it.
            None if processes.iter().any(runs) => (
                "; it runs, and no shim looks after it: it can only be ended",
                format!("{} delete -f {id}; {rm}", runtime_command(runtime)),
            ),
            None => ("; no shim looks after it", rm),
        };
        return Diagnosis::new(Condition::Corrupt, format!("{problem}{also}"), Some(mend));
    }
    let worst = processes
        .iter()
        .map(|process| &process.diagnosis)
        .rev()
        .max_by_key(|diagnosis| diagnosis.condition);
    let init = processes.first().filter(|first| !first.exec);
    match (init, worst) {
        (None, _) => Diagnosis::new(
            Condition::Corrupt,
            format!("{} has no directory {}", dir.display(), layout::INIT),
            holdfast(root, &format!("delete -f {id}")),
        ),
        // Until something is to be done about another, the container is what its init is.
        (Some(_), Some(worst)) if worst.condition > Condition::Ending => worst.clone(),
        (Some(init), _) => init.diagnosis.clone(),
    }
}

/// The runtime that is asked where nothing else is known, for a shell.
fn runtime_command(runtime: &RuntimeFacts) -> String {
    let words = [&runtime.program].into_iter().chain(&runtime.args);
    let words: Vec<String> = words.map(|word| quoted(Path::new(word))).collect();
    words.join(" ")
}

/// What state.json has to say at least, by the words that a living shim was started with.
fn rewritten(process: &Inspection) -> Option<String> {
    let [_, _, bundle, runtime, rest @ ..] = process.shim.arguments.as_slice() else {
        return None;
    };
    let args = rest.iter().skip_while(|word| *word != "--").skip(1);
    let args: Vec<&String> = args.collect();
    let state = serde_json::json!({"bundle": bundle, "runtime": runtime, "runtimeArgs": args});
    Some(state.to_string()).filter(|text| !text.contains('\''))
}

/// What to make of a process.
pub(super) fn of_process(root: &Path, found: &Inspection) -> Diagnosis {
    let id = &found.container;
    let of_holdfast = |words: &str| holdfast(root, &format!("{words} {id}"));
    let corrupt = |problem: &str, mend| Diagnosis::new(Condition::Corrupt, problem, mend);
    if let Some(problem) = &found.problem {
        return corrupt(problem, of_holdfast("delete -f"));
    }
    // Where there is an exit.json, the number beside it is for containerd alone.
    let (record, file) = match (&found.ending.record, &found.ending.number) {
        (Seen::Absent, Seen::Unreadable { problem }) => (Some(problem), layout::EXIT_STATUS_FILE),
        (record, _) => (problem_of(record), layout::EXIT_FILE),
    };
    if let Some(problem) = record {
        let rm = format!("rm -r {}", quoted(&found.dir.join(file)));
        return corrupt(problem, Some(rm));
    }
    let lock = match &found.shim.lock {
        Seen::Unreadable { problem } => return corrupt(problem, of_holdfast("delete -f")),
        Seen::Read(lock) => Some(*lock),
        Seen::Absent => None,
    };
    let number = found.ending.number.value();
    match (found.ending.record.value(), number, lock) {
        (Some(record), _, lock) => ended(root, found, &told(record), lock),
        (None, Some(number), lock) => ended(root, found, &format!("status {number}"), lock),
        (None, None, Some(LockFacts { held: true, .. })) => held(root, found),
        (None, None, lock) => abandoned(root, found, lock),
    }
}

fn problem_of<T>(seen: &Seen<T>) -> Option<&String> {
    match seen {
        Seen::Unreadable { problem } => Some(problem),
        Seen::Absent | Seen::Read(_) => None,
    }
}

fn told(record: &ExitRecord) -> String {
    match &record.status {
        ExitStatus::Code(code) => format!("code {code}"),
        ExitStatus::Signal { signal, .. } => format!("signal {signal}"),
        ExitStatus::Unknown { reason } => format!("unknown: {reason}"),
    }
}

/// How it ended is on record.
fn ended(root: &Path, found: &Inspection, how: &str, lock: Option<LockFacts>) -> Diagnosis {
    let id = &found.container;
    match lock {
        Some(LockFacts {
            held: true, left, ..
        }) => stopped(found).unwrap_or_else(|| {
            let doing = if left {
                "waits to run the exit command"
            } else {
                "is finishing"
            };
            let summary = format!("it ended ({how}); its shim {doing}");
            Diagnosis::new(Condition::Ending, summary, None)
        }),
        Some(LockFacts {
            finished: false,
            left,
            ..
        }) => {
            let before = if left {
                "it had run the exit command"
            } else {
                "it had tidied up"
            };
            let summary = format!("it ended ({how}); its shim was killed before {before}");
            let mend = holdfast(root, &format!("recover {id}"));
            Diagnosis::new(Condition::Unfinished, summary, mend)
        }
        _ => {
            let unknown = found.ending.record.value().is_some_and(is_unknown);
            let condition = if unknown {
                Condition::Unknown
            } else {
                Condition::Exited
            };
            // An exec goes with its container.
            let mend = (!found.exec).then(|| holdfast(root, &format!("delete {id}")));
            Diagnosis::new(condition, format!("it ended ({how})"), mend.flatten())
        }
    }
}

fn is_unknown(record: &ExitRecord) -> bool {
    matches!(record.status, ExitStatus::Unknown { .. })
}

/// A shim that was stopped with a signal: it takes no request and records no end.
fn stopped(found: &Inspection) -> Option<Diagnosis> {
    let pid = holder(found)?;
    matches!(found.shim.state, Some('T' | 't')).then(|| {
        let summary = format!("its shim (pid {pid}) is stopped and does nothing");
        Diagnosis::new(Condition::Stuck, summary, Some(format!("kill -CONT {pid}")))
    })
}

fn holder(found: &Inspection) -> Option<i32> {
    let holder = found.shim.lock.value().and_then(|lock| lock.holder);
    holder.or_else(|| found.shim.record.value().map(|record| record.pid))
}

/// A shim lives, and no end is on record.
fn held(root: &Path, found: &Inspection) -> Diagnosis {
    let id = &found.container;
    let of_holdfast = |words: &str| holdfast(root, &format!("{words} {id}"));
    if let Some(stopped) = stopped(found) {
        return stopped;
    }
    if let Some(diagnosis) = rewrite_identity(found) {
        return diagnosis;
    }
    let plain = |condition, summary: &str| Diagnosis::new(condition, summary, None);
    match found.kernel.existence {
        Existence::Unrecorded => plain(Condition::Launching, "its launch is under way"),
        Existence::Ended | Existence::Gone => {
            if no_room(found) {
                let dir = found.dir.display();
                let summary = format!(
                    "it ended, and its shim finds no room in {dir} to say how; make some, and it will"
                );
                let mend = format!("df {}", quoted(&found.dir));
                return Diagnosis::new(Condition::Unrecorded, summary, Some(mend));
            }
            plain(Condition::Ending, "it ended; its shim is about to say how")
        }
        Existence::Stranger | Existence::AnotherBoot => Diagnosis::new(
            Condition::Corrupt,
            "its shim lives, but what pid and starttime name does not",
            of_holdfast("delete -f"),
        ),
        Existence::Runs => {
            if let Some(missing) = missing(found) {
                return missing_fifo(root, found, missing);
            }
            let outdated = found.shim.executable.as_ref();
            match outdated.filter(|executable| !executable.installed) {
                Some(executable) if executable.runs.exists() => Diagnosis::new(
                    Condition::Outdated,
                    format!(
                        "it runs; its shim runs what {} was before it was replaced",
                        executable.runs.display()
                    ),
                    of_holdfast("upgrade"),
                ),
                _ if found.kernel.frozen => plain(Condition::Paused, "it is frozen"),
                _ if found.kernel.created => Diagnosis::new(
                    Condition::Created,
                    "it waits for its start",
                    of_holdfast("start"),
                ),
                _ if found.dir.join(layout::SECCOMP_LOST_FILE).exists() => plain(
                    Condition::Running,
                    "it runs, and its shim holds it; seccomp listeners were lost with a shim that was killed: \
                     calls that its filter has wait fail with ENOSYS, or wait for an agent that was connected then",
                ),
                _ => plain(Condition::Running, "it runs, and its shim holds it"),
            }
        }
    }
}

/// `pid` or `starttime` cannot be understood; the shim that holds the process knows better.
fn rewrite_identity(found: &Inspection) -> Option<Diagnosis> {
    let pid_problem = problem_of(&found.kernel.pid);
    let problem = pid_problem.or(problem_of(&found.kernel.start_time))?;
    let words = &found.shim.arguments;
    let pid = words.iter().find_map(|word| word.strip_prefix("pid="))?;
    let mend = if pid_problem.is_some() {
        format!("echo {pid} > {}", quoted(&found.dir.join(layout::PID_FILE)))
    } else {
        let of = holdfast_common::identity::Identity::of(pid.parse().ok()?).ok()?;
        let path = quoted(&found.dir.join(layout::START_TIME_FILE));
        format!("echo {} > {path}", of.start_time)
    };
    Some(Diagnosis::new(
        Condition::Corrupt,
        format!("{problem}; its shim lives, and knows what belongs there"),
        Some(mend),
    ))
}

/// Whether the shim has said that it cannot write the status.
fn no_room(found: &Inspection) -> bool {
    let mut said = found.shim_log.iter().map(|line| &line.msg);
    said.any(|msg| msg.contains("trying again until there is space"))
}

/// The first of the two protocol FIFOs that is none.
fn missing(found: &Inspection) -> Option<&Fifo> {
    let protocol = |fifo: &&Fifo| [layout::CONTROL_FIFO, layout::EXIT_FIFO].contains(&&*fifo.name);
    let mut protocol = found.fifos.iter().filter(protocol);
    protocol.find(|fifo| fifo.kind != Descriptor::Fifo)
}

/// Nobody can reach the shim, or hear from it, by a name that is gone; another shim can be.
fn missing_fifo(root: &Path, found: &Inspection, missing: &Fifo) -> Diagnosis {
    let summary = format!("it runs, but {} is not a fifo", missing.path.display());
    let Some(shim) = holder(found).filter(|_| !found.terminal) else {
        // Another shim could not have its terminal.
        return Diagnosis::new(Condition::Corrupt, summary, None);
    };
    let path = quoted(&missing.path);
    let recover = holdfast(root, &format!("recover {}", found.container)).unwrap_or_default();
    // Until its lock is free, it is not gone.
    let gone = format!(
        "flock {} true",
        quoted(&found.dir.join(layout::SHIM_LOCK_FILE))
    );
    let mend = format!("rm -rf {path}; mkfifo -m 600 {path}; kill -KILL {shim}; {gone}; {recover}");
    Diagnosis::new(Condition::Corrupt, summary, Some(mend))
}

/// No shim lives, and no end is on record.
fn abandoned(root: &Path, found: &Inspection, lock: Option<LockFacts>) -> Diagnosis {
    let id = &found.container;
    let of_holdfast = |words: &str| holdfast(root, &format!("{words} {id}"));
    let runs = found.kernel.existence == Existence::Runs;
    if lock.is_none_or(|lock| lock.finished) {
        let summary = match (lock, runs) {
            (None, true) => "no shim of holdfast was ever here; it runs",
            (None, false) => "no shim of holdfast was ever here",
            (Some(_), _) => "its shim had finished, but what it had recorded was removed",
        };
        let mend = (!runs).then(|| of_holdfast("delete -f")).flatten();
        return Diagnosis::new(Condition::Foreign, summary, mend);
    }
    let unreadable = problem_of(&found.kernel.pid).or(problem_of(&found.kernel.start_time));
    if let Some(problem) = unreadable {
        let summary = format!("{problem}; its shim was killed, and nobody knows who it was");
        return Diagnosis::new(Condition::Corrupt, summary, of_holdfast("delete -f"));
    }
    if let Some(missing) = missing(found) {
        let path = quoted(&missing.path);
        let summary = format!(
            "its shim was killed, and {} is not a fifo",
            missing.path.display()
        );
        let mend = of_holdfast("recover")
            .map(|recover| format!("rm -rf {path}; mkfifo -m 600 {path}; {recover}"));
        return Diagnosis::new(Condition::Corrupt, summary, mend);
    }
    let (condition, summary) = match found.kernel.existence {
        Existence::Unrecorded => (
            Condition::CutOff,
            "its launch was cut off: its shim was killed before it came to be",
        ),
        Existence::Runs if found.terminal => (
            Condition::Orphaned,
            "it runs, but its shim was killed, and its terminal is lost with it",
        ),
        Existence::Runs => (Condition::Orphaned, "it runs, but its shim was killed"),
        Existence::AnotherBoot => (
            Condition::Lost,
            "the host was rebooted: it is gone, and nobody knows how it ended",
        ),
        Existence::Ended | Existence::Gone | Existence::Stranger => (
            Condition::Lost,
            "its shim was killed, and it ended before another took over: nobody knows how",
        ),
    };
    Diagnosis::new(condition, summary, of_holdfast("recover"))
}
