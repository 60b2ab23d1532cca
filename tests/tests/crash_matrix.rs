//! The crash matrix: launcher, shim, supervisor and runtime are killed with SIGKILL, alone and each with each, at the steps of launch,
//! hold, adopt, supervise and exit, under a real runtime. Afterwards, when `recover` has run once: no exit status is lost or invented, no
//! process, mount or runtime state is left of what is gone, and no byte of output is missing.
//!
//! Here are the families of cases, and what their cases have in common. docs/reliability.md has them as a table, which is checked.
//! All cases run with `scripts/test --crash-matrix`.

#[path = "crash_matrix/attached.rs"]
mod attached;
#[path = "crash_matrix/hold.rs"]
mod hold;
#[path = "crash_matrix/launch.rs"]
mod launch;
#[path = "crash_matrix/supervisor.rs"]
mod supervisor;

use std::fs;
use std::path::Path;
use std::process::Command;

use holdfast_tests::command::{show, text};
use holdfast_tests::matrix::{Ended, Family};
use holdfast_tests::strace::Moment;
use holdfast_tests::{Bundle, Gate, Sandbox};

const NOTHING_OR_ALL: &str = "nothing, or a container that runs, with its exact status";
const EXACT: &str = "goes on; exact status";
const FAILED: &str = "nothing: the launch has failed and said so";
const EXACT_OR_UNKNOWN: &str =
    "exact status; unknown, with the reason, if killed before it was on record";
const LAUNCHER: Family = family("launcher", "launch 1–7", 40, NOTHING_OR_ALL);
const SHIM_LAUNCH: Family = family("shim", "launch 2–6", 50, NOTHING_OR_ALL);
const SHIM_EXEC: Family = family(
    "shim",
    "launch 2–6, of an exec",
    30,
    "nothing, or an exec that is killed and waited for",
);
const BOTH_LAUNCH: Family = family("launcher and shim", "launch 2–6", 30, NOTHING_OR_ALL);
const RUNTIME_CREATE: Family = family("runtime", "launch 4, mid-create", 40, FAILED);
const SHIM_RUNTIME_CREATE: Family = family(
    "runtime and shim",
    "launch 4, mid-create",
    30,
    NOTHING_OR_ALL,
);
const LAUNCHER_RUNTIME_CREATE: Family = family(
    "runtime and launcher",
    "launch 4, mid-create",
    20,
    NOTHING_OR_ALL,
);
const RUNTIME_START: Family = family(
    "runtime",
    "launch 7, mid-start",
    20,
    "created or started; exact status",
);
const SHIM_HOLD: Family = family("shim", "hold, replaced in place", 40, EXACT);
const BOTH_HOLD: Family = family("launcher and shim", "hold, attached", 10, EXACT);
const SHIM_ADOPT: Family = family("shim, and the one that adopts", "adopt 1–5", 40, EXACT);
const CONTAINER_SHIM: Family = family(
    "shim, then container",
    "hold",
    10,
    "unknown, with the reason",
);
const SHIM_EXIT: Family = family("shim", "exit 1–8", 50, EXACT_OR_UNKNOWN);
const RUNTIME_DELETE: Family = family("runtime", "exit 6, mid-delete", 30, "exact status");
const SHIM_RUNTIME_DELETE: Family =
    family("runtime and shim", "exit 6, mid-delete", 20, "exact status");
const LAUNCHER_ATTACHED: Family = family(
    "launcher, attached",
    "launch 1–7, hold, exit",
    30,
    NOTHING_OR_ALL,
);
const BOTH_EXIT: Family = family(
    "launcher and shim",
    "exit 1–8, attached",
    20,
    EXACT_OR_UNKNOWN,
);
const LAUNCHER_RUNTIME_DELETE: Family = family(
    "runtime and launcher",
    "exit 6, mid-delete, attached",
    10,
    "nothing, and the output has arrived",
);
const SUPERVISOR: Family = family("supervisor", "supervise 1–3, restoring", 20, EXACT);
const SUPERVISOR_RESTART: Family = family(
    "supervisor",
    "supervise 4, restarting",
    20,
    "restarted once by the next, and counted once",
);
const SUPERVISOR_SHIM: Family = family("supervisor and shim", "hold, adopted", 20, EXACT);
const SUPERVISOR_ADOPTER: Family = family(
    "supervisor, shim, and the one that adopts",
    "adopt 1–5",
    20,
    EXACT,
);
const SUPERVISOR_SHIM_EXIT: Family =
    family("supervisor and shim", "exit 1–8", 20, EXACT_OR_UNKNOWN);
const SUPERVISOR_LAUNCHER: Family =
    family("supervisor and launcher", "launch 1–7", 20, NOTHING_OR_ALL);
const SUPERVISOR_RUNTIME: Family = family(
    "supervisor and runtime",
    "supervise 4, restarting, mid-create",
    20,
    "restarted once, or unknown, with the reason",
);

const fn family(
    victims: &'static str,
    steps: &'static str,
    cases: usize,
    afterwards: &'static str,
) -> Family {
    Family {
        victims,
        steps,
        cases,
        afterwards,
    }
}

/// In the order of the table.
const FAMILIES: [Family; 25] = [
    LAUNCHER,
    LAUNCHER_ATTACHED,
    SHIM_LAUNCH,
    SHIM_EXEC,
    BOTH_LAUNCH,
    RUNTIME_CREATE,
    SHIM_RUNTIME_CREATE,
    LAUNCHER_RUNTIME_CREATE,
    RUNTIME_START,
    SHIM_HOLD,
    BOTH_HOLD,
    SHIM_ADOPT,
    CONTAINER_SHIM,
    SHIM_EXIT,
    BOTH_EXIT,
    RUNTIME_DELETE,
    SHIM_RUNTIME_DELETE,
    LAUNCHER_RUNTIME_DELETE,
    SUPERVISOR,
    SUPERVISOR_RESTART,
    SUPERVISOR_SHIM,
    SUPERVISOR_ADOPTER,
    SUPERVISOR_SHIM_EXIT,
    SUPERVISOR_LAUNCHER,
    SUPERVISOR_RUNTIME,
];

/// What a runtime does that has been killed: the launcher, whose pid is in this file, is killed as well.
const AND_THE_LAUNCHER: &str =
    r#"code=$?; kill -KILL $(cat "$LAUNCHER"); [ $code -lt 128 ] || kill -KILL $$; exit $code"#;

/// What a container says when it is let to its end.
const SAYS: &str = "one\ntwo\n";
const CODE: Ended = Ended::Code(7);

/// A container that says something, waits at the gate, says more, and ends with 7.
fn talker(sandbox: &Sandbox, gate: &Gate<'_>) -> Bundle {
    let script = format!("echo one; {}; echo two; exit 7", Gate::WAIT);
    sandbox.sh(&script).bind(gate.dir())
}

/// After a launch was cut short: nothing, or a container; which is then started, if it has not been, and does all that it
/// should. Returns what was found.
#[track_caller]
fn nothing_or_all(sandbox: &Sandbox, id: &str) -> String {
    nothing_or(sandbox, id, &CODE, "")
}

/// The same, of a container that ends otherwise, or some of whose output has been read already.
#[track_caller]
fn nothing_or(sandbox: &Sandbox, id: &str, end: &Ended, read: &str) -> String {
    sandbox.settle();
    sandbox.run_ok(["recover"]);
    let Some(status) = sandbox.verdict(id) else {
        return "nothing".to_owned();
    };
    if status == "created" {
        sandbox.run_ok(["start", id]);
    }
    assert_eq!(sandbox.ended(id, "init"), *end);
    says_the_rest(sandbox, id, read);
    gone(sandbox, id);
    status
}

/// What has been read is how it begins; the rest is there. Not less, but perhaps more: what was unread at the end is kept, whoever
/// may still have read it.
#[track_caller]
fn says_the_rest(sandbox: &Sandbox, id: &str, read: &str) {
    let output = sandbox.output(["attach", id]);
    let rest = text(&output.stdout);
    let whole = SAYS.starts_with(read) && SAYS.ends_with(&rest);
    assert!(
        whole && read.len() + rest.len() >= SAYS.len(),
        "after {read:?}: {}",
        show(&output)
    );
}

#[track_caller]
fn gone(sandbox: &Sandbox, id: &str) {
    sandbox.run_ok(["delete", id]);
    sandbox.assert_nothing(id);
}

fn arg(path: &Path) -> &str {
    path.to_str().expect("sandboxes have plain names")
}

/// `holdfast create`, with a stand-in for the shim or the runtime.
fn create(sandbox: &Sandbox, stand_in: &[&str], bundle: &Bundle, id: &str) -> Command {
    sandbox.holdfast([stand_in, &["create", "-b", bundle.arg(), id]].concat())
}

fn says_and_ends(sandbox: &Sandbox) -> Bundle {
    sandbox.sh("echo one; echo two; exit 7")
}
/// The moments of a shim that launches.
fn launch_moments(sandbox: &Sandbox, bundle: &Bundle) -> Vec<Moment> {
    let id = sandbox.id("whole");
    let shim = sandbox.traced_shim(None);
    let output = sandbox.output_of(create(sandbox, &["--shim", arg(&shim)], bundle, &id));
    assert!(output.status.success(), "{}", show(&output));
    let moments = sandbox.launch_moments();
    nothing_or_all(sandbox, &id);
    moments
}

/// The moments of a runtime with a verb.
fn runtime_moments(sandbox: &Sandbox, verb: &str, bundle: &Bundle) -> Vec<Moment> {
    let id = sandbox.id("whole");
    let runtime = sandbox.traced_runtime(verb, None, "");
    sandbox.run_ok([
        "--runtime",
        arg(&runtime),
        "run",
        "-d",
        "-b",
        bundle.arg(),
        &id,
    ]);
    nothing_or_all(sandbox, &id);
    sandbox.runtime_moments()
}

/// The table of docs/reliability.md.
fn table() -> String {
    let mut table = "| killed | while | cases | afterwards |\n|---|---|---:|---|\n".to_owned();
    for Family {
        victims,
        steps,
        cases,
        afterwards,
    } in FAMILIES
    {
        table += &format!("| {victims} | {steps} | {cases} | {afterwards} |\n");
    }
    let sum: usize = FAMILIES.iter().map(|family| family.cases).sum();
    table
        + &format!(
            "| | | **{sum}** | wrong statuses **0**, left behind **0**, bytes lost **0** |\n"
        )
}

#[test]
fn the_table_is_what_is_tested() {
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reliability.md");
    let (begin, end) = (
        "<!-- crash matrix: begin -->\n",
        "<!-- crash matrix: end -->",
    );
    let page = fs::read_to_string(PAGE).expect("read docs/reliability.md");
    let (before, rest) = page
        .split_once(begin)
        .expect("the page has a place for the table");
    let (there, after) = rest.split_once(end).expect("the table has an end");
    if std::env::var_os("HOLDFAST_WRITE_DOCS").is_some() {
        let page = format!("{before}{begin}{}{end}{after}", table());
        fs::write(PAGE, page).expect("write docs/reliability.md");
    } else {
        assert_eq!(there, table(), "HOLDFAST_WRITE_DOCS=1 writes it anew");
    }
    assert!(FAMILIES.iter().map(|family| family.cases).sum::<usize>() >= 200);
}
