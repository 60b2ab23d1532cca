//! Checkpoints by a real CRIU: the one that `scripts/install-criu` found to work on this kernel, and a container that counts, so that
//! one sees whether it goes on where it was.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fake_runtime::install;
use crate::{Bundle, Sandbox, binaries, fifo};

/// A CRIU that works.
#[derive(Debug)]
pub struct Criu {
    path: PathBuf,
}

impl Criu {
    /// The one that there is. Without one, says that the test is left out.
    ///
    /// # Panics
    /// When there is none and `STRICT=1`.
    #[must_use]
    pub fn find() -> Option<Self> {
        let path = binaries::shared_dir().join("criu/criu");
        if path.exists() {
            return Some(Self { path });
        }
        let why = "no working criu: see scripts/install-criu";
        assert_ne!(std::env::var("STRICT").as_deref(), Ok("1"), "{why}");
        eprintln!("left out: {why}");
        None
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its path as an argument.
    ///
    /// # Panics
    /// Never: the repository has a plain name.
    #[must_use]
    pub fn arg(&self) -> &str {
        self.path.to_str().expect("the repository has a plain name")
    }

    /// `holdfast ARGS` that uses it.
    #[must_use]
    pub fn holdfast<A: AsRef<OsStr>>(
        &self,
        sandbox: &Sandbox,
        args: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = sandbox.holdfast(args);
        command.env("HOLDFAST_CRIU", &self.path);
        command
    }

    /// Runs it to its end, and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn run_ok<A: AsRef<OsStr>>(
        &self,
        sandbox: &Sandbox,
        args: impl IntoIterator<Item = A>,
    ) -> String {
        let command = self.holdfast(sandbox, args);
        let shown = format!("{command:?}");
        let output = sandbox.output_of(command);
        if !output.status.success() {
            sandbox.dump();
            panic!("{shown}: {}", crate::command::show(&output));
        }
        crate::command::text(&output.stdout)
    }

    /// As [`Sandbox::refused`].
    ///
    /// # Panics
    /// As there.
    #[track_caller]
    pub fn refused<A: AsRef<OsStr>>(
        &self,
        sandbox: &Sandbox,
        args: impl IntoIterator<Item = A>,
        words: &[&str],
    ) -> String {
        sandbox.refused_command(self.holdfast(sandbox, args), words)
    }
}

/// A script that answers each line with how many there have been, and ends with 5 at the end of its input.
pub const COUNTER: &str = "i=0; while read line; do i=$((i+1)); echo $i $line; done; exit 5";

impl Sandbox {
    /// A bundle of a container that counts.
    #[must_use]
    pub fn counter(&self) -> Bundle {
        self.sh(COUNTER)
    }
}

/// The streams of a container that counts.
#[derive(Debug)]
pub struct Counter<'a> {
    sandbox: &'a Sandbox,
    stdin: File,
    stdout: File,
}

impl<'a> Counter<'a> {
    /// Of a container that runs.
    #[track_caller]
    #[must_use]
    pub fn of(sandbox: &'a Sandbox, id: &str) -> Self {
        let dir = sandbox.process_dir(id, "init");
        Self {
            sandbox,
            stdin: sandbox.open_writer(&dir.join("stdin")),
            stdout: fifo::reader(&dir.join("stdout")),
        }
    }

    /// Asserts that the next line is the `n`th.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn assert_counts(&self, n: u32) {
        self.sandbox.write_all(&self.stdin, b"line\n");
        let said = self.sandbox.read_until(&self.stdout, "\n");
        assert_eq!(said, format!("{n} line\n"));
    }
}

/// Where CRIU comes to a halt: at one of its action scripts (criu(8), `--action-script`), until it is let go.
#[derive(Debug)]
pub struct Halt<'a> {
    sandbox: &'a Sandbox,
    dir: PathBuf,
}

impl<'a> Halt<'a> {
    /// At an action: `pre-dump`, `network-lock`, `post-dump`, `setup-namespaces`, `post-restore` …
    ///
    /// # Panics
    /// When its files cannot be written.
    #[must_use]
    pub fn at(sandbox: &'a Sandbox, action: &str) -> Self {
        let dir = sandbox.path().join(format!("halt-{action}"));
        fs::create_dir(&dir).expect("make a directory");
        fifo::make(&dir.join("go"));
        let script = format!(
            "#!/bin/sh\ncd {dir}\n[ $CRTOOLS_SCRIPT_ACTION = {action} ] || exit 0\necho $CRTOOLS_INIT_PID >reached\nread go <go\n",
            dir = dir.display()
        );
        install(&dir.join("script"), &script);
        let config = format!("action-script {}/script\n", dir.display());
        fs::write(dir.join("criu.conf"), config).expect("write criu.conf");
        Self { sandbox, dir }
    }

    /// Has the CRIU that a command leads to come to a halt here.
    #[must_use]
    pub fn on(&self, mut command: Command) -> Command {
        command.env("CRIU_CONFIG_FILE", self.dir.join("criu.conf"));
        command
    }

    /// Waits until CRIU is here.
    #[track_caller]
    pub fn wait(&self) {
        self.sandbox.wait_file(&self.dir.join("reached"));
    }

    /// Lets it go on.
    #[track_caller]
    pub fn let_go(&self) {
        let go = self.sandbox.open_writer(&self.dir.join("go"));
        self.sandbox.write_all(&go, b"go\n");
    }
}
