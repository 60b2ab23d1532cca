//! What `create` and `run` share: their flags, and the pid file.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use holdfast::{
    Container, ContainerId, CreateOptions, Driver, Notify, Policy, Process, ProcessSpec, Ready,
    RestartPolicy, notify_from_environment,
};

use super::ending::EndingArgs;
use super::error::{Error, Result};
use super::globals::absolute;
use super::listen;
use super::run::{signal_code, signals_failed};
use super::session::{Impatience, Signals};
use super::stdio::StdioArgs;

/// Who reads what a process writes, as far as the command line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// We do, or the caller has readers of its own.
    There,
    /// Nobody, until somebody comes and looks.
    Absent,
}

impl Reader {
    /// Of a process that is left to its shim, or is not.
    pub fn when(detached: bool) -> Self {
        match detached {
            true => Self::Absent,
            false => Self::There,
        }
    }

    /// Where the streams go when nothing says so; a terminal that is sent to a socket is its receiver's.
    pub fn usual(self, console_socket: Option<&Path>) -> Policy {
        match (self, console_socket) {
            (Self::Absent, None) => Policy::Log,
            (Self::Absent, Some(_)) | (Self::There, _) => Policy::Fifo,
        }
    }
}

/// Flags of `create` and `run`.
#[derive(Debug, Args)]
pub struct LaunchArgs {
    /// Name of the new container
    #[arg(value_name = "ID")]
    id: ContainerId,
    /// Directory with config.json and the root file system [default: .]
    #[arg(short, long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Write the pid of the container's process to this file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Unix socket that receives the terminal, whose streams are the receiver's business then
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Number of descriptors, from 3 on, to pass to the container
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Who says READY=1 to our service manager: container, shim (once it is started) or ignore (nobody)
    #[arg(
        long,
        alias = "sdnotify",
        value_name = "MODE",
        default_value = "ignore",
        hide_possible_values = true
    )]
    sd_notify: SdNotify,
    /// Keep what the runtime sends to the bundle's seccomp listenerPath, for one agent after the other
    #[arg(long)]
    seccomp_agent_store: bool,
    /// Do not use pivot_root, for a root file system on a ramdisk
    #[arg(long)]
    no_pivot: bool,
    /// Do not make a session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// When `holdfast supervise` restarts it: no, on-failure[:N], always or unless-stopped
    #[arg(long, value_name = "POLICY", default_value_t)]
    restart: RestartPolicy,
    #[command(flatten)]
    ending: EndingArgs,
    #[command(flatten)]
    stdio: StdioArgs,
    /// Words of your own, kept with the container; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
}

/// As podman's `--sdnotify` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SdNotify {
    /// It does, and whatever else it has to say is passed on.
    Container,
    /// We do, when it has been started.
    #[value(alias = "conmon")]
    Shim,
    /// The service manager is for somebody else.
    Ignore,
}

impl LaunchArgs {
    /// Its name.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Its bundle, if one was named.
    pub fn named_bundle(&self) -> Option<&Path> {
        self.bundle.as_deref()
    }

    /// Its bundle.
    pub fn bundle(&self) -> &Path {
        self.bundle.as_deref().unwrap_or(Path::new("."))
    }

    /// Whether something is asked for that a container which is there already cannot be given.
    pub fn describes_another(&self) -> bool {
        let Self {
            id: _,
            bundle: _,
            pid_file: _,
            console_socket,
            preserve_fds,
            sd_notify,
            seccomp_agent_store,
            no_pivot,
            no_new_keyring,
            restart,
            ending,
            stdio,
            labels,
        } = self;
        console_socket.is_some()
            || *preserve_fds > 0
            || *sd_notify != SdNotify::Ignore
            || *seccomp_agent_store
            || *no_pivot
            || *no_new_keyring
            || !restart.is_no()
            || ending.is_named()
            || stdio.is_named()
            || !labels.is_empty()
    }

    /// The bundle must have a terminal: the runtime reads config.json itself, no flag of ours changes it.
    ///
    /// # Errors
    /// It has none, or cannot be read.
    pub fn require_terminal(&self) -> Result<()> {
        let bundle = absolute(self.bundle())?;
        if ProcessSpec::of_bundle(&bundle)?.has_terminal() {
            Ok(())
        } else {
            Err(Error::NoTerminal { bundle })
        }
    }

    /// Whether a supervisor would restart it.
    pub fn has_restart_policy(&self) -> bool {
        self.restart != RestartPolicy::No
    }

    /// What our service manager is told of it; `leaves` is whether we end before it does.
    ///
    /// # Errors
    /// The environment names no socket that words can be sent to.
    pub fn notify(&self, leaves: bool) -> Result<Option<Notify>> {
        let ready = match self.sd_notify {
            SdNotify::Container => Ready::Container,
            SdNotify::Shim => Ready::Start,
            SdNotify::Ignore => return Ok(None),
        };
        Ok(notify_from_environment(ready, leaves)?)
    }

    /// Creates the container and writes its pid file; `base` is what no flag of `create` says.
    ///
    /// # Errors
    /// The library's; the pid file cannot be written. Nothing is left behind then.
    pub fn create(
        &self,
        driver: &Driver,
        base: CreateOptions,
        reader: Reader,
    ) -> Result<Container> {
        let bundle = absolute(self.bundle())?;
        let console_socket = self.console_socket.as_deref().map(|socket| {
            let terminal = ProcessSpec::of_bundle(&bundle)?.has_terminal();
            console_socket(socket, terminal)
        });
        let options = CreateOptions {
            stdio: self
                .stdio
                .policies(reader.usual(self.console_socket.as_deref()))?,
            labels: self.labels.clone(),
            no_pivot_root: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            preserve_fds: self.preserve_fds,
            listen_fds: listen::from_environment()?,
            seccomp_agent_store: self.seccomp_agent_store,
            console_socket: console_socket.transpose()?,
            restart: self.restart,
            time_limit: self.ending.time_limit(),
            exit_command: self.ending.exit_command(),
            ..base
        };
        let container = driver.create(&self.id, &bundle, &options)?;
        undo_unless(&container, || self.write_pid_file(&container))?;
        Ok(container)
    }

    /// As [`LaunchArgs::create`], for a container that is left to itself then. Whoever asks us to end meanwhile, with Ctrl-C, does
    /// not want the container; the shim, which has no terminal, would go on without us.
    ///
    /// # Errors
    /// As [`LaunchArgs::create`].
    pub fn create_and_leave(&self, driver: &Driver, base: CreateOptions) -> Result<u8> {
        let mut signals = Signals::catch_own().map_err(signals_failed)?;
        let _impatience = Impatience::begin().map_err(signals_failed)?;
        let container = self.create(driver, base, Reader::There)?;
        if let Some(signal) = signals.ending() {
            container.delete(true)?;
            return Ok(signal_code(signal));
        }
        Ok(0)
    }

    /// Writes its pid where that was asked for.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_pid_file(&self, container: &Container) -> Result<()> {
        let path = self.pid_file.as_deref();
        path.map_or(Ok(()), |path| write_pid_file(path, &container.init()?))
    }
}

/// The socket for a terminal; as with runc, one without a terminal to send is a mistake.
///
/// # Errors
/// There is no terminal.
pub fn console_socket(socket: &Path, terminal: bool) -> Result<PathBuf> {
    if terminal {
        absolute(socket)
    } else {
        Err(Error::NothingForSocket {
            socket: socket.to_owned(),
        })
    }
}

/// Does one more step of a launch; a container that fails it is removed.
///
/// # Errors
/// The step's.
pub fn undo_unless<T>(container: &Container, step: impl FnOnce() -> Result<T>) -> Result<T> {
    step().inspect_err(|_| {
        if let Err(e) = container.delete(true) {
            log::warn!("remove container {} after its failure: {e}", container.id());
        }
    })
}

/// Writes a process's pid, as runc does: decimal, no line end, complete or not there.
///
/// # Errors
/// The system's.
pub fn write_pid_file(path: &Path, process: &Process) -> Result<()> {
    let failed = |e: io::Error| Error::io("write pid file", path, e);
    let name = path
        .file_name()
        .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    let mut unfinished = std::ffi::OsString::from(".");
    unfinished.push(name);
    let unfinished = path.with_file_name(unfinished);
    let pid = process.identity()?.map_or(0, |identity| identity.pid);
    std::fs::write(&unfinished, pid.to_string())
        .and_then(|()| std::fs::rename(&unfinished, path))
        .map_err(|e| {
            let _ = std::fs::remove_file(&unfinished);
            failed(e)
        })
}
