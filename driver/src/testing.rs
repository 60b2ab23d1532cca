//! What the unit tests share.

use std::fs::File;
use std::io::Write;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use holdfast_common::exit_record::{ExitRecord, ExitStatus, Source};
use holdfast_common::id::{ContainerId, ProcessId};
use holdfast_common::identity::Identity;
use holdfast_common::layout;
use holdfast_common::process_state::ProcessState;
use holdfast_common::sys::fifo;
use holdfast_common::sys::flock::Lock;

use crate::process::Process;

/// A directory of a test's own, removed with it.
pub(crate) struct Scratch(PathBuf);

pub(crate) fn scratch(name: &str) -> Scratch {
    let dir = std::env::temp_dir().join(format!("holdfast-driver-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a directory in the temporary directory");
    Scratch(dir)
}

impl Deref for Scratch {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a shim is to others: a held lock, a FIFO's writer, a process directory in which it records. Its process is this
/// test.
pub(crate) struct FakeShim {
    pub dir: PathBuf,
    pub lock: Option<Lock>,
    pub exit: Option<File>,
}

impl FakeShim {
    /// A shim at work in a new process directory.
    pub fn start(dir: PathBuf) -> Self {
        std::fs::create_dir_all(&dir).unwrap();
        for name in [layout::EXIT_FIFO, layout::CONTROL_FIFO] {
            let mode = nix::sys::stat::Mode::S_IRWXU;
            nix::unistd::mkfifo(&dir.join(name), mode).unwrap();
        }
        ProcessState::default().write(&dir).unwrap();
        let me = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        std::fs::write(dir.join(layout::PID_FILE), me.pid.to_string()).unwrap();
        let start_time = me.start_time.to_string();
        std::fs::write(dir.join(layout::START_TIME_FILE), start_time).unwrap();
        let lock = Lock::try_take(&dir.join(layout::SHIM_LOCK_FILE)).unwrap();
        let exit = Some(open_exit(&dir));
        Self { dir, lock, exit }
    }

    /// Its process, found as anybody would.
    pub fn process(&self) -> Process {
        let id = ContainerId::new("web").unwrap();
        let name = self.dir.file_name().unwrap().to_str().unwrap();
        Process::open(&id, &ProcessId::new(name).unwrap(), &self.dir).unwrap()
    }

    /// Steps 1 and 2 of its exit.
    pub fn record(&self, code: u8) -> ExitRecord {
        let record = reaped(code);
        record.write(&self.dir).unwrap();
        record
    }

    /// Step 3.
    pub fn announce(&self, code: u8) {
        let mut exit = self.exit.as_ref().unwrap();
        let mut line = serde_json::to_vec(&reaped(code)).unwrap();
        line.push(b'\n');
        exit.write_all(&line).unwrap();
    }

    /// What another does that adopts the process.
    pub fn take_over(&mut self) {
        self.exit = Some(open_exit(&self.dir));
        self.lock = Lock::try_take(&self.dir.join(layout::SHIM_LOCK_FILE)).unwrap();
    }

    /// Step 8.
    pub fn leave(&mut self) {
        self.lock = None;
        self.exit = None;
    }
}

fn open_exit(dir: &Path) -> File {
    let exit = fifo::open_write_without_reader(&dir.join(layout::EXIT_FIFO));
    exit.unwrap().into()
}

/// The end that every fake shim sees.
fn reaped(code: u8) -> ExitRecord {
    ExitRecord {
        pid: i32::try_from(std::process::id()).unwrap(),
        exited_at: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        status: ExitStatus::Code(code),
        oom_killed: None,
        timed_out: false,
        dropped: Default::default(),
        source: Source::Reaped,
    }
}
