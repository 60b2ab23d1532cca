//! How the process ends: reaped when it is our child, read through a pidfd when it is not. Never invented.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::SystemTime;

use holdfast_common::exit_record::{ExitRecord, ExitStatus, Source};
use holdfast_common::identity::{Identity, Stat};
use holdfast_common::sys::pidfd;
use holdfast_common::sys::process::{Children, peek, reap};

/// Of our children.
const ANY: i32 = -1;

/// What reading /proc/PID says of a process that is not there.
fn is_gone(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(nix::libc::ESRCH)
}

/// The process, and how its end will be seen.
pub struct Watch {
    pid: i32,
    /// Who it is, where it is our child: nobody else can have its pid then.
    child: Option<Identity>,
}

impl Watch {
    /// Begins to watch.
    pub fn new(pid: i32) -> Self {
        let me = i32::try_from(std::process::id()).ok();
        let stat = Stat::read(pid).ok().filter(|stat| Some(stat.parent) == me);
        Self {
            pid,
            child: stat.map(|stat| Identity {
                pid,
                start_time: stat.start_time,
            }),
        }
    }

    /// Who it is, where it is our child.
    pub fn child(&self) -> Option<Identity> {
        self.child
    }

    /// What to poll besides SIGCHLD, for a process that is not our child: its runtime made it elsewhere.
    pub fn pidfd(&self) -> io::Result<Option<OwnedFd>> {
        if self.child.is_some() {
            return Ok(None);
        }
        match pidfd::open(self.pid) {
            Ok(fd) => Ok(Some(fd)),
            Err(e) if e.raw_os_error() == Some(nix::libc::ESRCH) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What the kernel says of it; `None` when it is gone.
    pub fn stat(&self) -> Option<Stat> {
        Stat::read(self.pid).ok()
    }

    /// How the process ended, if it is our child. It stays to be reaped until that is on record and told, because to reap it is a good part
    /// of the time that somebody waits for, and because of one that is there more can be known. Who else has ended is reaped: a
    /// subreaper's children are many, strangers that were orphaned in the container, and runtimes.
    pub fn collect(&self) -> Option<ExitRecord> {
        while let Some(ended) = peek(ANY) {
            if ended.pid == self.pid {
                let status = ExitStatus::from_wait_word(ended.word)?;
                return Some(self.record(status, Source::Reaped));
            }
            if !matches!(reap(ended.pid), Children::Ended(_)) {
                break;
            }
        }
        None
    }

    /// What is known of a process that is not our child; `None` while it runs or waits for its own parent to reap it.
    pub fn look(&self, pidfd: Option<&OwnedFd>) -> io::Result<Option<ExitRecord>> {
        let Some(fd) = pidfd else {
            // Another reason not to be read, such as too many open files, is no end.
            let gone = Stat::read(self.pid).is_err_and(|e| is_gone(&e));
            let reason = "the process was gone before the shim could watch it";
            return Ok(gone.then(|| self.unknown(reason)));
        };
        if let Some(status) = pidfd::exit_word(fd.as_fd())?.and_then(ExitStatus::from_wait_word) {
            return Ok(Some(self.record(status, Source::Pidfd)));
        }
        // A signal of 0 asks whether there is still something to signal: a zombie is, a reaped process is not.
        let gone = pidfd::send_signal(fd.as_fd(), 0)
            .is_err_and(|e| e.raw_os_error() == Some(nix::libc::ESRCH));
        let reason =
            "another process reaped it, and this kernel keeps no exit status (Linux < 6.15)";
        Ok(gone.then(|| self.unknown(reason)))
    }

    fn record(&self, status: ExitStatus, source: Source) -> ExitRecord {
        ExitRecord {
            pid: self.pid,
            exited_at: SystemTime::now(),
            status,
            oom_killed: None,
            timed_out: false,
            source,
            dropped: Default::default(),
        }
    }

    fn unknown(&self, reason: &str) -> ExitRecord {
        self.record(
            ExitStatus::Unknown {
                reason: reason.to_owned(),
            },
            Source::Unknown,
        )
    }
}
