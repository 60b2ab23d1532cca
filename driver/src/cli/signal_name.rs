//! A signal as people write it: a number, a name with or without `SIG`, in either case, or `RTMIN+n` and `RTMAX-n`.

use std::fmt;
use std::str::FromStr;

use nix::libc;
use nix::sys::signal::Signal;

/// A signal's number; 0 asks whether the process is there (kill(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalNumber(pub i32);

/// Why a text names no signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownSignal(String);

impl fmt::Display for UnknownSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown signal {:?}: use a name (TERM, SIGTERM, RTMIN+1) or a number from 0 to {}",
            self.0,
            libc::SIGRTMAX()
        )
    }
}

impl std::error::Error for UnknownSignal {}

impl FromStr for SignalNumber {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        by_number(text)
            .or_else(|| by_name(text))
            .filter(|number| (0..=libc::SIGRTMAX()).contains(number))
            .map(SignalNumber)
            .ok_or_else(|| UnknownSignal(text.to_owned()))
    }
}

fn by_number(text: &str) -> Option<i32> {
    text.parse().ok()
}

fn by_name(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str| rest.parse::<u8>().ok().map(i32::from);
    let (low, high) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    match name {
        "RTMIN" => return Some(low),
        "RTMAX" => return Some(high),
        // Older names that kill(1) knows.
        "CLD" => return Some(libc::SIGCHLD),
        "POLL" => return Some(libc::SIGIO),
        "IOT" => return Some(libc::SIGABRT),
        _ => {}
    }
    if let Some(rest) = name.strip_prefix("RTMIN+") {
        return offset(rest).map(|n| low + n).filter(|&n| n <= high);
    }
    if let Some(rest) = name.strip_prefix("RTMAX-") {
        return offset(rest).map(|n| high - n).filter(|&n| n >= low);
    }
    format!("SIG{name}")
        .parse::<Signal>()
        .ok()
        .map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_understood() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("hup", 1),
            ("9", 9),
            ("0", 0),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmax-1", 63),
            ("64", 64),
            ("POLL", 29),
        ] {
            assert_eq!(text.parse(), Ok(SignalNumber(number)), "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in [
            "",
            "FOO",
            "SIG",
            "SIGSIGTERM",
            "-1",
            "65",
            "99999999999",
            "RTMIN+31",
            "RTMAX-31",
            "RTMIN+",
            "TERM ",
        ] {
            assert!(text.parse::<SignalNumber>().is_err(), "{text}");
        }
    }
}
