//! Who is measured, behind one small trait. A peer launches containers, says which process holds each of them, waits for their ends as
//! its users do, runs further processes in them, and takes them away again.

mod bare;
mod conmon;
mod holdfast;
mod shim_v2;
mod ttrpc;

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_tests::{Bundle, Proc, binaries};

use crate::world::World;

pub use bare::{BARE, must, runtime};
pub use conmon::{CONMON, Conmon};
pub use holdfast::{HOLDFAST, Holdfast};
pub use shim_v2::{SHIM_V2, address};

/// In which order they stand in tables: what is compared with, us, the others.
pub const ORDER: &[&str] = &[BARE, "bare", HOLDFAST, CONMON, SHIM_V2, "containerd"];

/// Where a container's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Io {
    /// Nowhere.
    Null,
    /// Into a FIFO that somebody reads.
    Fifo,
    /// Into a FIFO that somebody reads, with a file behind it.
    Spill,
    /// Into a log file, in a file system in memory as everything else.
    Log,
    /// Into a log file on a disk.
    DiskLog,
    /// A terminal, whose output is read from a FIFO.
    Terminal,
    /// A terminal, whose output is logged.
    TerminalLog,
}

impl Io {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Io::Null => "no output",
            Io::Fifo => "fifo",
            Io::Spill => "spill",
            Io::Log => "log",
            Io::DiskLog => "log, on a disk",
            Io::Terminal => "terminal",
            Io::TerminalLog => "terminal, logged",
        }
    }

    /// Whether there is a terminal.
    pub fn terminal(self) -> bool {
        matches!(self, Io::Terminal | Io::TerminalLog)
    }

    /// Whether the output is somebody's to read.
    pub fn is_read(self) -> bool {
        matches!(self, Io::Fifo | Io::Spill | Io::Terminal)
    }
}

/// The name of a container's log on the disk.
fn disk_log(world: &World, id: &str) -> PathBuf {
    world.disk.join(format!("{id}.log"))
}

/// The most that a log may hold, bytes: each of ours has two files more of that size, conmon's is cut short.
const LOG_SIZE: u64 = 10 << 20;

/// A container that runs.
pub struct Held {
    pub id: String,
    /// Who holds it; nobody, under the bare runtime.
    pub monitor: Option<Proc>,
    /// Its own process.
    pub process: Proc,
    /// The FIFO that its output is to be read from, if there is one.
    pub output: Option<PathBuf>,
    /// What only its peer knows.
    own: Own,
}

enum Own {
    Nothing,
    Dir(PathBuf),
    Library(Box<::holdfast::Container>),
    Task(Box<shim_v2::Task>),
}

/// Waits for an end, everything being prepared for it; says when the exit code is known, and returns that.
pub type Wait<'a> = Box<dyn FnOnce(&dyn Fn()) -> i32 + Send + 'a>;

/// One of those that are compared. What fails is a panic: there is nothing to measure then.
pub trait Peer: Send + Sync {
    /// As it stands in tables.
    fn name(&self) -> &'static str;
    /// Its version, in its own words.
    fn version(&self) -> String;
    /// Whether it can hold a container so.
    fn can(&self, io: Io) -> bool;
    /// Creates and starts a container; returns when its process runs.
    fn launch(&self, id: &str, bundle: &Bundle, io: Io) -> Held;
    /// Runs what the file `process` says in it; says when its exit code is known, and returns that when nothing is left to do.
    fn exec(&self, held: &Held, process: &str, known: &dyn Fn()) -> i32;
    /// Prepares to be told how it ends.
    fn watch<'a>(&'a self, held: &'a Held) -> Wait<'a>;
    /// Ends what runs, and leaves nothing.
    fn remove(&self, held: Held);
}

/// Everybody who is there; who is not is skipped, with a line that says so.
pub fn all(world: &Arc<World>) -> Vec<Box<dyn Peer>> {
    let mut peers: Vec<Box<dyn Peer>> = vec![
        Box::new(bare::Bare::new(world)),
        Box::new(holdfast::Holdfast::new(world)),
    ];
    match binaries::installed("conmon") {
        Some(conmon) => peers.push(Box::new(conmon::Conmon::new(world, conmon))),
        None => println!("bench: conmon is not installed: skipped"),
    }
    let both = ["containerd", "containerd-shim-runc-v2"].map(binaries::installed);
    match both {
        [Some(daemon), Some(shim)] => {
            peers.push(Box::new(shim_v2::ShimV2::new(world, &daemon, shim)));
        }
        _ => println!("bench: containerd is not installed: containerd-shim-runc-v2 is skipped"),
    }
    println!("bench: conmon-rs and rust-extensions' shim are in no Debian package: skipped");
    peers
}

/// What a program prints first when it is asked for its version.
pub fn version_of(program: &std::path::Path, option: &str) -> String {
    let output = std::process::Command::new(program).arg(option).output();
    let output = output.unwrap_or_else(|e| panic!("run {}: {e}", program.display()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // `valgrind-3.19.0`, `v2.1`, `1.1.5+ds1`.
    let numbers = text
        .split_whitespace()
        .map(|word| word.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '-'));
    let mut versions = numbers.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    versions.next().unwrap_or("?").to_owned()
}

/// Kills a process and waits until it is gone, collecting it where it is our child by now: this process is a subreaper.
fn end(process: Proc) {
    process.signal(nix::sys::signal::Signal::SIGKILL);
    gone(process);
}

/// Waits until a process is gone, collecting it where it is our child.
fn gone(process: Proc) {
    use holdfast_tests::{DEADLINE, wait};
    let ended = wait::until(DEADLINE, || {
        let _ = holdfast_common::sys::process::reap(process.pid().as_raw());
        !process.is_alive() && process.stat(3).is_none()
    });
    assert!(ended, "{} does not end", process.comm());
}
