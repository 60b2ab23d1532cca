//! `holdfast supervise`, and its events.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::command::Running;
use crate::{Bundle, Proc, Sandbox};

/// What a root keeps that has been supervised.
const LOCK: &str = "~supervise.lock";

/// A supervisor at work; it is killed when it is dropped.
#[derive(Debug)]
pub struct Supervisor<'a> {
    sandbox: &'a Sandbox,
    running: Running<'a>,
}

impl Sandbox {
    /// A supervisor of this sandbox's root.
    #[track_caller]
    #[must_use]
    pub fn supervise(&self) -> Supervisor<'_> {
        self.supervise_with(self.holdfast(["supervise"]))
    }

    /// The same, by a command of the test's.
    #[track_caller]
    #[must_use]
    pub fn supervise_with(&self, command: Command) -> Supervisor<'_> {
        Supervisor {
            sandbox: self,
            running: self.spawn(command),
        }
    }

    /// [`Sandbox::assert_clean`], for a root that has been supervised: the lock's file stays.
    ///
    /// # Panics
    /// As that does.
    pub fn assert_clean_but_for_supervision(&self) {
        fs::remove_file(self.root().join(LOCK)).expect("a supervised root has a lock");
        self.assert_clean();
    }
}

impl Sandbox {
    /// Removes the lock's file, if there is one: nobody supervises the root any more.
    ///
    /// # Panics
    /// When it cannot be removed.
    pub fn forget_supervision(&self) {
        match fs::remove_file(self.root().join(LOCK)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => panic!("remove {LOCK}: {e}"),
            _ => (),
        }
    }
}

impl Supervisor<'_> {
    /// Its events so far.
    ///
    /// # Panics
    /// When a line is no JSON.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        let text = self.running.stdout();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        complete.lines().map(parse).collect()
    }

    /// Its events so far that are of one kind, of one container.
    #[must_use]
    pub fn events_of(&self, id: &str, event: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|e| e["id"] == id && e["event"] == event);
        events
    }

    /// Waits until there are as many events of one kind, of one container, and returns them.
    ///
    /// # Panics
    /// When the deadline passes.
    #[track_caller]
    pub fn wait_events(&self, id: &str, event: &str, count: usize) -> Vec<Value> {
        let what = format!("{count} {event} of {id}");
        let mut found = Vec::new();
        if !crate::wait::until(crate::DEADLINE, || {
            found = self.events_of(id, event);
            found.len() >= count
        }) {
            eprintln!("{}\n{}", self.running.stdout(), self.running.stderr());
            self.sandbox.give_up(&what);
        }
        found
    }

    /// Waits for the first event of one kind, of one container.
    ///
    /// # Panics
    /// When the deadline passes.
    #[track_caller]
    pub fn wait_event(&self, id: &str, event: &str) -> Value {
        self.wait_events(id, event, 1).remove(0)
    }

    /// Waits until it has restored everything.
    ///
    /// # Panics
    /// When the deadline passes.
    #[track_caller]
    #[must_use]
    pub fn ready(self) -> Self {
        self.running.wait_stdout("\"event\":\"ready\"");
        self
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> Proc {
        self.running.process()
    }

    /// Whether it has restored everything.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.events().iter().any(|event| event["event"] == "ready")
    }

    /// Kills it with SIGKILL, as a crash would.
    pub fn kill(self) {
        self.running.kill();
    }

    /// Asks it to leave, and waits until it has.
    ///
    /// # Panics
    /// When the deadline passes.
    #[track_caller]
    pub fn leave(self) -> Output {
        self.running.signal(Signal::SIGTERM);
        self.running.wait()
    }
}

/// A time as events and records have it.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn time(text: &str) -> SystemTime {
    humantime::parse_rfc3339(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// A container that leaves a line in a file each time it runs, and the file.
///
/// # Panics
/// When its directory cannot be made.
#[must_use]
pub fn counting(sandbox: &Sandbox, name: &str, script: &str) -> (Bundle, PathBuf) {
    let dir = sandbox.path().join(name);
    fs::create_dir(&dir).expect("make a directory");
    let bundle = sandbox.sh(&format!("echo ran >>/host/runs; {script}"));
    (bundle.bind(&dir), dir.join("runs"))
}

/// How often it has run: the lines in its file.
#[must_use]
pub fn runs(file: &Path) -> usize {
    fs::read_to_string(file).map_or(0, |text| text.lines().count())
}
