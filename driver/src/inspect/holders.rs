//! Who has a FIFO open: every descriptor of every process but this one, looked at by name first and by device and inode
//! then. Bounded in time: a machine with a million descriptors gets an answer that says that it is incomplete.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::facts::Holder;
use crate::deadline::Deadline;

/// How long looking may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A FIFO to look for.
pub(super) struct Wanted {
    pub path: PathBuf,
    pub device: u64,
    pub inode: u64,
}

/// Who has it open.
#[derive(Default, Clone)]
pub(super) struct Holders {
    pub readers: Vec<Holder>,
    pub writers: Vec<Holder>,
}

/// Who has each of them open, in their order; and whether everybody was looked at.
pub(super) fn of(wanted: &[Wanted]) -> (Vec<Holders>, bool) {
    let mut found = vec![Holders::default(); wanted.len()];
    let deadline = Deadline::after(Some(PATIENCE));
    let own = std::process::id().to_string();
    let Ok(processes) = fs::read_dir("/proc") else {
        return (found, false);
    };
    let mut complete = true;
    for process in processes.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|name| **name != own) else {
            continue;
        };
        let Ok(pid) = pid.parse() else { continue };
        if deadline.has_passed() {
            return (found, false);
        }
        match look_at(pid, &process.path(), wanted, &mut found) {
            Ok(()) => (),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => complete = false,
            // It ended meanwhile.
            Err(_) => (),
        }
    }
    (found, complete)
}

fn look_at(pid: i32, process: &Path, wanted: &[Wanted], found: &mut [Holders]) -> io::Result<()> {
    for entry in fs::read_dir(process.join("fd"))? {
        let fd = entry?;
        // The link's text costs nothing; following it to a file on a dead server could take for ever.
        let Ok(target) = fs::read_link(fd.path()) else {
            continue;
        };
        let candidates = wanted
            .iter()
            .position(|wanted| wanted.path.file_name() == target.file_name());
        if candidates.is_none() {
            continue;
        }
        let Ok(meta) = fs::metadata(fd.path()) else {
            continue;
        };
        let is_it = |wanted: &Wanted| (wanted.device, wanted.inode) == (meta.dev(), meta.ino());
        let Some(nth) = wanted.iter().position(is_it) else {
            continue;
        };
        let Some(access) = access(&process.join("fdinfo").join(fd.file_name())) else {
            continue;
        };
        let Holders { readers, writers } = &mut found[nth];
        for (list, open) in [(readers, access.reads), (writers, access.writes)] {
            if open && list.iter().all(|holder| holder.pid != pid) {
                list.push(Holder {
                    pid,
                    command: command(pid).unwrap_or_default(),
                });
            }
        }
    }
    Ok(())
}

struct Access {
    reads: bool,
    writes: bool,
}

/// How a descriptor is open (proc_pid_fdinfo(5): `flags`, octal; the two lowest bits are open(2)'s access mode).
fn access(info: &Path) -> Option<Access> {
    let text = fs::read_to_string(info).ok()?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
    let mode = u32::from_str_radix(flags.trim(), 8).ok()? & 3;
    Some(Access {
        reads: mode != 1,
        writes: mode == 1 || mode == 2,
    })
}

/// A process's name in the kernel.
pub(super) fn command(pid: i32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end().to_owned())
}
