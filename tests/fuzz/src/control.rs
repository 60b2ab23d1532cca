//! The control FIFO's reader of lines: one result a line, the same however the bytes are cut into reads, and however often
//! the shim is replaced between two of them. The shim's actions are tested in `control_fifo.rs`.

use holdfast_common::control::{BadLine, LineReader, MAX_LINE, Message};

type Line = Result<Message, BadLine>;

/// Longest line about a bad line, in bytes: four for each of its own, and words around them.
const LONGEST_COMPLAINT: usize = 4 * MAX_LINE + 64;

/// Reads of these sizes: the smallest, the shim's own, and those that end a line where its space ends.
const SIZES: [usize; 5] = [1, MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 1024];

/// The reader's results are those of an unbounded reader for every line that is not too long, and one for each of the others.
pub fn control(bytes: &[u8]) {
    let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    // What has no end is no line yet; `split` yields at least one piece.
    let begun = lines.pop().unwrap_or_default();
    let wanted: Vec<Line> = lines.iter().map(|line| meaning(line)).collect();
    for (line, result) in lines.iter().zip(&wanted) {
        a_result_is_true_to_its_line(line, result);
    }

    let mut pieces: Vec<Vec<&[u8]>> = vec![vec![bytes], cut_anyhow(bytes)];
    pieces.extend(SIZES.iter().map(|&size| bytes.chunks(size).collect()));
    for pieces in &pieces {
        let mut reader = LineReader::default();
        let mut replaced = LineReader::default();
        let (mut seen, mut seen_replaced) = (Vec::new(), Vec::new());
        for piece in pieces {
            reader.push(piece, |line| seen.push(line));
            replaced.push(piece, |line| seen_replaced.push(line));
            replaced = LineReader::resume(replaced.clone().partial());
        }
        assert_eq!(seen, wanted);
        assert_eq!(seen_replaced, wanted, "replaced between reads");
        let partial = (begun.len() <= MAX_LINE).then_some(begun);
        assert_eq!(reader.partial(), partial);
        assert_eq!(replaced.partial(), partial, "replaced between reads");
    }
}

/// What a line means, said in other words than the reader's.
fn meaning(line: &[u8]) -> Line {
    if line.len() > MAX_LINE {
        return Err(BadLine::TooLong);
    }
    let no_integers = || BadLine::NotThreeIntegers(line.to_vec());
    let words: Vec<&[u8]> = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .collect();
    let numbers: Option<Vec<i64>> = words.iter().map(|word| integer(word)).collect();
    let [kind, a, b] = numbers.ok_or_else(no_integers)?[..] else {
        return Err(no_integers());
    };
    let sizes = 0..=i64::from(u16::MAX);
    match kind {
        0 => Ok(Message::CloseStdin),
        1 if sizes.contains(&a) && sizes.contains(&b) => Ok(Message::Resize {
            columns: u16::try_from(a).expect("in range"),
            rows: u16::try_from(b).expect("in range"),
        }),
        1 => Err(BadLine::BadSize(a, b)),
        2 => Ok(Message::ReopenLogs),
        3 => Ok(Message::Reexec),
        4 => Ok(Message::Deadline),
        _ => Err(BadLine::UnknownType(kind)),
    }
}

/// A sign perhaps, digits, no more than 64 bits.
fn integer(word: &[u8]) -> Option<i64> {
    let digits = word.strip_prefix(b"-").or(word.strip_prefix(b"+"));
    let digits = digits.unwrap_or(word);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let sign = if word[0] == b'-' { -1 } else { 1 };
    digits.iter().try_fold(0_i64, |number, digit| {
        let digit = i64::from(digit - b'0');
        number.checked_mul(10)?.checked_add(sign * digit)
    })
}

/// What may be done with a result: a message is written as it is read, a complaint is short.
fn a_result_is_true_to_its_line(line: &[u8], result: &Line) {
    match result {
        Ok(message) => {
            let encoded = message.encode();
            assert_eq!(encoded.bytes().filter(|&byte| byte == b'\n').count(), 1);
            assert_eq!(Message::decode(encoded.trim_end().as_bytes()), Ok(*message));
        }
        Err(bad) => {
            let complaint = bad.to_string();
            assert!(complaint.len() <= LONGEST_COMPLAINT, "{complaint}");
            assert!(!complaint.contains('\n'), "{}", line.escape_ascii());
        }
    }
}

/// Cuts in places that look like nothing, and are the same every time.
fn cut_anyhow(bytes: &[u8]) -> Vec<&[u8]> {
    let mut state = bytes.iter().fold(bytes.len() | 1, |state, &byte| {
        (state ^ usize::from(byte)).wrapping_mul(0x0100_0193)
    });
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        state = state.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
        let (piece, after) = rest.split_at(((state >> 16) % 97).min(rest.len()));
        // An empty read between two others is nothing either.
        pieces.push(piece);
        rest = after;
    }
    pieces
}
