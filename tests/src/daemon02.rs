//! Plays a containerd 0.2 daemon, as far as its shim can tell: it makes the process directory and the two FIFOs,
//! writes a `process.json` with nothing of ours in it, starts the shim with three arguments, and later reads
//! what the shim left. Written after containerd 0.2.9's `runtime/process.go` and `runtime/container.go`; it polls
//! where that polls, and knows nothing of Holdfast.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Bundle, DEADLINE, Proc, Sandbox, binaries, fifo};

mod client;
mod failure;
mod process;

pub use client::Client02;
pub use failure::StartError;
pub use process::Process02;

/// containerd's `InitProcessID`.
const INIT: &str = "init";

/// What a client gave for stdio: paths of FIFOs, of files, or of `/dev/null`.
#[derive(Debug, Clone)]
pub struct Stdio02 {
    /// `containerdStdin`.
    pub stdin: PathBuf,
    /// `containerdStdout`.
    pub stdout: PathBuf,
    /// `containerdStderr`.
    pub stderr: PathBuf,
}

impl Stdio02 {
    /// `/dev/null` thrice.
    #[must_use]
    pub fn null() -> Self {
        let null = PathBuf::from("/dev/null");
        Self {
            stdin: null.clone(),
            stdout: null.clone(),
            stderr: null,
        }
    }

    /// Three new FIFOs in a directory of the client's own.
    ///
    /// # Panics
    /// When they cannot be made.
    #[must_use]
    pub fn fifos(sandbox: &Sandbox, name: &str) -> Self {
        let dir = sandbox.path().join(format!("client-{name}"));
        fs::create_dir(&dir).expect("make the client's directory");
        let made = |stream: &str| {
            let path = dir.join(stream);
            fifo::make(&path);
            path
        };
        Self {
            stdin: made("stdin"),
            stdout: made("stdout"),
            stderr: made("stderr"),
        }
    }
}

/// The daemon: where its state is and which runtime it uses.
#[derive(Debug)]
pub struct Daemon02<'a> {
    sandbox: &'a Sandbox,
    shim: Vec<OsString>,
    runtime: PathBuf,
    runtime_args: Vec<String>,
    timeout: Duration,
    first_words: String,
    failed_shim: Mutex<Option<ExitStatus>>,
}

impl<'a> Daemon02<'a> {
    /// A daemon over the real runtime, whose state root it sets by `runtimeArgs`.
    #[must_use]
    pub fn new(sandbox: &'a Sandbox) -> Self {
        let runtime_root = sandbox.runtime_root().display().to_string();
        Self {
            sandbox,
            shim: vec![binaries::shim().into()],
            runtime: PathBuf::from("runc"),
            runtime_args: vec!["--root".to_owned(), runtime_root],
            timeout: DEADLINE,
            first_words: String::new(),
            failed_shim: Mutex::default(),
        }
    }

    /// Starts another shim than the one that was built, such as a copy that a test may do things to.
    #[must_use]
    pub fn with_shim(mut self, shim: &Path) -> Self {
        self.shim = vec![shim.into()];
        self
    }

    /// Starts the shim through `command`, which gets the shim's command line behind its own and executes it in the end:
    /// what a careless daemon does to its children can be said with sh(1) and env(1).
    #[must_use]
    pub fn through<A: Into<OsString>>(mut self, command: impl IntoIterator<Item = A>) -> Self {
        self.shim.splice(0..0, command.into_iter().map(Into::into));
        self
    }

    /// Writes this to the `control` of every process before its shim is started.
    #[must_use]
    pub fn saying(mut self, words: &str) -> Self {
        words.clone_into(&mut self.first_words);
        self
    }

    /// Uses another runtime, without arguments of its own.
    #[must_use]
    pub fn with_runtime(mut self, runtime: PathBuf) -> Self {
        self.runtime = runtime;
        self.runtime_args.clear();
        self
    }

    /// Gives up on a start after `timeout`.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Where this daemon keeps the container `id`; not a holdfast root.
    #[must_use]
    pub fn container_dir(&self, id: &str) -> PathBuf {
        self.sandbox.path().join("containerd").join(id)
    }

    /// Creates the container `id`; [`Process02::start`] sets it going.
    ///
    /// # Errors
    /// As containerd would report it.
    ///
    /// # Panics
    /// When the harness itself fails.
    pub fn create(
        &self,
        id: &str,
        bundle: &Bundle,
        stdio: &Stdio02,
    ) -> Result<Process02<'a>, StartError> {
        let process = &bundle.config()["process"];
        let mut started = self.launch(id, INIT, bundle.dir(), process, stdio)?;
        started.start_command = Some(self.runtime_command("start", id));
        Ok(started)
    }

    /// Runs one more process, an OCI process object, in the container `id`. It is running when this returns.
    ///
    /// # Errors
    /// As containerd would report it.
    ///
    /// # Panics
    /// When the harness itself fails.
    pub fn exec(
        &self,
        id: &str,
        exec_id: &str,
        bundle: &Bundle,
        process: &Value,
        stdio: &Stdio02,
    ) -> Result<Process02<'a>, StartError> {
        self.launch(id, exec_id, bundle.dir(), process, stdio)
    }

    /// Finds a process again after a restart of the daemon: no shim is its child any more.
    ///
    /// # Panics
    /// When its `pid` cannot be read.
    #[must_use]
    pub fn load(&self, id: &str, process: &str) -> Process02<'a> {
        let dir = self.container_dir(id).join(process);
        let pid = read_pid(&dir).expect("a loaded process has a pid");
        Process02 {
            sandbox: self.sandbox,
            exit: fifo::reader(&dir.join("exit")),
            control: fifo::both(&dir.join("control")),
            dir,
            pid,
            shim: None,
            start_command: None,
        }
    }

    /// How the shim ended that was the last to end without a process.
    ///
    /// # Panics
    /// When none has.
    #[must_use]
    pub fn failed_shim(&self) -> ExitStatus {
        let last = self.failed_shim.lock();
        let last = last.unwrap_or_else(PoisonError::into_inner);
        last.expect("a shim has ended without a process")
    }

    fn runtime_command(&self, verb: &str, id: &str) -> Command {
        let mut command = Command::new(&self.runtime);
        command.args(&self.runtime_args).args([verb, id]);
        command.current_dir(self.sandbox.path());
        command
    }

    fn launch(
        &self,
        id: &str,
        name: &str,
        bundle: &Path,
        process: &Value,
        stdio: &Stdio02,
    ) -> Result<Process02<'a>, StartError> {
        let dir = self.container_dir(id).join(name);
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o755);
        builder.create(&dir).expect("make the process directory");
        let document = self.process_json(process, name, stdio);
        fs::write(dir.join("process.json"), format!("{document}\n")).expect("write process.json");
        for name in ["exit", "control"] {
            fifo::make(&dir.join(name));
        }
        let exit = fifo::reader(&dir.join("exit"));
        let control = fifo::both(&dir.join("control"));
        self.sandbox
            .write_all(&control, self.first_words.as_bytes());
        let mut shim = Command::new(&self.shim[0])
            .args(&self.shim[1..])
            .arg(id)
            .arg(bundle)
            .arg(&self.runtime)
            .current_dir(&dir)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the shim");
        let pid = self.wait_for_create(&dir, &mut shim)?;
        save_start_time(&dir, pid);
        Ok(Process02 {
            sandbox: self.sandbox,
            dir,
            exit,
            control,
            pid,
            shim: Some(shim),
            start_command: None,
        })
    }

    /// The OCI process, flattened, and beside it what Go's encoder writes of `ProcessState`.
    fn process_json(&self, process: &Value, name: &str, stdio: &Stdio02) -> Value {
        let mut document = process.clone();
        document["exec"] = json!(name != INIT);
        document["containerdStdin"] = json!(stdio.stdin);
        document["containerdStdout"] = json!(stdio.stdout);
        document["containerdStderr"] = json!(stdio.stderr);
        // Go's encoder writes an absent list as null.
        document["runtimeArgs"] = match self.runtime_args.as_slice() {
            [] => Value::Null,
            args => json!(args),
        };
        document["noPivotRoot"] = json!(false);
        document["checkpoint"] = json!("");
        document["rootUID"] = json!(0);
        document["rootGID"] = json!(0);
        document
    }

    /// containerd's `waitForCreate`, with its 15 ms between two looks.
    fn wait_for_create(&self, dir: &Path, shim: &mut Child) -> Result<Proc, StartError> {
        let deadline = Instant::now() + self.timeout;
        loop {
            if let Some(pid) = read_pid(dir) {
                return Ok(pid);
            }
            let gone = shim.try_wait().expect("wait for the shim");
            if gone.is_some() {
                let last = self.failed_shim.lock();
                *last.unwrap_or_else(PoisonError::into_inner) = gone;
                // The pid may have come between the two looks; containerd has that race, a test must not.
                return read_pid(dir).ok_or_else(|| failure::of(dir));
            }
            if Instant::now() >= deadline {
                shim.kill().expect("kill the shim");
                shim.wait().expect("wait for the shim");
                return Err(StartError::Timeout);
            }
            thread::sleep(Duration::from_millis(15));
        }
    }
}

/// The pid file's number; none while it is absent or not a number.
fn read_pid(dir: &Path) -> Option<Proc> {
    Proc::from_file(&dir.join("pid"))
}

/// What containerd compares with after a restart; a process that is over already has none any more.
fn save_start_time(dir: &Path, process: Proc) {
    if let Some(start_time) = process.stat(22) {
        fs::write(dir.join("starttime"), start_time).expect("write starttime");
    }
}
