//! Detach keys: the sequence that lets go of a terminal without a word to the container. Docker's notation, docker's
//! behaviour: a beginning of the sequence is held back until it is clear that it is none. No I/O here.

use std::fmt;
use std::str::FromStr;

/// What docker's clients detach with.
pub const DEFAULT: &str = "ctrl-p,ctrl-q";

/// A sequence of bytes; empty means that nothing detaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

/// Why a text does not describe detach keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadKey(String);

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a key: write single characters or ctrl-X (X one of a-z @ [ \\ ] ^ _), separated by commas",
            self.0
        )
    }
}

impl std::error::Error for BadKey {}

impl FromStr for DetachKeys {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        text.split(',')
            .map(|key| one_key(key).ok_or_else(|| BadKey(key.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn one_key(key: &str) -> Option<u8> {
    let ascii = |text: &str| match text.as_bytes() {
        &[byte] if byte.is_ascii() => Some(byte),
        _ => None,
    };
    let Some(held) = key
        .get(..5)
        .filter(|start| start.eq_ignore_ascii_case("ctrl-"))
        .map(|start| &key[start.len()..])
    else {
        return ascii(key);
    };
    match ascii(held)?.to_ascii_uppercase() {
        // A terminal sends the letter without its upper bits.
        byte @ b'@'..=b'_' => Some(byte & 0x1f),
        _ => None,
    }
}

/// Looks for the sequence in what is typed.
#[derive(Debug)]
pub struct Watch {
    keys: Vec<u8>,
    /// How many bytes of the sequence have been seen last, and are held back.
    seen: usize,
}

impl Watch {
    /// Watches for these keys.
    pub fn new(keys: &DetachKeys) -> Self {
        Self {
            keys: keys.0.clone(),
            seen: 0,
        }
    }

    /// Takes what was typed, and appends to `pass` what goes to the container. `true` when the sequence is complete;
    /// what came after it is dropped.
    pub fn push(&mut self, typed: &[u8], pass: &mut Vec<u8>) -> bool {
        if self.keys.is_empty() {
            pass.extend_from_slice(typed);
            return false;
        }
        for &byte in typed {
            // What is held back and turned out to be no beginning is let go from the front, as long as the rest could
            // still be one: "ppq" holds a "pq".
            while self.seen > 0 && byte != self.keys[self.seen] {
                let held = self.keys[..self.seen].to_vec();
                let keep = (0..held.len())
                    .rev()
                    .find(|&length| held.ends_with(&self.keys[..length]))
                    .unwrap_or(0);
                pass.extend_from_slice(&held[..held.len() - keep]);
                self.seen = keep;
            }
            if byte != self.keys[self.seen] {
                pass.push(byte);
                continue;
            }
            self.seen += 1;
            if self.seen == self.keys.len() {
                self.seen = 0;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_notation_is_understood() {
        for (text, bytes) in [
            ("ctrl-p,ctrl-q", &[16u8, 17][..]),
            ("ctrl-P,x", &[16, b'x']),
            (
                "CTRL-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_",
                &[0, 27, 28, 29, 30, 31],
            ),
            ("~,.", b"~."),
            ("", b""),
        ] {
            assert_eq!(text.parse::<DetachKeys>().unwrap().0, bytes, "{text}");
        }
        for text in ["ctrl-", "ctrl-1", "ctrl-pq", "ab", "a,", ",", "ä", "ctrl-ä"] {
            assert!(text.parse::<DetachKeys>().is_err(), "{text}");
        }
    }

    fn watch(keys: &str, pieces: &[&str]) -> (String, bool) {
        let mut watch = Watch::new(&keys.parse().unwrap());
        let mut pass = Vec::new();
        let found = pieces
            .iter()
            .any(|piece| watch.push(piece.as_bytes(), &mut pass));
        (String::from_utf8(pass).unwrap(), found)
    }

    #[test]
    fn the_sequence_detaches_wherever_reads_cut_it() {
        assert_eq!(watch("p,q", &["helpq"]), ("hel".into(), true));
        assert_eq!(watch("p,q", &["help", "q", "never"]), ("hel".into(), true));
        assert_eq!(watch("p,q", &["ppq"]), ("p".into(), true));
        assert_eq!(watch("a,a,b", &["aaab"]), ("a".into(), true));
        assert_eq!(watch("a,b,a,c", &["ababac"]), ("ab".into(), true));
    }

    #[test]
    fn what_only_began_like_it_is_passed_on() {
        assert_eq!(watch("p,q", &["p"]), (String::new(), false));
        assert_eq!(watch("p,q", &["p", "x"]), ("px".into(), false));
        assert_eq!(watch("", &["pq"]), ("pq".into(), false));
    }
}
