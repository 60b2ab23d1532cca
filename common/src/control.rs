//! Control messages: one line each, three decimal integers, `TYPE A B\n` (containerd 0.2's format). The reader of
//! lines is bounded: nothing that arrives on the FIFO can make it grow, and a bad line costs only itself.

use std::fmt;

/// Longest line that can be a message, in bytes, without its end. Three 64-bit integers take 62.
pub const MAX_LINE: usize = 64;

/// The messages by name, and the number that each begins with.
pub const TYPES: [(&str, u8); 5] = [
    ("closeStdin", 0),
    ("resize", 1),
    ("reopenLogs", 2),
    ("reexec", 3),
    ("deadline", 4),
];

/// What a driver may ask of a shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Type 0: let the process see end of file on its stdin, after what is already there.
    CloseStdin,
    /// Type 1: give the terminal this size.
    Resize {
        /// Width in characters.
        columns: u16,
        /// Height in characters.
        rows: u16,
    },
    /// Type 2: open the log's files again, by their names.
    ReopenLogs,
    /// Type 3: execute the shim's (possibly replaced) executable in place.
    Reexec,
    /// Type 4: `deadline` was written, or removed.
    Deadline,
}

/// Why a line was skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadLine {
    /// More than [`MAX_LINE`] bytes.
    TooLong,
    /// Not three decimal integers.
    NotThreeIntegers(Vec<u8>),
    /// No message has this type.
    UnknownType(i64),
    /// A terminal cannot have this size (0 to 65535 each way).
    BadSize(i64, i64),
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadLine::TooLong => write!(f, "a line of more than {MAX_LINE} bytes"),
            BadLine::NotThreeIntegers(line) => {
                write!(f, "\"{}\" is not three integers", line.escape_ascii())
            }
            BadLine::UnknownType(kind) => write!(f, "no message has type {kind}"),
            BadLine::BadSize(columns, rows) => write!(
                f,
                "a terminal cannot have {columns} columns and {rows} rows"
            ),
        }
    }
}

impl Message {
    /// The message as the line to write, end included.
    pub fn encode(self) -> String {
        match self {
            Message::CloseStdin => "0 0 0\n".to_owned(),
            Message::Resize { columns, rows } => format!("1 {columns} {rows}\n"),
            Message::ReopenLogs => "2 0 0\n".to_owned(),
            Message::Reexec => "3 0 0\n".to_owned(),
            Message::Deadline => "4 0 0\n".to_owned(),
        }
    }

    /// The message in a line, given without its end.
    ///
    /// # Errors
    /// The line is no message.
    pub fn decode(line: &[u8]) -> Result<Self, BadLine> {
        let integers = || {
            let text = std::str::from_utf8(line).ok()?;
            let mut words = text
                .split_ascii_whitespace()
                .map(|word| word.parse::<i64>().ok());
            let three = [words.next()??, words.next()??, words.next()??];
            words.next().is_none().then_some(three)
        };
        match integers() {
            Some([0, _, _]) => Ok(Message::CloseStdin),
            Some([1, a, b]) => match (u16::try_from(a), u16::try_from(b)) {
                (Ok(columns), Ok(rows)) => Ok(Message::Resize { columns, rows }),
                _ => Err(BadLine::BadSize(a, b)),
            },
            Some([2, _, _]) => Ok(Message::ReopenLogs),
            Some([3, _, _]) => Ok(Message::Reexec),
            Some([4, _, _]) => Ok(Message::Deadline),
            Some([kind, _, _]) => Err(BadLine::UnknownType(kind)),
            None => Err(BadLine::NotThreeIntegers(line.to_vec())),
        }
    }
}

/// Puts lines together from pieces of any size, in constant space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineReader {
    line: [u8; MAX_LINE],
    length: usize,
    /// The current line is too long; skip to its end.
    skipping: bool,
}

impl Default for LineReader {
    fn default() -> Self {
        Self {
            line: [0; MAX_LINE],
            length: 0,
            skipping: false,
        }
    }
}

impl LineReader {
    /// Takes the next piece and calls `each` for every line that it completes.
    pub fn push(&mut self, piece: &[u8], mut each: impl FnMut(Result<Message, BadLine>)) {
        for &byte in piece {
            if byte == b'\n' {
                let line = &self.line[..self.length];
                each(if self.skipping {
                    Err(BadLine::TooLong)
                } else {
                    Message::decode(line)
                });
                self.length = 0;
                self.skipping = false;
            } else if self.length < MAX_LINE {
                self.line[self.length] = byte;
                self.length += 1;
            } else {
                self.skipping = true;
            }
        }
    }

    /// The beginning of a line whose end has not come yet, for [`LineReader::resume`]; `None` when the line that is
    /// being read is too long already.
    pub fn partial(&self) -> Option<&[u8]> {
        (!self.skipping).then(|| &self.line[..self.length])
    }

    /// The reader that [`LineReader::partial`] was taken from.
    pub fn resume(partial: Option<&[u8]>) -> Self {
        let mut reader = Self::default();
        match partial {
            Some(beginning) => reader.push(beginning, |_| ()),
            None => {
                reader.length = MAX_LINE;
                reader.skipping = true;
            }
        }
        reader
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<Result<Message, BadLine>> {
        let mut reader = LineReader::default();
        let mut seen = Vec::new();
        for piece in pieces {
            reader.push(piece, |line| seen.push(line));
            reader = LineReader::resume(reader.clone().partial());
        }
        seen
    }

    #[test]
    fn every_type_is_told() {
        let numbers = TYPES.map(|(_, number)| number);
        for number in 0..=u8::MAX {
            let known = Message::decode(format!("{number} 1 1").as_bytes()).is_ok();
            assert_eq!(known, numbers.contains(&number), "{number}");
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for message in [
            Message::CloseStdin,
            Message::Resize {
                columns: 80,
                rows: 24,
            },
            Message::ReopenLogs,
            Message::Reexec,
        ] {
            assert_eq!(read(&[message.encode().as_bytes()]), [Ok(message)]);
        }
    }

    #[test]
    fn a_line_may_come_byte_by_byte() {
        let pieces: Vec<&[u8]> = b"1 80 24\n".chunks(1).collect();
        assert_eq!(
            read(&pieces),
            [Ok(Message::Resize {
                columns: 80,
                rows: 24
            })]
        );
    }

    #[test]
    fn a_bad_line_costs_only_itself() {
        let long = [b'1'; 5000];
        let cases: [&[u8]; 14] = [
            b"",
            b" ",
            b"1",
            b"1 2",
            b"1 2 3 4",
            b"a b c",
            b"\0\xff\x80",
            b"1 -1 24",
            b"1 80 65536",
            b"99 0 0",
            b"-1 0 0",
            b"99999999999999999999 0 0",
            b"1 80 24\r\r1",
            &long,
        ];
        for case in cases {
            let seen = read(&[case, b"\n1 80 24\n"]);
            assert_eq!(seen.len(), 2, "{}", case.escape_ascii());
            assert!(seen[0].is_err(), "{}", case.escape_ascii());
            assert_eq!(
                seen[1],
                Ok(Message::Resize {
                    columns: 80,
                    rows: 24
                })
            );
        }
    }
}
