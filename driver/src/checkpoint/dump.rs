//! Having the runtime take a checkpoint, and giving it its place at the one right moment.
//!
//! A container that ends with its checkpoint must not end before that is in its place: whoever is killed in between would have
//! neither. CRIU runs a script of ours when everything is written and the container still stands still (criu(8), `--action-script`,
//! post-dump). The script asks us and waits for the answer; only then does CRIU go on, and without one it lets the container live.
//! So a caller who is killed, at whatever moment, leaves a container that goes on, or a checkpoint.
//!
//! The script finds us through `/proc/PID/fd`: there is nobody there any more when we are gone, while the opening of a FIFO
//! would wait for us for ever. A CRIU that runs no scripts for runtimes (before 3.19) does not ask; the place is given when the
//! runtime is done.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holdfast_common::sys::pidfd;
use holdfast_common::{criu, layout};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags};
use nix::unistd::pipe2;

use crate::child;
use crate::container::Container;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::runtime::Errand;

use super::options::{CheckpointProgress, Watcher};
use super::staging::Staging;

/// How often a watcher looks.
const TURN: Duration = Duration::from_millis(100);
/// How long a runtime may take to come to its end, once it is clear whether there will be a checkpoint.
const PATIENCE: Duration = Duration::from_secs(30);
/// What runs the script. Where it is missing, nothing is asked.
const SHELL: &str = "/bin/sh";

/// One run of the runtime.
pub(super) struct Dump<'a, 'w> {
    pub container: &'a Container,
    pub staging: &'a Staging,
    /// Lines for CRIU's configuration.
    pub config: String,
    /// The runtime's words, from the verb's options on.
    pub words: Vec<String>,
    pub timeout: Option<Duration>,
    pub watcher: Option<Watcher<'w>>,
}

/// How far the question whether the checkpoint may have its place has come.
enum Phase {
    /// It is not asked yet.
    Open(Question),
    /// It was answered with yes, and with what it takes to be read.
    Answered(#[expect(dead_code)] Question),
    /// It was, or will be, answered with no; for one of our reasons, unless the place could not be had.
    Refused(Option<GivenUp>),
}

/// Why there will be no checkpoint.
enum GivenUp {
    Cancelled,
    TooLate,
}

impl Dump<'_, '_> {
    /// Runs the runtime to its end; `commit` gives the checkpoint its place, and `undo` takes it away again.
    ///
    /// # Errors
    /// The runtime's own message with CRIU's errors; `commit`'s; [`Error::CheckpointCancelled`],
    /// [`Error::CheckpointTimeout`]. The container goes on then, and nothing has its place.
    pub fn run(
        mut self,
        mut commit: impl FnMut() -> Result<()>,
        undo: impl FnOnce(),
    ) -> Result<()> {
        let work = self.staging.dir().join(layout::CHECKPOINT_WORK_DIR);
        super::staging::make_dir(&work)?;
        let question = Question::new(&work)?;
        let config = work.join(layout::CRIU_CONFIG_FILE);
        self.config.push_str(&question.config);
        criu::config(&self.config)
            .and_then(|text| std::fs::write(&config, text))
            .map_err(Error::io("write", &config))?;

        let log_dir = self.container.dir().join(layout::INIT);
        let args = self.container.criu_args();
        let mut runtime = self.container.runtime(&log_dir);
        runtime.args = &args;
        // It holds the lock for as long as it works, whatever becomes of us.
        let lock = self.staging.lock().try_clone();
        runtime.stdin = Some(lock.map_err(Error::io("duplicate the lock of", self.staging.dir()))?);
        let errand = runtime.start("checkpoint", &self.words, |command| {
            command.env(criu::CONFIG_VARIABLE, &config);
            // What a terminal sends to us is not for it: CRIU, killed half way, takes the container along.
            command.process_group(0);
        })?;
        let mut committed = None;
        let ran = self.attend(errand, question, || {
            let done = commit();
            let answer = done.is_ok();
            committed = Some(done);
            answer
        });
        match (ran, committed) {
            // What the runtime has to say then is only that it was told no.
            (_, Some(Err(e))) => Err(e),
            (Ok(()), Some(Ok(()))) => Ok(()),
            (Ok(()), None) => commit(),
            (Err(e), Some(Ok(()))) if !self.is_alive() => {
                log::warn!("checkpoint of {}: {e}", self.container.id());
                Ok(())
            }
            (Err(e), committed) => {
                if committed.is_some() {
                    undo();
                }
                Err(match e {
                    Error::Runtime { message } => Error::Runtime {
                        message: criu::explain(&message, &work.join(layout::DUMP_LOG_FILE)),
                    },
                    e => e,
                })
            }
        }
    }

    fn is_alive(&self) -> bool {
        let init = self.container.init().and_then(|init| init.alive());
        !matches!(init, Ok(None))
    }

    /// Whether there is to be no checkpoint any more.
    fn given_up(&mut self, deadline: Deadline, begun: Instant) -> Option<GivenUp> {
        if deadline.has_passed() {
            return Some(GivenUp::TooLate);
        }
        let progress = CheckpointProgress {
            written: size_of(self.staging.dir()),
            elapsed: begun.elapsed(),
        };
        match self.watcher.as_mut()?(progress) {
            ControlFlow::Continue(()) => None,
            ControlFlow::Break(()) => Some(GivenUp::Cancelled),
        }
    }

    /// Waits for the runtime, and answers CRIU's question.
    fn attend(
        &mut self,
        mut errand: Errand<'_>,
        question: Question,
        mut commit: impl FnMut() -> bool,
    ) -> Result<()> {
        let begun = Instant::now();
        let failed =
            |source| Error::io("wait for the oci runtime of", self.container.dir())(source);
        let pid = i32::try_from(errand.child().id()).unwrap_or(-1);
        // A child keeps its pid until it is collected.
        let process = pidfd::open(pid).map_err(failed)?;
        let mut phase = Phase::Open(question);
        let mut thawed = false;
        let mut deadline = Deadline::after(self.timeout);
        loop {
            let (asked, until) = match (&phase, &self.watcher) {
                (Phase::Open(question), Some(_)) => (Some(&question.asked), deadline.at_most(TURN)),
                (Phase::Open(question), None) => (Some(&question.asked), deadline),
                (Phase::Answered(_) | Phase::Refused(_), _) => (None, deadline),
            };
            let turn = turn(until, &process, asked).map_err(failed)?;
            if matches!(turn, Turn::Ended) {
                break;
            }
            // Also when it is asked: a yes would come after somebody's no.
            let given_up = self.given_up(deadline, begun);
            let Phase::Open(question) = phase else {
                if given_up.is_none() {
                    continue;
                }
                if std::mem::replace(&mut thawed, true) {
                    // CRIU notices that there is nobody to report to.
                    errand.child().kill().map_err(failed)?;
                    break;
                }
                // It may wait for something that is frozen (see `Error::StoppedProcess`).
                self.container.thaw();
                deadline = Deadline::after(Some(PATIENCE));
                continue;
            };
            phase = match (turn, given_up) {
                (_, Some(given_up)) => Phase::Refused(Some(given_up)),
                (Turn::Asked, None) if question.is_ours() && commit() => {
                    question.answer();
                    Phase::Answered(question)
                }
                (Turn::Asked, None) => Phase::Refused(None),
                (Turn::Ended | Turn::Nothing, None) => {
                    phase = Phase::Open(question);
                    continue;
                }
            };
            deadline = Deadline::after(Some(PATIENCE));
        }
        let exit = child::wait(errand.child(), Deadline::after(None)).map_err(failed)?;
        let exit = exit.ok_or(io::ErrorKind::TimedOut.into()).map_err(failed)?;
        let id = self.container.id().clone();
        match (errand.finish(exit), phase) {
            // Where it was given up, that was too late.
            (Ok(_), _) => Ok(()),
            (Err(_), Phase::Refused(Some(GivenUp::Cancelled))) => {
                Err(Error::CheckpointCancelled { id })
            }
            (Err(_), Phase::Refused(Some(GivenUp::TooLate))) => Err(Error::CheckpointTimeout {
                id,
                timeout: self.timeout.unwrap_or_default(),
            }),
            (Err(e), _) => Err(e),
        }
    }
}

/// What a turn of waiting brought.
enum Turn {
    Ended,
    Asked,
    Nothing,
}

fn turn(until: Deadline, process: &impl AsFd, asked: Option<&File>) -> io::Result<Turn> {
    let mut fds = vec![PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    fds.extend(asked.map(|asked| PollFd::new(asked.as_fd(), PollFlags::POLLIN)));
    until.poll_any(&mut fds)?;
    let happened = |at: usize| fds.get(at).and_then(PollFd::any).unwrap_or(false);
    // A question first: whoever asked may have ended since.
    Ok(match (happened(1), happened(0)) {
        (true, _) => Turn::Asked,
        (false, true) => Turn::Ended,
        (false, false) => Turn::Nothing,
    })
}

/// The script's question, and the answer to it. Dropped without one, the answer is no.
struct Question {
    /// Readable when it is asked.
    asked: File,
    answer: File,
    /// Both ends that the script opens anew.
    _open: [File; 2],
    token: String,
    config: String,
}

impl Question {
    /// Writes the script into CRIU's working directory.
    fn new(work: &Path) -> Result<Self> {
        let pipe = || -> io::Result<(File, File)> {
            let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
            Ok((read.into(), write.into()))
        };
        let (asked, ask) = pipe().map_err(Error::io("make a pipe in", work))?;
        let (answered, answer) = pipe().map_err(Error::io("make a pipe in", work))?;
        let random = crate::directory::unfinished_in(Path::new(""));
        let token = random.to_string_lossy().into_owned();
        let mut config = String::new();
        if Path::new(SHELL).exists() {
            let fd = |file: &File| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
            let script = format!(
                "#!{SHELL}\n[ \"$CRTOOLS_SCRIPT_ACTION\" = post-dump ] || exit 0\necho '{token}' >{} && read -r answer <{} && [ \"$answer\" = '{token}' ]\n",
                fd(&ask),
                fd(&answered),
            );
            let path = work.join(layout::COMMIT_SCRIPT);
            let mut options = OpenOptions::new();
            let options = options.write(true).create_new(true).mode(0o700);
            options
                .open(&path)
                .and_then(|mut file| file.write_all(script.as_bytes()))
                .map_err(Error::io("write", path))?;
            // CRIU works in that directory; a path of ours might have blanks in it, which its configuration does not take.
            config = format!("action-script ./{}\n", layout::COMMIT_SCRIPT);
        }
        Ok(Self {
            asked,
            answer,
            _open: [ask, answered],
            token,
            config,
        })
    }

    /// Whether it is our script that asks.
    fn is_ours(&self) -> bool {
        let mut bytes = [0; 64];
        let count = (&self.asked).read(&mut bytes).unwrap_or(0);
        bytes[..count].trim_ascii_end() == self.token.as_bytes()
    }

    /// Yes. It is to be kept until the script is through: it may not have opened its end yet.
    fn answer(&self) {
        // A pipe has room for it; a script that is gone needs none.
        let _ = (&self.answer).write_all(format!("{}\n", self.token).as_bytes());
    }
}

/// How much is in a directory.
fn size_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| entry.metadata().ok());
    sizes
        .filter(std::fs::Metadata::is_file)
        .map(|meta| meta.len())
        .sum()
}

/// What has served when a checkpoint has its place, or never will.
pub(super) fn remove_tools(staging: &Path) {
    let work = staging.join(layout::CHECKPOINT_WORK_DIR);
    for name in [layout::COMMIT_SCRIPT, layout::CRIU_CONFIG_FILE] {
        let _ = std::fs::remove_file(work.join(name));
    }
}

/// Copies what CRIU had to say to where the caller wants it.
pub(super) fn copy_work(staging: &Path, to: &Path) -> Result<()> {
    let work = staging.join(layout::CHECKPOINT_WORK_DIR);
    let files = std::fs::read_dir(&work).map_err(Error::io("read", &work))?;
    let files = files.flatten().map(|file| file.path());
    let logs: Vec<PathBuf> = files.filter(|file| file.is_file()).collect();
    for file in logs {
        if let Some(name) = file.file_name() {
            std::fs::copy(&file, to.join(name)).map_err(Error::io("copy", &file))?;
        }
    }
    Ok(())
}
