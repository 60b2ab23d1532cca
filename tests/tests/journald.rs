//! The log driver `journald`, against a socket that takes apart what comes as journald does (its native protocol).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{IoSliceMut, Read, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_common::sys::fd;
use holdfast_tests::{DEADLINE, Gate, Sandbox};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

type Entry = BTreeMap<String, Vec<u8>>;

struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    fn new(dir: &Path) -> Self {
        let path = dir.join("journal");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, path }
    }

    fn driver(&self) -> String {
        format!("journald:{}", self.path.display())
    }

    /// The next entry; `None` when none comes for so long.
    fn next(&self, patience: Duration) -> Option<Entry> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = vec![0; 1 << 20];
        let mut space = nix::cmsg_space!([i32; 1]);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let fd = self.socket.as_raw_fd();
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(fd, &mut parts, Some(&mut space), flags) {
            Ok(message) => message,
            Err(nix::Error::EAGAIN) => return None,
            Err(e) => panic!("receive: {e}"),
        };
        let length = message.bytes;
        let mut file = None;
        for control in message.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(fds) = control {
                let taken = fds.first().map(|&fd| fd::take(fd).expect("a descriptor"));
                file = taken.map(File::from);
            }
        }
        Some(match file {
            Some(file) => entry(&sealed(file)),
            None => entry(&buffer[..length]),
        })
    }

    fn entries(&self, count: usize) -> Vec<Entry> {
        (0..count)
            .map(|_| self.next(DEADLINE).expect("an entry"))
            .collect()
    }
}

/// What is in a file in memory, which journald takes only when nobody can change it any more.
fn sealed(mut file: File) -> Vec<u8> {
    let seals = SealFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GET_SEALS).unwrap());
    let all = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    assert!(seals.contains(all | SealFlag::F_SEAL_SEAL), "{seals:?}");
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// `NAME=VALUE\n`, or `NAME\n`, eight bytes of length, the value, `\n`.
fn entry(mut bytes: &[u8]) -> Entry {
    let mut entry = Entry::new();
    while !bytes.is_empty() {
        let end = bytes
            .iter()
            .position(|&byte| byte == b'\n')
            .expect("a line end");
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        let (name, value, rest) = match line.iter().position(|&byte| byte == b'=') {
            Some(at) => (&line[..at], &line[at + 1..], rest),
            None => {
                let (length, rest) = rest.split_at(8);
                let length = u64::from_le_bytes(length.try_into().unwrap());
                let (value, rest) = rest.split_at(usize::try_from(length).unwrap());
                (line, value, rest.strip_prefix(b"\n").expect("a line end"))
            }
        };
        let name = String::from_utf8(name.to_vec()).expect("a name");
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(is_name) && name.len() <= 64, "{name}");
        assert!(
            entry.insert(name, value.to_vec()).is_none(),
            "a field twice"
        );
        bytes = rest;
    }
    entry
}

fn text<'a>(entry: &'a Entry, name: &str) -> &'a str {
    entry
        .get(name)
        .map_or("(none)", |value| std::str::from_utf8(value).unwrap())
}

fn run(sandbox: &Sandbox, flags: &[&str], bundle: &str, id: &str) {
    sandbox.run_ok(
        [
            &["run", "-d", "--stdio", "log"][..],
            flags,
            &["-b", bundle, id],
        ]
        .concat(),
    );
}

#[test]
fn an_entry_has_the_fields_that_dockers_and_conmons_have() {
    let sandbox = Sandbox::new("journal");
    let journal = Journal::new(sandbox.path());
    let script = r"printf 'one\n\ncaf\351\0=\n'; printf 'no end'; read go; echo bad >&2; read end";
    let id = sandbox.id("a-rather-long-name");
    let bundle = sandbox.sh(script);
    let flags = [
        "--log-driver",
        &journal.driver(),
        "--log-tag",
        "the tag",
        "--log-label",
    ];
    let more = ["com.example/app=x\ny", "--stdin", "fifo"];
    run(&sandbox, &[&flags[..], &more].concat(), bundle.arg(), &id);
    let out = journal.entries(4);
    let messages: Vec<&[u8]> = out.iter().map(|entry| &*entry["MESSAGE"]).collect();
    assert_eq!(messages, [&b"one"[..], b"", b"caf\xe9\0=", b"no end"]);
    for entry in &out {
        assert_eq!(text(entry, "PRIORITY"), "6");
        assert_eq!(text(entry, "CONTAINER_ID"), &id[..12]);
        assert_eq!(text(entry, "CONTAINER_ID_FULL"), id);
        assert_eq!(text(entry, "CONTAINER_NAME"), id);
        assert_eq!(text(entry, "CONTAINER_TAG"), "the tag");
        assert_eq!(text(entry, "SYSLOG_IDENTIFIER"), "the tag");
        assert_eq!(text(entry, "COM_EXAMPLE_APP"), "x\ny");
        assert!(!entry.contains_key("HOLDFAST_PROCESS"));
    }
    let partial: Vec<_> = out
        .iter()
        .map(|it| text(it, "CONTAINER_PARTIAL_MESSAGE"))
        .collect();
    assert_eq!(partial, ["(none)", "(none)", "(none)", "true"]);
    let stdin = sandbox.open_writer(&sandbox.process_dir(&id, "init").join("stdin"));
    sandbox.write_all(&stdin, b"go\n");
    let err = &journal.entries(1)[0];
    assert_eq!((text(err, "MESSAGE"), text(err, "PRIORITY")), ("bad", "3"));

    let exec = [
        "exec",
        "-d",
        "--exec-id",
        "job",
        "--log-driver",
        &journal.driver(),
        &id,
    ];
    sandbox.run_ok(exec.into_iter().chain(["echo", "of an exec"]));
    let entry = &journal.entries(1)[0];
    assert_eq!(text(entry, "MESSAGE"), "of an exec");
    assert_eq!(
        (
            text(entry, "CONTAINER_TAG"),
            text(entry, "HOLDFAST_PROCESS")
        ),
        (&*id, "job")
    );
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn an_entry_that_is_too_large_for_a_datagram_comes_in_a_file() {
    let sandbox = Sandbox::new("journal-large");
    let journal = Journal::new(sandbox.path());
    // A datagram may be as large as what may wait, and no larger: eight MiB, where that is permitted.
    let id = sandbox.id("large");
    let bundle = sandbox.sh("head -c 60000 /dev/zero | tr '\\0' x; echo; echo small");
    run(
        &sandbox,
        &["--log-driver", &journal.driver()],
        bundle.arg(),
        &id,
    );
    let mut message = Vec::new();
    loop {
        let entry = journal.next(DEADLINE).unwrap();
        message.extend_from_slice(&entry["MESSAGE"]);
        if !entry.contains_key("CONTAINER_PARTIAL_MESSAGE") {
            break;
        }
    }
    assert_eq!(message, vec![b'x'; 60000]);
    assert_eq!(text(&journal.entries(1)[0], "MESSAGE"), "small");
    sandbox.run_ok(["wait", &id]);
}

#[test]
fn a_journal_that_is_slow_or_gone_loses_entries_and_holds_nobody_up() {
    let sandbox = Sandbox::new("journal-slow");
    let journal = Journal::new(sandbox.path());
    let gate = sandbox.gate();
    let wait = Gate::WAIT;
    let script = format!(
        "seq 1 100000; touch /host/done; {wait}; echo {}; {wait}; echo end",
        "gone"
    );
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let id = sandbox.id("slow");
    run(
        &sandbox,
        &["--log-driver", &journal.driver()],
        bundle.arg(),
        &id,
    );
    let dir = sandbox.process_dir(&id, "init");
    sandbox.wait_until("it to write, though nobody reads", || {
        gate.dir().join("done").exists()
    });
    let said = || fs::read_to_string(dir.join("shim-log.json")).unwrap_or_default();
    sandbox.wait_until("the shim to say so", || {
        said().contains("the journal is busy")
    });
    let mut kept = 0;
    while let Some(entry) = journal.next(Duration::from_millis(300)) {
        // The first piece of a line that came in two has no end.
        let ends = !entry.contains_key("CONTAINER_PARTIAL_MESSAGE");
        kept += entry["MESSAGE"].len() + usize::from(ends);
    }
    // It is restarted: another socket of that name.
    fs::remove_file(&journal.path).unwrap();
    gate.open();
    drop(journal);
    let journal = Journal::new(sandbox.path());
    std::thread::sleep(Duration::from_millis(200));
    gate.open();
    let mut last = journal.next(DEADLINE).unwrap();
    if text(&last, "MESSAGE") == "gone" {
        kept += 5;
        last = journal.next(DEADLINE).unwrap();
    }
    assert_eq!(text(&last, "MESSAGE"), "end");
    kept += 4;
    assert_eq!(sandbox.run_ok(["wait", &id]).trim(), "0");
    let written: usize = (1..=100_000)
        .map(|line: u32| line.to_string().len() + 1)
        .sum();
    let written = written + 5 + 4;
    let dropped = sandbox.exit_json(&id, "init")["dropped"]["journald"]
        .as_u64()
        .unwrap();
    assert_eq!(kept as u64 + dropped, written as u64);
}
