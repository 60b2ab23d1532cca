//! What a container says to a service manager, and what of it is passed on.

use holdfast_common::notify::allowed;

/// The keys that a container may use (sd_notify(3)).
const KEYS: [&str; 9] = [
    "READY",
    "RELOADING",
    "STOPPING",
    "STATUS",
    "WATCHDOG",
    "EXTEND_TIMEOUT_USEC",
    "MONOTONIC_USEC",
    "ERRNO",
    "BUSERROR",
];
/// The longest message, bytes.
const LONGEST: usize = 4096;

/// A message: what is passed on has no line that was not said, no key but the known ones, and nothing that a terminal would obey; and
/// all of it may be said again.
pub fn notify_message(bytes: &[u8]) {
    let Some(passed) = allowed(bytes) else {
        return;
    };
    assert!(bytes.len() <= LONGEST && passed.len() <= bytes.len());
    let mut said = bytes.split(|&byte| byte == b'\n');
    for line in passed.split('\n') {
        let (key, value) = line.split_once('=').expect("an assignment");
        assert!(KEYS.contains(&key), "{line}");
        assert!(!value.contains(char::is_control), "{line:?}");
        // In the order in which it was said, and as it was, but for a status.
        let same = |from: &[u8]| {
            from == line.as_bytes() || key == "STATUS" && from.starts_with(b"STATUS=")
        };
        assert!(said.any(same), "{line:?} was not said");
    }
    assert_eq!(allowed(passed.as_bytes()), Some(passed));
}
