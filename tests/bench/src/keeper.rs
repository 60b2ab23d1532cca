//! The process that stays outside. It makes a place for the one that measures, starts that, and takes down whatever it leaves there,
//! however it ends: done, failed, killed, or by a Ctrl-C here. Nobody else can: who measures is in the middle of it.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use holdfast_tests::Sandbox;
use nix::sys::signal::{SigSet, Signal};

/// Tells the process that measures where its place is.
const PLACE: &str = "HOLDFAST_BENCH_PLACE";

/// The place, in the process that measures; `None` in the one that keeps it.
pub fn place() -> Option<PathBuf> {
    env::var_os(PLACE).map(PathBuf::from)
}

/// Runs this program again, with the same words, and cleans up behind it.
pub fn keep() -> Result<ExitCode, String> {
    let mut awaited = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ] {
        awaited.add(signal);
    }
    // Before there is anything to clean up. The child begins without: std sees to that.
    awaited
        .thread_block()
        .map_err(|e| format!("block signals: {e}"))?;
    let sandbox = Sandbox::new("bench");
    println!("bench: in {}", sandbox.path().display());
    // All cgroups are below one of this name: see `Meter`.
    let name = sandbox.path().file_name().unwrap_or_default();
    sandbox.claim(&name.to_string_lossy());
    let program = env::current_exe().map_err(|e| format!("find this program: {e}"))?;
    let mut child = Command::new(program)
        .args(env::args_os().skip(1))
        .env(PLACE, sandbox.path())
        .spawn()
        .map_err(|e| format!("start the process that measures: {e}"))?;
    loop {
        let signal = awaited
            .wait()
            .map_err(|e| format!("wait for signals: {e}"))?;
        if signal != Signal::SIGCHLD {
            eprintln!("bench: {signal}: cleaning up");
            let _ = child.kill();
            let _ = child.wait();
            return Ok(ExitCode::from(130));
        }
        // Whatever the child leaves behind becomes somebody else's: this is no subreaper.
        if let Some(status) = child
            .try_wait()
            .map_err(|e| format!("wait for the process that measures: {e}"))?
        {
            return Ok(if status.success() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
    }
}
