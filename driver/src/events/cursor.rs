//! Where somebody has got to in the event logs: text, to be kept anywhere and given back. It names files by what they say of
//! themselves, so that it stays right when they have moved on, or when another container has the id by now.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use holdfast_common::id::ContainerId;

/// A place in the event logs of any number of containers: everything before it was taken. A log that it does not name is
/// taken from its beginning. As text: `ID@LOG.GENERATION.OFFSET`, separated by commas; `-` when it names none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor(pub(super) BTreeMap<ContainerId, Position>);

/// A place in one log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Position {
    /// Which log; empty for one that does not say.
    pub log: String,
    /// Which of its files.
    pub generation: u64,
    /// Bytes from the file's beginning; at the end of a line.
    pub offset: u64,
}

/// A text that is no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cursor {text:?}: {part:?} is not ID@LOG.GENERATION.OFFSET")]
pub struct BadCursor {
    text: String,
    part: String,
}

impl Cursor {
    /// A place in one log alone.
    pub(super) fn of(id: &ContainerId, position: &Position) -> Self {
        Self(BTreeMap::from([(id.clone(), position.clone())]))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        for (n, (id, position)) in self.0.iter().enumerate() {
            let Position {
                log,
                generation,
                offset,
            } = position;
            let comma = if n > 0 { "," } else { "" };
            write!(f, "{comma}{id}@{log}.{generation}.{offset}")?;
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        if text == "-" {
            return Ok(Self::default());
        }
        let parse = |part: &str| {
            let (id, place) = part.split_once('@')?;
            let mut fields = place.split('.');
            let log = fields.next()?;
            let position = Position {
                log: log.to_owned(),
                generation: fields.next()?.parse().ok()?,
                offset: fields.next()?.parse().ok()?,
            };
            let plain = log.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let id = ContainerId::new(id).ok()?;
            (plain && fields.next().is_none()).then_some((id, position))
        };
        let bad = |part: &str| BadCursor {
            text: text.to_owned(),
            part: part.to_owned(),
        };
        let parts = text.split(',');
        let places = parts.map(|part| parse(part).ok_or_else(|| bad(part)));
        Ok(Self(places.collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_text_and_back() {
        for text in [
            "-",
            "web@0123456789abcdef.0.42",
            "a.b+c_d-e@x.1.2,web@.18446744073709551615.0",
        ] {
            assert_eq!(text.parse::<Cursor>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_cursor_is_named() {
        for text in [
            "",
            "web",
            "web@",
            "web@x.1",
            "web@x.1.2.3",
            "web@x.-1.2",
            "web@x.1.2,",
            "../x@x.1.2",
            "web@x/y.1.2",
        ] {
            let error = text.parse::<Cursor>().unwrap_err();
            assert!(error.to_string().starts_with("cursor \""), "{error}");
        }
    }
}
