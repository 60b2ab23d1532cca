//! Control type 3: executing the shim's executable again, or the one that `shim.next` names, in place. The process, its
//! descriptors, the lock and what is in flight go along; nothing is lost if it cannot be done.
//!
//! Once executed, a new shim that cannot go on would take the old one's place with it. So it is asked first, in a child:
//! it must start, end well and in time, and understand the words that this shim would hand over.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use holdfast_common::layout;
use holdfast_common::state_file;
use holdfast_common::sys::{errno_text, exec};
use nix::poll::PollFd;
use nix::sys::signalfd::SignalFd;

use crate::handover::{Holding, PROTOCOL, PROTOCOL_OPTION};
use crate::output::Output;
use crate::record;
use crate::runtime::{self, Beside};

/// How long a new executable may take to say which words it understands.
const PATIENCE: Duration = Duration::from_secs(2);

/// What became of a replacement, while shim.json does not say so yet.
pub struct Answer {
    /// Why it was not made.
    refused: Option<String>,
    /// Whether an attempt to say so failed.
    failed: bool,
}

impl Answer {
    pub fn new(refused: Option<String>) -> Self {
        let failed = false;
        Self { refused, failed }
    }

    /// Says so in shim.json, and which shim this is; whether that is done.
    pub fn tell(&mut self, holding: &Holding) -> bool {
        let told = record::write(&holding.executable, holding.asked, self.refused.clone());
        let Err(e) = told else {
            return true;
        };
        if !std::mem::replace(&mut self.failed, true) {
            log::warn!("{e}; trying again until there is space");
        }
        false
    }
}

/// Goes on as the new executable; returns why not when that is not to be, and then nothing has changed.
pub fn replace(holding: &mut Holding, signals: &SignalFd) -> String {
    holding.asked += 1;
    let next = PathBuf::from(layout::SHIM_NEXT_FILE);
    let candidate = match state_file::read_value::<PathBuf>(&next) {
        Ok(path) => Ok(path),
        Err(e) if e.is_absent() => Ok(holding.executable.clone()),
        Err(e) => Err(e.to_string()),
    };
    // Asked for once: the next request may mean the usual executable.
    let _ = std::fs::remove_file(next);
    let mut moves = Moves(holding.output.as_deref_mut());
    let probed = candidate.and_then(|path| probe(&path, signals, &mut moves).map(|()| path));
    let refused = match probed {
        Err(why) => why,
        Ok(path) => {
            let ours = std::mem::replace(&mut holding.executable, path);
            holding.again = true;
            let error = holding.replace_self();
            holding.again = false;
            holding.executable = ours;
            error.to_string()
        }
    };
    log::warn!("not replaced: {refused}");
    refused
}

/// Whether the kernel would refuse it for its format. What it refuses so, the C library would give to a shell to read
/// (execvp(3)).
fn is_foreign(path: &Path) -> bool {
    let beginning = |path: &Path| {
        let mut bytes = [0; 20];
        // A FIFO would have us wait for its writer.
        let mut options = std::fs::File::options();
        options.read(true).custom_flags(nix::libc::O_NONBLOCK);
        let mut file = options.open(path).ok()?;
        file.read_exact(&mut bytes).ok().map(|()| bytes)
    };
    // elf(5): magic number, class and byte order; machine.
    let kind = |bytes: [u8; 20]| (bytes[..6].to_owned(), bytes[18..].to_owned());
    match (beginning(path), beginning(Path::new("/proc/self/exe"))) {
        (Some(theirs), Some(ours)) => !theirs.starts_with(b"#!") && kind(theirs) != kind(ours),
        // What cannot be read, or is no more than a script, says more when it is executed.
        _ => false,
    }
}

/// Output is moved while an executable is asked: on a busy machine that takes a while, and the process would wait.
struct Moves<'a>(Option<&'a mut Output>);

impl Beside for Moves<'_> {
    fn poll_fds(&self) -> Vec<PollFd<'_>> {
        let output = self.0.as_deref();
        output.map(Output::poll_fds).unwrap_or_default()
    }

    fn turn(&mut self) {
        if let Some(output) = &mut self.0 {
            // What is more than a turn's work is polled again.
            output.turn();
        }
    }
}

/// Whether an executable would understand what this shim hands over.
fn probe(path: &PathBuf, signals: &SignalFd, moves: &mut Moves<'_>) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("execute {}: {}", path.display(), errno_text(&e));
    if is_foreign(path) {
        return Err(failed(nix::Error::ENOEXEC.into()));
    }
    let mut command = Command::new(path);
    command
        .arg(PROTOCOL_OPTION)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    exec::unblock_signals(&mut command);
    let mut child = command.spawn().map_err(failed)?;
    let deadline = Some(Instant::now() + PATIENCE);
    let exit = runtime::wait_beside(&mut child, signals, deadline, moves).map_err(failed)?;
    let Some(exit) = exit else {
        let _ = child.kill();
        let _ = runtime::wait(&mut child, signals, None);
        let seconds = PATIENCE.as_secs();
        return Err(format!("{}: no answer within {seconds} s", path.display()));
    };
    if !exit.success() {
        return Err(format!("{}: ended at once with {exit}", path.display()));
    }
    let mut answer = String::new();
    if let Some(out) = child.stdout.take() {
        // It has ended; what it wrote is in the pipe. A descendant of its that holds the pipe is not waited for.
        holdfast_common::sys::fd::set_nonblocking(std::os::fd::AsFd::as_fd(&out), true)
            .map_err(failed)?;
        let _ = out.take(64).read_to_string(&mut answer);
    }
    match answer.trim().parse::<u32>() {
        Ok(theirs) if theirs >= PROTOCOL => Ok(()),
        Ok(theirs) => Err(format!(
            "{}: understands handover {theirs}, this shim speaks {PROTOCOL}",
            path.display()
        )),
        Err(_) => Err(format!("{}: is no holdfast-shim", path.display())),
    }
}
