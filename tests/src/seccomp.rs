//! Containers whose system calls wait for an agent, and what tests of that need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast::{Container, ContainerId, SeccompListener, SeccompStore};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{Bundle, DEADLINE, Gate, Proc, Running, Sandbox};

/// Has these calls wait for an agent; the runtime sends the listener to `path`.
#[must_use]
pub fn filtered(bundle: Bundle, calls: &[&str], path: &Path) -> Bundle {
    bundle.edit(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": path,
            "listenerMetadata": "of the test",
            "syscalls": [{ "names": calls, "action": "SCMP_ACT_NOTIFY" }],
        });
    })
}

/// What the tests' filter has wait, in every libc.
pub const MKDIR: &[&str] = &["mkdir", "mkdirat"];

/// Where a container's shim waits for its runtime.
pub fn our_socket(sandbox: &Sandbox, id: &str) -> PathBuf {
    sandbox.process_dir(id, "init").join("seccomp.runtime")
}

/// A container of a script whose `mkdir` waits for an agent; /host is the gate's directory.
pub fn run(sandbox: &Sandbox, gate: &Gate<'_>, script: &str) -> String {
    let id = sandbox.id("calls");
    let bundle = sandbox.sh(script).bind(gate.dir());
    let bundle = filtered(bundle, MKDIR, &our_socket(sandbox, &id));
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    id
}

/// A container, as the library has it.
///
/// # Panics
/// When there is none.
pub fn load(sandbox: &Sandbox, id: &str) -> Container {
    let id = ContainerId::new(id).unwrap();
    sandbox.driver().load(&id).unwrap()
}

/// A connection to its store.
///
/// # Panics
/// When there is none.
pub fn connect(sandbox: &Sandbox, id: &str) -> SeccompStore {
    load(sandbox, id).seccomp().unwrap()
}

/// The next listener.
///
/// # Panics
/// When none comes before the deadline.
pub fn receive(store: &SeccompStore) -> SeccompListener {
    let listener = store.receive(Some(DEADLINE)).unwrap();
    listener.expect("a listener before the store is gone")
}

/// An agent as a process of its own: `words`, then root and id.
///
/// # Panics
/// As [`Sandbox::spawn`].
pub fn agent<'a>(sandbox: &'a Sandbox, id: &str, words: &[&str]) -> Running<'a> {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(sandbox.root()).arg(id);
    command.current_dir(sandbox.path());
    sandbox.spawn(command)
}

/// All that the init's shim has said.
pub fn shim_log(sandbox: &Sandbox, id: &str) -> String {
    fs::read_to_string(sandbox.process_dir(id, "init").join("shim-log.json")).unwrap_or_default()
}

/// Whether a process waits for an agent.
pub fn waits_for_agent(process: Proc) -> bool {
    process.waits_in("seccomp")
}

/// What a shim holds, by its own account.
pub fn view(sandbox: &Sandbox, id: &str) -> Value {
    let before = shim_log(sandbox, id).lines().count();
    let shim = sandbox.shim_of(&sandbox.process_dir(id, "init"));
    shim.signal(Signal::SIGUSR1);
    sandbox.wait_for("a view", || {
        let log = shim_log(sandbox, id);
        let lines = log.lines().skip(before);
        lines
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find_map(|mut line| line.get_mut("view").map(Value::take))
    })
}
