//! The container's streams as CRIU sees them: open files for which there is no path inside the container, so that it would refuse
//! them. It is told which they are, and puts others in their place when it restores (criu(8), `--external file[…]`).

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use holdfast_common::checkpoint::StreamFile;
use holdfast_common::layout::Stream;
use holdfast_common::process_state::ProcessState;
use procfs::process::{FDTarget, Process as ProcProcess};

/// Which file is behind a stream.
struct Behind {
    stream: Stream,
    device: u64,
    inode: u64,
    mode: u32,
}

/// The files behind a container's streams, under every name that CRIU may meet them by in its processes.
pub(crate) fn of(
    state: &ProcessState,
    process_dir: &Path,
    init: i32,
    pids: &[i32],
) -> Vec<StreamFile> {
    let behind: Vec<Behind> = Stream::ALL
        .into_iter()
        .filter_map(|stream| behind(state, process_dir, init, stream))
        .collect();
    let mut found: Vec<StreamFile> = Vec::new();
    for (mount, file) in pids.iter().flat_map(|&pid| open_files(pid)) {
        let stream = behind
            .iter()
            .find(|behind| (behind.device, behind.inode) == (file.dev(), file.ino()));
        let Some(stream) = stream else { continue };
        let id = StreamFile::id_of(mount, file.ino());
        if !found.iter().any(|known| known.id == id) {
            found.push(StreamFile {
                stream: stream.stream,
                id,
                mode: stream.mode,
            });
        }
    }
    found.sort_by_key(|file| file.stream);
    found
}

/// What a process of ours has for a stream. A device, such as /dev/null, the runtime has replaced by the container's own; and what
/// has no path anywhere (a pipe, a socket, a terminal) is the runtime's to know.
fn behind(state: &ProcessState, process_dir: &Path, init: i32, stream: Stream) -> Option<Behind> {
    let path = if state.inherits(stream) {
        let link = format!("/proc/{}/fd/{}", init, stream as u8);
        let target = std::fs::read_link(&link).ok()?;
        target.is_absolute().then_some(link.into())?
    } else if state.moved(stream).is_some() {
        process_dir.join(stream.inner_fifo())
    } else {
        state.stdio(stream).into()
    };
    let meta = std::fs::metadata(path).ok()?;
    is_file_or_fifo(&meta).then(|| Behind {
        stream,
        device: meta.dev(),
        inode: meta.ino(),
        mode: meta.mode(),
    })
}

fn is_file_or_fifo(meta: &Metadata) -> bool {
    meta.is_file() || meta.file_type().is_fifo()
}

/// The files and FIFOs that a process has open, each with the mount that it was opened in. A process that is gone has none.
fn open_files(pid: i32) -> Vec<(u64, Metadata)> {
    let Ok(process) = ProcProcess::new(pid) else {
        return Vec::new();
    };
    let files = process.fd().into_iter().flatten().flatten();
    files
        .filter(|file| matches!(file.target, FDTarget::Path(_)))
        .filter_map(|file| {
            let meta = std::fs::metadata(format!("/proc/{pid}/fd/{}", file.fd)).ok()?;
            if !is_file_or_fifo(&meta) {
                return None;
            }
            let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", file.fd)).ok()?;
            Some((mount_of(&info)?, meta))
        })
        .collect()
}

/// The mount in which a file was opened (proc_pid_fdinfo(5)).
fn mount_of(info: &str) -> Option<u64> {
    let line = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    line?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;
    use std::fs::File;

    #[test]
    fn the_files_behind_streams_are_found_by_what_they_are() {
        let dir = scratch("checkpoint-external");
        let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let out = File::create(dir.join("out")).unwrap();
        let _again = out.try_clone().unwrap();
        let _other = File::create(dir.join("other")).unwrap();
        std::fs::write(dir.join("closed"), "").unwrap();
        let state = ProcessState {
            stdin: String::new(),
            stdout: path("out"),
            stderr: path("closed"),
            ..ProcessState::default()
        };
        let pid = i32::try_from(std::process::id()).unwrap();
        let found = of(&state, &dir, pid, &[pid]);
        assert_eq!(found.len(), 1, "{found:?}");
        let meta = out.metadata().unwrap();
        assert_eq!(
            (found[0].stream, found[0].mode),
            (Stream::Stdout, meta.mode())
        );
        assert!(found[0].id.starts_with("file["));
        assert!(found[0].id.ends_with(&format!(":{:x}]", meta.ino())));
        assert!(of(&state, &dir, -1, &[-1]).is_empty());
    }

    #[test]
    fn the_mount_stands_in_its_line() {
        let info = "pos:\t0\nflags:\t0100002\nmnt_id:\t27\nino:\t10092547\n";
        assert_eq!(mount_of(info), Some(27));
        assert_eq!(mount_of("pos:\t0\n"), None);
    }
}
