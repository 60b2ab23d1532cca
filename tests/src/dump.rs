//! What a failing test prints: the sandbox's tree with the files' contents, and its processes.
//!
//! Looking changes nothing: FIFOs, sockets and devices are never opened, and big files are cut.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

use crate::process::{Proc, under};

/// More of a file than this is not printed.
const MOST: u64 = 2048;

/// The tree below `dir`, and the processes whose working directory is in it.
#[must_use]
pub fn state(dir: &Path) -> String {
    let mut text = format!("---- state of {}\n", dir.display());
    tree(dir, 0, &mut text);
    for process in under(dir) {
        line(&mut text, 0, &one_process(process));
    }
    text.push_str("----");
    text
}

fn one_process(process: Proc) -> String {
    format!(
        "process {} parent {:?} state {} in {}: {}",
        process.pid(),
        process.parent().map(nix::unistd::Pid::as_raw),
        process.stat(3).unwrap_or_default(),
        process.cwd().unwrap_or_default().display(),
        process.argv().join(" "),
    )
}

fn tree(dir: &Path, depth: usize, text: &mut String) {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) => return line(text, depth, &format!("({e})")),
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        entry(&path, depth, text);
    }
}

fn entry(path: &Path, depth: usize, text: &mut String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) => return line(text, depth, &format!("{name} ({e})")),
    };
    let kind = meta.file_type();
    let mode = format!("{:04o} {}:{}", meta.mode() & 0o7777, meta.uid(), meta.gid());
    if kind.is_dir() {
        line(text, depth, &format!("{name}/ {mode}"));
        tree(path, depth + 1, text);
    } else if kind.is_file() {
        line(text, depth, &format!("{name} {mode} {} bytes", meta.len()));
        // Long, and the test wrote it.
        if name != "config.json" {
            contents(path, depth + 1, text);
        }
    } else if kind.is_symlink() {
        let to = fs::read_link(path).unwrap_or_default();
        line(text, depth, &format!("{name} -> {}", to.display()));
    } else if kind.is_fifo() {
        line(text, depth, &format!("{name} {mode} FIFO"));
    } else {
        line(text, depth, &format!("{name} {mode} {kind:?}"));
    }
}

fn contents(path: &Path, depth: usize, text: &mut String) {
    let read = |file: File| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        file.take(MOST + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // The flags are for what may have taken the file's place since we looked.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path);
    match opened.and_then(read) {
        Err(e) => line(text, depth, &format!("({e})")),
        // What a test made up at random says nothing to anybody. A character may be cut at the end.
        Ok(bytes) if std::str::from_utf8(&bytes).is_err_and(|e| e.error_len().is_some()) => {
            line(text, depth, "(not text)");
        }
        Ok(bytes) => {
            for l in String::from_utf8_lossy(&bytes).lines() {
                line(text, depth, &format!("| {}", l.escape_debug()));
            }
            if bytes.len() as u64 > MOST {
                line(text, depth, "| …");
            }
        }
    }
}

fn line(text: &mut String, depth: usize, what: &str) {
    let _ = writeln!(text, "{:1$}{what}", "", 2 * (depth + 1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_shows_contents_and_does_not_block_on_a_fifo() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("init")).unwrap();
        fs::write(dir.path().join("init/exitStatus"), "137").unwrap();
        fs::write(dir.path().join("big"), "y\n".repeat(1 << 20)).unwrap();
        crate::fifo::make(&dir.path().join("init/control"));
        let text = state(dir.path());
        assert!(text.contains("| 137"), "{text}");
        assert!(text.contains("FIFO"), "{text}");
        assert!(text.len() < 20_000, "{} bytes", text.len());
    }
}
