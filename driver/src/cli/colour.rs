//! Colours, where somebody looks who wants them: on a terminal that has them, unless `NO_COLOR`, `CLICOLOR=0` or `TERM=dumb` says
//! otherwise (no-color.org, bixense.com/clicolors). Never anywhere else, also with `CLICOLOR_FORCE`: scripts cut what we print.

use std::io::{IsTerminal, stdout};

use clap::builder::styling::{AnsiColor, Color, Style};

/// What a colour is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// To be looked at when there is time.
    Care,
    /// To be looked at now.
    Bad,
}

/// Whether stdout gets colours.
pub fn wanted() -> bool {
    stdout().is_terminal()
        && !anstyle_query::no_color()
        && anstyle_query::clicolor().unwrap_or(true)
        && anstyle_query::term_supports_color()
}

/// A text in its tone. The text must not have line ends: what a pager or a log shows is cut at them.
pub fn painted(tone: Tone, text: &str) -> String {
    let colour = match tone {
        Tone::Good => AnsiColor::Green,
        Tone::Care => AnsiColor::Yellow,
        Tone::Bad => AnsiColor::Red,
    };
    let style = Style::new().fg_color(Some(Color::Ansi(colour)));
    format!("{style}{text}{style:#}")
}

/// As [`painted`], if colours are wanted.
pub fn paint(tone: Tone, text: &str) -> String {
    if wanted() {
        painted(tone, text)
    } else {
        text.to_owned()
    }
}
