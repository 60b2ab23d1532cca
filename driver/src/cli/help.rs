//! The help: the verbs in groups, by what one wants of them. What is said of each verb and flag stands at its definition.

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::builder::{Resettable, StyledStr};
use clap::{Command, CommandFactory};

use super::Cli;

/// The verbs by what one wants of them, and in the order in which one meets them. One that stands in no group is shown in
/// the last.
const GROUPS: [(&str, &[&str]); 6] = [
    (
        "Run containers",
        &["run", "create", "start", "exec", "attach"],
    ),
    (
        "Look at them",
        &[
            "list",
            "logs",
            "ps",
            "processes",
            "top",
            "stats",
            "events",
            "wait",
            "state",
            "inspect",
        ],
    ),
    (
        "Change them",
        &[
            "kill",
            "pause",
            "resume",
            "update",
            "resize",
            "close-stdin",
            "delete",
        ],
    ),
    (
        "Take them to the disk and back",
        &["checkpoint", "restore", "checkpoints", "delete-checkpoint"],
    ),
    (
        "Look after their shims",
        &["supervise", "recover", "upgrade"],
    ),
    (
        "Look up",
        &["spec", "features", "version", "completions", "help"],
    ),
];

/// What is to be shown for these words, which ask for help: made only then, for it takes a few milliseconds. With a mistake in
/// them, that.
pub fn of(words: impl IntoIterator<Item = OsString>) -> Option<clap::Error> {
    command().try_get_matches_from(words).err()
}

/// The command line as people see it. clap has a short and a long form of every help, and the long one spreads each flag over
/// three lines: here both are the short one, with the description in it. The flags of every verb are shown once, with
/// the verbs.
fn command() -> Command {
    let command = Cli::command();
    let mut verbs = command.clone();
    // Only then has it `help` among its verbs.
    verbs.build();
    let template = template(&verbs);
    command
        .help_template(template)
        .override_usage("holdfast [OPTIONS] <COMMAND>")
        .mut_args(|arg| {
            let hidden = arg.is_global_set();
            arg.hide(hidden)
        })
        .mut_subcommands(|verb| {
            let description = description(&verb);
            let verb = verb.help_template(VERB_TEMPLATE);
            match description {
                Some(text) => verb.long_about(Resettable::Reset).before_help(text),
                None => verb,
            }
        })
}

const VERB_TEMPLATE: &str = "\
{about-with-newline}
{before-help}{usage-heading} {usage}

{all-args}{after-help}

Global options, such as --root: see holdfast --help";

/// What is said of a verb beyond its line.
pub fn description(verb: &Command) -> Option<String> {
    let all = verb.get_long_about()?.to_string();
    let (_, rest) = all.split_once("\n\n")?;
    Some(rest.trim().to_owned())
}

/// The groups, each with its verbs; hidden ones left out.
pub fn groups(command: &Command) -> Vec<(&'static str, Vec<&Command>)> {
    let mut groups: Vec<(&str, Vec<&Command>)> = Vec::new();
    for (title, names) in GROUPS {
        let verbs = names
            .iter()
            .filter_map(|name| command.find_subcommand(name));
        groups.push((title, verbs.collect()));
    }
    let grouped = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let others = command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set() && !grouped(verb.get_name()));
    if let Some((_, last)) = groups.last_mut() {
        last.extend(others);
    }
    groups
}

/// clap knows no groups of verbs, and would list them in one.
fn template(command: &Command) -> StyledStr {
    let header = command.get_styles().get_header();
    let literal = command.get_styles().get_literal();
    let groups = groups(command);
    let names = groups.iter().flat_map(|(_, verbs)| verbs);
    let width = names.map(|verb| verb.get_name().len()).max().unwrap_or(0);
    let mut text = StyledStr::new();
    let _ = write!(text, "{{about-with-newline}}\n{{usage-heading}} {{usage}}");
    for (title, verbs) in groups {
        let _ = write!(text, "\n\n{header}{title}:{header:#}");
        for verb in verbs {
            let name = verb.get_name();
            let about = verb.get_about().cloned().unwrap_or_default();
            let _ = write!(text, "\n  {literal}{name:<width$}{literal:#}  {about}");
        }
    }
    let options = Cli::command().help_template("{options}").render_help();
    let options = options.ansi().to_string();
    let _ = write!(
        text,
        "\n\n{header}Global options:{header:#}\n{}{{after-help}}",
        options.trim_end()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn built() -> Command {
        let mut command = command();
        command.build();
        command
    }

    #[test]
    fn every_verb_stands_in_one_group() {
        let command = built();
        let grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = verb.get_name();
            let times = grouped.iter().filter(|grouped| **grouped == name).count();
            assert_eq!(times, 1, "{name}: put it into one of GROUPS");
        }
        for name in grouped {
            assert!(command.find_subcommand(name).is_some(), "{name} is no verb");
        }
    }

    #[test]
    fn every_flag_is_explained_in_one_clear_line() {
        let command = built();
        for verb in command.get_subcommands().chain([&command]) {
            for arg in verb.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let whose = format!("{} {}", verb.get_name(), arg.get_id());
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                let first = help.split(" [").next().unwrap_or_default();
                assert!(
                    first.chars().count() > 5 && first.chars().count() <= 100,
                    "{whose}: {} characters: {help}",
                    first.len()
                );
                assert!(
                    !help.contains('\n') && !help.ends_with('.'),
                    "{whose}: {help}"
                );
                // Words such as `fifo` and `table` are those to type.
                let begins = first.starts_with(|c: char| c.is_uppercase());
                assert!(begins || first.contains(" or "), "{whose}: {help}");
                if arg.get_action().takes_values() {
                    let names = arg.get_value_names().unwrap_or_default();
                    let named = names.iter().all(|name| name.to_uppercase() == **name);
                    assert!(named, "{whose}: {names:?}");
                }
            }
        }
    }

    #[test]
    fn the_help_fits_a_screen_or_two() {
        let mut command = built();
        let all = command.render_help().to_string();
        assert!(all.lines().count() <= 90, "{all}");
        let verbs = command.get_subcommands();
        for verb in verbs.filter(|verb| verb.get_name() != "help") {
            let name = verb.get_name();
            let asked = |words: [&str; 3]| {
                let answer = of(words.map(OsString::from));
                answer.unwrap().render().to_string()
            };
            let help = asked(["holdfast", name, "-h"]);
            assert!(help.starts_with(&verb.get_about().unwrap().to_string()));
            assert!(help.lines().count() <= 80, "{help}");
            assert!(
                help.lines().all(|line| line.chars().count() <= 100),
                "{help}"
            );
            assert_eq!(help, asked(["holdfast", name, "--help"]));
            assert_eq!(help, asked(["holdfast", "help", name]));
        }
    }

    /// Words as a shell has them, up to a comment, a pipe or a redirection.
    fn words(example: &str) -> Vec<String> {
        let ends = ["|", "<", ">", "&&", "#"];
        let command = example.split("  ").next().unwrap_or_default();
        command
            .split_whitespace()
            .take_while(|word| !ends.contains(word))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn every_example_is_one() {
        let command = built();
        let mut examples = 0;
        for verb in command.get_subcommands().chain([&command]) {
            let Some(after) = verb.get_after_help().map(ToString::to_string) else {
                continue;
            };
            for line in after.lines().filter_map(|line| line.strip_prefix("  ")) {
                let Some(line) = line.starts_with("holdfast ").then_some(line) else {
                    continue;
                };
                let tried = Cli::try_parse_from(words(line));
                assert!(tried.is_ok(), "{line}: {}", tried.unwrap_err());
                examples += 1;
            }
        }
        assert!(examples > 30, "{examples}");
    }
}
