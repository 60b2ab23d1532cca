//! What the kernel under the tests can do, where they must expect different things of different ones. No test asks elsewhere.

use crate::Sandbox;
use crate::matrix::Ended;

/// The numbers that a kernel's release begins with.
///
/// # Panics
/// When it begins with something else.
#[must_use]
pub fn version() -> (u32, u32) {
    let release = nix::sys::utsname::uname().expect("uname");
    let release = release.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor),
        _ => panic!("a kernel of release {release}"),
    }
}

/// Whether the kernel keeps the exit status of a process that another has reaped, for whoever holds a pidfd of it
/// (`PIDFD_INFO_EXIT`).
#[must_use]
pub fn keeps_exit_statuses() -> bool {
    version() >= (6, 15)
}

/// What is said, as a number, of a process that ended with `code`, or 128 and a signal, and whose shim had adopted it: that, or 255 for
/// what cannot be known.
#[must_use]
pub fn adopted_code(code: i32) -> i32 {
    if keeps_exit_statuses() { code } else { 255 }
}

impl Sandbox {
    /// Asserts how a process is said to have ended whose shim had adopted it, and was not its parent: as it did, where the kernel
    /// keeps that; else it is unknown, and this is the reason.
    ///
    /// # Panics
    /// When it is said to have ended in another way.
    #[track_caller]
    pub fn assert_adopted_end(&self, id: &str, process: &str, ended: &Ended) {
        let said = self.ended(id, process);
        if keeps_exit_statuses() {
            assert_eq!(said, *ended);
            assert_eq!(self.exit_json(id, process)["source"], "pidfd");
        } else {
            let Ended::Unknown(reason) = &said else {
                panic!("nobody can know that it was {said:?}");
            };
            assert!(
                reason.contains("keeps no exit status (Linux < 6.15)"),
                "{reason}"
            );
        }
    }
}
