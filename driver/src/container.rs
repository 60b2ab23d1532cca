//! One container: its directory, and what can be done with it.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_common::container_state::ContainerState;
use holdfast_common::event_record::EventWord;
use holdfast_common::exit_record::ExitStatus;
use holdfast_common::id::{ContainerId, ProcessId};
use holdfast_common::identity::Identity;
use holdfast_common::layout;
use holdfast_common::sys::flock::Lock;
use nix::libc::SIGKILL;

use crate::bundle::Bundle;
use crate::driver::Driver;
use crate::end::is_real_dir;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::runtime::Runtime;
use crate::state::{self, RuntimeState, State, Status};
use crate::verdict;

/// How long a shim may take to record how its process ended.
const RECORD_PATIENCE: Duration = Duration::from_secs(5);

/// A container that has a directory.
#[derive(Debug, Clone)]
pub struct Container {
    driver: Driver,
    id: ContainerId,
    dir: PathBuf,
    state: ContainerState,
}

impl Container {
    /// A container whose directory is known.
    pub(crate) fn new(
        driver: Driver,
        id: ContainerId,
        dir: PathBuf,
        state: ContainerState,
    ) -> Self {
        Self {
            driver,
            id,
            dir,
            state,
        }
    }

    /// Finds a container in the driver's root.
    pub(crate) fn load(driver: Driver, id: &ContainerId) -> Result<Self> {
        let dir = driver.root().join(id);
        let absent = || Error::NotFound { id: id.clone() };
        if !is_real_dir(&dir)? {
            return Err(absent());
        }
        match ContainerState::read(&dir) {
            Ok(state) => Ok(Self::new(driver, id.clone(), dir, state)),
            // Removed since.
            Err(e) if e.is_absent() && !is_real_dir(&dir)? => Err(absent()),
            Err(e) => Err(e.into()),
        }
    }

    /// Its id.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The driver that created or loaded it.
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Absolute path of its bundle.
    pub fn bundle(&self) -> &Path {
        Path::new(&self.state.bundle)
    }

    /// The caller's own words.
    pub fn labels(&self) -> &[String] {
        &self.state.labels
    }

    /// When it was created, RFC 3339; empty when containerd 0.2 made it.
    pub fn created_at(&self) -> &str {
        let ours = self.state.holdfast.as_ref();
        ours.map_or("", |ours| &ours.created_at)
    }

    /// What its state.json says.
    pub fn container_state(&self) -> &ContainerState {
        &self.state
    }

    /// The OCI runtime that it was created by, with the arguments of then.
    pub(crate) fn runtime<'a>(&'a self, log_dir: &'a Path) -> Runtime<'a> {
        let recorded = &self.state.runtime;
        Runtime {
            program: if recorded.is_empty() {
                self.driver.runtime()
            } else {
                recorded
            },
            args: &self.state.runtime_args,
            log_dir,
            timeout: self.driver.start_timeout(),
            stdin: None,
        }
    }

    /// An id may look like a flag, so `--` goes before it.
    pub(crate) fn run_runtime(&self, verb: &'static str, words: &[&str]) -> Result<Vec<u8>> {
        self.runtime(&self.dir.join(layout::INIT)).run(verb, words)
    }

    /// What the runtime says of it.
    pub(crate) fn runtime_state(&self) -> Result<RuntimeState> {
        let output = self.run_runtime("state", &["--", self.id.as_str()])?;
        self.understand("state", &output)
    }

    pub(crate) fn understand<T: serde::de::DeserializeOwned>(
        &self,
        verb: &str,
        output: &[u8],
    ) -> Result<T> {
        serde_json::from_slice(output).map_err(|e| Error::Runtime {
            message: format!("{} {verb}: {e}", self.runtime(&self.dir).program),
        })
    }

    /// What it is now, from its own files and the kernel; the runtime is asked only where the kernel does not tell.
    ///
    /// # Errors
    /// A file of its directory cannot be understood.
    pub fn status(&self) -> Result<Status> {
        let (status, _) = state::of_init(&self.init()?, || self.runtime_state())?;
        Ok(status)
    }

    /// What one of its processes is now: its own, or an exec. One whose shim was killed, and that has ended since, is stopped
    /// without an [exit record](Process::exit_record).
    ///
    /// # Errors
    /// Those of [`Container::status`].
    pub fn status_of(&self, process: &Process) -> Result<Status> {
        match process.id().is_init() {
            true => Ok(state::of_init(process, || self.runtime_state())?.0),
            false => state::of_exec(process),
        }
    }

    /// Its OCI state.
    ///
    /// # Errors
    /// Those of [`Container::status`].
    pub fn state(&self) -> Result<State> {
        let (status, identity) = state::of_init(&self.init()?, || self.runtime_state())?;
        let ours = match self.state.holdfast.clone() {
            Some(ours) => ours,
            // containerd 0.2 made it: what the bundle says now is the best there is.
            None => Bundle::read(self.bundle())
                .map(Bundle::recorded)
                .unwrap_or_default(),
        };
        Ok(State {
            oci_version: ours.oci_version,
            id: self.id.to_string(),
            pid: identity.map_or(0, |identity| identity.pid),
            status,
            bundle: self.state.bundle.clone(),
            rootfs: ours.rootfs,
            created: ours.created_at,
            annotations: ours.annotations,
            owner: String::new(),
        })
    }

    /// Lets a created container run its process.
    ///
    /// # Errors
    /// [`Error::NotCreated`]; the runtime's own message.
    pub fn start(&self) -> Result<()> {
        // One at a time: two runs of a runtime may meet at its own FIFO, and one of them then waits there for ever.
        let lock = self.lock(Lock::take)?;
        self.start_locked(&lock)
    }

    /// As [`Container::start`], without waiting for somebody else who changes it.
    ///
    /// # Errors
    /// [`Error::Busy`], and those of [`Container::start`].
    pub fn try_start(&self) -> Result<()> {
        let lock = self.try_lock()?;
        self.start_locked(&lock)
    }

    fn start_locked(&self, lock: &Lock) -> Result<()> {
        // It may be gone by the time that it has been started, and another have its name, which was not.
        let init = self.init()?;
        self.start_created(&init)?;
        if self.is_locked_by(lock)? {
            self.record_event(EventWord::StartContainer);
        }
        init.tell_started();
        Ok(())
    }

    fn start_created(&self, init: &Process) -> Result<()> {
        let (status, identity) = state::of_init(init, || self.runtime_state())?;
        if status != Status::Created {
            return Err(Error::NotCreated {
                id: self.id.clone(),
                status,
            });
        }
        let start = self.lock_start(init)?;
        let log_dir = self.dir.join(layout::INIT);
        init.begin_time().inspect_err(|_| init.stop_time())?;
        // Before the start: afterwards, another container may have the name.
        let created = File::options()
            .write(true)
            .open(init.dir().join(layout::CREATED_FILE));
        let mut runtime = self.runtime(&log_dir);
        runtime.stdin = start.map(Lock::into_file);
        if let Err(e) = runtime.run("start", ["--", self.id.as_str()]) {
            if has_run(init, identity) {
                return Ok(());
            }
            init.stop_time();
            return Err(e);
        }
        // The runtime's `start` ends before the process executes its program, and no descriptor tells when it does: without this, a
        // container would still be *created* to whoever asks right after starting it. Should it not be done, the process's own
        // executable says so a little later.
        if let Err(e) = created.and_then(|created| created.set_len(0)) {
            log::debug!("empty {}: {e}", layout::CREATED_FILE);
        }
        Ok(())
    }

    /// The runtime of a starter that is killed goes on, and is to be alone with its FIFO too: so it gets a lock of its own to
    /// hold. Not the container's: a hook of the bundle's that stays behind has its descriptors, and would keep that for ever.
    fn lock_start(&self, init: &Process) -> Result<Option<Lock>> {
        let path = init.dir().join(layout::CREATED_FILE);
        let taken = match File::open(&path) {
            Ok(file) => Lock::try_take_open(file),
            // Not created, or not by us.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => Err(e),
        };
        match taken.map_err(Error::io("lock", path))? {
            None => Err(Error::Busy {
                id: self.id.clone(),
            }),
            lock => Ok(lock),
        }
    }

    /// Its own process.
    ///
    /// # Errors
    /// Its directory cannot be understood.
    pub fn init(&self) -> Result<Process> {
        self.process(&ProcessId::init())
    }

    /// One of its processes.
    ///
    /// # Errors
    /// [`Error::ProcessNotFound`]; its directory cannot be understood.
    pub fn process(&self, id: &ProcessId) -> Result<Process> {
        Process::open(&self.id, id, &self.dir.join(id))
    }

    /// Every process that has a directory, init first, then by name; what cannot be understood, as its error.
    ///
    /// # Errors
    /// The container's directory cannot be read.
    pub fn processes(&self) -> Result<Vec<(String, Result<Process>)>> {
        let mut names = verdict::directories(&self.dir)?;
        names.sort_by_key(|name| name != layout::INIT);
        let open = |name: String| {
            let id = ProcessId::new(name.clone()).map_err(Error::Id);
            match id.and_then(|id| self.process(&id)) {
                // Removed since.
                Err(Error::ProcessNotFound { .. }) => None,
                process => Some((name, process)),
            }
        };
        Ok(names.into_iter().filter_map(open).collect())
    }

    /// Takes the lock of whoever changes this container, and makes sure that it is still this container's.
    pub(crate) fn lock(&self, take: fn(&Path) -> io::Result<Lock>) -> Result<Lock> {
        let path = self.dir.join(layout::LOCK_FILE);
        let absent = || Error::NotFound {
            id: self.id.clone(),
        };
        if !is_real_dir(&self.dir)? {
            return Err(absent());
        }
        let lock = match take(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(absent()),
            lock => lock.map_err(Error::io("lock", &path))?,
        };
        // Whoever held it may have removed the container.
        if self.is_locked_by(&lock)? && !self.is_replaced() {
            Ok(lock)
        } else {
            Err(absent())
        }
    }

    /// Whether another container has this one's name by now: what this one is to do, or what is to become of it, does not concern that. What
    /// containerd 0.2 made does not say which it is.
    pub(crate) fn is_replaced(&self) -> bool {
        let created = |state: &ContainerState| Some(state.holdfast.as_ref()?.created_at.clone());
        let there = ContainerState::read(&self.dir).ok();
        there.is_some_and(|there| created(&there) != created(&self.state))
    }

    /// Whether the container's directory is still the one that this is the lock of: neither removed nor replaced.
    pub(crate) fn is_locked_by(&self, lock: &Lock) -> Result<bool> {
        let path = self.dir.join(layout::LOCK_FILE);
        let held = lock.file().metadata();
        let held = held.map_err(Error::io("look at", &path))?;
        let there = std::fs::symlink_metadata(&path);
        Ok(there.is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino())))
    }

    /// Makes sure that there is a process to speak of; the container's own, and what the container is then.
    pub(crate) fn must_run(&self) -> Result<(Process, Status)> {
        let init = self.init()?;
        match self.status_of(&init)? {
            status @ (Status::Created | Status::Running | Status::Pausing | Status::Paused) => {
                Ok((init, status))
            }
            Status::Creating => Err(Error::ContainerNotStarted {
                id: self.id.clone(),
            }),
            Status::Stopped => Err(Error::ContainerExited {
                id: self.id.clone(),
            }),
        }
    }
}

/// Whether a process whose start failed has run all the same: a short one ends, and its shim deletes it from the runtime,
/// before the runtime's `start` is through, which then fails at tidying up. What a runtime gives up it kills; anything but
/// SIGKILL is the process's own end.
fn has_run(init: &Process, identity: Option<Identity>) -> bool {
    if identity.is_none_or(|identity| identity.is_alive()) {
        return false;
    }
    let own_end = |status| match status {
        ExitStatus::Code(_) => true,
        ExitStatus::Signal { signal, .. } => i32::from(signal) != SIGKILL,
        ExitStatus::Unknown { .. } => false,
    };
    let record = init.wait(Some(RECORD_PATIENCE));
    record.is_ok_and(|record| own_end(record.status))
}
