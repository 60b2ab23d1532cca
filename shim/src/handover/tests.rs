//! The round trip of what a shim hands over.

use super::*;
use crate::seccomp::{Agent, Held};

fn null() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

fn holding(stdio: Stdio, reader: LineReader) -> Holding {
    Holding {
        wire: Wire {
            id: "web".into(),
            bundle: "/b=1".into(),
            runtime: "runc".into(),
        },
        runtime_args: vec!["--root".into(), "/r".into(), "--".into()],
        executable: "/usr/bin/holdfast-shim".into(),
        pid: 4711,
        kind: Kind {
            exec: true,
            ours: true,
            main: true,
            launched: Some(Launched {
                restarted: true,
                exit_command: true,
                ..Launched::default()
            }),
            ..Kind::default()
        },
        pidfd: Some(null()),
        claim: Claim {
            lock: null(),
            exit: null(),
            control: null(),
        },
        reader,
        stdio,
        output: None,
        memory: None,
        seccomp: None,
        relay: None,
        mounts: None,
        told: None,
        asked: 3,
        again: true,
    }
}

/// What comes out of the words of one shim in the next, which has the same descriptors.
fn handed_over(before: Holding) -> (String, Holding) {
    let words = before.encode().unwrap().words;
    let shown = format!("{before:?}");
    // The next owner has them now.
    std::mem::forget(before);
    let mut words = words.into_iter().skip(1);
    let wire = Wire::decode(&mut words).unwrap();
    assert_eq!(words.next().unwrap(), HOLD);
    (shown, Holding::decode(wire, words).unwrap())
}

#[test]
fn everything_a_shim_knows_survives() {
    let mut reader = LineReader::default();
    reader.push(b"1 80", |_| ());
    let direct = Direct {
        stdin: None,
        stdout: Some(null()),
        stderr: Some(null()),
    };
    let (before, after) = handed_over(holding(Stdio::Direct(direct), reader));
    assert_eq!(format!("{after:?}"), before);

    let terminal = Terminal {
        master: null(),
        input: Some(null()),
        input_hold: None,
        output: Some(null()),
        output_hold: Some(null()),
        pending_input: b"\0\xff= ".to_vec(),
        pending_output: Vec::new(),
        mid_line: true,
    };
    let mut holding = holding(Stdio::Terminal(terminal), LineReader::default());
    let kills = Kills {
        before: 5,
        seen: 4,
        told: 3,
        survived: 2,
    };
    holding.memory = Some(Memory::taken_over(null(), Some(null()), kills));
    let mut store = Store::taken_over(null(), null(), Some("/run/agent=1".into()));
    let message = br#"{"pid":1,"metadata":"= -- \u0000"}"#;
    store.held = vec![
        Held::new(message.to_vec(), 1, null()),
        Held::new(b"{}".to_vec(), 2, null()),
    ];
    store.agent = Some(Agent::new(null(), 1));
    store.resume(null());
    holding.seccomp = Some(Box::new(store));
    let relay = Relay::taken_over(null(), "@service=1".to_owned(), true);
    holding.relay = Some(Box::new(relay.with_pending(b"READY=1\nSTATUS=a=b")));
    let (before, after) = handed_over(holding);
    assert_eq!(format!("{after:?}"), before);
    // It would remove the sockets that it was made for.
    std::mem::forget(after);
}

#[test]
fn what_an_older_shim_does_not_say_is_not_known() {
    let mut before = holding(Stdio::Direct(Direct::default()), LineReader::default());
    before.kind.launched = None;
    let (shown, after) = handed_over(before);
    assert_eq!(after.kind.launched, None);
    assert_eq!(format!("{after:?}"), shown);
}

#[test]
fn the_beginning_of_a_line_that_can_be_no_message_stays_a_bad_line() {
    let too_long = [b'1'; 100];
    for beginning in [&b"1\x002"[..], &too_long] {
        let mut reader = LineReader::default();
        reader.push(beginning, |_| ());
        let (_, after) = handed_over(holding(Stdio::Direct(Direct::default()), reader));
        let mut lines = Vec::new();
        LineReader::clone(&after.reader).push(b" 3 4\n0 0 0\n", |line| lines.push(line.is_ok()));
        assert_eq!(lines, [false, true]);
    }
}

#[test]
fn words_of_a_stranger_are_refused() {
    for word in [
        "what",
        "what=1",
        "pid=x",
        "lock=-1",
        "lock=999999",
        "pending-input=0g",
    ] {
        let wire = Wire {
            id: "web".into(),
            bundle: "/b".into(),
            runtime: "runc".into(),
        };
        assert!(
            Holding::decode(wire, [OsString::from(word)].into_iter()).is_err(),
            "{word}"
        );
    }
}
