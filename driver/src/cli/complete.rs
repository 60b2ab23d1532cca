//! Completion in shells: `holdfast completions SHELL` prints a few lines that have the shell ask this program what may stand at
//! the cursor, with [`ASKED`] in the environment. So what is offered is always what this very program takes, and the names
//! of containers are those that are there.
//!
//! Which values a flag or an argument has, its value name says: `ID`, `PROCESS`, `SIGNAL` and `DIR` mean the same everywhere.
//! Looking for names reads directories and nothing else: it takes no lock, opens no file, and says nothing when it cannot.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::ValueHint;
use clap::{Arg, Args, Command, CommandFactory, Parser, ValueEnum};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, ValueCompleter};
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Shells, Zsh};
use holdfast::{ContainerId, Driver, ProcessId};
use nix::sys::signal::Signal;

use super::error::{Error, Result};
use super::globals::ROOT_VARIABLE;
use super::output::print;
use super::{Cli, Verb};

/// The shell that asks. Not clap's usual `COMPLETE`: a variable of that name would turn every command into a question.
const ASKED: &str = "HOLDFAST_COMPLETE";

const SHELLS: Shells = Shells(&[&Bash, &Zsh, &Fish]);

/// Flags of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell: bash, zsh or fish
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints what a shell reads once.
///
/// # Errors
/// Standard output cannot be written to.
pub fn completions(args: &CompletionsArgs) -> Result<u8> {
    let (shell, more): (&dyn EnvCompleter, _) = match args.shell {
        Shell::Bash => (&Bash, ""),
        // As a file `_holdfast` in $fpath it is read when somebody asks for the first time, who is to have an answer, too.
        Shell::Zsh => (
            &Zsh,
            "[[ $funcstack[1] != _holdfast ]] || _clap_dynamic_completer_holdfast \"$@\"\n",
        ),
        Shell::Fish => (&Fish, ""),
    };
    let mut script = Vec::new();
    shell
        .write_registration(ASKED, "holdfast", "holdfast", "holdfast", &mut script)
        .map_err(|e| Error::io("make completions", "stdout", e))?;
    print(&format!("{}{more}", String::from_utf8_lossy(&script)))?;
    Ok(0)
}

/// Answers a shell, if it is one that started us.
pub fn answer() -> Option<ExitCode> {
    std::env::var_os(ASKED).filter(|shell| !shell.is_empty())?;
    let words = typed();
    // What follows a container there is another program's.
    if matches!(
        words
            .split_last()
            .map(|(_, before)| Cli::try_parse_from(before)),
        Some(Ok(Cli {
            verb: Verb::Exec(_) | Verb::Ps(_),
            ..
        }))
    ) {
        return Some(ExitCode::SUCCESS);
    }
    let here = std::env::current_dir().ok();
    let answered = CompleteEnv::with_factory(command)
        .var(ASKED)
        .completer("holdfast")
        .shells(SHELLS)
        .try_complete(std::env::args_os(), here.as_deref());
    // An error message would land in the middle of the line that somebody types.
    Some(match answered {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

/// The words on the shell's line, up to the one at the cursor as far as the shell says which it is.
fn typed() -> Vec<OsString> {
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    let index = std::env::var("_CLAP_COMPLETE_INDEX").ok();
    let index = index.and_then(|index| index.parse::<usize>().ok());
    let mut words: Vec<OsString> = words
        .take(index.map_or(usize::MAX, |index| index + 1))
        .collect();
    if index == Some(words.len()) {
        words.push(OsString::new());
    }
    words
}

/// The command line, with candidates for the values whose names have them. What is hidden is offered when there is nothing else:
/// flags while nothing is typed yet of a word, and every verb's flags after a verb.
fn command() -> Command {
    let command = Cli::command();
    let words = typed();
    let (before, at_cursor) = match words.split_last() {
        Some((last, before)) => (before, last.as_os_str()),
        None => (&[][..], OsStr::new("")),
    };
    let has_verb = before
        .iter()
        .any(|word| command.find_subcommand(word).is_some());
    let prepared = |arg: Arg, is_new: bool| {
        let hidden = (arg.is_global_set() && has_verb)
            || (!arg.is_positional() && at_cursor.is_empty())
            || arg.is_hide_set();
        with_candidates(arg.hide(hidden), is_new)
    };
    command
        .disable_help_flag(at_cursor.is_empty())
        .mut_args(|arg| prepared(arg, false))
        .mut_subcommands(|verb| {
            // A new container has a new name.
            let is_new = matches!(verb.get_name(), "run" | "create");
            verb.disable_help_flag(at_cursor.is_empty())
                .mut_args(|arg| prepared(arg, is_new))
        })
}

fn with_candidates(arg: Arg, is_new: bool) -> Arg {
    // What it is without is for those who read.
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let arg = arg.help(help.split(" [").next().unwrap_or_default().to_owned());
    let names = arg.get_value_names().unwrap_or_default();
    let only_first = names.len() > 1;
    match names.first().map(|name| name.as_str()) {
        Some("ID") if !is_new => arg.add(ArgValueCompleter::new(Containers { only_first })),
        Some("PROCESS") => arg.add(ArgValueCompleter::new(Processes)),
        Some("SIGNAL") => arg.add(ArgValueCompleter::new(Signals)),
        Some("DIR") => arg.value_hint(ValueHint::DirPath),
        _ => arg,
    }
}

/// The containers of the root.
struct Containers {
    /// What comes next is another program's.
    only_first: bool,
}

impl ValueCompleter for Containers {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let dir = root(&typed());
        beginning_with(
            current,
            names(dir.as_deref(), |name| ContainerId::new(name).is_ok()),
        )
    }

    fn complete_at(&self, index: usize, current: &OsStr) -> Vec<CompletionCandidate> {
        if self.only_first && index > 0 {
            return Vec::new();
        }
        self.complete(current)
    }
}

/// The processes of the container that has been named.
struct Processes;

impl ValueCompleter for Processes {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let words = typed();
        let Some(root) = root(&words) else {
            return Vec::new();
        };
        // The verb and its flags are no containers, as a rule.
        let id = words.iter().skip(2).rev().find_map(|word| {
            let id = ContainerId::new(word.to_str()?).ok()?;
            Some(root.join(id)).filter(|dir| dir.is_dir())
        });
        beginning_with(
            current,
            names(id.as_deref(), |name| ProcessId::new(name).is_ok()),
        )
    }
}

/// The names of signals.
struct Signals;

impl ValueCompleter for Signals {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let names = Signal::iterator().map(|signal| signal.as_str());
        let names = names.filter_map(|name| name.strip_prefix("SIG"));
        beginning_with(current, names.map(str::to_owned).collect())
    }
}

/// The root that is meant: the last that the words name, or else the one that every command has.
fn root(words: &[OsString]) -> Option<PathBuf> {
    let mut named = None;
    let mut rest = words.iter().filter_map(|word| word.to_str());
    while let Some(word) = rest.next() {
        match word.strip_prefix("--root") {
            // bash makes three words of `--root=DIR`.
            Some("") => named = rest.find(|word| *word != "="),
            Some(value) => named = value.strip_prefix('=').or(named),
            None => {}
        }
    }
    let preset = std::env::var_os(ROOT_VARIABLE).filter(|root| !root.is_empty());
    match named.map(OsString::from).or(preset) {
        Some(root) => Some(root.into()),
        None => Some(Driver::builder().build().ok()?.root().to_owned()),
    }
}

/// The directories in a directory that have names of the right kind, in order.
fn names(dir: Option<&Path>, is_name: impl Fn(&str) -> bool) -> Vec<String> {
    let entries = dir.and_then(|dir| fs::read_dir(dir).ok());
    let dirs = entries.into_iter().flatten().flatten();
    let dirs = dirs.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut names: Vec<String> = dirs
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_name(name))
        .collect();
    names.sort_unstable();
    names
}

fn beginning_with(current: &OsStr, names: Vec<String>) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let names = names.into_iter().filter(|name| name.starts_with(&*current));
    names.map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_one_that_is_typed() {
        let root = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            root(&words).unwrap()
        };
        for line in [
            "holdfast --root /a list",
            "holdfast list --root=/a",
            "holdfast list --root = /a --runtime-root /b",
            "holdfast --root /b list --root /a",
        ] {
            assert_eq!(root(line), Path::new("/a"), "{line}");
        }
    }
}
