//! Spawning the shim, and hearing what became of it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use holdfast_common::layout::Stream;
use holdfast_common::ready::Report;
use holdfast_common::request::Wire;
use holdfast_common::sys::exec::pass_on;
use holdfast_common::sys::fd;
use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::child;
use crate::deadline::Deadline;
use crate::error::{Error, Result};

/// How long a shim may take beyond the runtime's time: it kills the runtime, deletes what that had made, and reports.
const SLACK: Duration = Duration::from_secs(45);
/// The longest report that is read, bytes; a shim's is bound to much less.
const LONGEST_REPORT: u64 = 1 << 20;

/// What a shim is told on its command line, and what it gets.
pub(crate) struct Order<'a> {
    pub shim: &'a Path,
    pub wire: &'a Wire,
    /// The words after those, given the number under which the shim gets the pipe for its report.
    pub words: &'a dyn Fn(RawFd) -> Vec<OsString>,
    /// Its working directory: the process directory.
    pub process_dir: &'a Path,
    /// How long the runtime may take.
    pub timeout: Duration,
    /// Streams that are the caller's own.
    pub inherit: &'a [Stream],
    /// How many of the caller's descriptors from 3 on it inherits.
    pub preserve_fds: i32,
}

impl Order<'_> {
    /// Spawns the shim and waits for its report.
    ///
    /// # Errors
    /// It could not be started; it died without a report; [`Error::StartTimeout`].
    pub fn carry_out(&self) -> Result<Report> {
        let failed = |source| Error::io("start shim", self.shim)(source);
        let deadline = Deadline::after(Some(self.timeout.saturating_add(SLACK)));
        // For the shim's complaint when it dies before it can report; once it does, it holds on to nothing of ours.
        let mut complaint = File::from(
            memfd_create(c"complaint", MFdFlags::MFD_CLOEXEC).map_err(|e| failed(e.into()))?,
        );
        let (ready, exit) = self.spawn(&complaint, deadline)?;
        if let Some(report) = read_report(ready, deadline).map_err(failed)? {
            return Ok(report);
        }
        if deadline.has_passed() {
            return Err(Error::StartTimeout {
                timeout: self.timeout,
            });
        }
        Err(Error::Shim {
            message: last_words(&mut complaint, self.shim, exit),
        })
    }

    /// Spawns the shim; the process that we spawn forks the one that stays, and is collected here.
    fn spawn(&self, complaint: &File, deadline: Deadline) -> Result<(OwnedFd, Option<ExitStatus>)> {
        let failed = |source| Error::io("start shim", self.shim)(source);
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|e| failed(e.into()))?;
        let inherits = |stream| self.inherit.contains(&stream);
        let stdio = |stream| {
            if inherits(stream) {
                Stdio::inherit()
            } else {
                Stdio::null()
            }
        };
        let mut command = Command::new(self.shim);
        command.args(self.wire.encode());
        command.current_dir(self.process_dir).process_group(0);
        command
            .stdin(stdio(Stream::Stdin))
            .stdout(stdio(Stream::Stdout));
        if inherits(Stream::Stderr) {
            command.stderr(Stdio::inherit());
        } else {
            command.stderr(complaint.try_clone().map_err(failed)?);
        }
        // In a standard stream's place, if one is free: for whatever else is to be done between fork and exec, std forks in earnest, and
        // a daemon with much memory would wait for a copy of its page tables. posix_spawn(3) borrows them.
        if !inherits(Stream::Stdin) {
            command.args((self.words)(0)).stdin(write);
        } else if !inherits(Stream::Stdout) {
            command.args((self.words)(1)).stdout(write);
        } else {
            // Above the numbers that belong to the container's process.
            let high = fd::duplicate_from(write.as_fd(), 3 + self.preserve_fds).map_err(failed)?;
            command.args((self.words)(high.as_raw_fd()));
            pass_on(&mut command, high);
        }
        let spawned = command.spawn();
        // The pipe's other end with it: it is the shim's now, whose end is to be seen.
        drop(command);
        let mut child = spawned.map_err(failed)?;
        // Whoever collected it in our place, the report counts.
        let exit = child::wait(&mut child, deadline).unwrap_or_else(|e| {
            log::debug!("wait for {}: {e}", self.shim.display());
            None
        });
        Ok((read, exit))
    }
}

/// Reads one line; `None` when the pipe ends or the time is over before it does, or it is no report.
fn read_report(ready: OwnedFd, deadline: Deadline) -> io::Result<Option<Report>> {
    let mut ready = File::from(ready);
    let mut line = Vec::new();
    while !line.ends_with(b"\n") && (line.len() as u64) < LONGEST_REPORT {
        if deadline.poll(ready.as_fd(), PollFlags::POLLIN)?.is_empty() {
            return Ok(None);
        }
        let mut piece = [0; 4096];
        match ready.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => line.extend_from_slice(&piece[..count]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
            Err(e) => return Err(e),
        }
    }
    Ok(Report::decode(&line))
}

/// What a shim had to say that died without a report.
fn last_words(complaint: &mut File, shim: &Path, exit: Option<ExitStatus>) -> String {
    let mut bytes = Vec::new();
    let read = complaint
        .rewind()
        .and_then(|()| complaint.take(LONGEST_REPORT).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    if read.is_ok() && !text.is_empty() {
        return text;
    }
    match exit {
        Some(exit) if !exit.success() => format!("{} ended with {exit}", shim.display()),
        _ => format!("{} was killed before the process was there", shim.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;
    use holdfast_common::identity::Identity;
    use std::os::unix::fs::PermissionsExt;

    fn carry_out(name: &str, script: &str, timeout: Duration) -> Result<Report> {
        let dir = scratch(name);
        let shim = dir.join("shim");
        std::fs::write(&shim, format!("#!/bin/bash\n{script}\n")).unwrap();
        std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).unwrap();
        let wire = Wire {
            id: "web".into(),
            bundle: "/b".into(),
            runtime: "runc".into(),
        };
        Order {
            shim: &shim,
            wire: &wire,
            words: &|ready| vec!["launch".into(), format!("ready={ready}").into()],
            process_dir: &dir,
            timeout,
            inherit: &[],
            preserve_fds: 0,
        }
        .carry_out()
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn the_report_of_a_shim_that_forked_is_heard() {
        // $5 is ready=FD.
        let script = r#"eval "exec 9>&${5#ready=}"; (sleep 0.05; printf '{"ready":{"pid":7,' >&9; printf '"startTime":9}}\n' >&9; sleep 0.2) & exit 0"#;
        let report = carry_out("spawn-report", script, LONG).unwrap();
        let identity = Identity {
            pid: 7,
            start_time: 9,
        };
        assert_eq!(report, Report::ready(identity));
    }

    #[test]
    fn the_words_are_the_documented_ones() {
        let script = r#"echo "$1 $2 $3 $4 ${5%%=*}" >&2; exit 1"#;
        let error = carry_out("spawn-words", script, LONG).unwrap_err();
        assert_eq!(error.to_string(), "shim: web /b runc launch ready");
    }

    #[test]
    fn one_that_dies_without_a_word_is_told_of() {
        let error = carry_out("spawn-silent", "exit 3", LONG)
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("shim ended with exit status: 3"), "{error}");
        let error = carry_out("spawn-killed", "exit 0", LONG)
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("shim was killed before the process was there"),
            "{error}"
        );
    }
}
