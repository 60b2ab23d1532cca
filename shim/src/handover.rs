//! From *launch* into *hold*, and from one *hold* into the next (control type 3): everything a shim knows, as a few words of
//! argv and the descriptors they name, through `execve`. Children, locks, pending signals and the subreaper bit need no
//! words: they survive by themselves.

mod stdio;
mod words;

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use holdfast_common::control::LineReader;
use holdfast_common::event_log::Place;
use holdfast_common::process_state::ProcessState;
use holdfast_common::request::{RequestError, Wire, key_value};
use holdfast_common::sys::exec;

use crate::claim::Claim;
use crate::error::Error;
use crate::memory::{Kills, Memory};
use crate::notify::{Relay, RelayWords};
use crate::output::{Output, OutputWords};
use crate::seccomp::{Store, StoreWords};

pub use stdio::{Direct, Stdio, Terminal};
pub(crate) use words::{Words, descriptor, number, pending};

use stdio::StdioWords;

/// The word that says that a shim goes on holding.
pub const HOLD: &str = "hold";

/// The version of the words after [`HOLD`]: a shim understands those of its own version and of older ones.
pub const PROTOCOL: u32 = 5;
/// Asks a shim for its [`PROTOCOL`].
pub const PROTOCOL_OPTION: &str = "--handover-protocol";

/// All that a holding shim knows.
#[derive(Debug)]
pub struct Holding {
    /// Container id, bundle, runtime.
    pub wire: Wire,
    /// Arguments that go before the runtime's verb.
    pub runtime_args: Vec<OsString>,
    /// What a re-exec executes.
    pub executable: PathBuf,
    /// The container process.
    pub pid: i32,
    /// How it was launched, as far as that matters at its end.
    pub kind: Kind,
    /// A pidfd of it, where it is not our child.
    pub pidfd: Option<OwnedFd>,
    /// What is held of its directory.
    pub claim: Claim,
    /// A control line that has only begun.
    pub reader: LineReader,
    /// What is held of its stdio.
    pub stdio: Stdio,
    /// What is moved of its output; none where the kernel does.
    pub output: Option<Box<Output>>,
    /// What is watched of its container's memory; none for an exec, or where nothing can be known.
    pub memory: Option<Memory>,
    /// The container's store of seccomp listeners, where it has one.
    pub seccomp: Option<Box<Store>>,
    /// What passes on the container's words to a service manager, where it may have some.
    pub relay: Option<Box<Relay>>,
    /// The container's mount namespace, while it is held; the next shim takes hold of it again.
    pub mounts: Option<OwnedFd>,
    /// Where the event log begins to tell of the process; the next shim looks for it.
    pub told: Option<Place>,
    /// How often a replacement was asked for.
    pub asked: u32,
    /// Whether shim.json does not say yet which shim this is: another version, perhaps, was holding already, or a full disk
    /// was in the way.
    pub again: bool,
}

/// What the end of a process asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kind {
    /// An exec: its container goes on.
    pub exec: bool,
    /// The container shares its pid namespace, so that its processes outlive its init.
    pub shared_pids: bool,
    /// Launched by our driver: `exit` gets its line.
    pub ours: bool,
    /// The directory goes when the shim does.
    pub auto_remove: bool,
    /// The shim is the main process of a service: it passes signals on, and ends as its process has ended.
    pub main: bool,
    /// What else process.json says that matters at the end, which is not to be read again then; none from a shim of protocol 4 or
    /// older.
    pub launched: Option<Launched>,
}

/// How a process was launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Launched {
    /// From a checkpoint.
    pub restored: bool,
    /// In the place of one that had ended.
    pub restarted: bool,
    /// There is an exit command to be run at its end.
    pub exit_command: bool,
}

impl Launched {
    /// As process.json says it.
    pub fn of(state: &ProcessState) -> Self {
        let ours = state.holdfast.as_ref();
        Self {
            restored: !state.checkpoint.is_empty(),
            restarted: state.is_restart(),
            exit_command: ours.is_some_and(|ours| ours.exit_command.is_some()),
        }
    }
}

impl Holding {
    /// Executes the shim in place, to go on in *hold* with an address space as small as can be. Returns only when that
    /// failed, and then nothing has changed.
    pub fn replace_self(&self) -> Error {
        let Words { words, fds, owned } = match self.encode() {
            Ok(words) => words,
            Err(e) => return e,
        };
        let fds: Vec<_> = fds
            .into_iter()
            .chain(owned.iter().map(AsFd::as_fd))
            .collect();
        let words: Vec<&OsStr> = words.iter().map(OsString::as_os_str).collect();
        let cause = exec::replace(&self.executable, &words, &fds);
        Error::Io {
            operation: "execute",
            path: self.executable.clone(),
            cause,
        }
    }

    fn encode(&self) -> Result<Words<'_>, Error> {
        let mut out = Words::default();
        out.words.push(self.executable.clone().into_os_string());
        out.words.extend(self.wire.encode().map(OsStr::to_owned));
        out.words.push(HOLD.into());
        out.value("exe", self.executable.as_os_str());
        out.value("pid", OsStr::new(&self.pid.to_string()));
        out.value("asked", OsStr::new(&self.asked.to_string()));
        let launched = self.kind.launched.unwrap_or_default();
        for (word, on) in [
            ("exec", self.kind.exec),
            ("shared-pids", self.kind.shared_pids),
            ("ours", self.kind.ours),
            ("auto-remove", self.kind.auto_remove),
            ("main", self.kind.main),
            ("launched", self.kind.launched.is_some()),
            ("restored", launched.restored),
            ("restarted", launched.restarted),
            ("exit-command", launched.exit_command),
            ("again", self.again),
        ] {
            if on {
                out.words.push(word.into());
            }
        }
        match self.reader.partial() {
            Some([]) => (),
            // A zero byte cannot travel in argv, and no message has one.
            Some(beginning) if !beginning.contains(&0) => {
                out.value("line", OsStr::from_bytes(beginning))
            }
            Some(_) | None => out.words.push("bad-line".into()),
        }
        out.fd("lock", self.claim.lock.as_fd());
        out.fd("exit", self.claim.exit.as_fd());
        out.fd("control", self.claim.control.as_fd());
        out.maybe_fd("pidfd", self.pidfd.as_ref());
        self.stdio.encode(&mut out);
        if let Some(output) = &self.output {
            output.encode(&mut out)?;
        }
        if let Some(memory) = &self.memory {
            out.fd("memory", memory.counter.as_fd());
            out.maybe_fd("memory-wake", memory.wake.as_ref());
            out.value("kills", OsStr::new(&memory.kills.to_string()));
        }
        if let Some(store) = &self.seccomp {
            store.encode(&mut out);
        }
        if let Some(relay) = &self.relay {
            relay.encode(&mut out);
        }
        if !self.runtime_args.is_empty() {
            out.words.push("--".into());
            out.words.extend(self.runtime_args.iter().cloned());
        }
        Ok(out)
    }

    /// Understands the words that follow [`HOLD`], and takes over the descriptors they name.
    pub fn decode(wire: Wire, mut words: impl Iterator<Item = OsString>) -> Result<Self, Error> {
        let mut kind = Kind::default();
        let (mut known, mut launched) = (false, Launched::default());
        let mut reader = LineReader::default();
        let (mut executable, mut pid, mut pidfd) = (None, None, None);
        let (mut asked, mut again) = (0, false);
        let (mut lock, mut exit, mut control) = (None, None, None);
        let mut stdio = StdioWords::default();
        let mut output = OutputWords::default();
        let (mut counter, mut wake, mut kills) = (None, None, Kills::default());
        let mut seccomp = StoreWords::default();
        let mut relay = RelayWords::default();
        for word in words.by_ref() {
            if word == "--" {
                break;
            }
            let Some((key, value)) = key_value(&word) else {
                match word.to_str() {
                    Some("exec") => kind.exec = true,
                    Some("shared-pids") => kind.shared_pids = true,
                    Some("ours") => kind.ours = true,
                    Some("auto-remove") => kind.auto_remove = true,
                    Some("main") => kind.main = true,
                    Some("launched") => known = true,
                    Some("restored") => launched.restored = true,
                    Some("restarted") => launched.restarted = true,
                    Some("exit-command") => launched.exit_command = true,
                    Some("bad-line") => reader = LineReader::resume(None),
                    Some("again") => again = true,
                    Some("mid-line") => stdio.mid_line = true,
                    _ => return Err(RequestError::Unknown(word).into()),
                }
                continue;
            };
            match key {
                "exe" => executable = Some(PathBuf::from(value)),
                "pid" => pid = Some(number(&word, value)?),
                "asked" => asked = number(&word, value)?,
                "line" => reader = LineReader::resume(Some(value.as_bytes())),
                "lock" => lock = Some(descriptor(&word, value)?),
                "exit" => exit = Some(descriptor(&word, value)?),
                "pidfd" => pidfd = Some(descriptor(&word, value)?),
                "control" => control = Some(descriptor(&word, value)?),
                "memory" => counter = Some(descriptor(&word, value)?),
                "memory-wake" => wake = Some(descriptor(&word, value)?),
                "kills" => kills = number(&word, value)?,
                _ if key.starts_with("seccomp-") => seccomp.take(key, value, &word)?,
                _ if key.starts_with("notify") => relay.take(key, value, &word)?,
                _ if key.starts_with("output-") && key != "output-hold" => {
                    output.take(key, value, &word)?;
                }
                _ if stdio.take(key, value, &word)? => (),
                _ => return Err(RequestError::Unknown(word).into()),
            }
        }
        kind.launched = known.then_some(launched);
        Ok(Self {
            wire,
            runtime_args: words.collect(),
            executable: executable.ok_or(RequestError::Missing("exe="))?,
            pid: pid.ok_or(RequestError::Missing("pid="))?,
            kind,
            pidfd,
            claim: Claim {
                lock: lock.ok_or(RequestError::Missing("lock="))?,
                exit: exit.ok_or(RequestError::Missing("exit="))?,
                control: control.ok_or(RequestError::Missing("control="))?,
            },
            reader,
            stdio: stdio.stdio(),
            output: output.output()?,
            memory: counter.map(|counter| Memory::taken_over(counter, wake, kills)),
            seccomp: seccomp.store()?,
            relay: relay.relay(kind.main)?,
            mounts: None,
            told: None,
            asked,
            again,
        })
    }
}

#[cfg(test)]
mod tests;
