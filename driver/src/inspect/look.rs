//! Looks at process directories. Nothing is opened that could wait, take bytes away, or let somebody go on who waits for a
//! peer: a FIFO that nobody has open is not opened here either, and holds nothing then.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use holdfast_common::exit_record::ExitRecord;
use holdfast_common::id::ContainerId;
use holdfast_common::identity::{Identity, Stat};
use holdfast_common::layout::{self, Stream};
use holdfast_common::log_line::LogLine;
use holdfast_common::process_state::ProcessState;
use holdfast_common::shim_record::ShimRecord;
use holdfast_common::state_file::{self, RECORD_LIMIT};
use holdfast_common::sys::{errno_text, fifo, flock};

use super::diagnosis;
use super::facts::{
    Descriptor, Ending, Executable, Existence, Fifo, Inspection, LockFacts, ProcessFacts, Seen,
    ShimFacts,
};
use super::holders::{self, Wanted};
use crate::freezer;
use crate::state;

/// How many lines of a log are shown, and how many bytes are read for them.
const LINES: usize = 5;
const TAIL: u64 = 16 << 10;

/// Looks at some processes of a container. One look around for whoever has their FIFOs open serves all of them.
pub(super) fn processes(root: &Path, id: &ContainerId, names: &[String]) -> Vec<Inspection> {
    let container = root.join(id);
    let mut found: Vec<Inspection> = names
        .iter()
        .map(|name| process(id, name, container.join(name)))
        .collect();
    let (places, wanted): (Vec<_>, Vec<_>) = found
        .iter()
        .enumerate()
        .flat_map(|(p, process)| {
            let fifos = process.fifos.iter().enumerate();
            fifos.filter_map(move |(f, fifo)| Some(((p, f), wanted(fifo)?)))
        })
        .unzip();
    let (holders, complete) = holders::of(&wanted);
    for ((p, f), held) in places.into_iter().zip(holders) {
        let fifo = &mut found[p].fifos[f];
        fifo.readers = held.readers;
        fifo.writers = held.writers;
        let kept = !(fifo.readers.is_empty() && fifo.writers.is_empty());
        fifo.waiting = if kept || !complete {
            waiting(&fifo.path).ok()
        } else {
            Some(0)
        };
    }
    for process in &mut found {
        process.all_descriptors = complete;
        process.diagnosis = diagnosis::of_process(root, process);
    }
    found
}

fn wanted(fifo: &Fifo) -> Option<Wanted> {
    let meta = std::fs::metadata(&fifo.path).ok()?;
    // Descriptors show what a link led to.
    let path = std::fs::canonicalize(&fifo.path).ok()?;
    (fifo.kind == Descriptor::Fifo && meta.file_type().is_fifo()).then(|| Wanted {
        path,
        device: meta.dev(),
        inode: meta.ino(),
    })
}

fn waiting(path: &Path) -> io::Result<u64> {
    fifo::waiting(fifo::open_read(path)?.as_fd())
}

fn process(id: &ContainerId, name: &str, dir: PathBuf) -> Inspection {
    let read = ProcessState::read(&dir);
    let problem = read.as_ref().err().map(ToString::to_string);
    let state = read.unwrap_or_default();
    let (kernel, cgroups) = kernel(&dir);
    let mut fifos: Vec<Fifo> = [layout::CONTROL_FIFO, layout::EXIT_FIFO]
        .map(|name| look_at(name, dir.join(name)))
        .into();
    fifos.extend(Stream::ALL.map(|stream| self::stream(&dir, &state, stream)));
    Inspection {
        container: id.to_string(),
        process: name.to_owned(),
        terminal: state.terminal,
        exec: name != layout::INIT,
        kernel,
        shim: shim(&dir),
        fifos,
        all_descriptors: false,
        ending: Ending {
            record: match ExitRecord::read(&dir) {
                Ok(Some(record)) => Seen::Read(record),
                Ok(None) => Seen::Absent,
                Err(e) => Seen::unreadable(e),
            },
            number: state_file::read_value(&dir.join(layout::EXIT_STATUS_FILE)).into(),
        },
        cgroups,
        shim_log: log(&dir.join(layout::SHIM_LOG_FILE)),
        runtime_log: log(&dir.join(layout::RUNTIME_LOG_FILE)),
        diagnosis: diagnosis::Diagnosis::none(),
        problem,
        dir,
    }
}

/// The process by its files and by the kernel, and its cgroups.
fn kernel(dir: &Path) -> (ProcessFacts, Vec<String>) {
    let removed = |name| format!("{} was removed", dir.join(name).display());
    let pid = match state_file::read_value(&dir.join(layout::PID_FILE)).into() {
        // It was there before `created` was.
        Seen::<i32>::Absent if dir.join(layout::CREATED_FILE).exists() => {
            Seen::unreadable(removed(layout::PID_FILE))
        }
        pid => pid,
    };
    let start_time = match state_file::read_value(&dir.join(layout::START_TIME_FILE)).into() {
        // It was there before anybody could start it.
        Seen::<u64>::Absent if was_started(dir, pid.value()) => {
            Seen::unreadable(removed(layout::START_TIME_FILE))
        }
        start_time => start_time,
    };
    let identity = Identity::recorded(dir).ok().flatten();
    let (existence, state) = identity.map_or((Existence::Unrecorded, None), exists);
    let runs = identity.filter(|_| existence == Existence::Runs);
    let cgroups = runs
        .and_then(|identity| std::fs::read_to_string(format!("/proc/{}/cgroup", identity.pid)).ok())
        .unwrap_or_default();
    let facts = ProcessFacts {
        pid,
        start_time,
        existence,
        state,
        command: runs.and_then(|identity| holders::command(identity.pid)),
        created: runs.is_some_and(|identity| {
            matches!(state::runs_what_created(dir, identity), Ok(Some(true)))
        }),
        frozen: runs.is_some_and(|identity| freezer::is_frozen(identity.pid)),
    };
    (facts, cgroups.lines().map(str::to_owned).collect())
}

/// Whether a process has gone on from what its runtime had created.
fn was_started(dir: &Path, pid: Option<&i32>) -> bool {
    let identity = pid.and_then(|pid| Identity::of(*pid).ok());
    identity.is_some_and(|it| matches!(state::runs_what_created(dir, it), Ok(Some(false))))
}

/// Whether somebody is who was recorded, and what the kernel's letter for him is.
fn exists(identity: Identity) -> (Existence, Option<char>) {
    if identity.is_of_another_boot() {
        return (Existence::AnotherBoot, None);
    }
    match Stat::read(identity.pid) {
        Ok(stat) if stat.start_time != identity.start_time => (Existence::Stranger, None),
        Ok(stat) if stat.has_ended() => (Existence::Ended, Some(stat.state)),
        Ok(stat) => (Existence::Runs, Some(stat.state)),
        Err(_) => (Existence::Gone, None),
    }
}

fn shim(dir: &Path) -> ShimFacts {
    let lock = lock(&dir.join(layout::SHIM_LOCK_FILE));
    let record: Seen<ShimRecord> = ShimRecord::read(dir).into();
    let existence = record
        .value()
        .map_or(Existence::Unrecorded, |record| exists(record.identity()).0);
    let holder = lock.value().and_then(|lock| match lock.holder {
        // The kernel does not tell: whoever shim.json names, if that is somebody.
        None if lock.held && existence == Existence::Runs => record.value().map(|shim| shim.pid),
        holder => holder,
    });
    let arguments = holder.and_then(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).ok());
    let arguments = arguments.unwrap_or_default();
    ShimFacts {
        state: holder.and_then(|pid| Some(Stat::read(pid).ok()?.state)),
        executable: holder.and_then(executable),
        arguments: String::from_utf8_lossy(&arguments)
            .split_terminator('\0')
            .map(str::to_owned)
            .collect(),
        lock,
        record,
        existence,
    }
}

fn lock(path: &Path) -> Seen<LockFacts> {
    // For its kind, too: flock(2) takes whatever can be opened.
    let content = match state_file::read_tail(path, RECORD_LIMIT) {
        Ok(content) => content,
        Err(e) if e.is_absent() => return Seen::Absent,
        Err(e) => return Seen::unreadable(e),
    };
    let held = match flock::is_held(path) {
        Ok(held) => held,
        Err(e) => return Seen::unreadable(format!("test {}: {}", path.display(), errno_text(&e))),
    };
    let file = std::fs::File::open(path).ok();
    Seen::Read(LockFacts {
        held,
        holder: file.filter(|_| held).and_then(|file| flock::holder(&file)),
        finished: content.starts_with(layout::DONE),
        left: content.starts_with(layout::LEFT),
    })
}

fn executable(pid: i32) -> Option<Executable> {
    let link = format!("/proc/{pid}/exe");
    let runs = std::fs::read_link(&link).ok()?;
    let text = runs.to_string_lossy();
    let runs = PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(&text));
    // The link leads to what runs, whatever its name leads to by now.
    let running = std::fs::metadata(&link).ok()?;
    let installed = std::fs::metadata(&runs)
        .is_ok_and(|there| (there.dev(), there.ino()) == (running.dev(), running.ino()));
    Some(Executable { runs, installed })
}

fn stream(dir: &Path, state: &ProcessState, stream: Stream) -> Fifo {
    let path = PathBuf::from(state.stdio(stream));
    let mut found = look_at(stream.name(), path);
    if state.inherits(stream) {
        found.kind = Descriptor::Inherited;
    }
    let unread = dir.join(stream.unread_file());
    found.unread = std::fs::symlink_metadata(unread)
        .ok()
        .map(|meta| meta.len());
    found
}

fn look_at(name: &str, path: PathBuf) -> Fifo {
    let kind = match std::fs::metadata(&path) {
        Ok(meta) if meta.file_type().is_fifo() => Descriptor::Fifo,
        Ok(_) => Descriptor::File,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Descriptor::Absent,
        Err(e) => Descriptor::Unreadable(errno_text(&e)),
    };
    Fifo {
        name: name.to_owned(),
        path,
        kind,
        waiting: None,
        readers: Vec::new(),
        writers: Vec::new(),
        unread: None,
    }
}

/// The last lines; what is no message, as it is.
fn log(path: &Path) -> Vec<LogLine> {
    let bytes = match state_file::read_tail(path, TAIL) {
        Ok(bytes) => bytes,
        Err(e) if e.is_absent() => return Vec::new(),
        Err(e) => return vec![plain(e.to_string())],
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..]
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| plain((*line).to_owned())))
        .collect()
}

fn plain(msg: String) -> LogLine {
    LogLine {
        level: String::new(),
        msg,
        time: String::new(),
    }
}
