//! `holdfast-shim`: holds one container process. Contents:
//!
//! - [`launch`]: a request (our driver's, or containerd 0.2's) becomes a runtime that has created a process;
//! - [`adopt`]: takes over from a shim that died; [`launcher`], [`isolation`] and [`claim`]: what launch and adopt begin with;
//! - [`handover`]: what launch learned, as a few words of argv and open descriptors, through `execve`;
//! - [`hold`]: waits with the process until it ends, then leaves in order;
//! - [`memory`]: kills for want of memory; [`events`]: lines in the container's event log;
//! - [`output`]: the output whose bytes the shim moves, into logs and spills;
//! - [`notify`]: what the container has to say to a service manager;
//! - [`seccomp`]: the store of seccomp listeners, where a container has one;
//! - [`runtime`]: the OCI runtime's command lines; [`log`]: shim-log.json; [`record`]: shim.json; [`error`]: what can go wrong.
//!
//! docs/architecture.md has the steps and their numbers.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_main)]

mod adopt;
mod bundle;
mod children;
mod claim;
mod error;
mod events;
mod handover;
mod hold;
mod isolation;
mod launch;
mod launcher;
mod log;
mod memory;
mod notify;
mod output;
mod record;
mod runtime;
mod seccomp;

use std::ffi::OsString;
use std::process::ExitCode;

use holdfast_common::request::{ADOPT, Adopt, LAUNCH, Launch, Wire};
use holdfast_common::shim_version::{self, ShimVersion};

use crate::error::Error;
use crate::handover::{HOLD, Holding};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Known where a package is made (scripts/package).
const COMMIT: Option<&str> = option_env!("HOLDFAST_COMMIT");

const USAGE: &str = "\
usage: holdfast-shim ID BUNDLE RUNTIME
       holdfast-shim --version | --version=json | --help

Holds one container process: started in its process directory by the holdfast driver, or by a daemon
that speaks containerd 0.2's shim protocol. Not meant to be typed by hand: see `holdfast run`.";

#[cfg(not(test))]
holdfast_common::bare_main!(run);

#[cfg(all(not(test), target_env = "musl"))]
#[global_allocator]
static HEAP: holdfast_common::sys::heap::Heap = holdfast_common::sys::heap::Heap;

#[cfg_attr(test, allow(dead_code, reason = "tests have a main of their own"))]
fn run(words: Vec<OsString>) -> ExitCode {
    match words.as_slice() {
        [only] if only == "--version" => {
            let commit = COMMIT.map(|commit| format!(" (commit {commit})"));
            println!("holdfast-shim {VERSION}{}", commit.unwrap_or_default());
            ExitCode::SUCCESS
        }
        [only] if only == shim_version::QUESTION => {
            let says = ShimVersion::of_this_build(VERSION, COMMIT, handover::PROTOCOL);
            print!("{}", says.encode().unwrap_or_default());
            ExitCode::SUCCESS
        }
        [only] if only == handover::PROTOCOL_OPTION => {
            println!("{}", handover::PROTOCOL);
            ExitCode::SUCCESS
        }
        [first, program @ ..] if first == launch::listener::OPTION => {
            launch::listener::become_program(program)
        }
        [only] if only == "--help" => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => match phase(words) {
            Ok(Phase::Launch(wire, ours)) => launch::run(wire, ours),
            Ok(Phase::Adopt(wire, adoption)) => adopt::run(wire, &adoption),
            Ok(Phase::Hold(holding)) => hold::run(*holding),
            Err(e) => {
                eprintln!("holdfast-shim: {e}\n{USAGE}");
                ExitCode::FAILURE
            }
        },
    }
}

enum Phase {
    /// With our driver's words, or without any.
    Launch(Wire, Option<Launch>),
    Adopt(Wire, Adopt),
    Hold(Box<Holding>),
}

/// Not inlined: what it needs on the stack is then not there while a shim holds.
#[inline(never)]
fn phase(words: Vec<OsString>) -> Result<Phase, Error> {
    let mut words = words.into_iter();
    let wire = Wire::decode(&mut words)?;
    match words.next() {
        None => Ok(Phase::Launch(wire, None)),
        Some(word) if word == LAUNCH => Ok(Phase::Launch(wire, Some(Launch::decode(words)?))),
        Some(word) if word == ADOPT => Ok(Phase::Adopt(wire, Adopt::decode(words)?)),
        Some(word) if word == HOLD => {
            let holding = Holding::decode(wire, words)?;
            Ok(Phase::Hold(Box::new(holding)))
        }
        Some(word) => Err(holdfast_common::request::RequestError::Unknown(word).into()),
    }
}
