//! What is installed here: the shim and the runtime that a driver would use, asked themselves. What they can do is in
//! [`features`](crate::features); this is what one writes into a report of a fault.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use holdfast_common::control;
use holdfast_common::process_state::Extension;
use holdfast_common::shim_version::QUESTION;
pub use holdfast_common::shim_version::{Protocols, ShimVersion};
use holdfast_common::sys::errno_text;
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Serialize;

use crate::child;
use crate::deadline::Deadline;
use crate::driver::Driver;
use crate::runtime;

/// How long a program may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most that is read of an answer, bytes.
const LIMIT: u64 = 64 << 10;

/// The keys of process.json's object `holdfast` that this library may write.
pub const PROCESS_KEYS: [&str; Extension::KEYS.len()] = Extension::KEYS;

/// The types of control messages that it may send.
#[must_use]
pub fn control_types() -> Vec<u8> {
    control::TYPES.iter().map(|(_, number)| *number).collect()
}

/// Something that is there and says what it is, or why that cannot be known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Found<T> {
    /// What it says.
    Known(T),
    /// It is not there, or says nothing that is understood.
    Unknown {
        /// The executable, if there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        executable: Option<PathBuf>,
        /// Why, in one line.
        problem: String,
    },
}

/// The shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shim {
    /// Its executable.
    pub executable: PathBuf,
    /// What it says of itself.
    #[serde(flatten)]
    pub says: ShimVersion,
    /// The keys of process.json that this library may write, and that the shim does not know: it would pass over them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<&'static str>,
}

/// The OCI runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuntimeVersion {
    /// Its executable.
    pub executable: PathBuf,
    /// The name that it calls itself by.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The version of the OCI runtime specification that it has, if it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<String>,
}

impl Driver {
    /// What the shim says that new containers would have.
    #[must_use]
    pub fn shim_version(&self) -> Found<Shim> {
        let executable = match self.shim() {
            Ok(executable) => executable,
            Err(e) => {
                return Found::Unknown {
                    executable: None,
                    problem: e.to_string(),
                };
            }
        };
        let said = ask(&executable, [QUESTION]).and_then(|said| {
            ShimVersion::decode(&said).map_err(|_| "does not say its version".to_owned())
        });
        match said {
            Ok(says) => {
                let knows = |key: &&str| says.features.iter().any(|known| known == key);
                let lacks = PROCESS_KEYS.into_iter().filter(|key| !knows(key));
                Found::Known(Shim {
                    lacks: lacks.collect(),
                    executable,
                    says,
                })
            }
            Err(problem) => Found::Unknown {
                executable: Some(executable),
                problem,
            },
        }
    }

    /// What the OCI runtime says of itself (`RUNTIME --version`).
    #[must_use]
    pub fn runtime_version(&self) -> Found<RuntimeVersion> {
        let name = self.runtime();
        let Some(executable) = runtime::find(Path::new(name)) else {
            return Found::Unknown {
                executable: None,
                problem: format!("oci runtime {name} not found"),
            };
        };
        let said = ask(&executable, ["--version"]).and_then(|said| {
            let text = String::from_utf8_lossy(&said).into_owned();
            understood(&text).ok_or_else(|| "does not say its version".to_owned())
        });
        match said {
            Ok((name, version, spec)) => Found::Known(RuntimeVersion {
                executable,
                name,
                version,
                spec,
            }),
            Err(problem) => Found::Unknown {
                executable: Some(executable),
                problem,
            },
        }
    }
}

/// `NAME version VERSION` on the first line, as runc, crun, youki and runsc have it, and `spec: VERSION` on another.
fn understood(text: &str) -> Option<(String, String, Option<String>)> {
    let mut lines = text.lines();
    let (name, version) = lines.next()?.split_once(" version ")?;
    let spec = lines.find_map(|line| line.strip_prefix("spec:"));
    let spec = spec.map(|spec| spec.trim().to_owned());
    Some((name.to_owned(), version.trim().to_owned(), spec))
}

/// What a program prints.
fn ask(
    program: &Path,
    words: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Vec<u8>, String> {
    let failed = |e: std::io::Error| format!("run: {}", errno_text(&e));
    // A file in memory never fills, and nobody who keeps it open is waited for.
    let memory = memfd_create(c"answer", MFdFlags::MFD_CLOEXEC);
    let mut answer = File::from(memory.map_err(|e| failed(e.into()))?);
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(answer.try_clone().map_err(failed)?)
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let exit = child::wait(&mut child, Deadline::after(Some(PATIENCE))).map_err(failed)?;
    match exit {
        None => return Err(format!("no answer within {} s", PATIENCE.as_secs())),
        Some(exit) if !exit.success() => return Err(format!("does not say its version: {exit}")),
        Some(_) => {}
    }
    let mut bytes = Vec::new();
    answer.rewind().map_err(failed)?;
    answer.take(LIMIT).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_understood() {
        let owned = |text: &str| text.to_owned();
        for (text, expected) in [
            (
                "runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1\nspec: 1.0.2-dev\ngo: go1.19.8\n",
                Some((owned("runc"), owned("1.1.5+ds1"), Some(owned("1.0.2-dev")))),
            ),
            (
                "crun version 1.8.1\ncommit: f8a0\nrundir: /run/crun\nspec: 1.0.0\n+SYSTEMD +SELINUX\n",
                Some((owned("crun"), owned("1.8.1"), Some(owned("1.0.0")))),
            ),
            (
                "youki version 0.3.1\ncommit: 1234\n",
                Some((owned("youki"), owned("0.3.1"), None)),
            ),
            ("usage: frobnicate\n", None),
            ("", None),
        ] {
            assert_eq!(understood(text), expected, "{text}");
        }
    }
}
