//! conmon, as podman uses it: a log file or none, a directory that exit files appear in, and a pipe on which it says that the container is
//! there.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use holdfast_common::sys::exec::pass_on;
use holdfast_tests::{Bundle, DEADLINE, Proc, wait};
use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde_json::Value;

use super::bare::{must, runtime};
use super::{Held, Io, LOG_SIZE, Own, Peer, Wait, disk_log, end, gone, version_of};
use crate::world::World;

/// Its name.
pub const CONMON: &str = "conmon";

/// conmon.
pub struct Conmon {
    world: Arc<World>,
    program: PathBuf,
}

impl Conmon {
    pub fn new(world: &Arc<World>, program: PathBuf) -> Self {
        Self {
            world: Arc::clone(world),
            program,
        }
    }

    fn command(&self, id: &str, dir: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(dir);
        command.args(["--api-version", "1", "--cid", id, "--cuuid", id]);
        command.arg("--runtime").arg(&self.world.runtime);
        command.arg("--runtime-arg=--root");
        let root = self.world.sandbox.runtime_root();
        command.arg(format!("--runtime-arg={}", root.display()));
        command.arg("--socket-dir-path").arg(dir);
        command.arg("--exit-dir").arg(exits(dir));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        command
    }
}

/// Where exit files appear.
fn exits(dir: &Path) -> PathBuf {
    dir.join("exits")
}

fn dir(held: &Held) -> &Path {
    match &held.own {
        Own::Dir(dir) => dir,
        _ => unreachable!("{} is not conmon's", held.id),
    }
}

impl Peer for Conmon {
    fn name(&self) -> &'static str {
        CONMON
    }

    fn version(&self) -> String {
        version_of(&self.program, "--version")
    }

    fn can(&self, io: Io) -> bool {
        matches!(io, Io::Null | Io::Log | Io::DiskLog | Io::TerminalLog)
    }

    fn launch(&self, id: &str, bundle: &Bundle, io: Io) -> Held {
        let dir = self.world.sandbox.path().join(format!("conmon-{id}"));
        fs::create_dir(&dir).expect("make a directory");
        fs::create_dir(exits(&dir)).expect("make a directory");
        let (said, says) = nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        let mut command = self.command(id, &dir);
        command.args(["--bundle", bundle.arg()]);
        for (option, name) in [
            ("--conmon-pidfile", "conmon.pid"),
            ("--container-pidfile", "pid"),
        ] {
            command.arg(option).arg(dir.join(name));
        }
        let log = match io {
            Io::DiskLog => disk_log(&self.world, id),
            _ => dir.join("log"),
        };
        match io {
            Io::Null => command.args(["--log-path", "none"]),
            _ => command
                .args(["--log-size-max", &LOG_SIZE.to_string(), "--log-path"])
                .arg(format!("k8s-file:{}", log.display())),
        };
        if io.terminal() {
            command.arg("--terminal");
        }
        command.env("_OCI_SYNCPIPE", says.as_raw_fd().to_string());
        pass_on(&mut command, says);
        must(&mut command);
        let mut line = String::new();
        BufReader::new(File::from(said))
            .read_line(&mut line)
            .expect("hear of the container");
        let data: Value = serde_json::from_str(&line).unwrap_or_default();
        let pid = data["data"].as_i64().or_else(|| data["pid"].as_i64());
        let pid = pid.filter(|pid| *pid > 0);
        let pid = pid.unwrap_or_else(|| panic!("conmon says {line:?}"));
        must(runtime(&self.world).args(["start", id]));
        let pid = i32::try_from(pid).expect("pids are small");
        Held {
            id: id.to_owned(),
            monitor: Proc::from_file(&dir.join("conmon.pid")),
            process: Proc::new(nix::unistd::Pid::from_raw(pid)),
            output: None,
            own: Own::Dir(dir),
        }
    }

    /// As CRI-O probes: conmon stays the caller's child, and ends as the process does.
    fn exec(&self, held: &Held, process: &str, known: &dyn Fn()) -> i32 {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = dir(held).join(format!("exec-{n}"));
        fs::create_dir(&dir).expect("make a directory");
        fs::create_dir(exits(&dir)).expect("make a directory");
        let mut command = self.command(&held.id, &dir);
        command.args(["--sync", "--exec", "--exec-process-spec", process]);
        command.args(["--log-path", "none", "--container-pidfile"]);
        command.arg(dir.join("pid"));
        let status = command.status().expect("run conmon");
        let code = fs::read_to_string(exits(&dir).join(&held.id)).ok();
        let code = code.and_then(|code| code.trim().parse().ok());
        known();
        let _ = fs::remove_dir_all(&dir);
        code.unwrap_or_else(|| panic!("conmon --exec: {status}, no exit file"))
    }

    /// As podman waits: for a file of the container's name.
    fn watch<'a>(&'a self, held: &'a Held) -> Wait<'a> {
        let inotify =
            Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).expect("inotify");
        let exits = exits(dir(held));
        let events = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE;
        inotify
            .add_watch(&exits, events)
            .expect("watch a directory");
        Box::new(move |known| {
            loop {
                let happened = wait::events(&inotify, PollFlags::POLLIN, DEADLINE);
                assert!(!happened.is_empty(), "{}: no exit file", held.id);
                let events = inotify.read_events().expect("read inotify");
                let ours = |name: &std::ffi::OsStr| name == held.id.as_str();
                if events.iter().any(|it| it.name.as_deref().is_some_and(ours)) {
                    let code = fs::read_to_string(exits.join(&held.id)).expect("an exit file");
                    known();
                    return code.trim().parse().expect("a number");
                }
            }
        })
    }

    fn remove(&self, held: Held) {
        if held.process.is_alive() {
            held.process.signal(nix::sys::signal::Signal::SIGKILL);
        }
        if let Some(conmon) = held.monitor {
            let left = wait::until(DEADLINE, || {
                let _ = holdfast_common::sys::process::reap(conmon.pid().as_raw());
                !conmon.is_alive()
            });
            if left {
                gone(conmon);
            } else {
                end(conmon);
            }
        }
        must(runtime(&self.world).args(["delete", &held.id]));
        let _ = fs::remove_dir_all(dir(&held));
        let _ = fs::remove_file(disk_log(&self.world, &held.id));
    }
}
