//! `inspect`: what the library found, for people. Facts first, one line each; the verdict, and the command that mends, last.

use clap::Args;
use holdfast::inspect::{Descriptor, Existence, Fifo, Holder, RuntimeFacts, Seen, ShimFacts};
use holdfast::{
    Condition, ContainerId, ContainerInspection, Diagnosis, ExitStatus, Inspection, ProcessId,
};

use super::colour::{self, Tone};
use super::error::Result;
use super::globals::Globals;
use super::logging::one_line;
use super::output::{print, print_json_indented};

/// Flags of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Output: text or json
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true
    )]
    format: View,
    /// The container
    #[arg(value_name = "ID")]
    id: ContainerId,
    /// One of its processes alone: init, or an exec's name
    #[arg(value_name = "PROCESS")]
    process: Option<ProcessId>,
}

/// How to print what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum View {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Looks at a container; that something is broken is an answer, not a failure.
///
/// # Errors
/// There is no such container, or process.
pub fn inspect(args: &InspectArgs, globals: &Globals) -> Result<u8> {
    let found = globals.driver()?.inspect(&args.id)?;
    let Some(id) = &args.process else {
        return show(args.format, &found, || container(&found));
    };
    let absent = || holdfast::Error::ProcessNotFound {
        id: args.id.clone(),
        process: id.clone(),
    };
    let mut processes = found.processes.into_iter();
    let found = processes.find(|process| process.process == id.as_str());
    let found = found.ok_or_else(absent)?;
    show(args.format, &found, || process(&found))
}

fn show(view: View, found: &impl serde::Serialize, text: impl Fn() -> String) -> Result<u8> {
    match view {
        View::Text => print(&text())?,
        View::Json => print_json_indented(found)?,
    }
    Ok(0)
}

/// Lines of a name and what is to be said of it.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn head(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn add(&mut self, name: &str, text: impl AsRef<str>) {
        // Files, logs and names may hold anything; a terminal is not to obey it.
        let text = one_line(text.as_ref());
        self.head(format!("  {name:<9} {text}").trim_end());
    }

    fn diagnosis(&mut self, diagnosis: &Diagnosis) {
        let verdict = one_line(&diagnosis.summary);
        let verdict = colour::paint(tone(diagnosis.condition), &verdict);
        self.head(&format!("  {:<9} {verdict}", "verdict"));
        let nothing = "nothing to do".to_owned();
        self.add("mend", diagnosis.mend.as_ref().unwrap_or(&nothing));
    }
}

fn tone(condition: Condition) -> Tone {
    match condition {
        Condition::Exited
        | Condition::Running
        | Condition::Paused
        | Condition::Created
        | Condition::Launching
        | Condition::Ending => Tone::Good,
        Condition::Unknown
        | Condition::Outdated
        | Condition::Unfinished
        | Condition::CutOff
        | Condition::Foreign
        | Condition::Lost
        | Condition::Orphaned => Tone::Care,
        // Stuck, unrecorded, corrupt, and what there may be one day.
        _ => Tone::Bad,
    }
}

fn container(found: &ContainerInspection) -> String {
    let mut lines = Lines::default();
    lines.head(&found.id);
    lines.add("directory", found.dir.display().to_string());
    match &found.problem {
        Some(problem) => lines.add("problem", problem),
        None => lines.add("bundle", &found.bundle),
    }
    lines.add("runtime", runtime(&found.runtime));
    lines.diagnosis(&found.diagnosis);
    for found in &found.processes {
        lines.0.push('\n');
        lines.0.push_str(&process(found));
    }
    lines.0
}

fn runtime(facts: &RuntimeFacts) -> String {
    let said = match (&facts.status, &facts.problem) {
        (Some(status), _) => format!("{status}, pid {}", facts.pid.unwrap_or_default()),
        (None, Some(problem)) => problem.clone(),
        (None, None) => String::new(),
    };
    format!("{}: {said}", facts.program)
}

fn process(found: &Inspection) -> String {
    let mut lines = Lines::default();
    lines.head(&format!("{}/{}", found.container, found.process));
    if let Some(problem) = &found.problem {
        lines.add("problem", problem);
    }
    lines.add("process", identity(found));
    for cgroup in cgroups(&found.cgroups) {
        lines.add("cgroup", cgroup);
    }
    for line in shim(&found.shim) {
        lines.add("shim", line);
    }
    for fifo in &found.fifos {
        lines.add(&fifo.name, describe(fifo));
    }
    if !found.all_descriptors {
        lines.add("", "(not everybody's descriptors could be looked at)");
    }
    lines.add("ended", ending(found));
    for (name, log) in [("shim log", &found.shim_log), ("log", &found.runtime_log)] {
        for line in log {
            lines.add(name, format!("{} {} {}", line.time, line.level, line.msg));
        }
    }
    lines.diagnosis(&found.diagnosis);
    lines.0
}

fn identity(found: &Inspection) -> String {
    let kernel = &found.kernel;
    let pid = match &kernel.pid {
        Seen::Absent => return "no pid is recorded".to_owned(),
        Seen::Unreadable { problem } => return problem.clone(),
        Seen::Read(pid) => pid,
    };
    let start = match &kernel.start_time {
        Seen::Absent => "no start time".to_owned(),
        Seen::Unreadable { problem } => problem.clone(),
        Seen::Read(ticks) => format!("start time {ticks}"),
    };
    let mut text = format!("pid {pid}, {start}: {}", exists(kernel.existence));
    if let (Some(state), Some(command)) = (kernel.state, &kernel.command) {
        text.push_str(&format!(" ({command}, state {state})"));
    }
    text
}

fn exists(existence: Existence) -> &'static str {
    match existence {
        Existence::Unrecorded => "nobody can tell who that is",
        Existence::Runs => "alive, and the same",
        Existence::Ended => "ended, not reaped yet",
        Existence::Gone => "gone",
        Existence::Stranger => "gone; somebody else has this pid now",
        Existence::AnotherBoot => "gone with an earlier boot of this host",
    }
}

fn cgroups(lines: &[String]) -> Vec<&str> {
    // "12:pids:/web": the same path for most controllers.
    let paths = lines.iter().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut paths: Vec<_> = paths.filter(|path| *path != "/").collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

fn shim(found: &ShimFacts) -> Vec<String> {
    let lock = match &found.lock {
        Seen::Absent => "no shim.lock".to_owned(),
        Seen::Unreadable { problem } => problem.clone(),
        Seen::Read(lock) => match (lock.held, lock.holder) {
            (true, Some(pid)) => format!("alive: pid {pid} holds shim.lock"),
            (true, None) => "alive: shim.lock is held, the kernel does not tell by whom".to_owned(),
            (false, _) if lock.finished => "finished: nobody holds shim.lock".to_owned(),
            (false, _) => "dead: nobody holds shim.lock".to_owned(),
        },
    };
    let state = found.state.map(|state| format!(" (state {state})"));
    let record = match &found.record {
        Seen::Absent => "no shim.json".to_owned(),
        Seen::Unreadable { problem } => problem.clone(),
        Seen::Read(shim) => format!(
            "shim.json: pid {}, {}; version {}",
            shim.pid,
            exists(found.existence),
            shim.version
        ),
    };
    let mut lines = vec![lock + &state.unwrap_or_default(), record];
    if let Some(executable) = &found.executable {
        let installed = if executable.installed {
            "which is still what is there"
        } else {
            "which is there no more, or has been replaced"
        };
        lines.push(format!("runs {}, {installed}", executable.runs.display()));
    }
    let refused = found.record.value().and_then(|shim| shim.refused.as_ref());
    lines.extend(refused.map(|why| format!("not replaced: {why}")));
    lines
}

fn describe(fifo: &Fifo) -> String {
    let path = fifo.path.display();
    let mut text = match &fifo.kind {
        Descriptor::Fifo => {
            let bytes = match fifo.waiting {
                Some(bytes) => format!("{bytes} bytes wait"),
                None => "cannot be opened".to_owned(),
            };
            let (readers, writers) = (holders(&fifo.readers), holders(&fifo.writers));
            format!("{bytes}; read by {readers}, written by {writers}")
        }
        Descriptor::File => path.to_string(),
        Descriptor::Inherited => "the launcher's own".to_owned(),
        Descriptor::Absent => format!("{path} is not there"),
        Descriptor::Unreadable(why) => format!("{path}: {why}"),
    };
    if let Some(bytes) = fifo.unread {
        text.push_str(&format!("; {bytes} bytes kept that nobody read"));
    }
    text
}

fn holders(holders: &[Holder]) -> String {
    let names: Vec<String> = holders
        .iter()
        .map(|holder| format!("{} {}", holder.pid, holder.command))
        .collect();
    if names.is_empty() {
        "nobody".to_owned()
    } else {
        names.join(", ")
    }
}

fn ending(found: &Inspection) -> String {
    match (&found.ending.record, &found.ending.number) {
        (Seen::Read(record), _) => match &record.status {
            ExitStatus::Code(code) => format!("with code {code}"),
            ExitStatus::Signal { signal, .. } => format!("by signal {signal}"),
            ExitStatus::Unknown { reason } => format!("nobody knows how: {reason}"),
        },
        (Seen::Unreadable { problem }, _) | (Seen::Absent, Seen::Unreadable { problem }) => {
            problem.clone()
        }
        (Seen::Absent, Seen::Read(number)) => format!("with status {number}"),
        (Seen::Absent, Seen::Absent) => "nothing is on record".to_owned(),
    }
}
