//! What is said to somebody who mistyped: one line, with what may have been meant and where to read on.

use std::process::ExitCode;

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::colour;
use super::error::FAILURE;
use super::help;
use super::logging::Reporter;
use super::output;

/// What the verbs of other programs are called here. What clap can guess by its letters does not stand here.
const ELSEWHERE: [(&str, &str); 12] = [
    ("ls", "list"),
    ("rm", "delete"),
    ("remove", "delete"),
    ("stop", "kill"),
    ("signal", "kill"),
    ("terminate", "kill"),
    ("unpause", "resume"),
    ("thaw", "resume"),
    ("freeze", "pause"),
    ("adopt", "recover"),
    ("info", "features"),
    ("monitor", "supervise"),
];

/// Help and version are answers; anything else is one line and our exit code.
pub fn explain(error: &Error) -> ExitCode {
    if !error.use_stderr() {
        let help = match error.kind() {
            ErrorKind::DisplayHelp => help::of(std::env::args_os()),
            _ => None,
        };
        let answer = help.as_ref().unwrap_or(error).render();
        let text = if colour::wanted() {
            answer.ansi().to_string()
        } else {
            answer.to_string()
        };
        return match output::print(&text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => ExitCode::from(e.exit_code()),
        };
    }
    Reporter::BARE.failure(&line(error));
    ExitCode::from(FAILURE)
}

fn line(error: &Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "no command; see holdfast --help".to_owned();
    }
    let rendered = error.render().to_string();
    let (what, tips) = parts(&rendered);
    let tips = match elsewhere(error) {
        Some(ours) => vec![format!("here it is '{ours}'")],
        None => tips,
    };
    let tips: String = tips.iter().map(|tip| format!(" ({tip})")).collect();
    format!("{what}{tips}; see {} --help", command(&rendered))
}

/// What clap says before its usage, and its tips.
fn parts(rendered: &str) -> (String, Vec<String>) {
    let said = rendered
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty());
    let (tips, what): (Vec<&str>, Vec<&str>) = said.partition(|line| line.starts_with("tip: "));
    let what = what.join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what).to_owned();
    let tips = tips.iter().filter_map(|tip| tip.strip_prefix("tip: "));
    (what, tips.map(str::to_owned).collect())
}

/// The words that clap's usage begins with: those whose help says more.
fn command(rendered: &str) -> String {
    let usage = rendered
        .lines()
        .find_map(|line| line.strip_prefix("Usage: "));
    let words = usage.unwrap_or("holdfast").split(' ');
    let is_plain = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
    words.take_while(is_plain).collect::<Vec<_>>().join(" ")
}

/// Our verb for another program's.
fn elsewhere(error: &Error) -> Option<&'static str> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let found = ELSEWHERE.iter().find(|(theirs, _)| theirs == word);
    found.map(|(_, ours)| *ours)
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use super::*;
    use clap::{CommandFactory, Parser};

    fn said(words: &[&str]) -> String {
        line(&Cli::try_parse_from(words).unwrap_err())
    }

    #[test]
    fn a_mistake_is_explained_in_one_line() {
        for (words, expected) in [
            (&["holdfast"][..], "no command; see holdfast --help"),
            (
                &["holdfast", "run"],
                "the following required arguments were not provided: <ID>; see holdfast run --help",
            ),
            (
                &["holdfast", "run", "--bundel", "x", "web"],
                "unexpected argument '--bundel' found (a similar argument exists: '--bundle'); see holdfast run --help",
            ),
            (
                &["holdfast", "attahc"],
                "unrecognized subcommand 'attahc' (a similar subcommand exists: 'attach'); see holdfast --help",
            ),
            (
                &["holdfast", "rm", "web"],
                "unrecognized subcommand 'rm' (here it is 'delete'); see holdfast --help",
            ),
            (
                &["holdfast", "list", "-f", "xml"],
                "invalid value 'xml' for '--format <FORMAT>' [possible values: table, json]; see holdfast --help",
            ),
            (
                &["holdfast", "state", "a", "b"],
                "unexpected argument 'b' found; see holdfast state --help",
            ),
            (
                &["holdfast", "help", "nonsense"],
                "unrecognized subcommand 'nonsense'; see holdfast --help",
            ),
        ] {
            assert_eq!(said(words), expected);
        }
        for words in [
            &["holdfast", "run", "a/b"][..],
            &["holdfast", "kill", "x", "NOPE"],
            &["holdfast", "exec"],
        ] {
            let line = said(words);
            assert!(
                line.len() > 15 && !line.contains('\n') && !line.contains("error:"),
                "{line}"
            );
        }
    }

    #[test]
    fn another_programs_verb_has_one_of_ours() {
        let mut command = Cli::command();
        command.build();
        for (theirs, ours) in ELSEWHERE {
            assert!(command.find_subcommand(ours).is_some(), "{ours}");
            assert!(command.find_subcommand(theirs).is_none(), "{theirs}");
        }
    }
}
