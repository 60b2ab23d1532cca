//! The shim's command line, for both front doors: containerd 0.2's three words, and our driver's `launch` with a few
//! facts behind them; and for a shim that takes over from one that died, `adopt`. One function encodes, one decodes.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// The word that says that our driver asks.
pub const LAUNCH: &str = "launch";

/// The word that says that a process is to be adopted.
pub const ADOPT: &str = "adopt";

/// The three words that every shim's command line begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// The container's id.
    pub id: OsString,
    /// The bundle's path.
    pub bundle: PathBuf,
    /// The OCI runtime: a path, or a name to find in `$PATH`.
    pub runtime: OsString,
}

/// What our driver adds to the three words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The write end of the pipe for the [report](crate::ready::Report).
    pub ready: RawFd,
    /// The staging directory.
    pub from: PathBuf,
    /// Its final name.
    pub to: PathBuf,
    /// How long the runtime may take; whole seconds.
    pub timeout: Duration,
    /// Whether the final name is taken by what this launch replaces: a restart.
    pub replace: bool,
    /// How the shim is kept apart from whoever launches it.
    pub isolation: Isolation,
}

/// What our driver adds to the three words for an adoption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopt {
    /// The write end of the pipe for the [report](crate::ready::Report).
    pub ready: RawFd,
    /// How the shim is kept apart from whoever launches it.
    pub isolation: Isolation,
}

/// How a shim is kept apart from whoever launches it, beyond the session of its own that it always has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Isolation {
    /// The cgroup that it moves to, below the top of each hierarchy.
    pub cgroup: Option<PathBuf>,
    /// Its own score for the out-of-memory killer (proc_pid_oom_score_adj(5)).
    pub oom_score_adj: Option<i16>,
}

/// Variables that are meant for the launcher alone (sd_notify(3), sd_listen_fds(3)): a runtime that got them would wait
/// for a container's READY=1, or pass them on.
pub const LAUNCHERS_VARIABLES: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
];

/// Why a command line is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// There are words missing.
    Missing(&'static str),
    /// This word means nothing.
    Unknown(OsString),
    /// This word's value means nothing.
    BadValue(OsString),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Missing(what) => write!(f, "{what} is missing"),
            RequestError::Unknown(word) => write!(f, "{} means nothing here", word.display()),
            RequestError::BadValue(word) => write!(f, "{}: bad value", word.display()),
        }
    }
}

impl std::error::Error for RequestError {}

impl Wire {
    /// Takes the three words from the front of a command line.
    ///
    /// # Errors
    /// There are fewer than three.
    pub fn decode(words: &mut impl Iterator<Item = OsString>) -> Result<Self, RequestError> {
        let id = words.next().ok_or(RequestError::Missing("ID"))?;
        let bundle = words.next().ok_or(RequestError::Missing("BUNDLE"))?.into();
        let runtime = words.next().ok_or(RequestError::Missing("RUNTIME"))?;
        Ok(Self {
            id,
            bundle,
            runtime,
        })
    }

    /// The three words.
    pub fn encode(&self) -> [&OsStr; 3] {
        [&self.id, self.bundle.as_os_str(), &self.runtime]
    }
}

/// Splits `key=value`.
pub fn key_value(word: &OsStr) -> Option<(&str, &OsStr)> {
    let bytes = word.as_bytes();
    let equals = bytes.iter().position(|&byte| byte == b'=')?;
    let key = std::str::from_utf8(&bytes[..equals]).ok()?;
    Some((key, OsStr::from_bytes(&bytes[equals + 1..])))
}

fn word(key: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(key);
    word.push("=");
    word.push(value);
    word
}

fn number<N: std::str::FromStr>(word: &OsStr, value: &OsStr) -> Result<N, RequestError> {
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| RequestError::BadValue(word.to_owned()))
}

fn descriptor(word: &OsStr, value: &OsStr) -> Result<RawFd, RequestError> {
    let fd = RawFd::try_from(number::<u32>(word, value)?);
    fd.map_err(|_| RequestError::BadValue(word.to_owned()))
}

impl Isolation {
    fn encode(&self) -> impl Iterator<Item = OsString> {
        let cgroup = self.cgroup.as_ref();
        let cgroup = cgroup.map(|path| word("cgroup", path.as_os_str()));
        let oom = self
            .oom_score_adj
            .map(|score| format!("oom={score}").into());
        cgroup.into_iter().chain(oom)
    }

    /// Understands a word if it is one of these.
    fn decode(&mut self, word: &OsStr, key: &str, value: &OsStr) -> Result<(), RequestError> {
        match key {
            "cgroup" => self.cgroup = Some(value.into()),
            "oom" => self.oom_score_adj = Some(number(word, value)?),
            _ => return Err(RequestError::Unknown(word.to_owned())),
        }
        Ok(())
    }
}

impl Launch {
    /// The words that follow [`LAUNCH`].
    pub fn encode(&self) -> Vec<OsString> {
        let replace = self.replace.then(|| "replace=1".into());
        [
            format!("ready={}", self.ready).into(),
            format!("timeout={}", self.timeout.as_secs()).into(),
            word("from", self.from.as_os_str()),
            word("to", self.to.as_os_str()),
        ]
        .into_iter()
        .chain(replace)
        .chain(self.isolation.encode())
        .collect()
    }

    /// Understands the words that follow [`LAUNCH`].
    ///
    /// # Errors
    /// A word is missing, unknown or senseless.
    pub fn decode(words: impl Iterator<Item = OsString>) -> Result<Self, RequestError> {
        let (mut ready, mut timeout, mut from, mut to) = (None, None, None, None);
        let (mut replace, mut isolation) = (false, Isolation::default());
        for word in words {
            let Some((key, value)) = key_value(&word) else {
                return Err(RequestError::Unknown(word));
            };
            match key {
                "ready" => ready = Some(descriptor(&word, value)?),
                "timeout" => {
                    timeout = Some(Duration::from_secs(number::<u32>(&word, value)?.into()));
                }
                "from" => from = Some(PathBuf::from(value)),
                "to" => to = Some(PathBuf::from(value)),
                "replace" => replace = number::<u8>(&word, value)? != 0,
                _ => isolation.decode(&word, key, value)?,
            }
        }
        Ok(Self {
            ready: ready.ok_or(RequestError::Missing("ready="))?,
            timeout: timeout.ok_or(RequestError::Missing("timeout="))?,
            from: from.ok_or(RequestError::Missing("from="))?,
            to: to.ok_or(RequestError::Missing("to="))?,
            replace,
            isolation,
        })
    }
}

impl Adopt {
    /// The words that follow [`ADOPT`].
    pub fn encode(&self) -> Vec<OsString> {
        [format!("ready={}", self.ready).into()]
            .into_iter()
            .chain(self.isolation.encode())
            .collect()
    }

    /// Understands the words that follow [`ADOPT`].
    ///
    /// # Errors
    /// A word is missing, unknown or senseless.
    pub fn decode(words: impl Iterator<Item = OsString>) -> Result<Self, RequestError> {
        let (mut ready, mut isolation) = (None, Isolation::default());
        for word in words {
            match key_value(&word) {
                Some(("ready", value)) => ready = Some(descriptor(&word, value)?),
                Some((key, value)) => isolation.decode(&word, key, value)?,
                None => return Err(RequestError::Unknown(word)),
            }
        }
        Ok(Self {
            ready: ready.ok_or(RequestError::Missing("ready="))?,
            isolation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_whatever_the_path() {
        let from = PathBuf::from(OsStr::from_bytes(b"/r/~a=b \xff"));
        let launch = Launch {
            ready: 5,
            from,
            to: "/r/web".into(),
            timeout: Duration::from_secs(120),
            replace: true,
            isolation: Isolation {
                cgroup: Some(PathBuf::from(OsStr::from_bytes(b"a=b/\xff"))),
                oom_score_adj: Some(-900),
            },
        };
        assert_eq!(Launch::decode(launch.encode().into_iter()).unwrap(), launch);
        let plain = Launch {
            replace: false,
            isolation: Isolation::default(),
            ..launch.clone()
        };
        assert_eq!(plain.encode().len(), 4);
        assert_eq!(Launch::decode(plain.encode().into_iter()).unwrap(), plain);
        let adopt = Adopt {
            ready: 5,
            isolation: launch.isolation,
        };
        assert_eq!(Adopt::decode(adopt.encode().into_iter()).unwrap(), adopt);
    }

    #[test]
    fn words_that_mean_nothing_are_named() {
        let decode = |words: &[&str]| Launch::decode(words.iter().map(OsString::from)).unwrap_err();
        assert_eq!(
            decode(&["ready=x"]),
            RequestError::BadValue("ready=x".into())
        );
        assert_eq!(decode(&["oom=x"]), RequestError::BadValue("oom=x".into()));
        assert_eq!(decode(&["nope=1"]), RequestError::Unknown("nope=1".into()));
        assert_eq!(decode(&["ready"]), RequestError::Unknown("ready".into()));
        assert_eq!(
            decode(&["ready=3", "timeout=1", "from=/a"]),
            RequestError::Missing("to=")
        );
    }
}
