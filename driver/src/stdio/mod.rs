//! Where a process's standard streams go: what a caller asks for. What that means for a process directory, [`plan`] knows.

mod plan;

use std::path::PathBuf;

use holdfast_common::layout::Stream;
use holdfast_common::output::{LogOptions, SpillOptions};

pub(crate) use plan::Plan;

use crate::error::{Error, Result};

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
    /// A log, which the shim writes ([`Stdio::log`]); the process never waits for anybody. For output only.
    Log,
    /// A FIFO in the process directory as with [`Policy::Fifo`]; what it has no room for, the shim keeps in a file and passes
    /// on in its order ([`Stdio::spill`]). For output only.
    Spill,
}

impl Policy {
    /// The words for each, in the order of the variants.
    pub(crate) const WORDS: &[&str] = &["fifo", "null", "inherit", "file", "path", "log", "spill"];

    /// Whether it is one for output alone.
    pub fn is_moved(&self) -> bool {
        matches!(self, Policy::Log | Policy::Spill)
    }
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
    /// Descriptor 2 is what descriptor 1 is; its own policy does not count.
    pub merge_stderr: bool,
    /// The log of the streams that have [`Policy::Log`], if not the usual one: one file in the process directory, in
    /// Kubernetes' format.
    pub log: Option<LogOptions>,
    /// What is kept of the streams that have [`Policy::Spill`], if not the usual 64 MiB.
    pub spill: Option<SpillOptions>,
    /// A file, which must not exist, that the terminal is recorded in, whatever stdout's policy (asciinema's format).
    pub record: Option<PathBuf>,
}

impl Stdio {
    /// The same policy for all three; stdin has a FIFO where the policy is one for output alone.
    pub fn all(policy: Policy) -> Self {
        Self {
            stdin: if policy.is_moved() {
                Policy::Fifo
            } else {
                policy.clone()
            },
            stdout: policy.clone(),
            stderr: policy,
            ..Self::default()
        }
    }

    /// Makes sure that a recording does not go on in what somebody else has written. A restart's goes on in its own.
    pub(crate) fn check_new(&self) -> Result<()> {
        let Some(path) = &self.record else {
            return Ok(());
        };
        match std::fs::metadata(path) {
            Ok(meta) if meta.len() > 0 || !meta.is_file() => {
                Err(Error::RecordExists { path: path.clone() })
            }
            _ => Ok(()),
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
