//! What a refused command must look like: one line on stderr that begins with our name and says what is meant, exit
//! code 125, nothing on stdout.

use std::ffi::OsStr;
use std::process::{Command, Output};

use crate::Sandbox;
use crate::command::{show, text};

/// The exit code of every failure of ours.
const FAILURE: i32 = 125;

impl Sandbox {
    /// Runs `holdfast ARGS` and asserts that it is refused, with all of `words` in its one line. Returns the line.
    ///
    /// # Panics
    /// As [`Sandbox::output`], and when it is not refused so.
    #[track_caller]
    pub fn refused<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        words: &[&str],
    ) -> String {
        self.refused_command(self.holdfast(args), words)
    }

    /// As [`Sandbox::refused`], for a command of which more than its arguments was set.
    ///
    /// # Panics
    /// As [`Sandbox::refused`].
    #[track_caller]
    pub fn refused_command(&self, command: Command, words: &[&str]) -> String {
        let shown = format!("{command:?}");
        let output = self.output_of(command);
        let problem = problem(&output, words);
        if let Some(problem) = problem {
            self.dump();
            panic!("{shown}: {problem}: {}", show(&output));
        }
        text(&output.stderr).trim_end().to_owned()
    }
}

fn problem(output: &Output, words: &[&str]) -> Option<String> {
    let stderr = text(&output.stderr);
    let is_one_line = stderr.ends_with('\n') && stderr.matches('\n').count() == 1;
    if output.status.code() != Some(FAILURE) {
        return Some(format!("not exit code {FAILURE}"));
    }
    if !is_one_line || stderr.contains(|c: char| c != '\n' && c.is_control()) {
        return Some("not one line of plain text".to_owned());
    }
    if !stderr.starts_with("holdfast: ") {
        return Some("does not begin with our name".to_owned());
    }
    if !output.stdout.is_empty() {
        return Some("there is something on stdout".to_owned());
    }
    let missing = words.iter().find(|word| !stderr.contains(**word))?;
    Some(format!("does not say {missing:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    #[test]
    fn only_one_plain_line_and_the_right_code_pass() {
        let output = |code: i32, stdout: &str, stderr: &str| Output {
            status: ExitStatus::from_raw(code << 8),
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        let good = output(125, "", "holdfast: container web does not exist\n");
        assert_eq!(problem(&good, &["web", "exist"]), None);
        assert!(problem(&good, &["db"]).is_some());
        for bad in [
            output(1, "", "holdfast: web\n"),
            output(125, "x", "holdfast: web\n"),
            output(125, "", "holdfast: web"),
            output(125, "", "holdfast: web\nweb\n"),
            output(125, "", "holdfast: \u{1b}[1mweb\n"),
            output(125, "", "error: web\n"),
            output(125, "", ""),
        ] {
            assert!(problem(&bad, &["web"]).is_some(), "{bad:?}");
        }
    }
}
