//! Kubernetes' format (CRI, kubelet's `ParseCRILog`; conmon's k8s-file): `TIME stdout|stderr P|F BYTES`, a line an entry. `F` says that
//! the line ends here, `P` that it does not. The bytes are as they were written: everything but a line end can be in them.

use std::borrow::Cow;

use super::{BadEntry, Entry, STAMP_LENGTH, Stamp, parse_stream, parse_time};
use crate::layout::Stream;

/// Appends an entry, line end included. The bytes must not contain a line end ([`super::pieces`]).
pub fn encode(out: &mut Vec<u8>, stamp: &Stamp, stream: Stream, bytes: &[u8], ends: bool) {
    out.extend_from_slice(stamp.as_bytes());
    out.push(b' ');
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(if ends { b" F " } else { b" P " });
    out.extend_from_slice(bytes);
    out.push(b'\n');
}

/// Appends entries of what was written, as many as fit: `out` gets no longer than `most`. Returns of how many bytes they are. As
/// [`encode`] of each of [`super::pieces`], and several times as fast: what every entry begins with is made once.
pub fn encode_all(
    out: &mut Vec<u8>,
    stamp: &Stamp,
    stream: Stream,
    bytes: &[u8],
    most: usize,
) -> usize {
    let head = head(stamp, stream);
    let mut done = 0;
    while done < bytes.len() {
        let rest = &bytes[done..];
        let line = match memchr::memchr(b'\n', rest) {
            Some(end) => &rest[..=end],
            None => {
                // The last one: it does not end.
                let mark = out.len();
                encode(out, stamp, stream, rest, false);
                if out.len() > most {
                    out.truncate(mark);
                    return done;
                }
                return bytes.len();
            }
        };
        if out.len() + head.len() + line.len() > most {
            break;
        }
        out.extend_from_slice(&head);
        append(out, line);
        done += line.len();
    }
    done
}

/// Appends a line. Most are short, and a C library's memcpy takes longer to begin with one than this takes for it (musl's is one
/// instruction of the processor's, for long copies): what has a length that is known is copied without a call.
fn append(out: &mut Vec<u8>, line: &[u8]) {
    const PIECE: usize = 32;
    const LONG: usize = 16 * PIECE;
    let (pieces, rest) = line.as_chunks::<PIECE>();
    let Some(last) = line.last_chunk::<PIECE>().filter(|_| line.len() <= LONG) else {
        return out.extend_from_slice(line);
    };
    for piece in pieces {
        out.extend_from_slice(piece);
    }
    if !rest.is_empty() {
        // The last piece overlaps the one before.
        out.truncate(out.len() - (PIECE - rest.len()));
        out.extend_from_slice(last);
    }
}

/// What an entry begins with whose line ends here. Of one length, whatever the stream, so that it is copied without a loop.
fn head(stamp: &Stamp, stream: Stream) -> [u8; HEAD] {
    let mut head = [b' '; HEAD];
    let name = stream.name().as_bytes();
    head[..STAMP_LENGTH].copy_from_slice(stamp.as_bytes());
    head[STAMP_LENGTH + 1..][..name.len()].copy_from_slice(name);
    head[HEAD - 2] = b'F';
    head
}

const HEAD: usize = STAMP_LENGTH + 1 + "stdout".len() + 3;

/// Understands a line, without its line end. After the first tag there may be others, behind colons, that nobody has given a
/// meaning yet.
///
/// # Errors
/// It is no entry.
pub fn decode(line: &[u8]) -> Result<Entry<'_>, BadEntry> {
    let mut words = line.splitn(4, |&byte| byte == b' ');
    let mut word = || words.next().ok_or(BadEntry::Torn);
    let (time, stream, tags, bytes) = (word()?, word()?, word()?, word()?);
    let time = std::str::from_utf8(time).map_err(|_| BadEntry::Time)?;
    let ends = match tags.split(|&byte| byte == b':').next() {
        Some(b"F") => true,
        Some(b"P") => false,
        _ => return Err(BadEntry::Tag),
    };
    Ok(Entry {
        time: parse_time(time)?,
        stream: parse_stream(stream)?,
        ends,
        bytes: Cow::Borrowed(bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_any_length_is_appended_whole() {
        for length in 0..600 {
            let line: Vec<u8> = (0..=255).cycle().skip(length).take(length).collect();
            let mut out = b"what was there".to_vec();
            append(&mut out, &line);
            assert_eq!(out, [&b"what was there"[..], &line].concat(), "{length}");
        }
    }
}
