//! Deadlines, and waiting for one descriptor until then.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};

/// When to give up; `None` inside means never.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// So far from now.
    pub fn after(timeout: Option<Duration>) -> Self {
        // A time that cannot be represented is as good as never.
        Self(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }

    /// Whether it has passed.
    pub fn has_passed(self) -> bool {
        self.0.is_some_and(|at| at <= Instant::now())
    }

    /// The earlier of this and so far from now.
    pub fn at_most(self, patience: Duration) -> Self {
        let soon = Instant::now() + patience;
        Self(Some(self.0.map_or(soon, |at| at.min(soon))))
    }

    /// Milliseconds for epoll_wait(2), rounded up, or the last one would be spent spinning; -1 for ever.
    pub fn millis(self) -> i32 {
        let Some(at) = self.0 else { return -1 };
        let left = at.saturating_duration_since(Instant::now());
        let millis = left.as_nanos().div_ceil(1_000_000);
        i32::try_from(millis).unwrap_or(i32::MAX)
    }

    /// Waits for a descriptor: `events`, a hang-up or an error. Returns what happened, nothing when the time is over.
    pub fn poll(self, fd: BorrowedFd<'_>, events: PollFlags) -> std::io::Result<PollFlags> {
        let mut fds = [PollFd::new(fd, events)];
        self.poll_any(&mut fds)?;
        Ok(fds[0].revents().unwrap_or(PollFlags::empty()))
    }

    /// Waits for any of several; whether something happened before the time was over.
    pub fn poll_any(self, fds: &mut [PollFd<'_>]) -> std::io::Result<bool> {
        loop {
            let now = Instant::now();
            let left = self.0.map(|at| at.saturating_duration_since(now).into());
            match ppoll(fds, left, None) {
                Ok(0) if !self.has_passed() => (),
                Ok(happened) => return Ok(happened > 0),
                Err(Errno::EINTR) => (),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn waiting_ends_with_the_time_or_with_the_descriptor() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let soon = Deadline::after(Some(Duration::from_millis(2)));
        assert!(
            soon.poll(read.as_fd(), PollFlags::POLLIN)
                .unwrap()
                .is_empty()
        );
        assert!(soon.has_passed() && soon.millis() == 0);
        drop(write);
        let never = Deadline::after(None);
        assert_eq!(never.millis(), -1);
        assert!(
            never
                .poll(read.as_fd(), PollFlags::empty())
                .unwrap()
                .contains(PollFlags::POLLHUP)
        );
        assert!(never.at_most(Duration::ZERO).has_passed());
        assert!(!Deadline::after(Some(Duration::MAX)).has_passed());
    }
}
