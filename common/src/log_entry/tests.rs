use super::*;

/// What every format must give back as it is.
fn samples() -> Vec<Vec<u8>> {
    let all: Vec<u8> = (0..=255).filter(|&byte| byte != b'\n').collect();
    let mut samples: Vec<Vec<u8>> = [
        &b""[..],
        b" ",
        b"a line",
        b"trailing blank ",
        b"\r",
        b"half\r",
        b"\0\0",
        b"\"quoted\\\"",
        b"{\"log\":\"x\\n\"}",
        b"2026-01-02T03:04:05.678901234Z stdout F x",
        b"\xff\xfe",
        b"caf\xe9",
        b"\xc3",
        b"\xed\xb2\x80",
        b"\xed\xa0\xbd\xed\xb8\x80",
        "h\u{e9}\u{1f600}\u{d55c}\u{fffd}\u{2028}\u{7f}".as_bytes(),
        b"\\udc80",
        b"\x1b[31mred\x1b[0m\t\x08\x0c",
    ]
    .map(<[u8]>::to_vec)
    .into();
    samples.push(all.repeat(300));
    samples
}

fn time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_767_323_045, 678_901_234)
}

type Encode = fn(&mut Vec<u8>, &Stamp, Stream, &[u8], bool);
type Decode = fn(&[u8]) -> Result<Entry<'_>, BadEntry>;

const FORMATS: [(Encode, Decode); 3] = [
    (cri::encode, cri::decode),
    (
        |out, stamp, stream, bytes, ends| json_file::encode(out, stamp, stream, bytes, ends, b""),
        json_file::decode,
    ),
    (
        |out, stamp, stream, bytes, ends| {
            json_file::encode(out, stamp, stream, bytes, ends, b"{\"tag\":\"web\\\"\"}")
        },
        json_file::decode,
    ),
];

#[test]
fn what_is_encoded_is_decoded() {
    let stamp = Stamp::of(time());
    for (encode, decode) in FORMATS {
        for bytes in samples() {
            for stream in [Stream::Stdout, Stream::Stderr] {
                for ends in [true, false] {
                    let mut line = Vec::new();
                    encode(&mut line, &stamp, stream, &bytes, ends);
                    assert_eq!(line.pop(), Some(b'\n'));
                    assert!(!line.contains(&b'\n'));
                    let entry = Entry {
                        time: time(),
                        stream,
                        ends,
                        bytes: Cow::Borrowed(&bytes),
                    };
                    assert_eq!(decode(&line), Ok(entry));
                }
            }
        }
    }
}

#[test]
fn what_was_read_is_in_its_pieces() {
    for (bytes, wanted) in [
        (&b""[..], vec![]),
        (b"\n", vec![(&b""[..], true)]),
        (b"a", vec![(&b"a"[..], false)]),
        (b"a\n\nb", vec![(b"a", true), (b"", true), (b"b", false)]),
        (b"a\r\n", vec![(b"a\r", true)]),
    ] {
        assert_eq!(pieces(bytes).collect::<Vec<_>>(), wanted);
        let mut out = Vec::new();
        for (piece, ends) in pieces(bytes) {
            let bytes = Cow::Borrowed(piece);
            let (time, stream) = (time(), Stream::Stdout);
            Entry {
                time,
                stream,
                ends,
                bytes,
            }
            .append_to(&mut out);
        }
        assert_eq!(out, bytes);
    }
}

#[test]
fn many_at_once_are_the_same_as_one_by_one() {
    let stamp = Stamp::of(time());
    let mut bytes = samples().join(&b'\n');
    for end in [&b""[..], b"\n", b"\n\n"] {
        bytes.extend_from_slice(end);
        for stream in [Stream::Stdout, Stream::Stderr] {
            let (mut cri, mut json) = (Vec::new(), Vec::new());
            for (piece, ends) in pieces(&bytes) {
                cri::encode(&mut cri, &stamp, stream, piece, ends);
                json_file::encode(&mut json, &stamp, stream, piece, ends, b"{}");
            }
            type All<'a> = &'a dyn Fn(&mut Vec<u8>, &[u8], usize) -> usize;
            let in_cri: All<'_> =
                &|out, bytes, most| cri::encode_all(out, &stamp, stream, bytes, most);
            let in_json: All<'_> =
                &|out, bytes, most| json_file::encode_all(out, &stamp, stream, bytes, b"{}", most);
            for (encode, wanted) in [(in_cri, &cri), (in_json, &json)] {
                for most in [usize::MAX, 1 << 20, 600_000] {
                    let (mut out, mut done) = (Vec::new(), 0);
                    while done < bytes.len() {
                        let mut some = Vec::new();
                        let count = encode(&mut some, &bytes[done..], most);
                        assert!(count > 0 && some.len() <= most);
                        done += count;
                        out.extend(some);
                    }
                    assert!(out == *wanted, "{most}");
                }
                assert_eq!(encode(&mut Vec::new(), &bytes, 1), 0);
            }
        }
    }
}

#[test]
fn entries_look_as_their_readers_expect() {
    let stamp = Stamp::of(time());
    let mut line = Vec::new();
    cri::encode(&mut line, &stamp, Stream::Stdout, b"a\xff", true);
    assert_eq!(line, b"2026-01-02T03:04:05.678901234Z stdout F a\xff\n");
    line.clear();
    json_file::encode(
        &mut line,
        &stamp,
        Stream::Stderr,
        b"a\xff\x01",
        false,
        b"{\"tag\":\"t\"}",
    );
    let wanted = r#"{"log":"a\udcff\u0001","stream":"stderr","attrs":{"tag":"t"},"time":"2026-01-02T03:04:05.678901234Z"}"#;
    assert_eq!(String::from_utf8(line).unwrap(), format!("{wanted}\n"));
}

#[test]
fn entries_of_others_are_understood() {
    // conmon writes local time, containerd leaves zeros off, docker escapes what browsers might trip over.
    let at = |nanoseconds| SystemTime::UNIX_EPOCH + Duration::new(1_767_323_045, nanoseconds);
    for (line, time) in [
        (
            &b"2026-01-02T05:04:05.678901234+02:00 stdout F x y"[..],
            at(678_901_234),
        ),
        (b"2026-01-01T21:34:05.5-05:30 stdout F x y", at(500_000_000)),
        (b"2026-01-02T03:04:05Z stdout F:later x y", at(0)),
    ] {
        let entry = cri::decode(line).unwrap();
        assert_eq!((entry.time, &*entry.bytes), (time, &b"x y"[..]));
    }
    let line = br#" {"time":"2026-01-02T03:04:05.5Z","log":"\u003ca\u2028\u00e9\ud83d\ude00\n","more":[{}],"stream":"stdout"} "#;
    let entry = json_file::decode(line).unwrap();
    assert_eq!(&*entry.bytes, "<a\u{2028}\u{e9}\u{1f600}".as_bytes());
    assert!(entry.ends && entry.time == at(500_000_000));
}

#[test]
fn what_is_no_entry_is_refused() {
    for (line, wanted) in [
        (&b""[..], BadEntry::Torn),
        (b"2026-01-02T03:04:05Z stdout F", BadEntry::Torn),
        (b"2026-01-02T03:04:05Z stdin F x", BadEntry::Stream),
        (b"2026-01-02T03:04:05Z stdout f x", BadEntry::Tag),
        (b"2026-01-02 03:04:05Z stdout F x", BadEntry::Tag),
        (b"2026-01-02_03:04:05Z stdout F x", BadEntry::Time),
        (b"2026-13-02T03:04:05Z stdout F x", BadEntry::Time),
        (b"2026-01-02T03:04:05 stdout F x", BadEntry::Time),
        (b"2026-01-02T03:04:05+24:00 stdout F x", BadEntry::Time),
        (b"2026-01-02T03:04:05\xff02:00 stdout F x", BadEntry::Time),
        (b"1970-01-01T00:00:00+00:01 stdout F x", BadEntry::Time),
        (b"9999-12-31T23:59:59-00:01 stdout F x", BadEntry::Time),
        (b"2026-01-02T03:04:05+1:000 stdout F x", BadEntry::Time),
    ] {
        assert_eq!(cri::decode(line), Err(wanted), "{}", line.escape_ascii());
    }
    let time = r#""time":"2026-01-02T03:04:05Z""#;
    for (line, wanted) in [
        (String::new(), BadEntry::Json),
        ("[]".to_owned(), BadEntry::Json),
        (
            format!(r#"{{"log":"x","stream":"stdout",{time}"#),
            BadEntry::Json,
        ),
        (
            format!(r#"{{"log":"x","stream":"stdout",{time}}} {{}}"#),
            BadEntry::Json,
        ),
        (
            format!(r#"{{"log":"x","log":"y","stream":"stdout",{time}}}"#),
            BadEntry::Json,
        ),
        (
            format!(r#"{{"log":["x"],"stream":"stdout",{time}}}"#),
            BadEntry::Json,
        ),
        (
            format!(r#"{{"log":null,"stream":"stdout",{time}}}"#),
            BadEntry::Json,
        ),
        (
            format!(r#"{{"log":"\ud800","stream":"stdout",{time}}}"#),
            BadEntry::Json,
        ),
        (
            format!(r#"{{"log":"\udc7f","stream":"stdout",{time}}}"#),
            BadEntry::Json,
        ),
        (
            format!(r#"{{"log":"x","stream":"stdin",{time}}}"#),
            BadEntry::Stream,
        ),
        (
            r#"{"log":"x","stream":"stdout","time":"now"}"#.to_owned(),
            BadEntry::Time,
        ),
    ] {
        assert_eq!(json_file::decode(line.as_bytes()), Err(wanted), "{line}");
    }
    let alien = b"{\"log\":\"\xff\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05Z\"}";
    assert_eq!(json_file::decode(alien), Err(BadEntry::Json));
}

#[test]
fn every_time_has_a_stamp_of_one_length() {
    for (since, text) in [
        (Duration::ZERO, "1970-01-01T00:00:00.000000000Z"),
        (
            MOST - Duration::from_nanos(1),
            "9999-12-31T23:59:59.999999999Z",
        ),
        (MOST, "1970-01-01T00:00:00.000000000Z"),
    ] {
        let stamp = Stamp::of(SystemTime::UNIX_EPOCH + since);
        assert_eq!(stamp.as_bytes(), text.as_bytes());
    }
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(Stamp::of(before), Stamp::of(SystemTime::UNIX_EPOCH));
}
