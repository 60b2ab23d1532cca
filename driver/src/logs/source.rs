//! Where a process's log is, or why there is none and what to do instead.

use std::path::{Path, PathBuf};

use holdfast_common::id::{ContainerId, ProcessId};
use holdfast_common::layout::Stream;
use holdfast_common::output::{LogDriver, LogOptions, Moved};
use holdfast_common::process_state::ProcessState;

use super::format::Format;
use crate::error::{Error, Result};

/// A log that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// The file that is written to.
    pub path: PathBuf,
    pub format: Format,
    /// How many files are kept, that one among them.
    pub kept: u32,
}

/// Finds the log of a process, or of one of its streams.
pub(super) fn find(
    id: &ContainerId,
    process: &ProcessId,
    dir: &Path,
    state: &ProcessState,
    stream: Option<Stream>,
) -> Result<Source> {
    let logged = |stream: &Stream| state.moved(*stream) == Some(Moved::Log);
    let asked: Vec<Stream> = match stream {
        Some(stream) => vec![stream],
        None => vec![Stream::Stdout, Stream::Stderr],
    };
    if !asked.iter().any(logged) {
        return Err(Error::NotLogged {
            id: id.clone(),
            process: process.clone(),
            reason: reason(id, process, dir, state, &asked),
        });
    }
    let default = LogOptions::default();
    let options = state.output().and_then(|output| output.log.as_ref());
    let options = options.unwrap_or(&default);
    let readable = options.drivers.iter().find_map(|driver| {
        let format = match driver {
            LogDriver::Cri { .. } => Format::Cri,
            LogDriver::JsonFile { .. } => Format::JsonFile,
            LogDriver::Journald { .. } | LogDriver::Asciicast { .. } => return None,
        };
        Some(Source {
            path: driver.file(dir)?,
            format,
            kept: options.max_files,
        })
    });
    readable.ok_or_else(|| {
        let (id, process) = (id.clone(), process.clone());
        let recording = options.drivers.iter().find_map(|driver| match driver {
            LogDriver::Asciicast { path } => Some(path),
            _ => None,
        });
        match recording {
            Some(path) if options.drivers.len() == 1 => Error::NotLogged {
                id,
                process,
                reason: format!("it is recorded: see `asciinema play {}`", path.display()),
            },
            _ => Error::LogInJournal { id, process },
        }
    })
}

/// Where what was asked for goes instead, and how to have it.
fn reason(
    id: &ContainerId,
    process: &ProcessId,
    dir: &Path,
    state: &ProcessState,
    asked: &[Stream],
) -> String {
    let whose = if process.is_init() {
        id.to_string()
    } else {
        format!("{id} {process}")
    };
    if state.terminal && asked == [Stream::Stderr] {
        return "it has a terminal, and everything comes on stdout".to_owned();
    }
    let merged = state.output().is_some_and(|output| output.merge_stderr);
    if merged && asked == [Stream::Stderr] {
        return "its stderr is merged with its stdout".to_owned();
    }
    for &stream in asked {
        let name = stream.name();
        if state.inherits(stream) {
            return format!("its {name} is its launcher's own");
        }
        let path = Path::new(state.stdio(stream));
        if path == Path::new("/dev/null") {
            continue;
        }
        if path.starts_with(dir) || state.moved(stream) == Some(Moved::Spill) {
            return format!(
                "its {name} is for one reader: see `holdfast attach {whose}`, or create it with --stdio log"
            );
        }
        return format!("its {name} is {}", path.display());
    }
    "its output goes to /dev/null".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_common::output::Output;
    use holdfast_common::process_state::Extension;

    fn with(output: Output) -> ProcessState {
        ProcessState {
            holdfast: Some(Extension {
                output: Some(output),
                ..Extension::default()
            }),
            ..ProcessState::default()
        }
    }

    fn found(state: &ProcessState, stream: Option<Stream>) -> Result<Source> {
        let (id, init) = (ContainerId::new("web").unwrap(), ProcessId::init());
        find(&id, &init, Path::new("/r/web/init"), state, stream)
    }

    fn logged(drivers: Vec<LogDriver>) -> ProcessState {
        with(Output {
            stdout: Some(Moved::Log),
            log: Some(LogOptions {
                drivers,
                max_files: 7,
                ..LogOptions::default()
            }),
            ..Output::default()
        })
    }

    #[test]
    fn the_first_file_that_can_be_read_is_the_log() {
        let path = Some(PathBuf::from("/var/log/web"));
        let state = logged(vec![
            LogDriver::Journald { path: None },
            LogDriver::JsonFile { path: path.clone() },
            LogDriver::Cri { path: None },
        ]);
        let expected = Source {
            path: "/var/log/web".into(),
            format: Format::JsonFile,
            kept: 7,
        };
        assert_eq!(found(&state, None).unwrap(), expected);
        assert_eq!(found(&state, Some(Stream::Stdout)).unwrap(), expected);
        let own = found(&logged(vec![LogDriver::Cri { path: None }]), None).unwrap();
        assert_eq!(own.path, Path::new("/r/web/init/log"));
    }

    #[test]
    fn where_there_is_none_is_said_what_to_do_instead() {
        let words = |state: &ProcessState, stream| found(state, stream).unwrap_err().to_string();
        let fifo = ProcessState {
            stdout: "/r/web/init/stdout".into(),
            ..ProcessState::default()
        };
        let file = ProcessState {
            stdout: "/var/log/web".into(),
            ..ProcessState::default()
        };
        let terminal = ProcessState {
            terminal: true,
            ..logged(vec![LogDriver::Cri { path: None }])
        };
        let cast = LogDriver::Asciicast {
            path: "/x.cast".into(),
        };
        for (state, stream, needle) in [
            (&fifo, None, "holdfast attach web"),
            (&file, None, "its stdout is /var/log/web"),
            (&ProcessState::default(), None, "/dev/null"),
            (&terminal, Some(Stream::Stderr), "has a terminal"),
            (&logged(vec![cast]), None, "asciinema play /x.cast"),
            (
                &logged(vec![LogDriver::Journald { path: None }]),
                None,
                "journalctl CONTAINER_ID_FULL=web",
            ),
        ] {
            let words = words(state, stream);
            assert!(words.contains(needle), "{words}");
            assert!(!words.contains('\n'), "{words}");
        }
    }
}
