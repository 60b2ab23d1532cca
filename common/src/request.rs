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
}

/// What our driver adds to the three words for an adoption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopt {
    /// The write end of the pipe for the [report](crate::ready::Report).
    pub ready: RawFd,
}

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

impl Launch {
    /// The words that follow [`LAUNCH`].
    pub fn encode(&self) -> [OsString; 4] {
        let path = |key: &str, path: &PathBuf| {
            let mut word = OsString::from(key);
            word.push(path);
            word
        };
        [
            format!("ready={}", self.ready).into(),
            format!("timeout={}", self.timeout.as_secs()).into(),
            path("from=", &self.from),
            path("to=", &self.to),
        ]
    }

    /// Understands the words that follow [`LAUNCH`].
    ///
    /// # Errors
    /// A word is missing, unknown or senseless.
    pub fn decode(words: impl Iterator<Item = OsString>) -> Result<Self, RequestError> {
        let (mut ready, mut timeout, mut from, mut to) = (None, None, None, None);
        for word in words {
            let Some((key, value)) = key_value(&word) else {
                return Err(RequestError::Unknown(word));
            };
            let number = || value.to_str().and_then(|text| text.parse::<u32>().ok());
            let bad = || RequestError::BadValue(word.clone());
            match key {
                "ready" => {
                    ready = Some(
                        number()
                            .and_then(|fd| RawFd::try_from(fd).ok())
                            .ok_or_else(bad)?,
                    )
                }
                "timeout" => timeout = Some(Duration::from_secs(number().ok_or_else(bad)?.into())),
                "from" => from = Some(PathBuf::from(value)),
                "to" => to = Some(PathBuf::from(value)),
                _ => return Err(RequestError::Unknown(word)),
            }
        }
        Ok(Self {
            ready: ready.ok_or(RequestError::Missing("ready="))?,
            timeout: timeout.ok_or(RequestError::Missing("timeout="))?,
            from: from.ok_or(RequestError::Missing("from="))?,
            to: to.ok_or(RequestError::Missing("to="))?,
        })
    }
}

impl Adopt {
    /// The words that follow [`ADOPT`].
    pub fn encode(&self) -> [OsString; 1] {
        [format!("ready={}", self.ready).into()]
    }

    /// Understands the words that follow [`ADOPT`].
    ///
    /// # Errors
    /// A word is missing, unknown or senseless.
    pub fn decode(words: impl Iterator<Item = OsString>) -> Result<Self, RequestError> {
        let mut ready = None;
        for word in words {
            let number = match key_value(&word) {
                Some(("ready", value)) => value.to_str().and_then(|text| text.parse::<u32>().ok()),
                _ => return Err(RequestError::Unknown(word)),
            };
            let fd = number.and_then(|fd| RawFd::try_from(fd).ok());
            ready = Some(fd.ok_or(RequestError::BadValue(word))?);
        }
        Ok(Self {
            ready: ready.ok_or(RequestError::Missing("ready="))?,
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
        };
        assert_eq!(Launch::decode(launch.encode().into_iter()).unwrap(), launch);
        let adopt = Adopt { ready: 5 };
        assert_eq!(Adopt::decode(adopt.encode().into_iter()).unwrap(), adopt);
    }

    #[test]
    fn words_that_mean_nothing_are_named() {
        let decode = |words: &[&str]| Launch::decode(words.iter().map(OsString::from)).unwrap_err();
        assert_eq!(
            decode(&["ready=x"]),
            RequestError::BadValue("ready=x".into())
        );
        assert_eq!(decode(&["ready"]), RequestError::Unknown("ready".into()));
        assert_eq!(
            decode(&["ready=3", "timeout=1", "from=/a"]),
            RequestError::Missing("to=")
        );
    }
}
