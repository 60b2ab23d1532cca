//! Where everything that is measured lives: a sandbox in memory, as /run is, and a cgroup that counts.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use holdfast_tests::{Bundle, DEADLINE, Proc, Sandbox, fifo, process, spec, wait};
use nix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::meter::Meter;

/// The program that runs in the containers.
const INSIDE: &str = include_str!("inside.c");

/// The world of one run.
pub struct World {
    pub meter: Meter,
    pub sandbox: Sandbox,
    /// A directory outside of the sandbox, where it is as fast as the disk.
    pub disk: PathBuf,
    /// The runtime's executable.
    pub runtime: PathBuf,
    tools: PathBuf,
}

impl World {
    /// A world in a place of the keeper's.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(place: &Path, runtime: PathBuf) -> Self {
        let sandbox = Sandbox::in_memory("world", place);
        // By its working directory a process that is left behind is known to be ours.
        std::env::set_current_dir(sandbox.path()).expect("enter the sandbox");
        let disk = place.join("disk");
        fs::create_dir(&disk).expect("make a directory");
        let tools = sandbox.path().join("tools");
        fs::create_dir(&tools).expect("make a directory");
        let source = tools.join("inside.c");
        fs::write(&source, INSIDE).expect("write a program");
        let built = Command::new("cc")
            .args(["-O2", "-static", "-o"])
            .arg(tools.join("inside"))
            .arg(&source)
            .status()
            .expect("run cc");
        assert!(built.success(), "cc: {built}");
        Self {
            meter: Meter::enter(&place.file_name().unwrap_or_default().to_string_lossy()),
            sandbox,
            disk,
            runtime,
            tools,
        }
    }

    /// A bundle for a container of this id that runs `inside WORDS`.
    pub fn bundle(&self, id: &str, words: &[&str]) -> Bundle {
        let args = ["/host/inside"].iter().chain(words);
        let bundle = self.sandbox.bundle(args).bind(&self.tools);
        let path = self.meter.path_for(id);
        bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(path))
    }

    /// A file that says what another process of a container is: one at a time.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn process(&self, args: &[&str]) -> String {
        let path = self.sandbox.path().join("process.json");
        let process = spec::process(args).to_string();
        fs::write(&path, process).expect("write a process");
        path.display().to_string()
    }

    /// The program itself.
    pub fn inside(&self) -> PathBuf {
        self.tools.join("inside")
    }

    /// A place where `inside` waits, and says when.
    pub fn gate(&self, id: &str) -> Gate {
        let fifo = self.tools.join(format!("gate-{id}"));
        let stamp = self.tools.join(format!("stamp-{id}"));
        fifo::make(&fifo);
        fs::write(&stamp, "").expect("make a file");
        Gate {
            bytes: fifo::both(&fifo),
            fifo,
            stamp,
            names: [format!("/host/gate-{id}"), format!("/host/stamp-{id}")],
        }
    }
}

/// Where `inside` waits for a byte, and what it says the time was.
pub struct Gate {
    /// Both ends: nobody waits for us to open it.
    bytes: File,
    fifo: PathBuf,
    stamp: PathBuf,
    /// The two as the container knows them.
    pub names: [String; 2],
}

impl Gate {
    /// The two as the host knows them.
    pub fn host_names(&self) -> [String; 2] {
        [&self.fifo, &self.stamp].map(|path| path.display().to_string())
    }

    /// Waits until a process stands at it.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_for(&self, process: Proc) {
        let there = wait::until(DEADLINE, || process.waits_in("pipe_read"));
        assert!(there, "nobody comes to {}", self.fifo.display());
    }

    /// Waits until somebody stands at it, whoever has launched him.
    ///
    /// # Panics
    /// When nobody comes.
    pub fn wait_for_somebody(&self) {
        let is_there = |process: &Proc| {
            process.comm() == "inside"
                && process.argv().contains(&self.names[0])
                && process.waits_in("pipe_read")
        };
        let everybody = || process::under(Path::new("/"));
        let there = wait::until(DEADLINE, || everybody().iter().any(is_there));
        assert!(there, "nobody comes to {}", self.fifo.display());
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// Never: there is room for a byte.
    pub fn open(&self) {
        (&self.bytes).write_all(b"!").expect("write to a gate");
    }

    /// The moments that it has written so far.
    pub fn stamps(&self) -> Vec<Duration> {
        let text = fs::read_to_string(&self.stamp).unwrap_or_default();
        let lines = text
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'));
        lines
            .filter_map(|line| line.parse().ok().map(Duration::from_nanos))
            .collect()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        for path in [&self.fifo, &self.stamp] {
            let _ = fs::remove_file(path);
        }
    }
}

/// The time by the clock of the stamps.
///
/// # Panics
/// Never: every kernel has it.
pub fn now() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC");
    now.into()
}
