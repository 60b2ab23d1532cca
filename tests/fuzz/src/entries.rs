//! Entries of containers' logs, in each format: what was written is what is read, and what is read was in the line.

use holdfast_common::layout::Stream;
use holdfast_common::log_entry::{BadEntry, Entry, Stamp, cri, json_file, pieces};

type Encode = fn(&mut Vec<u8>, &Stamp, Stream, &[u8], bool);
type Decode = fn(&[u8]) -> Result<Entry<'_>, BadEntry>;

const FORMATS: [(Encode, Decode); 2] = [
    (cri::encode, cri::decode),
    (
        |out, stamp, stream, bytes, ends| json_file::encode(out, stamp, stream, bytes, ends, b""),
        json_file::decode,
    ),
];

/// The bytes, once as what a container wrote, once as a file that somebody wrote.
pub fn log_entry(bytes: &[u8]) {
    for (encode, decode) in FORMATS {
        what_is_written_is_read(bytes, encode, decode);
        for line in bytes.split(|&byte| byte == b'\n') {
            let Ok(entry) = decode(line) else { continue };
            // A format that escapes line ends can have them in the middle of what others would have written in two entries.
            let mut text = Vec::new();
            entry.append_to(&mut text);
            let stamp = Stamp::of(entry.time);
            let mut again = Vec::new();
            encode(&mut again, &stamp, entry.stream, &entry.bytes, entry.ends);
            if !entry.bytes.contains(&b'\n') {
                assert_eq!(again.pop(), Some(b'\n'));
                assert_eq!(decode(&again), Ok(entry));
            }
            what_is_written_is_read(&text, encode, decode);
        }
    }
    for line in bytes.split(|&byte| byte == b'\n') {
        if let Ok(entry) = cri::decode(line) {
            assert!(line.ends_with(&entry.bytes), "what it says was not there");
        }
    }
}

fn what_is_written_is_read(bytes: &[u8], encode: Encode, decode: Decode) {
    let stamp = Stamp::of(std::time::SystemTime::UNIX_EPOCH);
    let mut file = Vec::new();
    let mut entries = 0;
    for (piece, ends) in pieces(bytes) {
        encode(&mut file, &stamp, Stream::Stdout, piece, ends);
        entries += 1;
    }
    let mut read = Vec::new();
    for line in file.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\n").expect("a whole entry");
        decode(line).expect("an entry").append_to(&mut read);
        entries -= 1;
    }
    assert_eq!((read.as_slice(), entries), (bytes, 0));
}
