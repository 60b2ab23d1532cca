//! What is said to somebody who mistyped: one line, with what may have been meant and where to read on.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Error};

use super::error::FAILURE;
use super::help;
use super::logging::Reporter;
use super::output;
use super::{Cli, colour};

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

/// What the flags of other programs' verbs are here: the verb, how the flag begins, and a tip.
const FLAGS_ELSEWHERE: [(&str, &str, &str); 7] = [
    ("kill", "-s", SIGNAL_LAST),
    ("kill", "--signal", SIGNAL_LAST),
    ("kill", "-", SIGNAL_LAST),
    ("run", "--name", "the name is the argument"),
    ("list", "-a", "all are listed"),
    ("list", "--all", "all are listed"),
    (
        "delete",
        "--all",
        "holdfast delete $(holdfast list -q) removes all",
    ),
];
const SIGNAL_LAST: &str = "the signal comes last: holdfast kill web KILL";

/// Help and version are answers; anything else is one line and our exit code.
pub fn explain(error: &Error) -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if error.use_stderr() {
        Reporter::BARE.failure(&line(error, &words));
        return ExitCode::from(FAILURE);
    }
    let help = match error.kind() {
        ErrorKind::DisplayHelp => help::of(words),
        _ => None,
    };
    let answer = help.as_ref().unwrap_or(error).render();
    let text = if colour::wanted() {
        answer.ansi().to_string()
    } else {
        answer.to_string()
    };
    match output::print(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            Reporter::BARE.failure(&e.to_string());
            ExitCode::from(e.exit_code())
        }
    }
}

fn line(error: &Error, words: &[OsString]) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "no command; see holdfast --help".to_owned();
    }
    let verb = verb(words);
    let rendered = error.render().to_string();
    let (what, tips) = parts(&rendered);
    let tips = match elsewhere(error, verb) {
        Some(ours) => vec![ours],
        None => tips,
    };
    let tips: String = tips.iter().map(|tip| format!(" ({tip})")).collect();
    let verb = verb.map(|verb| format!(" {verb}")).unwrap_or_default();
    format!("{}{tips}; see holdfast{verb} --help", once(&what))
}

/// The verb that was meant, if it is one.
fn verb(words: &[OsString]) -> Option<&str> {
    let command = Cli::command();
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    words.find(|word| command.find_subcommand(word).is_some())
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
    // Hardly anybody means a value that begins with a dash.
    let tips = tips.filter(|tip| !tip.starts_with("to pass '"));
    (what, tips.map(str::to_owned).collect())
}

/// `invalid value 'x' for 'ARG': "x" is no …`, without the value that is there twice.
fn once(what: &str) -> String {
    let twice = || {
        let (value, rest) = what
            .strip_prefix("invalid value '")?
            .split_once("' for '")?;
        let (argument, reason) = rest.split_once("': ")?;
        reason
            .contains(&format!("{value:?}"))
            .then(|| format!("{argument}: {reason}"))
    };
    twice().unwrap_or_else(|| what.to_owned())
}

/// What another program's verb or flag is here.
fn elsewhere(error: &Error, verb: Option<&str>) -> Option<String> {
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = said(ContextKind::InvalidSubcommand)?;
            let (_, ours) = ELSEWHERE.iter().find(|(theirs, _)| *theirs == word)?;
            Some(format!("here it is '{ours}'"))
        }
        ErrorKind::UnknownArgument => {
            let flag = said(ContextKind::InvalidArg)?;
            let found = FLAGS_ELSEWHERE
                .iter()
                .find(|(whose, begins, _)| Some(*whose) == verb && flag.starts_with(begins));
            let (_, _, tip) = found?;
            Some((*tip).to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn said(words: &[&str]) -> String {
        let error = Cli::try_parse_from(words).unwrap_err();
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        line(&error, &words)
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
                "invalid value 'xml' for '--format <FORMAT>' [possible values: table, json]; see holdfast list --help",
            ),
            (
                &["holdfast", "state", "a", "b"],
                "unexpected argument 'b' found; see holdfast state --help",
            ),
            (
                &["holdfast", "help", "nonsense"],
                "unrecognized subcommand 'nonsense'; see holdfast --help",
            ),
            (
                &["holdfast", "kill", "-9", "web"],
                "unexpected argument '-9' found (the signal comes last: holdfast kill web KILL); see holdfast kill --help",
            ),
            (
                &["holdfast", "wait", "--zzz", "5", "web"],
                "unexpected argument '--zzz' found; see holdfast wait --help",
            ),
            (
                &["holdfast", "run", "--restart", "sometimes", "web"],
                "--restart <POLICY>: \"sometimes\" is no restart policy: use no, on-failure[:N], always or unless-stopped; \
                 see holdfast run --help",
            ),
            (
                &["holdfast", "resize", "web", "80", "70000"],
                "invalid value '70000' for '<ROWS>': 70000 is not in 0..=65535; see holdfast resize --help",
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
