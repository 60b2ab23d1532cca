//! Who a process is: its pid *and* its start time. A pid alone is recycled; the pair is not, until the next boot, and the
//! records of another boot name nobody ([`Identity::of_another_boot`]). Everything that acts on a process goes through
//! [`Identity::open`].

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::kernel_file;
use crate::layout;
use crate::shim_record::ShimRecord;
use crate::state_file::{self, StateFileError};
use crate::sys::pidfd;

/// What /proc/PID/stat says of a process (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Field 3: `R`, `S`, `D`, `Z`, `T` …
    pub state: char,
    /// Field 4: the parent's pid.
    pub parent: i32,
    /// Field 9: the kernel's flags (`PF_…`, include/linux/sched.h).
    pub flags: u32,
    /// Field 22: clock ticks since boot at which the process started.
    pub start_time: u64,
}

impl Stat {
    /// Reads the line of a process that lives or waits to be reaped.
    ///
    /// # Errors
    /// `NotFound` or `ESRCH` when there is no such process.
    // Not inlined: the room would be part of the stack of a shim that holds.
    #[inline(never)]
    pub fn read(pid: i32) -> io::Result<Self> {
        // Fifty numbers of twenty digits at most, and a name.
        let mut room = [0; 1536];
        let line = kernel_file::read_into(format!("/proc/{pid}/stat"), &mut room)?;
        Self::parse(line).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("/proc/{pid}/stat: malformed"),
            )
        })
    }

    /// What a line of /proc/PID/stat says; `None` when it is none.
    pub fn parse(line: &[u8]) -> Option<Self> {
        // Field 2, the name, may contain anything, brackets and spaces too: the last ')' ends it.
        let end = line.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(line.get(end + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        // Fields 5 to 8, and 10 to 21, lie between.
        let flags = fields.nth(4)?.parse().ok()?;
        let start_time = fields.nth(12)?.parse().ok()?;
        Some(Stat {
            state,
            parent,
            flags,
            start_time,
        })
    }

    /// Whether it has executed a program since it was forked. A container's process has not before its `start`, whatever
    /// the runtime; also readable when it has ended and waits to be reaped.
    pub fn has_executed(&self) -> bool {
        self.flags & PF_FORKNOEXEC == 0
    }

    /// Whether the process has ended and only waits to be reaped.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// Whether somebody has stopped it, by a signal or as its debugger.
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

/// Forked, and no program executed since (include/linux/sched.h).
const PF_FORKNOEXEC: u32 = 0x40;
/// On its way out, by itself or by a signal (include/linux/sched.h).
const PF_EXITING_OR_SIGNALED: u32 = 0x4 | 0x400;

/// Whether a process is on its way out, gone, or has SIGKILL waiting for it (`SigPnd` and `ShdPnd`, proc_pid_status(5)).
pub fn is_being_killed(pid: i32) -> bool {
    let ending = |stat: Stat| stat.has_ended() || stat.flags & PF_EXITING_OR_SIGNALED != 0;
    if Stat::read(pid).map_or(true, ending) {
        return true;
    }
    let status = kernel_file::read(format!("/proc/{pid}/status")).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let pending = ["SigPnd:", "ShdPnd:"].iter().filter_map(|key| {
        let set = status.lines().find_map(|line| line.strip_prefix(key))?;
        u64::from_str_radix(set.trim(), 16).ok()
    });
    pending.fold(0, |sum, set| sum | set) & (1 << (libc::SIGKILL - 1)) != 0
}

/// A process that cannot be mistaken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The pid in this pid namespace.
    pub pid: i32,
    /// Field 22 of /proc/PID/stat.
    pub start_time: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} (start time {})", self.pid, self.start_time)
    }
}

/// `DEV:INODE` of the executable that a process runs, as the file `created` has it.
///
/// # Errors
/// `NotFound` when the process is gone, or ending; `PermissionDenied` when it is another user's.
pub fn executable_of(pid: i32) -> io::Result<String> {
    let meta = std::fs::metadata(format!("/proc/{pid}/exe"))?;
    Ok(format!("{}:{}", meta.dev(), meta.ino()))
}

/// A start time that no process has: ticks since boot would take five billion years to get there.
const NEVER: u64 = u64::MAX;

impl Identity {
    /// A process of a boot before this one: its pid says who it was. It is not alive, and whoever has its pid now, even
    /// with the same start time (boots resemble each other), is somebody else.
    pub fn of_another_boot(pid: i32) -> Self {
        Self {
            pid,
            start_time: NEVER,
        }
    }

    /// A process that has ended, of which no more can be known. Whoever has its pid later started after the machine did.
    pub fn ended(pid: i32) -> Self {
        Self { pid, start_time: 0 }
    }

    /// Whether it was made by [`Identity::of_another_boot`].
    pub fn is_of_another_boot(&self) -> bool {
        self.start_time == NEVER
    }

    /// The process that has this pid now.
    ///
    /// # Errors
    /// There is none.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self {
            pid,
            start_time: Stat::read(pid)?.start_time,
        })
    }

    /// The process that a process directory records in `pid` and `starttime`; `None` when no pid was recorded yet. Where
    /// `shim.json` bears another boot's id, so does the process.
    ///
    /// # Errors
    /// One of the two files cannot be understood, or `starttime` is missing beside a `pid`.
    pub fn recorded(process_dir: &Path) -> Result<Option<Self>, StateFileError> {
        let pid = match state_file::read_value::<i32>(&process_dir.join(layout::PID_FILE)) {
            Ok(pid) => pid,
            Err(e) if e.is_absent() => return Ok(None),
            Err(e) => return Err(e),
        };
        if pid <= 0 {
            let path = process_dir.join(layout::PID_FILE);
            let cause = state_file::Cause::Malformed(format!("{pid} is not a pid"));
            return Err(StateFileError {
                operation: "read",
                path,
                cause,
            });
        }
        // Information only: one that cannot be read says nothing.
        if ShimRecord::read(process_dir).is_ok_and(|shim| shim.is_of_another_boot()) {
            return Ok(Some(Self::of_another_boot(pid)));
        }
        let start_time = state_file::read_value(&process_dir.join(layout::START_TIME_FILE))?;
        Ok(Some(Self { pid, start_time }))
    }

    /// Whether this very process still runs; one that only waits to be reaped does not.
    pub fn is_alive(&self) -> bool {
        Stat::read(self.pid)
            .is_ok_and(|stat| stat.start_time == self.start_time && !stat.has_ended())
    }

    /// A pidfd for this very process; `None` when it is gone, whoever has its pid now.
    ///
    /// # Errors
    /// The system's, other than there being no such process.
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        let fd = match pidfd::open(self.pid) {
            Ok(fd) => fd,
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Err(e) => return Err(e),
        };
        // In this order: once the pidfd is open, the pid it was opened for cannot change its owner unnoticed.
        match Stat::read(self.pid) {
            Ok(stat) if stat.start_time == self.start_time => Ok(Some(fd)),
            Ok(_) => Ok(None),
            Err(e)
                if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESRCH) =>
            {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_brackets_does_not_mislead() {
        let line = b"42 (a) R 1 (b) c) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 10 18446744073709551615";
        assert_eq!(
            Stat::parse(line),
            Some(Stat {
                state: 'S',
                parent: 7,
                flags: 4_194_560,
                start_time: 98765
            })
        );
        assert_eq!(Stat::parse(b"42 (sh"), None);
        assert_eq!(Stat::parse(b"42 (sh) S 1"), None);
    }

    #[test]
    fn a_process_that_is_killed_shows_it_before_it_is_gone() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(!is_being_killed(pid));
        assert!(Stat::read(pid).unwrap().has_executed());
        // Until it is reaped, it is there to be looked at.
        child.kill().unwrap();
        assert!(is_being_killed(pid));
        child.wait().unwrap();
        assert!(is_being_killed(pid));
    }

    #[test]
    fn another_process_with_the_same_pid_is_not_the_one_that_was_meant() {
        let me = i32::try_from(std::process::id()).unwrap();
        let identity = Identity::of(me).unwrap();
        assert!(identity.is_alive());
        assert!(identity.open().unwrap().is_some());
        let stranger = Identity {
            start_time: identity.start_time + 1,
            ..identity
        };
        assert!(!stranger.is_alive());
        assert!(stranger.open().unwrap().is_none());
        let earlier = Identity::of_another_boot(me);
        assert!(earlier.is_of_another_boot() && !identity.is_of_another_boot());
        assert!(!earlier.is_alive());
        assert!(earlier.open().unwrap().is_none());
    }
}
