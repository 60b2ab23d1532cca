//! What shim, driver and runtime tell each other in words: the ready line, the shim's command line, the JSON logs, what a
//! seccomp listener is of.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use holdfast_common::log_line::LogLine;
use holdfast_common::oci::{ContainerProcessState, SECCOMP_FD_NAME};
use holdfast_common::ready::Report;
use holdfast_common::request::{ADOPT, Adopt, LAUNCH, Launch, RequestError, Wire, key_value};

/// The ready line: a report is whole or none, and the same again when it is written.
pub fn ready(bytes: &[u8]) {
    let Some(report) = Report::decode(bytes) else {
        return;
    };
    assert!(bytes.ends_with(b"\n"), "a torn line is no report");
    let line = report.encode();
    assert_eq!(Report::decode(&line), Some(report));
    for end in 0..line.len() {
        let torn = &line[..end];
        assert_eq!(Report::decode(torn), None, "{}", torn.escape_ascii());
    }
}

/// The shim's command line, a word a line: what is understood is encoded so that it is understood the same, and what is not
/// is named.
pub fn request(bytes: &[u8]) {
    let words: Vec<OsString> = bytes
        .split(|&byte| byte == b'\n')
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect();
    let mut rest = words.iter().cloned();
    let wire = match Wire::decode(&mut rest) {
        Ok(wire) => wire,
        Err(e) => return an_error_is_about(&words, &e),
    };
    assert!(
        words
            .iter()
            .map(OsString::as_os_str)
            .take(3)
            .eq(wire.encode())
    );
    match rest.next().as_deref().map(OsStr::as_bytes) {
        Some(word) if word == LAUNCH.as_bytes() => match Launch::decode(rest) {
            Ok(launch) => {
                assert!(launch.ready >= 0);
                let again = launch.encode();
                let is_path = |word: &&OsString| {
                    let key = key_value(word).map(|(key, _)| key);
                    matches!(key, Some("from" | "to" | "cgroup"))
                };
                for word in again.iter().filter(is_path) {
                    assert!(words.contains(word), "{} was not said", word.display());
                }
                assert_eq!(Launch::decode(again.into_iter()), Ok(launch));
            }
            Err(e) => an_error_is_about(&words, &e),
        },
        Some(word) if word == ADOPT.as_bytes() => match Adopt::decode(rest) {
            Ok(adopt) => {
                assert!(adopt.ready >= 0);
                assert_eq!(Adopt::decode(adopt.encode().into_iter()), Ok(adopt));
            }
            Err(e) => an_error_is_about(&words, &e),
        },
        _ => (),
    }
}

fn an_error_is_about(words: &[OsString], error: &RequestError) {
    match error {
        RequestError::Missing(what) => assert!(error.to_string().contains(what)),
        RequestError::Unknown(word) | RequestError::BadValue(word) => {
            assert!(words.contains(word), "{error}");
        }
    }
}

/// A JSON log: at most one message a line, whatever lies between them.
pub fn log_line(bytes: &[u8]) {
    let lines: Vec<LogLine> = LogLine::decode_all(bytes).collect();
    assert!(lines.len() <= bytes.split(|&byte| byte == b'\n').count());
    let last_error = LogLine::last_error(bytes);
    if let Some(message) = &last_error {
        let is_it = |line: &LogLine| line.level != "warning" && &line.msg == message;
        assert!(lines.iter().any(is_it), "{message:?} is no message");
    }
    let rewritten: Vec<u8> = lines.iter().flat_map(LogLine::encode).collect();
    let with_noise = [b"\xff\0\n", bytes, b"\npanic: oh\n{\"level\":\"err"].concat();
    for same in [rewritten, with_noise] {
        assert_eq!(LogLine::decode_all(&same).collect::<Vec<_>>(), lines);
        assert_eq!(LogLine::last_error(&same), last_error);
    }
}

/// What comes with a seccomp listener: it is whole or says that it is not, so that who reads it in pieces knows when to stop; the
/// same again when it is written; and taken for no container's but the one that it names.
pub fn seccomp_state(bytes: &[u8]) {
    let Ok(state) = serde_json::from_slice::<ContainerProcessState>(bytes) else {
        return;
    };
    let whole = bytes.trim_ascii_end().len();
    for end in (0..whole).take(4096) {
        let torn = serde_json::from_slice::<ContainerProcessState>(&bytes[..end]);
        assert!(torn.unwrap_err().is_eof(), "cut off after {end} bytes");
    }
    let written = serde_json::to_vec(&state).expect("a state can be written");
    let read = serde_json::from_slice::<ContainerProcessState>(&written);
    assert_eq!(read.ok().as_ref(), Some(&state));

    let id = state.state.id.as_bytes();
    let count = state.fds.len();
    match state.check(id, Some(state.state.pid), count) {
        Ok(n) => assert!(state.fds[n] == SECCOMP_FD_NAME && state.pid > 0),
        Err(_) => {
            assert!(
                state.pid <= 0 || state.fds.iter().filter(|fd| *fd == SECCOMP_FD_NAME).count() != 1
            )
        }
    }
    assert!(state.check(&[id, b"x"].concat(), None, count).is_err());
    assert!(state.check(id, None, count + 1).is_err());
}
