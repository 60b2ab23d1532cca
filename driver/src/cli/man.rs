//! The pages of the manual: one for the command and one for each verb, from the definitions that the help comes from too, and the
//! two that are written by hand. A hidden verb of the program itself writes them, because only it knows its definitions:
//! whoever makes a package has all of them with one command, of the very program that is in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::Cli;
use super::error::{Error, Result};
use super::help;

/// Those that are written by hand.
const BY_HAND: [(&str, &str); 2] = [
    (
        "holdfast-state-directory.5",
        include_str!("../../man/holdfast-state-directory.5"),
    ),
    ("holdfast-shim.8", include_str!("../../man/holdfast-shim.8")),
];

const DESCRIPTION: [&str; 3] = [
    "holdfast runs OCI containers that do not depend on who started them. Each process of a container is held by a small \
     shim of its own, holdfast-shim(8), which keeps its standard streams, takes requests, and writes down how it ended.",
    "Everything that is known of a container is in its directory, holdfast-state-directory(5). So this command may be killed at \
     any moment, and the next one, or any other program, finds everything again.",
    "Verbs, flags and formats are those of runc(8) where it has them. Each verb has a page of its own, such as holdfast-run(1).",
];

const VARIABLES: [(&str, &str); 7] = [
    ("HOLDFAST_ROOT", "As --root."),
    ("HOLDFAST_RUNTIME", "As --runtime."),
    ("HOLDFAST_RUNTIME_ROOT", "As --runtime-root."),
    ("HOLDFAST_SHIM", "As --shim."),
    ("HOLDFAST_SHIM_CGROUP", "As --shim-cgroup."),
    ("HOLDFAST_STDIO", "As --stdio of run, create and exec."),
    (
        "NO_COLOR, CLICOLOR=0, TERM=dumb",
        "No colours on terminals. Elsewhere there are none anyway.",
    ),
];

const FILES: [(&str, &str); 2] = [
    (
        "/run/holdfast, $XDG_RUNTIME_DIR/holdfast",
        "The state directory of root, and of everybody else: holdfast-state-directory(5).",
    ),
    ("BUNDLE/config.json", "What a container is, as OCI has it."),
];

/// Verbs whose exit code is their process's.
const MIRRORS: [&str; 3] = ["run", "exec", "attach"];

/// Flags of `man-pages`.
#[derive(Debug, Args)]
pub struct ManPagesArgs {
    /// Directory to write them to, below man1, man5 and man8
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Writes every page.
///
/// # Errors
/// The system's.
pub fn man_pages(args: &ManPagesArgs) -> Result<u8> {
    for (name, page) in pages() {
        let section = name.rsplit('.').next().unwrap_or_default();
        let dir = args.dir.join(format!("man{section}"));
        write(&dir, &name, &page).map_err(|e| Error::io("write man page", dir.join(&name), e))?;
    }
    Ok(0)
}

fn write(dir: &Path, name: &str, page: &str) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join(name), page)
}

/// Their names and texts.
fn pages() -> Vec<(String, String)> {
    let mut command = Cli::command();
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    let verbs: Vec<Command> = verbs.cloned().collect();
    let mut pages: Vec<(String, String)> = verbs.into_iter().map(verb_page).collect();
    command.build();
    pages.push(("holdfast.1".to_owned(), main_page(&command)));
    pages.extend(BY_HAND.map(|(name, text)| {
        let text = text.replace("@VERSION@", env!("CARGO_PKG_VERSION"));
        (name.to_owned(), text)
    }));
    pages
}

/// A page in the making: what is done, and what is still being added to.
struct Page {
    done: String,
    roff: Roff,
}

impl Page {
    fn new(name: &str, about: &str) -> Self {
        let mut page = Self {
            done: String::new(),
            roff: Roff::new(),
        };
        let source = concat!("holdfast ", env!("CARGO_PKG_VERSION"));
        let title = name.to_uppercase();
        // No date: the same program writes the same page.
        let title = [&*title, "1", "\"\"", source, "Holdfast"];
        page.roff.control("TH", title);
        // A name that is broken in two is not found again.
        page.roff.control("nh", []);
        page.section("NAME");
        page.roff.text([roman(format!("{name} - {about}"))]);
        page
    }

    fn finish(self) -> String {
        format!("{}{}", self.done, self.roff.render())
    }

    /// What clap makes of a command's arguments.
    fn options(&mut self, command: Command) {
        self.done.push_str(&std::mem::take(&mut self.roff).render());
        let mut options = Vec::new();
        // Into memory: nothing can fail.
        let _ = Man::new(command).render_options_section(&mut options);
        self.done.push_str(&String::from_utf8_lossy(&options));
    }

    fn section(&mut self, title: &str) {
        self.roff.control("SH", [title]);
    }

    fn paragraph(&mut self, text: &str) {
        self.roff.control("PP", []);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.roff.text([roman(text)]);
    }

    fn entry(&mut self, term: impl Into<Vec<Inline>>, text: &str) {
        self.roff.control("TP", []);
        self.roff.text(term);
        self.roff.text([roman(text)]);
    }

    /// As it stands, line by line.
    fn verbatim(&mut self, text: &str) {
        self.roff.control("PP", []);
        self.roff.control("nf", []);
        for line in text.lines() {
            self.roff.text([roman(line)]);
        }
        self.roff.control("fi", []);
    }

    /// What is said after the help: the examples, and what else there is to know.
    fn after_help(&mut self, command: &Command) {
        let Some(text) = command.get_after_help().map(ToString::to_string) else {
            return;
        };
        for part in text.split("\n\n") {
            match part.strip_prefix("Examples:\n") {
                Some(examples) => {
                    self.section("EXAMPLES");
                    self.verbatim(examples.replace("\n  ", "\n").trim_start());
                }
                // The main page has a section for that.
                None if part.starts_with("Exit codes:") => {}
                None => {
                    self.section("NOTES");
                    self.paragraph(part);
                }
            }
        }
    }

    fn exit_status(&mut self, mirrors: bool) {
        self.section("EXIT STATUS");
        if mirrors {
            self.entry(
                [roman("the process's")],
                "Its code, or 128 + N when signal N ended it; 0 when we detached.",
            );
            self.entry([roman("125")], "A failure of holdfast.");
            self.entry([roman("126")], "The command cannot be executed.");
            self.entry([roman("127")], "The command was not found.");
        } else {
            self.entry([roman("0")], "All of it was done.");
            self.entry(
                [roman("125")],
                "Some of it was not; stderr says what, and why.",
            );
        }
    }

    fn see_also(&mut self, pages: &[&str]) {
        self.section("SEE ALSO");
        let mut text = Vec::new();
        for (number, page) in pages.iter().enumerate() {
            let (name, section) = page.split_once('(').unwrap_or((page, ""));
            text.push(roman(if number > 0 { ", " } else { "" }));
            text.push(bold(name));
            text.push(roman(format!("({section}")));
        }
        self.roff.text(text);
    }
}

fn main_page(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string);
    let mut page = Page::new("holdfast", &lower_first(&about.unwrap_or_default()));
    page.section("SYNOPSIS");
    page.roff.text([
        bold("holdfast"),
        roman(" ["),
        italic("OPTIONS"),
        roman("] "),
        italic("VERB"),
        roman(" ..."),
    ]);
    page.section("DESCRIPTION");
    DESCRIPTION.iter().for_each(|text| page.paragraph(text));
    page.section("VERBS");
    for (title, verbs) in help::groups(command) {
        page.roff.control("SS", [title]);
        for verb in verbs {
            let about = verb
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            page.entry([bold(verb.get_name())], &about);
        }
    }
    // Without a heading of their own they are what the section is called.
    let options = Cli::command().mut_args(|arg| arg.help_heading(None));
    page.options(options);
    page.after_help(command);
    page.exit_status(true);
    page.section("ENVIRONMENT");
    VARIABLES
        .iter()
        .for_each(|(name, text)| page.entry([bold(*name)], text));
    page.section("FILES");
    FILES
        .iter()
        .for_each(|(name, text)| page.entry([italic(*name)], text));
    page.see_also(&[
        "holdfast-run(1)",
        "holdfast-supervise(1)",
        "holdfast-state-directory(5)",
        "holdfast-shim(8)",
        "runc(8)",
    ]);
    page.finish()
}

fn verb_page(verb: Command) -> (String, String) {
    let short = verb.get_name().to_owned();
    let name = format!("holdfast-{short}");
    let about = verb
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut page = Page::new(&name, &lower_first(&about));
    page.section("SYNOPSIS");
    let usage = verb
        .clone()
        .bin_name(format!("holdfast {short}"))
        .render_usage();
    let usage = usage.to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    let usage: Vec<&str> = usage.lines().map(str::trim_start).collect();
    page.verbatim(&usage.join("\n"));
    page.section("DESCRIPTION");
    page.paragraph(&format!("{about}."));
    if let Some(more) = help::description(&verb) {
        more.split("\n\n").for_each(|text| page.paragraph(text));
    }
    page.options(verb.clone().long_about(Resettable::Reset));
    page.paragraph("Options of every verb, such as --root, are in holdfast(1).");
    page.after_help(&verb);
    page.exit_status(MIRRORS.contains(&&*short));
    page.see_also(&[
        "holdfast(1)",
        "holdfast-state-directory(5)",
        "holdfast-shim(8)",
    ]);
    (format!("{name}.1"), page.finish())
}

/// As what a page is about is written after its name.
fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}
