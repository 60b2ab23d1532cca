//! Running the OCI runtime for one errand (`start`, `state`, `ps`, `kill`, `delete`, `checkpoint`), and its own words when it
//! refuses.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use holdfast_common::layout;
use holdfast_common::log_line::{LogLine, in_a_row};
use holdfast_common::request::LAUNCHERS_VARIABLES;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::child;
use crate::deadline::Deadline;
use crate::error::{Error, Result};

/// The most of a runtime's log or output that is read, bytes.
const LIMIT: u64 = 16 << 20;

/// A runtime, and where it may log.
#[derive(Debug)]
pub(crate) struct Runtime<'a> {
    /// A path, or a name to find in `$PATH`.
    pub program: &'a str,
    /// What goes before the verb.
    pub args: &'a [String],
    /// The directory of the process that this is about.
    pub log_dir: &'a Path,
    /// How long an errand may take.
    pub timeout: Duration,
    /// What it gets as its stdin, if not /dev/null.
    pub stdin: Option<File>,
}

impl Runtime<'_> {
    /// Runs `RUNTIME ARGS… VERB WORDS…` to its end; returns what it printed.
    ///
    /// # Errors
    /// [`Error::Runtime`] with its own words; [`Error::RuntimeTimeout`], and it is killed;
    /// [`Error::RuntimeNotFound`].
    pub fn run<W: AsRef<OsStr>>(
        &self,
        verb: &'static str,
        words: impl IntoIterator<Item = W>,
    ) -> Result<Vec<u8>> {
        let failed = |source| Error::io("run oci runtime", self.program)(source);
        let mut errand = self.start(verb, words, |_| ())?;
        let deadline = Deadline::after(Some(self.timeout));
        let exit = child::wait(&mut errand.child, deadline).map_err(failed)?;
        errand.finish(exit.ok_or(Error::RuntimeTimeout {
            verb,
            timeout: self.timeout,
        })?)
    }

    /// Starts `RUNTIME ARGS… VERB WORDS…`; `prepare` has the last word on how.
    ///
    /// # Errors
    /// [`Error::RuntimeNotFound`].
    pub fn start<W: AsRef<OsStr>>(
        &self,
        verb: &'static str,
        words: impl IntoIterator<Item = W>,
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Errand<'_>> {
        let failed = |source| Error::io("run oci runtime", self.program)(source);
        let log = self.log_dir.join(layout::RUNTIME_LOG_FILE);
        let logged = std::fs::metadata(&log).map_or(0, |meta| meta.len());
        // Files in memory, not pipes: they never fill, and a hook that stays behind may keep them open.
        let memory = |name| io::Result::Ok(File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?));
        let output = memory(c"output").map_err(failed)?;
        let complaint = memory(c"complaint").map_err(failed)?;

        let mut command = Command::new(self.program);
        for variable in LAUNCHERS_VARIABLES {
            command.env_remove(variable);
        }
        command.args(["--log-format", "json"]);
        if self.log_dir.is_dir() {
            command.arg("--log").arg(&log);
        }
        command.args(self.args).arg(verb).args(words);
        command.stdin(match &self.stdin {
            Some(file) => Stdio::from(file.try_clone().map_err(failed)?),
            None => Stdio::null(),
        });
        command.stdout(output.try_clone().map_err(failed)?);
        command.stderr(complaint.try_clone().map_err(failed)?);
        prepare(&mut command);
        let child = command.spawn().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::RuntimeNotFound {
                runtime: self.program.to_owned(),
            },
            _ => failed(e),
        })?;
        Ok(Errand {
            program: self.program,
            verb,
            child,
            output,
            complaint,
            log,
            logged,
        })
    }
}

/// A runtime on an errand.
#[derive(Debug)]
pub(crate) struct Errand<'a> {
    program: &'a str,
    verb: &'static str,
    child: Child,
    output: File,
    complaint: File,
    log: PathBuf,
    /// How long its log was before.
    logged: u64,
}

impl Errand<'_> {
    /// The runtime's process, to wait for.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// What it has printed, or why it refused. To be called when it has ended.
    ///
    /// # Errors
    /// [`Error::Runtime`] with its own words.
    pub fn finish(mut self, exit: ExitStatus) -> Result<Vec<u8>> {
        if exit.success() {
            return read_all(&mut self.output, 0)
                .map_err(Error::io("run oci runtime", self.program));
        }
        let message = appended(&self.log, self.logged)
            .or_else(|| words_of(&mut self.complaint))
            .unwrap_or_else(|| format!("{} {}: {exit}", self.program, self.verb));
        Err(Error::Runtime { message })
    }
}

/// The last error that was appended to a log.
fn appended(log: &Path, from: u64) -> Option<String> {
    let mut log = File::open(log).ok()?;
    LogLine::last_error(&read_all(&mut log, from).ok()?)
}

/// What a runtime wrote to stderr: its words without its log's decoration, as far as there is one.
fn words_of(complaint: &mut File) -> Option<String> {
    let bytes = read_all(complaint, 0).ok()?;
    let text = in_a_row(String::from_utf8_lossy(&bytes).trim());
    LogLine::last_error(&bytes).or_else(|| (!text.is_empty()).then_some(text))
}

fn read_all(file: &mut File, from: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Finds an executable as execvp(3) would: a path as it is, a name in `$PATH`.
pub(crate) fn find(program: &Path) -> Option<PathBuf> {
    let is_executable = |path: &PathBuf| {
        std::fs::metadata(path)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.as_os_str().as_encoded_bytes().contains(&b'/') {
        return Some(program.to_owned()).filter(is_executable);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(is_executable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    fn run(script: &str, timeout: Duration) -> Result<Vec<u8>> {
        let dir = scratch(&format!("runtime-{}", script.len()));
        std::fs::write(
            dir.join("log.json"),
            "{\"level\":\"error\",\"msg\":\"old\"}\n",
        )
        .unwrap();
        // `sh -c SCRIPT --log FILE --log-format json VERB`: $1 is the log.
        let program = dir.join("runtime");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let runtime = Runtime {
            program: program.to_str().unwrap(),
            args: &[],
            log_dir: &dir,
            timeout,
            stdin: None,
        };
        runtime.run("verb", ["word"])
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn what_it_prints_is_returned() {
        assert_eq!(run("echo $5 $6", LONG).unwrap(), b"verb word\n");
    }

    #[test]
    fn its_own_words_are_its_newest_ones_in_the_log_or_else_on_stderr() {
        for (script, wanted) in [
            (
                r#"echo '{"level":"error","msg":"new: \"x\""}' >> $4; echo noise >&2; exit 1"#,
                "oci runtime: new: \"x\"",
            ),
            ("echo ' plain ' >&2; exit 3", "oci runtime: plain"),
            (
                r#"echo '{"level":"error","msg":"json"}' >&2; exit 1"#,
                "oci runtime: json",
            ),
        ] {
            assert_eq!(run(script, LONG).unwrap_err().to_string(), wanted);
        }
        let silent = run("exit 7", LONG).unwrap_err().to_string();
        assert!(silent.ends_with("runtime verb: exit status: 7"), "{silent}");
    }

    #[test]
    fn a_lot_of_noise_and_a_child_that_stays_do_not_hold_it_up() {
        let script = "head -c 1000000 /dev/zero; sleep 30 & exit 0";
        assert_eq!(run(script, LONG).unwrap().len(), 1_000_000);
    }

    #[test]
    fn one_that_hangs_is_killed() {
        let error = run("exec sleep 30", Duration::from_millis(50)).unwrap_err();
        assert!(
            matches!(error, Error::RuntimeTimeout { verb: "verb", .. }),
            "{error}"
        );
    }

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        assert!(find(Path::new("sh")).unwrap().is_absolute());
        assert!(find(Path::new("no-such-program-anywhere")).is_none());
        assert!(find(Path::new("/")).is_none());
        assert!(find(Path::new("/bin/sh")).is_some());
    }
}
