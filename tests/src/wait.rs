//! Waiting with a deadline: on descriptors by poll(2), and on conditions that have no event.
//!
//! The methods on [`Sandbox`] print its state and panic when the deadline passes.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Sandbox;

/// How long anything may take. Far above what it does take, for a machine with other things to do.
pub const DEADLINE: Duration = patient(Duration::from_secs(30));

/// How many times as long as elsewhere anything may take, on a machine with an emulated processor (scripts/guest):
/// `HOLDFAST_TEST_PATIENCE`, a whole number, when the tests are built.
const PATIENCE: u32 = match option_env!("HOLDFAST_TEST_PATIENCE") {
    Some(number) => match u32::from_str_radix(number, 10) {
        Ok(number) => number,
        Err(_) => panic!("HOLDFAST_TEST_PATIENCE is not a whole number"),
    },
    None => 1,
};

/// What is `long` enough on an ordinary machine, on this one.
#[must_use]
pub const fn patient(long: Duration) -> Duration {
    long.saturating_mul(PATIENCE)
}

/// Asks until `condition` holds; whether it did within `patience`. For what has no event to wait on.
pub fn until(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

/// What poll(2) reports of `fd`, of `events` and the errors and hang-ups that always count; empty when
/// `patience` ends first.
///
/// # Panics
/// When poll itself fails.
pub fn events(fd: impl AsFd, events: PollFlags, patience: Duration) -> PollFlags {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(fd.as_fd(), events)];
        match poll(&mut fds, timeout) {
            Ok(_) => return fds[0].revents().expect("poll reports known flags only"),
            Err(nix::Error::EINTR) => {}
            Err(e) => panic!("poll: {e}"),
        }
    }
}

/// What `act` returns, or `None` when it is not done in time: for a library call that should not wait and must not be
/// trusted in that. It then goes on in a thread that nobody waits for.
pub fn within<T: Send + 'static>(
    patience: Duration,
    act: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(act()));
    result.recv_timeout(patience).ok()
}

impl Sandbox {
    /// Waits until `condition` holds; `what` it means is printed when it does not.
    ///
    /// # Panics
    /// When the deadline passes.
    #[track_caller]
    pub fn wait_until(&self, what: &str, condition: impl FnMut() -> bool) {
        if !until(DEADLINE, condition) {
            self.give_up(what);
        }
    }

    /// Waits until `value` gives something, and returns it.
    ///
    /// # Panics
    /// When the deadline passes.
    #[track_caller]
    pub fn wait_for<T>(&self, what: &str, mut value: impl FnMut() -> Option<T>) -> T {
        let mut found = None;
        self.wait_until(what, || {
            found = value();
            found.is_some()
        });
        found.expect("the wait ended because there was a value")
    }

    /// Waits until the shim of this directory has done everything, which is the last thing that it writes down.
    ///
    /// # Panics
    /// When the deadline passes.
    #[track_caller]
    pub fn wait_done(&self, dir: &Path) {
        self.wait_until("the shim to leave", || {
            std::fs::read(dir.join("shim.lock")).is_ok_and(|lock| lock == b"done\n")
        });
    }

    /// Waits until `fd` can be read without blocking; a hang-up counts, as it does for read(2).
    ///
    /// # Panics
    /// When the deadline passes.
    #[track_caller]
    pub fn wait_readable(&self, fd: impl AsFd) {
        if events(&fd, PollFlags::POLLIN, DEADLINE).is_empty() {
            self.give_up("something to read");
        }
    }

    /// Waits until the last writer of `fd` has gone, whether or not there is something left to read.
    ///
    /// # Panics
    /// When the deadline passes.
    #[track_caller]
    pub fn wait_hangup(&self, fd: impl AsFd) {
        // No event is asked for, so that unread data does not wake us; hang-ups are reported all the same.
        if !events(&fd, PollFlags::empty(), DEADLINE).contains(PollFlags::POLLHUP) {
            self.give_up("a hang-up");
        }
    }
}

/// Whether the last writer of `fd` has gone.
pub fn is_hung_up(fd: impl AsFd) -> bool {
    events(fd, PollFlags::empty(), Duration::ZERO).contains(PollFlags::POLLHUP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_hangup_is_told_from_unread_data() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        assert!(!is_hung_up(&reader));
        assert_eq!(
            events(&reader, PollFlags::POLLIN, DEADLINE),
            PollFlags::POLLIN
        );
        drop(writer);
        assert!(is_hung_up(&reader));
    }

    #[test]
    fn what_hangs_is_given_up() {
        assert_eq!(within(DEADLINE, || 7), Some(7));
        let (reader, writer) = std::io::pipe().unwrap();
        let hangs = move || std::io::read_to_string(reader).is_ok();
        assert_eq!(within(Duration::from_millis(20), hangs), None);
        drop(writer);
    }

    #[test]
    fn a_condition_that_never_holds_is_given_up() {
        assert!(!until(Duration::from_millis(20), || false));
    }
}
