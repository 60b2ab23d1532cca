//! What a driver is built with, and what a container or an exec is created with.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use holdfast_common::layout;
use holdfast_common::listen_fds::ListenFds;
use holdfast_common::notify::Notify;
use holdfast_common::request::Isolation;
use holdfast_common::restart::RestartPolicy;
use holdfast_common::time_limit::TimeLimit;

use crate::checkpoint::RestoreOptions;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::exit_command::ExitCommand;
use crate::stdio::Stdio;
use crate::{root, text};

/// How long a runtime may take when nobody says.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// The runtime when nobody names one.
const RUNTIME: &str = "runc";

/// What a driver was built with.
#[derive(Debug)]
pub(crate) struct Settings {
    pub root: PathBuf,
    pub runtime: String,
    pub runtime_args: Vec<String>,
    pub shim: Option<PathBuf>,
    pub start_timeout: Duration,
    pub criu: Option<String>,
    pub isolation: Isolation,
}

/// Collects what a [`Driver`] needs; everything has a default.
#[derive(Debug, Clone, Default)]
pub struct DriverBuilder {
    root: Option<PathBuf>,
    runtime: Option<String>,
    runtime_args: Vec<String>,
    shim: Option<PathBuf>,
    start_timeout: Option<Duration>,
    criu: Option<String>,
    isolation: Isolation,
}

/// How to create a container.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// Where its streams go.
    pub stdio: Stdio,
    /// The caller's own words, kept in state.json.
    pub labels: Vec<String>,
    /// Passed to the runtime as `--no-pivot`.
    pub no_pivot_root: bool,
    /// Passed to the runtime as `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// Its shim receives what the runtime sends to the bundle's `linux.seccomp.listenerPath`, wherever that is, for agents to
    /// take over from each other ([`Process::seccomp`](crate::Process::seccomp)). Without it, a shim does that where the path is
    /// that of `seccomp.runtime` in the init's process directory.
    pub seccomp_agent_store: bool,
    /// How many of the caller's descriptors, from 3 on, its process gets; they must not be close-on-exec.
    pub preserve_fds: u32,
    /// How many of the caller's descriptors, from 3 on, are sockets that its service manager opened for it, and that are the
    /// container's now (sd_listen_fds(3)); they must not be close-on-exec. Those to be preserved come after them.
    pub listen_fds: ListenFds,
    /// A socket on which the caller gets the terminal; the streams' policies do not count then.
    pub console_socket: Option<PathBuf>,
    /// Columns and rows of its terminal, from before its program runs (OCI `process.consoleSize`).
    pub console_size: Option<(u16, u16)>,
    /// The shim removes the container's directory when its process has ended.
    pub auto_remove: bool,
    /// What the caller's service manager is told of it ([`notify_from_environment`](crate::notify_from_environment)).
    pub notify: Option<Notify>,
    /// What its shim runs at its end.
    pub exit_command: Option<ExitCommand>,
    /// How long it may run, from its start on.
    pub time_limit: Option<TimeLimit>,
    /// Restore it from the checkpoint in this directory instead; it then runs, and waits for no start.
    pub checkpoint: Option<PathBuf>,
    /// How to restore it, beside what the checkpoint says.
    pub restore: RestoreOptions,
    /// When a supervisor restarts it.
    pub restart: RestartPolicy,
    /// The caller starts it right away. Should the caller be killed before it has, a supervisor does, if there is a
    /// restart policy.
    pub starts: bool,
}

/// How to run another process in a container.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    /// Where its streams go.
    pub stdio: Stdio,
    /// How many of the caller's descriptors, from 3 on, it gets; they must not be close-on-exec.
    pub preserve_fds: u32,
    /// A socket on which the caller gets the terminal; the streams' policies do not count then.
    pub console_socket: Option<PathBuf>,
    /// The shim removes the process's directory when it has ended.
    pub auto_remove: bool,
    /// What its shim runs at its end.
    pub exit_command: Option<ExitCommand>,
    /// How long it may run.
    pub time_limit: Option<TimeLimit>,
}

impl DriverBuilder {
    /// The state directory (default: /run/holdfast, or $XDG_RUNTIME_DIR/holdfast without root privileges).
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// The OCI runtime: a path, or a name to find in `$PATH` (default: `runc`).
    #[must_use]
    pub fn runtime(mut self, runtime: impl Into<String>) -> Self {
        self.runtime = Some(runtime.into());
        self
    }

    /// Words that go before the runtime's verb, such as `--systemd-cgroup`.
    #[must_use]
    pub fn runtime_args<I: IntoIterator<Item: Into<String>>>(mut self, args: I) -> Self {
        self.runtime_args = args.into_iter().map(Into::into).collect();
        self
    }

    /// The shim's executable (default: `holdfast-shim` beside this program's, else in `$PATH`).
    #[must_use]
    pub fn shim(mut self, shim: impl Into<PathBuf>) -> Self {
        self.shim = Some(shim.into());
        self
    }

    /// How long the runtime may take to create or start a process, whole seconds (default: two minutes).
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = Some(timeout);
        self
    }

    /// The CRIU that runtimes use for checkpoints (their `--criu`): a path, or a name to find in `$PATH` (default: the runtime's own).
    /// Newer versions of runc know no such option, and look in `$PATH`.
    #[must_use]
    pub fn criu(mut self, criu: impl Into<String>) -> Self {
        self.criu = Some(criu.into());
        self
    }

    /// A cgroup for its shims, below the top of each hierarchy, made if need be (default: they stay in the launcher's).
    /// What stops or limits the launcher's cgroup then leaves them alone; and their containers, because a container whose
    /// bundle names no cgroup is put below (version 1) or beside (version 2) its shim's.
    #[must_use]
    pub fn shim_cgroup(mut self, path: impl Into<PathBuf>) -> Self {
        self.isolation.cgroup = Some(path.into());
        self
    }

    /// The shims' own score for the out-of-memory killer, -1000 to 1000 (default: the launcher's, which their containers
    /// have in any case). Where it is not permitted, the shim's log says so.
    #[must_use]
    pub fn shim_oom_score_adj(mut self, score: i16) -> Self {
        self.isolation.oom_score_adj = Some(score);
        self
    }

    /// The driver. Nothing is made or started by this.
    ///
    /// # Errors
    /// There is no default root, or the root cannot be trusted; [`Error::BadIsolation`].
    pub fn build(self) -> Result<Driver> {
        check_isolation(&self.isolation)?;
        let root = self.root.or_else(layout::default_root);
        let root = text::absolute(&root.ok_or(Error::NoRoot)?)?;
        text::utf8(&root)?;
        root::check(&root)?;
        let mut runtime = self.runtime.unwrap_or_else(|| RUNTIME.to_owned());
        if runtime.contains('/') {
            // It is run from elsewhere.
            runtime = text::absolute_utf8(Path::new(&runtime))?;
        }
        let mut criu = self.criu;
        if let Some(path) = criu.as_mut().filter(|criu| criu.contains('/')) {
            *path = text::absolute_utf8(Path::new(path))?;
        }
        Ok(Driver::new(Settings {
            root,
            runtime,
            runtime_args: self.runtime_args,
            shim: self.shim,
            start_timeout: self.start_timeout.unwrap_or(START_TIMEOUT),
            criu,
            isolation: self.isolation,
        }))
    }
}

/// A cgroup's path leads down from the top, and nowhere else.
fn check_isolation(isolation: &Isolation) -> Result<()> {
    if let Some(path) = &isolation.cgroup {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let plain = |part| matches!(part, Component::Normal(_));
        if relative.as_os_str().is_empty() || !relative.components().all(plain) {
            return Err(Error::BadIsolation {
                what: format!("cgroup {}: not a path below the top", path.display()),
            });
        }
    }
    match isolation.oom_score_adj {
        Some(score) if !(-1000..=1000).contains(&score) => Err(Error::BadIsolation {
            what: format!("oom_score_adj {score}: not from -1000 to 1000"),
        }),
        _ => Ok(()),
    }
}
