//! Where a process's standard streams go.

use std::path::PathBuf;

/// Where one stream goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Policy {
    /// A FIFO in the process directory: whoever attaches talks to the process through the kernel alone.
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

/// Where the three standard streams go. With a terminal, stderr does not count.
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
}
