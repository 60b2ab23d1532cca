//! Where a process's standard streams go: what a caller asks for, and what that means for a process directory.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use holdfast_common::layout::Stream;
use holdfast_common::process_state::ProcessState;

use crate::error::{Error, Result};
use crate::text;

/// Where one stream goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Policy {
    /// A FIFO in the process directory: whoever attaches talks to the process through the kernel alone. While nobody
    /// reads, the process waits when the FIFO is full.
    #[default]
    Fifo,
    /// /dev/null.
    Null,
    /// The caller's own descriptor of the same number.
    Inherit,
    /// A regular file: appended to, and made if need be; for stdin, read, and it must exist.
    File(PathBuf),
    /// The caller's own FIFO or file, which must exist.
    Path(PathBuf),
}

impl Policy {
    /// The words for each, in the order of the variants.
    pub(crate) const WORDS: &[&str] = &["fifo", "null", "inherit", "file", "path"];
}

/// Where the three standard streams go. With a terminal, everything comes on stdout, and stderr does not count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stdio {
    /// Descriptor 0.
    pub stdin: Policy,
    /// Descriptor 1.
    pub stdout: Policy,
    /// Descriptor 2.
    pub stderr: Policy,
}

impl Stdio {
    /// The same policy for all three.
    pub fn all(policy: Policy) -> Self {
        Self {
            stdin: policy.clone(),
            stdout: policy.clone(),
            stderr: policy,
        }
    }

    fn policy(&self, stream: Stream) -> &Policy {
        match stream {
            Stream::Stdin => &self.stdin,
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }
}

/// What the policies come down to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// FIFOs to make in the process directory.
    pub fifos: Vec<Stream>,
    /// Streams that the shim gets from the caller.
    pub inherit: Vec<Stream>,
    /// What process.json says: paths, empty for /dev/null. In descriptor order.
    pub paths: [String; 3],
}

impl Plan {
    /// What the policies come down to for a process whose directory will have this path. A file that a stream is
    /// appended to is made.
    pub fn new(stdio: &Stdio, terminal: bool, console: bool, process_dir: &Path) -> Result<Self> {
        let mut plan = Self::default();
        if console {
            return Ok(plan);
        }
        for (stream, path) in Stream::ALL.into_iter().zip(&mut plan.paths) {
            match stdio.policy(stream) {
                Policy::Inherit if terminal => return Err(Error::InheritWithTerminal { stream }),
                _ if terminal && stream == Stream::Stderr => (),
                Policy::Null => (),
                Policy::Inherit => plan.inherit.push(stream),
                Policy::Fifo => {
                    plan.fifos.push(stream);
                    *path = text::utf8(&process_dir.join(stream.name()))?;
                }
                Policy::File(file) => *path = open_once(stream, file, stream != Stream::Stdin)?,
                Policy::Path(file) => *path = open_once(stream, file, false)?,
            }
        }
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
