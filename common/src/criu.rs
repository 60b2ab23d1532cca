//! What CRIU is told through a configuration file, and what its log says when it fails. Runtimes start it; nobody here does.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// The variable that names a configuration file (criu(8)). Runtimes hand their environment on to CRIU, and have no option for
/// what stands in the file.
pub const CONFIG_VARIABLE: &str = "CRIU_CONFIG_FILE";

/// The most of a log's end that is looked at, bytes.
const LOG_LIMIT: u64 = 1 << 20;
/// How many of its errors are told: the first says what happened, the others follow from it.
const MOST_ERRORS: usize = 3;
/// The most of one of them that is told, bytes.
const MOST_WORDS: usize = 400;

/// A configuration of ours, after the one that whoever started us has named, which goes on to count.
///
/// # Errors
/// That one cannot be read.
pub fn config(lines: &str) -> io::Result<String> {
    let mut config = match std::env::var_os(CONFIG_VARIABLE) {
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => text,
            // As CRIU has it.
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(e),
        },
        None => String::new(),
    };
    if !config.is_empty() && !config.ends_with('\n') {
        config.push('\n');
    }
    config.push_str(lines);
    Ok(config)
}

/// A runtime's complaint about CRIU, with CRIU's own errors in place of the name of the log that they stand in. What the
/// runtime says without having run it stays as it is.
pub fn explain(message: &str, log: &Path) -> String {
    let words = message
        .lines()
        .filter(|line| !line.starts_with("log file:"));
    let message = words.collect::<Vec<_>>().join(" ");
    match errors(&read_end(log).unwrap_or_default()) {
        Some(errors) => format!("{message}: {errors}"),
        None => message,
    }
}

/// The errors in a log of CRIU's (`(00.186189) Error (criu/files-reg.c:1790): …`), without times and places in its source; `None`
/// when there are none.
pub fn errors(log: &[u8]) -> Option<String> {
    let mut told: Vec<String> = Vec::new();
    for line in log.split(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let Some((_, error)) = line.split_once("Error (") else {
            continue;
        };
        let Some((place, words)) = error.split_once("): ") else {
            continue;
        };
        let words = words.trim();
        // It says this of every failure, and that of every run that may not raise its limits.
        if words.is_empty()
            || words.ends_with("ing FAILED.")
            || (place.starts_with("criu/util.c") && words.starts_with("rlimit: "))
        {
            continue;
        }
        let end = words
            .char_indices()
            .map(|(at, _)| at)
            .find(|&at| at >= MOST_WORDS);
        let words = &words[..end.unwrap_or(words.len())];
        if told.last().is_some_and(|last| last == words) {
            continue;
        }
        told.push(words.to_owned());
        if told.len() == MOST_ERRORS {
            break;
        }
    }
    (!told.is_empty()).then(|| told.join("; "))
}

fn read_end(log: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(log)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(LOG_LIMIT)))?;
    let mut bytes = Vec::new();
    file.take(LOG_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
(00.109709) Error (criu/util.c:1533): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.120000) Warn  (criu/seize.c:404): Unexpected process 25660 in the freezer cgroup
(00.186189) Error (criu/files-reg.c:1790): Can't lookup mount=27 for fd=0 path=/tmp/ce/o
(00.186201)      1: Error (criu/cr-dump.c:1681): Dump files (pid: 18095) failed with -1
(00.280324) Error (criu/cr-dump.c:2111): Dumping FAILED.
";

    #[test]
    fn what_happened_is_told_and_noise_is_not() {
        assert_eq!(
            errors(LOG.as_bytes()).as_deref(),
            Some(
                "Can't lookup mount=27 for fd=0 path=/tmp/ce/o; Dump files (pid: 18095) failed with -1"
            )
        );
        assert_eq!(errors(b"(00.1) all is well\nError (\n"), None);
        let long = format!("Error (a): {}\n", "ä".repeat(1000));
        assert!(errors(long.as_bytes()).unwrap().len() <= MOST_WORDS + 2);
        let many = "Error (a): x\nError (a): x\nError (a): y\nError (a): z\nError (a): w\n";
        assert_eq!(errors(many.as_bytes()).as_deref(), Some("x; y; z"));
    }

    #[test]
    fn a_runtimes_complaint_names_the_cause_and_not_a_log_that_is_gone() {
        let log = std::env::temp_dir().join(format!("holdfast-criu-{}", std::process::id()));
        std::fs::write(&log, LOG).unwrap();
        let message = "criu failed: type NOTIFY errno 0\nlog file: /x/dump.log";
        let told = explain(message, &log);
        std::fs::remove_file(&log).unwrap();
        assert!(told.starts_with("criu failed: type NOTIFY errno 0: Can't lookup mount=27"));
        assert!(!told.contains("dump.log") && !told.contains('\n'), "{told}");
        assert_eq!(explain("no such container", &log), "no such container");
    }
}
