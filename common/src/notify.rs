//! Words to a service manager (sd_notify(3)): where they go, what `process.json` asks for, and which of a container's words are passed on.
//! A container is not trusted: what it says is taken apart and put together again, and what is not known to be harmless is left out.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Where a service manager listens: a path, or `@` and an abstract name.
pub const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// The longest message that is looked at, bytes; a service manager's own limit is this (systemd: `NOTIFY_BUFFER_MAX`).
pub const LONGEST_MESSAGE: usize = 4096;
/// The longest `STATUS=` that is passed on, bytes.
const LONGEST_STATUS: usize = 1024;
/// The longest of all other values.
const LONGEST_VALUE: usize = 255;

/// What a service manager is told of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notify {
    /// Where it listens: an absolute path, or `@` and an abstract name.
    pub socket: String,
    /// Who says that the container is ready.
    pub ready: Ready,
    /// Whether the shim is the main process of the service: it says so (`MAINPID=`), ends as its process ends, and passes signals on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub main: bool,
}

/// Who says that a container is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ready {
    /// It does, with whatever else it has to say: it finds a socket in its `NOTIFY_SOCKET`.
    Container,
    /// Whoever starts it, when it has been started.
    Start,
}

/// Why a text is no address of a service manager's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadAddress(String);

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no socket: use an absolute path, or @ and a name, of at most 107 bytes",
            self.0
        )
    }
}

impl std::error::Error for BadAddress {}

/// Makes sure that a text is an address: of a unix socket, whose name has at most 107 bytes (unix(7)).
///
/// # Errors
/// It is not.
pub fn check_address(text: &str) -> Result<(), BadAddress> {
    let named = text.strip_prefix('@').is_some_and(|name| !name.is_empty());
    let absolute = Path::new(text).is_absolute();
    if (named || absolute) && text.len() <= 107 && !text.contains('\0') {
        Ok(())
    } else {
        Err(BadAddress(text.to_owned()))
    }
}

/// Of a message, the assignments that a container may make, as a message; `None` when nothing is left. Which process is the main one
/// (`MAINPID`), what may speak (`NOTIFYACCESS`), and descriptors to be kept (`FDSTORE`) are not its to say.
pub fn allowed(message: &[u8]) -> Option<String> {
    if message.len() > LONGEST_MESSAGE {
        return None;
    }
    let lines = message.split(|&byte| byte == b'\n');
    let kept: Vec<String> = lines.filter_map(assignment).collect();
    (!kept.is_empty()).then(|| kept.join("\n"))
}

/// Whether a message of [`allowed`] assignments says that the container is ready.
pub fn says_ready(message: &str) -> bool {
    message.lines().any(|line| line == "READY=1")
}

fn assignment(line: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(line).ok()?;
    let (key, value) = line.split_once('=')?;
    let number = || value.len() <= 20 && value.bytes().all(|byte| byte.is_ascii_digit());
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let allowed = match key {
        "READY" | "RELOADING" | "STOPPING" => value == "1",
        "WATCHDOG" => value == "1" || value == "trigger",
        "EXTEND_TIMEOUT_USEC" | "MONOTONIC_USEC" | "ERRNO" => !value.is_empty() && number(),
        "BUSERROR" => (1..=LONGEST_VALUE).contains(&value.len()) && value.bytes().all(name),
        "STATUS" => return Some(status(value)),
        _ => false,
    };
    allowed.then(|| line.to_owned())
}

/// For people, on a terminal perhaps: no control characters, and not for ever.
fn status(text: &str) -> String {
    let mut status = String::from("STATUS=");
    for character in text.chars() {
        let shown = if character.is_control() {
            ' '
        } else {
            character
        };
        if status.len() + shown.len_utf8() > LONGEST_STATUS {
            break;
        }
        status.push(shown);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_harmless_is_passed_on_and_nothing_else() {
        for (message, wanted) in [
            ("READY=1", Some("READY=1")),
            ("READY=1\nSTATUS=up", Some("READY=1\nSTATUS=up")),
            ("READY=1\nMAINPID=1\n", Some("READY=1")),
            (
                "RELOADING=1\nMONOTONIC_USEC=18446744073709551615",
                Some("RELOADING=1\nMONOTONIC_USEC=18446744073709551615"),
            ),
            ("STOPPING=1", Some("STOPPING=1")),
            ("WATCHDOG=trigger", Some("WATCHDOG=trigger")),
            ("ERRNO=2\nBUSERROR=a b", Some("ERRNO=2")),
            (
                "ERRNO=2\nBUSERROR=org.x.Y",
                Some("ERRNO=2\nBUSERROR=org.x.Y"),
            ),
            ("EXTEND_TIMEOUT_USEC=1000", Some("EXTEND_TIMEOUT_USEC=1000")),
            ("STATUS=", Some("STATUS=")),
            ("STATUS=a=b\tc\u{1b}[31m", Some("STATUS=a=b c [31m")),
        ] {
            assert_eq!(allowed(message.as_bytes()).as_deref(), wanted, "{message}");
        }
        for message in [
            "",
            "\n",
            "READY",
            "READY=0",
            "READY=1 ",
            " READY=1",
            "ready=1",
            "MAINPID=1",
            "MAINPIDFDID=1",
            "NOTIFYACCESS=all",
            "FDSTORE=1\nFDNAME=x",
            "BARRIER=1",
            "WATCHDOG=2",
            "WATCHDOG_USEC=0",
            "EXTEND_TIMEOUT_USEC=",
            "EXTEND_TIMEOUT_USEC=-1",
            "EXTEND_TIMEOUT_USEC=123456789012345678901",
            "BUSERROR=",
            "ERRNO=x",
            "X_OURS=1",
        ] {
            assert_eq!(allowed(message.as_bytes()), None, "{message}");
        }
        assert_eq!(allowed(b"STATUS=\xff\nREADY=1").as_deref(), Some("READY=1"));
        let long = format!("STATUS={}", "\u{fc}".repeat(2000));
        assert_eq!(allowed(long.as_bytes()).unwrap().len(), 1023);
        let too_long = format!("READY=1\nSTATUS={}", "x".repeat(LONGEST_MESSAGE));
        assert_eq!(allowed(too_long.as_bytes()), None);
    }

    #[test]
    fn addresses_are_paths_or_names() {
        for text in ["/run/systemd/notify", "@name", "@/org/x"] {
            assert_eq!(check_address(text), Ok(()), "{text}");
        }
        let long = format!("/{}", "x".repeat(107));
        for text in ["", "@", "run/notify", "vsock:2:1234", "/a\0b", &long] {
            assert!(check_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let notify = Notify {
            socket: "@x".to_owned(),
            ready: Ready::Container,
            main: true,
        };
        let text = serde_json::to_string(&notify).unwrap();
        assert_eq!(text, r#"{"socket":"@x","ready":"container","main":true}"#);
        assert_eq!(serde_json::from_str::<Notify>(&text).unwrap(), notify);
    }
}
