//! What must hold whatever bytes the parsers of `holdfast-common` are given: one function a parser, which panics when its
//! property does not hold. Shared by the fuzz targets (`targets/`, which need libFuzzer and a nightly toolchain) and by
//! `tests/tests/fuzz_corpus.rs`, which runs them over the committed corpora with any toolchain. So nothing in here knows
//! libFuzzer. File names and keys are spelled out, as in the harness: what a test repeats is what others rely on.
//!
//! | module | whose words |
//! |---|---|
//! | [`control`] | the control FIFO |
//! | [`documents`] | process.json, state.json, shim.json: kept as they came |
//! | [`ends`] | exit.json, exitStatus: no status that was not in the bytes |
//! | [`entries`] | containers' logs: no byte that was not written, none lost |
//! | [`identities`] | pid and starttime, /proc/PID/stat: no process that was not in the bytes |
//! | [`notifications`] | a container's to a service manager: nothing that it may not say, nothing that it did not |
//! | [`messages`] | the ready line, the shim's command line, the JSON log, the state that comes with a seccomp listener |
//! | [`scratch`] | the directory in which the state files are |

#![forbid(unsafe_code)]

mod control;
mod documents;
mod ends;
mod entries;
mod identities;
mod messages;
mod notifications;
mod scratch;

pub use control::control;
pub use documents::{process_json, shim_json, state_json};
pub use ends::{exit_json, exit_status};
pub use entries::log_entry;
pub use identities::{pid_starttime, proc_stat};
pub use messages::{log_line, ready, request, seccomp_state};
pub use notifications::notify_message;

/// A target's name, which is also that of its corpus, and its property.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 14] = [
    ("control", control),
    ("process_json", process_json),
    ("state_json", state_json),
    ("shim_json", shim_json),
    ("exit_json", exit_json),
    ("exit_status", exit_status),
    ("pid_starttime", pid_starttime),
    ("proc_stat", proc_stat),
    ("ready", ready),
    ("request", request),
    ("log_line", log_line),
    ("log_entry", log_entry),
    ("seccomp_state", seccomp_state),
    ("notify_message", notify_message),
];
