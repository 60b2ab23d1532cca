//! Output as entries of the system's journal, by its native protocol (systemd's JOURNAL_NATIVE_PROTOCOL): a datagram an entry,
//! fields as `NAME=VALUE` lines; one that is too large for a datagram comes in a sealed memfd. The fields are those of docker's and
//! conmon's journald drivers.
//!
//! Nothing waits: an entry that the journal has no room for is dropped and counted.

use std::fs::File;
use std::io::{IoSlice, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use holdfast_common::layout::Stream;
use holdfast_common::log_entry::pieces;
use holdfast_common::output::LogOptions;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, setsockopt,
    socket, sockopt,
};

use super::health::Health;

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// What may wait for the journal, bytes: as systemd's own library has it.
const SEND_BUFFER: usize = 8 << 20;
/// As many of an id's characters as docker shows.
const SHORT_ID: usize = 12;

/// A sender.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    socket: Option<OwnedFd>,
    /// The fields that every entry has.
    fields: Vec<u8>,
}

impl Journal {
    /// `process` is an exec's name.
    pub fn new(path: Option<&Path>, id: &str, process: Option<&str>, options: &LogOptions) -> Self {
        let tag = if options.tag.is_empty() {
            id
        } else {
            &options.tag
        };
        let short: String = id.chars().take(SHORT_ID).collect();
        let mut fields = Vec::new();
        for (name, value) in [
            ("CONTAINER_ID", short.as_str()),
            ("CONTAINER_ID_FULL", id),
            ("CONTAINER_NAME", id),
            ("CONTAINER_TAG", tag),
            ("SYSLOG_IDENTIFIER", tag),
        ] {
            field(&mut fields, name, value.as_bytes());
        }
        if let Some(process) = process {
            field(&mut fields, "HOLDFAST_PROCESS", process.as_bytes());
        }
        for (key, value) in &options.labels {
            field(&mut fields, &field_name(key), value.as_bytes());
        }
        Self {
            path: path.unwrap_or(Path::new(SOCKET)).to_owned(),
            socket: None,
            fields,
        }
    }

    /// Sends what was read, or drops what cannot be sent.
    pub fn take(
        &mut self,
        stream: Stream,
        bytes: &[u8],
        scratch: &mut Vec<u8>,
        health: &mut Health,
    ) {
        let mut left = bytes;
        for (piece, ends) in pieces(bytes) {
            if !health.may_try() {
                return health.drop_bytes(left.len());
            }
            let length = piece.len() + usize::from(ends);
            left = &left[length..];
            scratch.clear();
            self.entry(scratch, stream, piece, ends);
            match self.send(scratch) {
                Ok(()) => health.keeps_up(),
                Err(e) => {
                    match e {
                        Errno::EAGAIN | Errno::ENOBUFS => health.busy(&"the journal is busy"),
                        e => {
                            self.socket = None;
                            let path = self.path.display();
                            health.failed(&format!("{path}: {}", errno_text(e)));
                        }
                    }
                    health.drop_bytes(length);
                }
            }
        }
    }

    fn entry(&self, out: &mut Vec<u8>, stream: Stream, piece: &[u8], ends: bool) {
        field(out, "MESSAGE", piece);
        // syslog(3): LOG_ERR, LOG_INFO.
        let priority = if stream == Stream::Stderr { "3" } else { "6" };
        field(out, "PRIORITY", priority.as_bytes());
        if !ends {
            field(out, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        out.extend_from_slice(&self.fields);
    }

    fn send(&mut self, entry: &[u8]) -> Result<(), Errno> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => self.socket.insert(open()?),
        };
        // By its name each time: a journal that was restarted has another socket.
        let to = UnixAddr::new(&self.path)?;
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let send = |bytes: &[u8], fds: &[ControlMessage<'_>]| {
            sendmsg(
                socket.as_raw_fd(),
                &[IoSlice::new(bytes)],
                fds,
                flags,
                Some(&to),
            )
            .map(drop)
        };
        match send(entry, &[]) {
            Err(Errno::EMSGSIZE) => {
                let file = sealed(entry)?;
                send(&[], &[ControlMessage::ScmRights(&[file.as_raw_fd()])])
            }
            sent => sent,
        }
    }
}

fn open() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    // Beyond the usual bound where that is permitted.
    if setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER).is_err() {
        let _ = setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER);
    }
    Ok(socket)
}

/// A file in memory that nobody can change any more: only such a one is read by the journal.
fn sealed(entry: &[u8]) -> Result<File, Errno> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"journal-entry", flags)?);
    file.write_all(entry)
        .map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(nix::libc::EIO)))?;
    let seals = SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

/// Appends a field. A value with a line end in it has its length before it instead of an equals sign.
fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A label's key as a field's name, as docker makes it: capitals, digits and underscores, a letter first.
fn field_name(key: &str) -> String {
    let name: String = key
        .chars()
        .map(|c| match c.to_ascii_uppercase() {
            c @ ('A'..='Z' | '0'..='9') => c,
            _ => '_',
        })
        .collect();
    let name = name.trim_start_matches('_');
    // The journal has no use for longer ones, nor for what begins with a digit.
    let name: String = name.chars().take(60).collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name
    } else {
        format!("LABEL_{name}")
    }
}

fn errno_text(e: Errno) -> String {
    holdfast_common::sys::errno_text(&e.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_names_that_the_journal_takes() {
        for (key, name) in [
            ("com.example/app-name", "COM_EXAMPLE_APP_NAME"),
            ("_SECRET", "SECRET"),
            ("9lives", "LABEL_9LIVES"),
            ("é", "LABEL_"),
        ] {
            assert_eq!(field_name(key), name);
        }
        assert_eq!(field_name(&"x".repeat(100)).len(), 60);
    }

    #[test]
    fn a_value_with_a_line_end_has_its_length_before_it() {
        let mut out = Vec::new();
        field(&mut out, "A", b"b=c\xff");
        field(&mut out, "D", b"e\nf");
        assert_eq!(out, b"A=b=c\xff\nD\n\x03\0\0\0\0\0\0\0e\nf\n");
    }
}
