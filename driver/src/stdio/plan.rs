//! What the policies come down to for a process directory: what is made in it, and what process.json says. All of it is checked
//! before anything is made.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use holdfast_common::layout::Stream;
use holdfast_common::output::{LogDriver, LogOptions, Moved, Output};
use holdfast_common::process_state::ProcessState;

use super::{Policy, Stdio};
use crate::error::{Error, Result};
use crate::text;

/// What the policies come down to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// FIFOs to make in the process directory.
    pub fifos: Vec<Stream>,
    /// Streams whose bytes the shim takes out of a FIFO of its own, to be made too.
    pub inner: Vec<Stream>,
    /// Streams that the shim gets from the caller.
    pub inherit: Vec<Stream>,
    /// What process.json says: paths, empty for /dev/null and for what goes to a log. In descriptor order.
    pub paths: [String; 3],
    /// What process.json says of output that the shim moves.
    pub output: Option<Output>,
}

impl Plan {
    /// What the policies come down to for a process whose directory will have this path. A file that a stream is
    /// appended to is made.
    pub fn new(stdio: &Stdio, terminal: bool, console: bool, process_dir: &Path) -> Result<Self> {
        let mut plan = Self::default();
        check(stdio, terminal, console)?;
        if console {
            return Ok(plan);
        }
        let mut output = Output::default();
        for (stream, path) in Stream::ALL.into_iter().zip(&mut plan.paths) {
            let policy = stdio.policy(stream);
            match policy {
                Policy::Inherit if terminal => return Err(Error::InheritWithTerminal { stream }),
                _ if stream == Stream::Stderr && (terminal || stdio.merge_stderr) => continue,
                Policy::Null => (),
                Policy::Inherit => plan.inherit.push(stream),
                Policy::Fifo | Policy::Spill => {
                    plan.fifos.push(stream);
                    *path = text::utf8(&process_dir.join(stream.name()))?;
                }
                Policy::Log => (),
                Policy::File(file) => *path = open_once(stream, file, stream != Stream::Stdin)?,
                Policy::Path(file) => *path = open_once(stream, file, false)?,
            }
            let moved = match policy {
                Policy::Log => Some(Moved::Log),
                Policy::Spill => Some(Moved::Spill),
                _ => None,
            };
            if moved.is_some() && !terminal {
                plan.inner.push(stream);
            }
            match stream {
                Stream::Stdin => (),
                Stream::Stdout => output.stdout = moved,
                Stream::Stderr => output.stderr = moved,
            }
        }
        output.merge_stderr = stdio.merge_stderr;
        let moves = |how| [output.stdout, output.stderr].contains(&Some(how));
        output.log = log_of(stdio, moves(Moved::Log), process_dir)?;
        output.spill = match stdio.spill {
            spill if moves(Moved::Spill) => Some(spill.unwrap_or_default()),
            Some(_) => return Err(Error::NothingTo { what: "spill" }),
            None => None,
        };
        plan.output = (output != Output::default()).then_some(output);
        Ok(plan)
    }

    /// Says so in process.json.
    pub fn tell(&self, state: &mut ProcessState) {
        let [stdin, stdout, stderr] = self.paths.clone();
        state.stdin = stdin;
        state.stdout = stdout;
        state.stderr = stderr;
    }
}

/// What makes no sense whatever the files.
fn check(stdio: &Stdio, terminal: bool, console: bool) -> Result<()> {
    if stdio.stdin.is_moved() {
        return Err(Error::StdinIsRead);
    }
    let asks = stdio.merge_stderr || stdio.record.is_some();
    let moves = stdio.stdout.is_moved() || stdio.log.is_some() || stdio.spill.is_some();
    if console && (asks || moves) {
        return Err(Error::OutputOfConsole);
    }
    if stdio.merge_stderr && terminal {
        return Err(Error::MergeWithTerminal);
    }
    if stdio.record.is_some() && !terminal {
        return Err(Error::NoTerminalToRecord);
    }
    if let Some(spill) = &stdio.spill
        && spill.max == 0
    {
        return Err(too_few("spill's most", "0"));
    }
    Ok(())
}

fn too_few(what: &'static str, value: &str) -> Error {
    Error::BadLimit {
        what,
        value: value.to_owned(),
        rule: "is too little: at least 1".to_owned(),
    }
}

/// The log, if there is anything to log or to record; its files are made.
fn log_of(stdio: &Stdio, logs: bool, process_dir: &Path) -> Result<Option<LogOptions>> {
    let mut options = match &stdio.log {
        Some(_) if !logs => return Err(Error::NothingTo { what: "log" }),
        Some(options) => options.clone(),
        None => LogOptions::default(),
    };
    if !logs {
        options.drivers.clear();
    } else if options.drivers.is_empty() {
        return Err(too_few("number of log drivers", "0"));
    }
    if options.max_files == 0 {
        return Err(too_few("number of log files", "0"));
    }
    if options.labels.keys().any(String::is_empty) {
        return Err(Error::EmptyLabel);
    }
    if let Some(path) = &stdio.record {
        options
            .drivers
            .push(LogDriver::Asciicast { path: path.clone() });
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for driver in &mut options.drivers {
        if let LogDriver::Cri { path } | LogDriver::JsonFile { path } = driver {
            *path = path.as_deref().map(make_log).transpose()?;
        } else if let LogDriver::Asciicast { path } = driver {
            *path = make_log(path)?;
        }
        let place = match driver.file(process_dir) {
            Some(file) => file,
            None => PathBuf::from(driver.word()),
        };
        if files.contains(&place) {
            return Err(Error::LogTwice { place });
        }
        files.push(place);
    }
    Ok((!options.drivers.is_empty()).then_some(options))
}

/// A log's file in full, made if need be. Nothing else may bear its name: a FIFO would have us, and a shim, wait for a reader.
fn make_log(path: &Path) -> Result<PathBuf> {
    let full = PathBuf::from(text::absolute_utf8(path)?);
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640);
    options.custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY);
    let file = match options.open(&full) {
        // fifo(7): nobody reads it.
        Err(e) if e.raw_os_error() == Some(nix::libc::ENXIO) => {
            return Err(Error::NotALogFile { path: full });
        }
        opened => opened.map_err(Error::io("open log", &full))?,
    };
    let meta = file.metadata().map_err(Error::io("look at log", &full))?;
    if meta.is_file() {
        Ok(full)
    } else {
        Err(Error::NotALogFile { path: full })
    }
}

/// Makes sure, before anything is made, that a path is there; returns it in full.
fn open_once(stream: Stream, path: &Path, create: bool) -> Result<String> {
    let operation = match stream {
        Stream::Stdin => "open stdin",
        Stream::Stdout => "open stdout",
        Stream::Stderr => "open stderr",
    };
    let failed = |source| Error::io(operation, path)(source);
    if create {
        let mut options = OpenOptions::new();
        options
            .append(true)
            .create(true)
            .open(path)
            .map_err(failed)?;
    } else {
        // Looked at, not opened: opening a FIFO is news to whoever holds its other end.
        std::fs::metadata(path).map_err(failed)?;
    }
    text::absolute_utf8(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    fn plan(stdio: &Stdio, terminal: bool) -> Result<Plan> {
        Plan::new(stdio, terminal, false, Path::new("/r/web/init"))
    }

    #[test]
    fn fifos_are_the_default_and_a_terminal_needs_two() {
        let whole = plan(&Stdio::default(), false).unwrap();
        assert_eq!(whole.fifos, Stream::ALL);
        assert_eq!(whole.paths[2], "/r/web/init/stderr");
        let terminal = plan(&Stdio::default(), true).unwrap();
        assert_eq!(terminal.fifos, [Stream::Stdin, Stream::Stdout]);
        assert_eq!(terminal.paths[2], "");
    }

    #[test]
    fn a_terminal_cannot_be_inherited_unless_the_caller_takes_it() {
        let inherit = Stdio::all(Policy::Inherit);
        let error = plan(&inherit, true).unwrap_err();
        assert!(matches!(
            error,
            Error::InheritWithTerminal {
                stream: Stream::Stdin
            }
        ));
        assert_eq!(plan(&inherit, false).unwrap().inherit, Stream::ALL);
        let console = Plan::new(&inherit, true, true, Path::new("/r")).unwrap();
        assert_eq!(console, Plan::default());
    }

    #[test]
    fn files_are_made_for_output_and_must_exist_for_input() {
        let dir = scratch("stdio");
        let file = dir.join("out");
        let to = |stdin: Policy, stdout: Policy| Stdio {
            stdin,
            stdout,
            stderr: Policy::Null,
            ..Stdio::default()
        };
        let error = plan(&to(Policy::File(file.clone()), Policy::Null), false)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            format!("open stdin {}: no such file or directory", file.display())
        );
        assert!(plan(&to(Policy::Null, Policy::Path(file.clone())), false).is_err());
        let made = plan(&to(Policy::Null, Policy::File(file.clone())), false).unwrap();
        assert_eq!(made.paths[1], file.to_str().unwrap());
        assert!(
            plan(
                &to(Policy::File(file.clone()), Policy::Path(file.clone())),
                false
            )
            .is_ok()
        );
    }
}
