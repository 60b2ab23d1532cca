//! Running the runtime until it has created the process: `create`, `exec` or `restore`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio as ChildStdio};
use std::time::{Duration, Instant};

use holdfast_common::layout::{self, Stream};
use holdfast_common::log_line::{LogLine, in_a_row};
use holdfast_common::notify::NOTIFY_SOCKET;
use holdfast_common::process_state::ProcessState;
use holdfast_common::request::Wire;
use holdfast_common::state_file::{self, DOCUMENT_LIMIT};
use holdfast_common::sys::{errno_text, exec, fd, fifo, pty};
use nix::libc;
use nix::poll::PollFd;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signalfd::SignalFd;

use super::console::ConsoleSocket;
use super::listener;
use super::restore::Restore;
use super::stdio::{End, Opened};
use super::undo::Done;
use crate::error::Error;
use crate::handover::{Direct, Stdio, Terminal};
use crate::notify;
use crate::output::Output;
use crate::runtime::{self, Beside};
use crate::seccomp::Store;

/// The most of a runtime's words that is passed on; a pipe holds that, however it is escaped.
const MOST_WORDS: usize = 8 << 10;

/// One run of the runtime.
pub struct Create<'a> {
    pub wire: &'a Wire,
    pub state: &'a ProcessState,
    /// The process directory's absolute path.
    pub dir: &'a Path,
    pub signals: &'a SignalFd,
    /// None: the process is made anew.
    pub restore: Option<Restore>,
    /// None: whoever started the shim has a patience of its own.
    pub timeout: Option<Duration>,
    /// What is to be done while the runtime works.
    pub meanwhile: &'a dyn Fn(),
}

/// A container's store while its runtime is waited for: the process's calls may wait for an agent already, and the runtime for
/// the process.
struct Serve<'a>(&'a mut Option<Box<Store>>, &'a OsStr);

impl Beside for Serve<'_> {
    fn poll_fds(&self) -> Vec<PollFd<'_>> {
        self.0.as_deref().map(Store::poll_fds).unwrap_or_default()
    }

    fn turn(&mut self) {
        if let Some(store) = self.0 {
            // What is more than a turn's work is polled again.
            store.turn(self.1, None);
        }
    }
}

impl Create<'_> {
    /// Runs the runtime to its end, and returns what the shim holds of the new process's stdio. `output` is what it moves of it.
    pub fn run(
        &self,
        stdio: Opened,
        output: Option<&Output>,
        preserved: Vec<OwnedFd>,
        store: &mut Option<Box<Store>>,
        done: &mut Done,
    ) -> Result<Stdio, Error> {
        let mut command = self.command();
        match stdio {
            Opened::Direct { process, held } => {
                if self.restore.is_some() {
                    make_room(&held, fifo::MAX_CAPACITY);
                }
                let [stdin, stdout, stderr] = process.map(child_stdio);
                command.stdin(stdin).stdout(stdout).stderr(stderr);
                // A runtime's own complaint must fit, or it would wait for a reader while we wait for it. Refused (with
                // too many big pipes about), the ordinary size has to do.
                let (stream, hold) = if self.state.merges_stderr() {
                    (Stream::Stdout, &held.stdout)
                } else {
                    (Stream::Stderr, &held.stderr)
                };
                let inner = output.and_then(|output| output.inner(stream));
                let stderr = inner.or(hold.as_ref().map(AsFd::as_fd));
                if let Some(stderr) = stderr {
                    let _ = fifo::set_capacity(stderr, fifo::MAX_CAPACITY);
                }
                let complaint = || stderr.and_then(|fd| fifo::peek(fd).ok());
                self.execute(command, preserved, store, done, complaint)?;
                if let (Some(stderr), None) = (stderr, inner) {
                    // More than that in it already: it keeps its size.
                    let _ = fifo::set_capacity(stderr, ORDINARY_CAPACITY);
                }
                if self.restore.is_some() {
                    make_room(&held, ORDINARY_CAPACITY);
                }
                Ok(Stdio::Direct(held))
            }
            Opened::Terminal(ends) => {
                let socket = ConsoleSocket::bind()?;
                command.arg("--console-socket").arg(socket.path());
                self.execute_aside(command, preserved, store, done)?;
                let master = socket.receive()?;
                // runc takes it from process.json for an exec, but not for a container.
                if let Some(size) = self.state.console_size()
                    && let Err(e) = pty::set_size(master.as_fd(), size)
                {
                    log::warn!("resize the terminal: {}", errno_text(&e));
                }
                Ok(Stdio::Terminal(Terminal {
                    master,
                    input: ends.input,
                    input_hold: ends.input_hold,
                    output: ends.output,
                    output_hold: ends.output_hold,
                    pending_input: Vec::new(),
                    pending_output: Vec::new(),
                    mid_line: false,
                }))
            }
            Opened::Elsewhere => {
                let socket = self
                    .state
                    .holdfast
                    .as_ref()
                    .and_then(|ours| ours.console_socket.as_ref());
                command.arg("--console-socket").args(socket);
                self.execute_aside(command, preserved, store, done)?;
                Ok(Stdio::Direct(Direct::default()))
            }
        }
    }

    /// The command up to its options; the container's id comes last, in [`Create::execute`].
    fn command(&self) -> Command {
        let (state, bundle) = (self.state, &self.wire.bundle);
        let ours = state.holdfast.clone().unwrap_or_default();
        let verb = match self.restore {
            _ if state.exec => "exec",
            Some(_) => "restore",
            None => "create",
        };
        let args: Vec<OsString> = state.runtime_args.iter().map(Into::into).collect();
        let sockets = (!ours.listen_fds.is_none()).then_some(&ours.listen_fds);
        let program = match sockets {
            Some(_) => listener::program(&self.wire.runtime),
            None => Command::new(&self.wire.runtime),
        };
        let mut command = runtime::complete(program, self.dir, &args, verb);
        if let Some(sockets) = sockets {
            listener::tell(&mut command, sockets);
        }
        if notify::is_relayed(state) {
            command.env(NOTIFY_SOCKET, notify::FOR_RUNTIMES);
        }
        // A runtime that nobody waits for any more must not go on half way.
        exec::die_with_us(&mut command);
        command.current_dir(bundle);
        if state.exec {
            command
                .arg("-d")
                .arg("--process")
                .arg(self.dir.join(layout::PROCESS_FILE));
        } else {
            command.arg("--bundle").arg(bundle);
            if let Some(restore) = &self.restore {
                restore.tell(&mut command);
            }
            if state.no_pivot_root {
                command.arg("--no-pivot");
            }
            if ours.no_new_keyring && self.restore.is_none() {
                command.arg("--no-new-keyring");
            }
        }
        if ours.preserve_fds > 0 {
            command
                .arg("--preserve-fds")
                .arg(ours.preserve_fds.to_string());
        }
        command
            .arg("--pid-file")
            .arg(self.dir.join(layout::PID_FILE));
        command
    }

    /// As [`Create::execute`], for a runtime whose stdio does not become the process's: what it says goes into a file
    /// in memory, which never fills.
    fn execute_aside(
        &self,
        mut command: Command,
        preserved: Vec<OwnedFd>,
        store: &mut Option<Box<Store>>,
        done: &mut Done,
    ) -> Result<(), Error> {
        let failed = |e: io::Error| Error::Io {
            operation: "make",
            path: "memfd".into(),
            cause: e,
        };
        let aside =
            memfd_create(c"runtime", MFdFlags::MFD_CLOEXEC).map_err(|e| failed(e.into()))?;
        let mut aside = File::from(aside);
        let copy = || aside.try_clone().map_err(failed);
        command
            .stdin(ChildStdio::null())
            .stdout(copy()?)
            .stderr(copy()?);
        self.execute(command, preserved, store, done, || {
            let mut words = Vec::new();
            aside.rewind().ok()?;
            aside.read_to_end(&mut words).ok()?;
            Some(words)
        })
    }

    fn execute(
        &self,
        mut command: Command,
        preserved: Vec<OwnedFd>,
        store: &mut Option<Box<Store>>,
        done: &mut Done,
        complaint: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Result<(), Error> {
        // An id may look like a flag.
        command.arg("--").arg(&self.wire.id);
        for descriptor in &preserved {
            fd::set_cloexec(descriptor.as_fd(), false)
                .map_err(Error::io("pass on a descriptor in", self.dir))?;
        }
        let mut child = command.spawn().map_err(|e| self.not_started(e))?;
        // The command holds the process's ends: they must not outlive the process in the shim.
        drop((command, preserved));
        (self.meanwhile)();
        let deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        let waited = |e| Error::Io {
            operation: "wait for",
            path: (&self.wire.runtime).into(),
            cause: e,
        };
        let mut serve = Serve(store, &self.wire.id);
        match runtime::wait_beside(&mut child, self.signals, deadline, &mut serve)
            .map_err(waited)?
        {
            Some(exit) if exit.success() => {
                done.created = true;
                // What it has sent last is there, whether or not it was polled.
                serve.turn();
                Ok(())
            }
            Some(exit) => {
                done.cut_off = exit.signal().is_some();
                let words = self.words(complaint);
                let words = match (words, &self.restore) {
                    (Some(words), Some(restore)) => Some(restore.explain(&words)),
                    (words, _) => words,
                };
                Err(Error::Runtime(words.unwrap_or_else(|| self.silent(&exit))))
            }
            None => {
                child.kill().map_err(waited)?;
                runtime::wait(&mut child, self.signals, None).map_err(waited)?;
                done.cut_off = true;
                let runtime = self.wire.runtime.to_string_lossy().into_owned();
                Err(Error::Timeout {
                    runtime,
                    after: self.timeout.unwrap_or_default(),
                })
            }
        }
    }

    /// Why the runtime refused, in its own words: its log's last error, or else what it wrote to stderr.
    fn words(&self, complaint: impl FnOnce() -> Option<Vec<u8>>) -> Option<String> {
        let log = state_file::read_bytes(&self.dir.join(layout::RUNTIME_LOG_FILE), DOCUMENT_LIMIT)
            .unwrap_or_default();
        let words = LogLine::last_error(&log).or_else(|| {
            let words = complaint()?;
            Some(in_a_row(String::from_utf8_lossy(&words).trim())).filter(|words| !words.is_empty())
        })?;
        if words.len() <= MOST_WORDS {
            return Some(words);
        }
        // The end says most: runtimes put the outer step first and the cause last.
        let end = &words.as_bytes()[words.len() - MOST_WORDS..];
        Some(format!("…{}", String::from_utf8_lossy(end)))
    }

    /// What can be said of a runtime that ended without a word: perhaps it had no room for one.
    fn silent(&self, exit: &ExitStatus) -> String {
        let room = || {
            // A file without a name: nothing is left of it.
            let mut options = File::options();
            let nameless = options.write(true).custom_flags(libc::O_TMPFILE);
            nameless.open(self.dir)?.write_all(b"?")
        };
        match room() {
            Err(e) if e.raw_os_error() != Some(libc::EOPNOTSUPP) => {
                let log = self.dir.join(layout::RUNTIME_LOG_FILE);
                let cause = errno_text(&e);
                format!(
                    "ended with {exit}, and could not say why in {}: {cause}",
                    log.display()
                )
            }
            _ => format!("ended with {exit}"),
        }
    }

    fn not_started(&self, cause: io::Error) -> Error {
        let path = Path::new(&self.wire.runtime);
        // With a directory that is not there, the system's error would seem to speak of the runtime.
        if !self.wire.bundle.is_dir() {
            return Error::Io {
                operation: "enter bundle",
                path: self.wire.bundle.clone(),
                cause,
            };
        }
        Error::Io {
            operation: "start the oci runtime",
            path: path.to_owned(),
            cause,
        }
    }
}

/// What a FIFO holds when nobody asks for more (pipe(7)).
const ORDINARY_CAPACITY: i32 = 64 << 10;

/// What was in a process's FIFOs when its checkpoint was made is put into those that it gets now, before anybody reads them: they
/// must hold it. Refused, the ordinary size has to do, and was most likely enough then.
fn make_room(held: &Direct, capacity: i32) {
    for fd in [&held.stdin, &held.stdout, &held.stderr]
        .into_iter()
        .flatten()
    {
        let _ = fifo::set_capacity(fd.as_fd(), capacity);
    }
}

fn child_stdio(end: End) -> ChildStdio {
    match end {
        End::Opened(fd) => fd.into(),
        End::Inherited => ChildStdio::inherit(),
    }
}
