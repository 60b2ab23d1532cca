//! Where events go, so that they never keep anybody waiting: a reader may stop, a disk may be full, and supervision matters more
//! than its log. What cannot be written at once waits, up to a limit; what is beyond it, or cannot be written at all, is dropped
//! and counted. The count is told as soon as there is room, before anything that comes later.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::session::End;

/// How many bytes may wait: some ten thousand events, as many as a start may have to tell at once.
const LIMIT: usize = 4 << 20;

/// Lines on their way to a descriptor.
#[derive(Debug)]
pub struct Outlet {
    to: End,
    /// Complete lines, but for what was written of the first.
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    /// How much of the first line was written.
    written: usize,
    /// The last that was written was the beginning of a line whose rest was dropped.
    is_torn: bool,
    dropped: u64,
    limit: usize,
}

impl Outlet {
    /// To a descriptor that others may share.
    ///
    /// # Errors
    /// fstat(2)'s or dup(2)'s.
    pub fn new(to: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self {
            to: End::own(to, OpenOptions::new().write(true))?,
            waiting: VecDeque::new(),
            bytes: 0,
            written: 0,
            is_torn: false,
            dropped: 0,
            limit: LIMIT,
        })
    }

    /// Takes a line, its end included, and writes what there is room for; `tell_dropped` makes the line that tells how many were
    /// dropped before it.
    pub fn line(&mut self, line: Vec<u8>, tell_dropped: impl Fn(u64) -> Vec<u8>) {
        self.flush();
        if self.dropped > 0 {
            let told = tell_dropped(self.dropped);
            // Both or none: an event after a gap must not look like one after none.
            if self.bytes + told.len() + line.len() > self.limit {
                self.dropped += 1;
                return;
            }
            let dropped = std::mem::take(&mut self.dropped);
            self.push(told);
            self.flush();
            if self.dropped > 0 {
                // It went the way of the others, and counts as none.
                self.dropped = dropped + 1;
                return;
            }
        }
        if self.bytes + line.len() > self.limit {
            self.dropped += 1;
            return;
        }
        self.push(line);
        self.flush();
    }

    fn push(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.waiting.push_back(line);
    }

    /// Writes what there is room for.
    pub fn flush(&mut self) {
        while let Some(line) = self.waiting.front() {
            if self.to.is_cautious() && !self.has_room(Duration::ZERO) {
                return;
            }
            let torn = b"\n";
            let rest = if self.is_torn {
                &torn[..]
            } else {
                &line[self.written..]
            };
            match self.to.write(rest) {
                Ok(_) if self.is_torn => self.is_torn = false,
                Ok(count) if count < rest.len() => self.written += count,
                Ok(_) => {
                    self.bytes -= line.len();
                    self.waiting.pop_front();
                    self.written = 0;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                // Nobody reads, or there is no room: nor will there be for the rest, as far as one can tell.
                Err(_) => return self.drop_all(),
            }
        }
    }

    fn drop_all(&mut self) {
        self.is_torn |= self.written > 0;
        self.dropped += self.waiting.len() as u64;
        self.waiting.clear();
        self.bytes = 0;
        self.written = 0;
    }

    /// Whether something waits for room: poll for it, and [`Outlet::flush`].
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes what waits, as far as there is room for it in time.
    pub fn finish(&mut self, patience: Duration) {
        let end = Instant::now() + patience;
        self.flush();
        while self.is_waiting() && self.has_room(end.saturating_duration_since(Instant::now())) {
            self.flush();
        }
    }

    fn has_room(&self, patience: Duration) -> bool {
        let mut fds = [PollFd::new(self.to.as_fd(), PollFlags::POLLOUT)];
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        // An error or a hang-up is for the write to find.
        matches!(poll(&mut fds, timeout), Ok(1..))
    }
}

impl AsFd for Outlet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.to.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    fn told(count: u64) -> Vec<u8> {
        format!("dropped {count}\n").into_bytes()
    }

    /// What can be read now.
    fn contents(reader: &mut File) -> String {
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        let is_readable = |file: &File| {
            let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
        };
        while is_readable(reader) {
            let count = reader.read(&mut buffer).unwrap();
            text.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_reader_that_stops_keeps_nobody_waiting_and_learns_what_it_missed() {
        // A socket cannot be opened anew, and is used with caution; a pipe can.
        let sockets = std::os::unix::net::UnixStream::pair().unwrap();
        let pipe = nix::unistd::pipe().unwrap();
        for (read, write) in [(sockets.0.into(), sockets.1.into()), (pipe.0, pipe.1)]
            as [(std::os::fd::OwnedFd, std::os::fd::OwnedFd); 2]
        {
            let mut outlet = Outlet::new(write.as_fd()).unwrap();
            outlet.limit = 10_000;
            // Of uneven length, so that some are torn apart by the end of a page.
            let line = |n: usize| format!("{n} {}\n", "x".repeat(100 + n % 7)).into_bytes();
            let mut sent = 0;
            while outlet.dropped < 5 {
                outlet.line(line(sent), told);
                sent += 1;
            }
            assert!(outlet.is_waiting() && outlet.bytes <= 10_000);
            let mut reader = File::from(read);
            let mut text = String::new();
            while outlet.is_waiting() {
                text += &contents(&mut reader);
                outlet.flush();
            }
            outlet.line(line(sent), told);
            text += &contents(&mut reader);
            let mut expected: Vec<u8> = (0..sent - 5).flat_map(line).collect();
            expected.extend(told(5).into_iter().chain(line(sent)));
            assert!(text.as_bytes() == expected, "{text}");
        }
    }

    #[test]
    fn a_reader_that_is_gone_or_a_full_disk_costs_events_alone() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let mut outlet = Outlet::new(write.as_fd()).unwrap();
        drop(read);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut full = Outlet::new(full.as_fd()).unwrap();
        for count in 1..4 {
            for outlet in [&mut outlet, &mut full] {
                outlet.line(b"x\n".to_vec(), told);
                assert!(!outlet.is_waiting());
                assert_eq!(outlet.dropped, count);
            }
        }
    }

    #[test]
    fn a_line_that_was_torn_ends_before_the_next() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let mut outlet = Outlet::new(write.as_fd()).unwrap();
        outlet.push(b"torn apart\n".to_vec());
        outlet.written = outlet.to.write(b"torn").unwrap();
        outlet.drop_all();
        outlet.line(b"whole\n".to_vec(), told);
        let mut reader = File::from(read);
        assert_eq!(contents(&mut reader), "torn\ndropped 1\nwhole\n");
    }
}
