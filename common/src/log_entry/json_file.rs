//! Docker's format (json-file, moby's `jsonlog.JSONLog`): `{"log":"BYTES\n","stream":"stdout","attrs":{…},"time":"TIME"}`, a line an
//! entry; `log` without a line end is a piece of a line.
//!
//! JSON is text, and output is bytes. Docker writes U+FFFD for whatever is no UTF-8, and it is lost. Here such a byte B is the
//! escape `\udcB`, a lone surrogate, as Python's `surrogateescape` has it (PEP 383): docker, Go and jq read U+FFFD all the same,
//! Python and [`decode`] have the byte back.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use super::{BadEntry, Entry, Stamp, parse_stream, parse_time, pieces};
use crate::layout::Stream;

/// Appends an entry, line end included. `attrs` is a JSON object, or nothing.
pub fn encode(
    out: &mut Vec<u8>,
    stamp: &Stamp,
    stream: Stream,
    bytes: &[u8],
    ends: bool,
    attrs: &[u8],
) {
    out.extend_from_slice(b"{\"log\":\"");
    for chunk in bytes.utf8_chunks() {
        escape_text(out, chunk.valid().as_bytes());
        for &byte in chunk.invalid() {
            out.extend_from_slice(b"\\udc");
            out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
    }
    if ends {
        out.extend_from_slice(b"\\n");
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    if !attrs.is_empty() {
        out.extend_from_slice(b"\",\"attrs\":");
        out.extend_from_slice(attrs);
        out.extend_from_slice(b",\"time\":\"");
    } else {
        out.extend_from_slice(b"\",\"time\":\"");
    }
    out.extend_from_slice(stamp.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

/// Appends entries of what was written, as many as fit: `out` gets no longer than `most`. Returns of how many bytes they are.
pub fn encode_all(
    out: &mut Vec<u8>,
    stamp: &Stamp,
    stream: Stream,
    bytes: &[u8],
    attrs: &[u8],
    most: usize,
) -> usize {
    let mut done = 0;
    for (piece, ends) in pieces(bytes) {
        let mark = out.len();
        encode(out, stamp, stream, piece, ends, attrs);
        if out.len() > most {
            out.truncate(mark);
            break;
        }
        done += piece.len() + usize::from(ends);
    }
    done
}

/// Appends UTF-8 as a JSON string has it (RFC 8259, section 7), by runs: most bytes are as they are.
fn escape_text(out: &mut Vec<u8>, text: &[u8]) {
    let mut run = 0;
    for (at, &byte) in text.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => &[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)],
            _ => continue,
        };
        out.extend_from_slice(&text[run..at]);
        out.extend_from_slice(escape);
        run = at + 1;
    }
    out.extend_from_slice(&text[run..]);
}

fn digit(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble & 15)]
}

/// Understands a line, without its line end. Keys that are not an entry's are passed over, as docker does.
///
/// # Errors
/// It is no entry.
pub fn decode(line: &[u8]) -> Result<Entry<'_>, BadEntry> {
    // Bytes that are no text must be escaped: only then do they have one meaning.
    let line = std::str::from_utf8(line).map_err(|_| BadEntry::Json)?;
    let object: Object<'_> = serde_json::from_str(line).map_err(|_| BadEntry::Json)?;
    let mut bytes = unescape_bytes(object.log.0).ok_or(BadEntry::Json)?;
    let ends = bytes.ends_with(b"\n");
    if ends {
        match &mut bytes {
            Cow::Borrowed(bytes) => *bytes = &bytes[..bytes.len() - 1],
            Cow::Owned(bytes) => bytes.truncate(bytes.len() - 1),
        }
    }
    Ok(Entry {
        time: parse_time(&object.time)?,
        stream: parse_stream(object.stream.as_bytes())?,
        ends,
        bytes,
    })
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    log: Text<'a>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// A JSON string, with lone surrogates as three bytes each (WTF-8), which no UTF-8 has.
struct Text<'a>(Cow<'a, [u8]>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(bytes)))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(bytes.to_owned())))
            }
        }
        deserializer.deserialize_bytes(Any)
    }
}

/// Puts bytes for the lone surrogates U+DC80 to U+DCFF, which are `ED B2 80` to `ED B3 BF`; `None` for any other.
fn unescape_bytes(text: Cow<'_, [u8]>) -> Option<Cow<'_, [u8]>> {
    /// What every surrogate begins with; characters of Hangul do too.
    const LEAD: u8 = 0xed;
    let is_surrogate = |at: usize, text: &[u8]| text.get(at + 1).is_some_and(|&b| b >= 0xa0);
    if !memchr::memchr_iter(LEAD, &text).any(|at| is_surrogate(at, &text)) {
        return Some(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut run = 0;
    for at in memchr::memchr_iter(LEAD, &text) {
        if !is_surrogate(at, &text) {
            continue;
        }
        let byte = match (text[at + 1], text.get(at + 2)?) {
            (0xb2, low @ 0x80..=0xbf) => *low,
            (0xb3, low @ 0x80..=0xbf) => low | 0x40,
            _ => return None,
        };
        out.extend_from_slice(&text[run..at]);
        out.push(byte);
        run = at + 3;
    }
    out.extend_from_slice(&text[run..]);
    Some(Cow::Owned(out))
}
