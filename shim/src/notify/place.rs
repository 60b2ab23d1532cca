//! Where a runtime has its container's notify socket be: in the directory `notify` of its own state of that container, which it has
//! mounted into the container. No runtime tells where that is, but the kernel does: `/proc/PID/mountinfo` (proc_pid_mountinfo(5)) says which
//! directory of which file system a container sees, and our own, where that is to be found from here.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One line, as far as it matters.
struct Mount {
    /// Which file system, as `MAJOR:MINOR`.
    device: Vec<u8>,
    /// What of it is shown.
    root: PathBuf,
    /// Where.
    point: PathBuf,
}

impl Mount {
    /// `36 35 98:0 /root /mount/point rw,noatime master:1 - type source rw`.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|&byte| byte == b' ');
        let device = words.nth(2)?.to_owned();
        Some(Self {
            device,
            root: unescaped(words.next()?),
            point: unescaped(words.next()?),
        })
    }
}

/// Blanks and the like are written as three octal digits.
fn unescaped(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let octal = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (byte, octal) {
            (b'\\', Some(escaped)) => {
                bytes.push(escaped);
                rest = &after[3..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

fn mounts(pid: &str) -> Vec<Mount> {
    let text = fs::read(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    let lines = text.split(|&byte| byte == b'\n');
    lines.filter_map(Mount::parse).collect()
}

/// The directory of a container's notify socket, by a name that leads there from here.
pub fn find(id: &OsStr, pid: i32) -> Option<PathBuf> {
    let theirs = mounts(&pid.to_string());
    candidates(id, &theirs, &mounts("self"))
        .into_iter()
        .find(|dir| fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir()))
}

/// The names that it may have, the likeliest first: what is mounted last hides what was before.
fn candidates(id: &OsStr, theirs: &[Mount], ours: &[Mount]) -> Vec<PathBuf> {
    let end = Path::new(id).join("notify");
    let shown = theirs
        .iter()
        .rev()
        .filter(|mount| mount.root.ends_with(&end));
    shown
        .flat_map(|shown| {
            let here = ours.iter().rev();
            here.filter_map(|mount| {
                let same = mount.device == shown.device;
                let rest = shown.root.strip_prefix(&mount.root).ok()?;
                same.then(|| mount.point.join(rest))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn parsed(text: &str) -> Vec<Mount> {
        text.lines()
            .filter_map(|line| Mount::parse(line.as_bytes()))
            .collect()
    }

    #[test]
    fn what_a_container_sees_is_found_where_it_is_here() {
        let ours = parsed(
            "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
             30 22 0:25 / /run rw,nosuid - tmpfs tmpfs rw\n\
             31 22 0:26 /sub /mnt/with\\040blank rw shared:1 - tmpfs tmpfs rw\n",
        );
        let found = |theirs: &str| candidates(OsStr::new("web"), &parsed(theirs), &ours);
        // runc, on a tmpfs of the host's.
        let runc = "51 86 0:25 /runc/web/notify /run/notify ro,nosuid - tmpfs tmpfs rw";
        assert_eq!(found(runc), [PathBuf::from("/run/runc/web/notify")]);
        // crun, on the disk.
        let crun = "42 99 254:0 /var/cr/web/notify /run/notify rw - ext4 /dev/vda rw";
        assert_eq!(found(crun), [PathBuf::from("/var/cr/web/notify")]);
        // A file system of which only a part is to be seen here.
        let part = "42 99 0:26 /sub/cr/web/notify /run/notify rw - tmpfs tmpfs rw";
        assert_eq!(
            found(part),
            [PathBuf::from("/mnt/with blank/cr/web/notify")]
        );
        for other in [
            "51 86 0:25 /runc/other/notify /run/notify ro - tmpfs tmpfs rw",
            "51 86 0:25 /runc/myweb/notify /run/notify ro - tmpfs tmpfs rw",
            "51 86 0:99 /runc/web/notify /run/notify ro - tmpfs tmpfs rw",
            "42 99 0:26 /elsewhere/web/notify /run/notify rw - tmpfs tmpfs rw",
            "garbage",
        ] {
            assert!(found(other).is_empty(), "{other}");
        }
    }

    #[test]
    fn escapes_are_three_octal_digits() {
        assert_eq!(unescaped(b"a\\040b\\134"), Path::new("a b\\"));
        assert_eq!(unescaped(b"\\04"), Path::new("\\04"));
        assert_eq!(unescaped(b"\\777"), Path::new("\\777"));
        assert_eq!(unescaped(b"\\").as_os_str(), OsStr::from_bytes(b"\\"));
    }
}
