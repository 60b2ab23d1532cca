//! `exec`: another process in a running container.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use holdfast::{Container, ContainerId, ExecOptions, Process, ProcessId, ProcessSpec};
use serde_json::json;

use super::ending::EndingArgs;
use super::error::{Error, Result};
use super::globals::Globals;
use super::launch::{Reader, console_socket, write_pid_file};
use super::logging::Reporter;
use super::run::{let_go, signals_failed, status_code};
use super::session::{DetachKeys, Impatience, Options, Outcome, Session, Signals, window};
use super::stdio::StdioArgs;

/// How long a process may take to go that has been killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Refused here because only some runtimes do (runc; not crun 1.8).
fn environment_entry(text: &str) -> std::result::Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("an entry of the environment is NAME=VALUE".to_owned()),
    }
}

/// Flags of `exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The container, then the command and its arguments
    #[arg(value_names = ["ID", "COMMAND"], required = true, num_args = 1.., trailing_var_arg = true)]
    words: Vec<String>,
    /// OCI process (JSON) to run instead of a command
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Leave the process to its shim, and do not wait
    #[arg(short, long)]
    detach: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Accepted for docker's sake: in the foreground stdin is always passed on
    #[arg(short, long)]
    interactive: bool,
    /// Its name, for attach, wait, kill … [default: a random one]
    #[arg(long, value_name = "NAME")]
    exec_id: Option<ProcessId>,
    /// Have the shim remove every trace of it at its end, also when nobody is attached any more
    #[arg(long)]
    rm: bool,
    /// User to run as, in numbers [default: the container's]
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<User>,
    /// Working directory in the container [default: the container's]
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Addition to the environment; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = environment_entry)]
    env: Vec<String>,
    /// Additional group, a number; may be repeated
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// Additional capability, such as CAP_NET_RAW; may be repeated
    #[arg(short, long, value_name = "CAP")]
    cap: Vec<String>,
    /// Let it gain no privileges, as by set-user-id programs
    #[arg(long)]
    no_new_privs: bool,
    /// AppArmor profile of the process
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// SELinux label of the process
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// Write its pid to this file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Unix socket that receives the terminal, whose streams are the receiver's business then
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Number of descriptors, from 3 on, to pass to the process
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    #[command(flatten)]
    ending: EndingArgs,
    #[command(flatten)]
    stdio: StdioArgs,
    /// Keys that detach from a terminal
    #[arg(long, value_name = "KEYS", default_value = super::session::DEFAULT_DETACH_KEYS)]
    detach_keys: DetachKeys,
}

/// `UID[:GID]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    uid: u32,
    gid: Option<u32>,
}

impl FromStr for User {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let number = |word: &str| word.parse().map_err(|_| "use numbers: UID or UID:GID");
        Ok(match text.split_once(':') {
            Some((uid, gid)) => Self {
                uid: number(uid)?,
                gid: Some(number(gid)?),
            },
            None => Self {
                uid: number(text)?,
                gid: None,
            },
        })
    }
}

/// Runs a process in a container.
///
/// # Errors
/// The library's; our streams cannot be used.
pub fn exec(args: &ExecArgs, globals: &Globals, reporter: Reporter) -> Result<u8> {
    let (id, command) = args
        .words
        .split_first()
        .map_or(("", &[][..]), |(id, rest)| (id.as_str(), rest));
    let id = ContainerId::new(id).map_err(holdfast::Error::from)?;
    let container = globals.driver()?.load(&id)?;
    let spec = args.spec(&container, command)?;
    let name = match &args.exec_id {
        Some(name) => name.clone(),
        None => random_name()?,
    };
    let console_socket = args
        .console_socket
        .as_deref()
        .map(|socket| console_socket(socket, spec.has_terminal()));
    let options = ExecOptions {
        stdio: args
            .stdio
            .policies(Reader::when(args.detach).usual(args.console_socket.as_deref()))?,
        preserve_fds: args.preserve_fds,
        console_socket: console_socket.transpose()?,
        auto_remove: args.rm,
        time_limit: args.ending.time_limit(),
        exit_command: args.ending.exit_command(),
    };
    if args.detach {
        let process = container.exec(&name, &spec, &options)?;
        args.write_pid(&process)?;
        return Ok(0);
    }
    let signals = Signals::catch_all().map_err(signals_failed)?;
    let impatience = Impatience::begin().map_err(signals_failed)?;
    let process = container.exec(&name, &spec, &options)?;
    drop(impatience);
    args.write_pid(&process)?;
    let options = Options {
        stdin: true,
        proxy: true,
        keys: args.detach_keys.clone(),
        tail: None,
        redraw: false,
    };
    let ended = match Session::open(&process, signals, &options)?.run()? {
        Outcome::Exited(record) => record,
        other => return let_go(other, &process),
    };
    let status = match ended {
        Some(record) => record.status,
        None => process.wait(None)?.status,
    };
    let _impatience = Impatience::begin().map_err(signals_failed)?;
    match process.delete() {
        // With the whole container, maybe.
        Ok(())
        | Err(holdfast::Error::NotFound { .. } | holdfast::Error::ProcessNotFound { .. }) => {}
        Err(e) => reporter.warning(&format!("remove process {name} of container {id}: {e}")),
    }
    Ok(status_code(&status, reporter))
}

impl ExecArgs {
    fn spec(&self, container: &Container, command: &[String]) -> Result<ProcessSpec> {
        let id = || container.id().clone();
        let spec = match (&self.process, command) {
            (None, []) => return Err(Error::NoCommand { id: id() }),
            (Some(_), [_, ..]) => return Err(Error::TwoCommands { id: id() }),
            (Some(file), []) => {
                // As with runc, the file is the whole process; only a terminal may be asked for on top.
                let spec = ProcessSpec::read(file)?;
                if self.tty { spec.terminal(true) } else { spec }
            }
            (None, command) => self.derived(container.exec_spec()?.args(command)),
        };
        Ok(self.with_window(spec))
    }

    fn derived(&self, spec: ProcessSpec) -> ProcessSpec {
        let mut spec = spec
            .terminal(self.tty)
            .env(&self.env)
            .additional_gids(self.additional_gids.iter().copied())
            .capabilities(&self.cap);
        if let Some(cwd) = &self.cwd {
            spec = spec.cwd(cwd);
        }
        if let Some(user) = self.user {
            spec = spec.user(user.uid, user.gid);
        }
        if self.no_new_privs {
            spec = spec.set("noNewPrivileges", true.into());
        }
        if let Some(profile) = &self.apparmor {
            spec = spec.set("apparmorProfile", profile.as_str().into());
        }
        if let Some(label) = &self.process_label {
            spec = spec.set("selinuxLabel", label.as_str().into());
        }
        spec
    }

    /// A program that asks for its size at once, before our first resize, gets the right one from runtimes that know
    /// `consoleSize`.
    fn with_window(&self, spec: ProcessSpec) -> ProcessSpec {
        match window() {
            Some((width, height)) if spec.has_terminal() && !self.detach => {
                spec.set("consoleSize", json!({"height": height, "width": width}))
            }
            _ => spec,
        }
    }

    /// A process without the pid file that was asked for is one that nobody will find: end it, and leave no trace.
    fn write_pid(&self, process: &Process) -> Result<()> {
        let Some(path) = &self.pid_file else {
            return Ok(());
        };
        write_pid_file(path, process).inspect_err(|_| {
            // That it has ended by itself is as good.
            let _ = process.signal(nix::libc::SIGKILL);
            let removed = process.wait(Some(PATIENCE)).and_then(|_| process.delete());
            if let Err(e) = removed {
                log::warn!("remove process {} after its failure: {e}", process.id());
            }
        })
    }
}

/// 64 random bits: no two of one container's will ever meet.
fn random_name() -> Result<ProcessId> {
    let name = format!(
        "exec-{:016x}",
        RandomState::new().hash_one(std::process::id())
    );
    Ok(ProcessId::new(name).map_err(holdfast::Error::from)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        assert_eq!("7".parse(), Ok(User { uid: 7, gid: None }));
        assert_eq!(
            "7:8".parse(),
            Ok(User {
                uid: 7,
                gid: Some(8)
            })
        );
        for text in ["", ":", "7:", ":8", "root", "7:8:9", "-1", "4294967296"] {
            assert!(text.parse::<User>().is_err(), "{text}");
        }
    }
}
