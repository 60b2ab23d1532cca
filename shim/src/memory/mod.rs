//! What the kernel does to a container for want of memory: how many of its processes it has killed, and whether one of them
//! was the container's own. Only init's shim watches; the others' processes are in the same cgroup, and whose process a counted
//! kill was, the kernel does not say.
//!
//! The kernel keeps a counter, `oom_kill`, and wakes whoever asked for that: version 1 through an eventfd, just *before* it
//! kills; version 2 through the counter's own file, just before the killed process learns of it. So the counter is looked at
//! again a few times after a wake-up, and once more when the process has ended, while its cgroup is still there. Kills
//! that come from outside of the cgroup's own limit wake nobody in version 1; they are found with the next look.

mod cgroup;

pub use cgroup::Counted;

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use holdfast_common::exit_record::ExitStatus;
use holdfast_common::identity::is_being_killed;
use holdfast_common::layout;
use holdfast_common::state_file::{self, RECORD_LIMIT, StateFileError};
use nix::libc::SIGKILL;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::uio::pread;
use serde::{Deserialize, Serialize};

const PROC: &str = "/proc";

/// When the counter is looked at again after a wake-up.
const LOOKS: [Duration; 3] = [
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
];
/// How soon after a kill was counted the killed process knows of it.
const SETTLED: Duration = LOOKS[0];
/// How far apart kills are told; those between are told together.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Which cgroup is watched, on record for whoever takes over when the process, which says so itself, is gone.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    /// The cgroup's directory.
    cgroup: PathBuf,
    /// What was counted there before the container came to be.
    before: u64,
}

/// A container's memory, watched.
#[derive(Debug)]
pub struct Memory {
    /// Version 1's `memory.oom_control`, version 2's `memory.events`.
    pub counter: OwnedFd,
    /// What version 1 wakes us through.
    pub wake: Option<OwnedFd>,
    /// What is known of the counter.
    pub kills: Kills,
    /// The look after a wake-up that comes next, and when.
    next: Option<(usize, Instant)>,
    /// When `kills.seen` last rose.
    rose: Option<Instant>,
    /// When the next kills are told.
    tell_at: Option<Instant>,
    /// Whether they could not be told the last time.
    untellable: bool,
}

/// What is known of a counter; survives a re-exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kills {
    /// What was counted before the container came to be.
    pub before: u64,
    /// How many have been seen since.
    pub seen: u64,
    /// How many of those are told.
    pub told: u64,
    /// How many of those the container's own process has survived for sure.
    pub survived: u64,
}

/// `BEFORE,SEEN,TOLD,SURVIVED`.
impl fmt::Display for Kills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            before,
            seen,
            told,
            survived,
        } = self;
        write!(f, "{before},{seen},{told},{survived}")
    }
}

impl FromStr for Kills {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let numbers: Vec<u64> = text
            .split(',')
            .map(|number| number.parse().map_err(drop))
            .collect::<Result<_, ()>>()?;
        let [before, seen, told, survived] = numbers[..] else {
            return Err(());
        };
        Ok(Self {
            before,
            seen,
            told,
            survived,
        })
    }
}

/// Where memory is counted here, which is the same before a container comes to be.
pub fn counted() -> Option<Counted> {
    Counted::find(Path::new(PROC))
}

/// Begins to watch a container that the runtime has just created, and puts on record where. `None`, with a word in the log,
/// where nothing can be known; a restored one may have any number of processes already.
pub fn begin(counted: &Counted, pid: i32, restored: bool) -> Option<Memory> {
    let dir = counted.of(Path::new(PROC), pid)?;
    if !restored && cgroup::is_shared(&dir, pid) {
        let dir = dir.display();
        log::info!(
            "{dir} has other processes too: nothing will be known of kills for want of memory"
        );
        return None;
    }
    let mut memory = open(&dir)?;
    memory.kills.before = memory.count().ok()?;
    let record = Record {
        cgroup: dir,
        before: memory.kills.before,
    };
    if let Err(e) = state_file::write_json(Path::new(layout::OOM_FILE), &record) {
        log::warn!("{e}");
    }
    Some(memory)
}

/// Goes on watching, for a shim that takes over: `told` says how many kills are in the event log. A process that lives has survived
/// whatever was counted so far.
pub fn resume(pid: i32, living: bool, told: impl FnOnce() -> u64) -> Option<Memory> {
    let record = state_file::read_json::<Record>(Path::new(layout::OOM_FILE), RECORD_LIMIT);
    let mut memory = match record {
        Ok(Record { cgroup, before }) => {
            let mut memory = open(&cgroup)?;
            memory.kills.before = before;
            memory
        }
        Err(e) if e.is_absent() && living => return begin(&counted()?, pid, true),
        Err(e) => {
            if !e.is_absent() {
                log::warn!("{e}");
            }
            return None;
        }
    };
    memory.kills.told = told();
    let count = memory.count().ok()?;
    memory.kills.seen = count.saturating_sub(memory.kills.before);
    if living && !is_being_killed(pid) {
        memory.kills.survived = memory.kills.seen;
    }
    Some(memory)
}

fn open(dir: &Path) -> Option<Memory> {
    let v1 = File::open(dir.join(cgroup::V1_COUNTER));
    let (counter, wake) = match v1 {
        Ok(counter) => {
            let wake = register(dir, &counter)
                .map_err(|e| {
                    let path = dir.join(cgroup::V1_REGISTER);
                    let cause = holdfast_common::sys::errno_text(&e);
                    log::warn!("write {}: {cause}", path.display());
                })
                .ok();
            (counter, wake)
        }
        Err(_) => (File::open(dir.join(cgroup::V2_COUNTER)).ok()?, None),
    };
    let memory = Memory::taken_over(counter.into(), wake, Kills::default());
    // A kernel that does not count (before 4.13) tells nothing.
    memory.count().is_ok().then_some(memory)
}

fn register(dir: &Path, counter: &File) -> io::Result<OwnedFd> {
    let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let line = format!("{} {}", wake.as_fd().as_raw_fd(), counter.as_raw_fd());
    // Neither made nor cut short: it is no ordinary file.
    let mut register = File::options();
    let mut register = register.write(true).open(dir.join(cgroup::V1_REGISTER))?;
    register.write_all(line.as_bytes())?;
    Ok(wake.into())
}

impl Memory {
    /// What another shim had opened.
    pub fn taken_over(counter: OwnedFd, wake: Option<OwnedFd>, kills: Kills) -> Self {
        Self {
            counter,
            wake,
            kills,
            next: None,
            rose: None,
            tell_at: None,
            untellable: false,
        }
    }

    /// What to poll, for reading or else (version 2) for urgent data.
    pub fn pollable(&self) -> (RawFd, mio::Interest) {
        match &self.wake {
            Some(wake) => (wake.as_raw_fd(), mio::Interest::READABLE),
            None => (self.counter.as_raw_fd(), mio::Interest::PRIORITY),
        }
    }

    /// Somebody was killed, or is about to be, or the cgroup is gone.
    pub fn woken(&mut self, pid: i32) {
        if let Some(wake) = &self.wake {
            let _ = nix::unistd::read(wake, &mut [0; 8]);
        }
        // Wake-ups in a row do not put off what the first one asked for.
        let first = self.next.is_none_or(|(which, _)| which > 0);
        if first {
            self.next = Some((0, Instant::now() + LOOKS[0]));
        }
        self.look(pid);
    }

    /// The next thing to do by the clock.
    pub fn due(&self) -> Option<Instant> {
        let tell = self.tell_at.filter(|_| self.kills.seen > self.kills.told);
        let look = self.next.map(|(_, at)| at);
        [tell, look].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn tick(&mut self, pid: i32) {
        let now = Instant::now();
        if let Some((which, at)) = self.next
            && at <= now
        {
            let after = LOOKS.get(which + 1);
            self.next = after.map(|&pause| (which + 1, now + pause));
            self.look(pid);
        }
    }

    fn look(&mut self, pid: i32) {
        let before = self.kills.seen;
        // Gone with its cgroup: what was seen last stands.
        if self.see().is_err() {
            self.next = None;
            return;
        }
        if self.kills.seen > before {
            self.rose = Some(Instant::now());
        } else if self.rose.is_none_or(|rose| rose.elapsed() >= SETTLED) && !is_being_killed(pid) {
            self.kills.survived = self.kills.seen;
        }
    }

    fn see(&mut self) -> io::Result<()> {
        let seen = self.count()?.saturating_sub(self.kills.before);
        self.kills.seen = seen.max(self.kills.seen);
        Ok(())
    }

    /// How many kills there are to be told of, in all; none while it is too early to tell again.
    pub fn untold(&self) -> Option<u64> {
        let may = self.tell_at.is_none_or(|at| at <= Instant::now());
        (self.kills.seen > self.kills.told && may).then_some(self.kills.seen)
    }

    /// They are told, or could not be, and are tried again; that is said once.
    pub fn told(&mut self, kills: Result<u64, StateFileError>) {
        self.tell_at = Some(Instant::now() + TELL_EVERY);
        match kills {
            Ok(kills) => (self.kills.told, self.untellable) = (kills, false),
            Err(e) => {
                if !std::mem::replace(&mut self.untellable, true) {
                    log::warn!("{e}; trying again");
                }
            }
        }
    }

    /// Whether the container's own process, which ended so, was killed for want of memory: by SIGKILL, when a kill was counted
    /// that it has not survived for sure. `None` when that cannot be told.
    pub fn at_end(&mut self, status: &ExitStatus) -> Option<bool> {
        let seen = self.see();
        match status {
            ExitStatus::Signal { signal, .. } if i32::from(*signal) == SIGKILL => {
                match self.kills.seen > self.kills.survived {
                    true => Some(true),
                    false => seen.is_ok().then_some(false),
                }
            }
            ExitStatus::Signal { .. } | ExitStatus::Code(_) => Some(false),
            ExitStatus::Unknown { .. } => None,
        }
    }

    fn count(&self) -> io::Result<u64> {
        let mut text = [0; 512];
        let length = pread(&self.counter, &mut text, 0)?;
        parse(&text[..length]).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// `oom_kill N`, in both versions.
fn parse(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count?.trim().parse().ok()
}
