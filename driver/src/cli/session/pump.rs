//! One direction of a session: bytes from a descriptor to a descriptor. It never blocks and never takes what it cannot
//! pass on, so a slow reader of ours slows the container, and nothing is kept here.
//!
//! A container's output is moved inside the kernel where that can be done, so that not even SIGKILL finds bytes of it that
//! are in neither place. Elsewhere (our stdout is opened for appending, or a socket) one buffer lies between.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::end::End;
use super::keys::Watch;

const BUFFER: usize = 64 * 1024;

/// What a pipe holds at most without privileges (/proc/sys/fs/pipe-max-size).
const MAX_CAPACITY: usize = 1 << 20;

/// Rounds before the other directions get their turn.
const ROUNDS: usize = 16;

/// What a pump waits for.
#[derive(Debug)]
pub enum Wants<'a> {
    /// Bytes to read.
    Source(BorrowedFd<'a>),
    /// Room to write.
    Sink(BorrowedFd<'a>),
    /// Its turn, at once.
    Turn,
    /// Nothing: it is done.
    Nothing,
}

/// What a turn led to.
#[derive(Debug)]
pub enum Turn {
    /// There may be more later.
    Open,
    /// The source ended and everything has been passed on.
    Done,
    /// The sink takes no more.
    Broken(io::Error),
    /// The detach keys were typed.
    Detach,
}

/// One direction.
#[derive(Debug)]
pub struct Pump {
    source: Option<End>,
    sink: Option<End>,
    watch: Option<Watch>,
    buffer: Vec<u8>,
    /// What is in `buffer` before this has been passed on.
    passed: usize,
    /// Whether the source needs no first try: a FIFO whose writers had left before never says so to poll(2).
    tried: bool,
    /// How much may still be read, once the end is known.
    allowance: Option<usize>,
    /// Whether the kernel moves the bytes.
    direct: bool,
    /// Whether the sink had no room for what the kernel would have moved.
    blocked: bool,
}

impl Pump {
    /// A direction; `watch` looks for detach keys.
    pub fn new(source: End, sink: End, watch: Option<Watch>) -> Self {
        let from_container = matches!(source, End::Container(_));
        let direct = from_container && matches!(sink, End::Ready(_));
        Self {
            source: Some(source),
            sink: Some(sink),
            watch,
            buffer: Vec::new(),
            passed: 0,
            tried: !from_container,
            allowance: None,
            direct,
            blocked: false,
        }
    }

    /// A direction that does not exist.
    pub fn none() -> Self {
        Self {
            source: None,
            sink: None,
            watch: None,
            buffer: Vec::new(),
            passed: 0,
            tried: true,
            allowance: None,
            direct: false,
            blocked: false,
        }
    }

    fn pending(&self) -> &[u8] {
        &self.buffer[self.passed..]
    }

    /// What to wait for before the next [`Pump::turn`].
    pub fn wants(&self) -> Wants<'_> {
        match (&self.source, &self.sink) {
            (_, Some(sink)) if self.blocked || !self.pending().is_empty() => {
                Wants::Sink(sink.as_fd())
            }
            (Some(source), Some(_))
                if !self.tried || self.allowance.is_some() || source.is_at_kept() =>
            {
                Wants::Turn
            }
            (Some(source), Some(_)) => Wants::Source(source.as_fd()),
            _ => Wants::Nothing,
        }
    }

    /// Whether nothing will ever come any more.
    pub fn is_done(&self) -> bool {
        matches!(self.wants(), Wants::Nothing)
    }

    /// From now on only what is in the source already is passed on. Others may hold its write end for ever (background
    /// children of an exec) and write on and on: no more is taken than a pipe can hold.
    pub fn finish(&mut self) {
        if let (Some(End::Container(reader)), None) = (&self.source, self.allowance)
            && reader.spills()
        {
            // What the FIFO had no room for was kept; nobody but the shim had it open for writing.
            self.allowance = Some(usize::MAX);
        } else if let (Some(source), None) = (&self.source, self.allowance) {
            let capacity = fcntl(source, FcntlArg::F_GETPIPE_SZ);
            let capacity = capacity.ok().and_then(|bytes| usize::try_from(bytes).ok());
            // Never less than a file of unread output may hold.
            self.allowance = Some(capacity.map_or(MAX_CAPACITY, |bytes| bytes.max(MAX_CAPACITY)));
        }
    }

    /// Closes both ends.
    pub fn close(&mut self) {
        *self = Self::none();
    }

    /// Moves what can be moved.
    pub fn turn(&mut self) -> Turn {
        // It is the sink then that poll(2) was asked about.
        let unasked = matches!(self.wants(), Wants::Sink(_));
        let unasked = unasked && self.source.as_ref().is_some_and(End::is_cautious);
        for _ in 0..ROUNDS {
            match self.flush() {
                Ok(true) => {}
                Ok(false) => return Turn::Open,
                Err(e) => {
                    self.close();
                    return Turn::Broken(e);
                }
            }
            if self.is_done() {
                self.close();
                return Turn::Done;
            }
            if unasked {
                return Turn::Open;
            }
            let cautious = self.is_cautious();
            let filled = match self.move_directly() {
                Some(Err(e)) => {
                    self.close();
                    return Turn::Broken(e);
                }
                Some(moved) => moved,
                None => self.fill(),
            };
            match filled {
                Ok(Filled::Some) if cautious => return Turn::Open,
                Ok(Filled::Some) => {}
                Ok(Filled::Nothing) => return Turn::Open,
                Ok(Filled::Detach) => {
                    // What was typed before the keys is for the container; if there is no room, so be it.
                    let _ = self.flush();
                    return Turn::Detach;
                }
                Ok(Filled::End) => self.source = None,
                Err(e) => {
                    // A terminal that hung up says EIO. Whatever it is, nothing more will come from there.
                    log::debug!("read standard stream: {e}");
                    self.source = None;
                }
            }
        }
        Turn::Open
    }

    fn is_cautious(&self) -> bool {
        [&self.source, &self.sink]
            .into_iter()
            .flatten()
            .any(End::is_cautious)
    }

    /// Whether everything pending has been written.
    fn flush(&mut self) -> io::Result<bool> {
        let Some(sink) = &mut self.sink else {
            return Ok(true);
        };
        while self.passed < self.buffer.len() {
            match sink.write(&self.buffer[self.passed..]) {
                Ok(written) => self.passed += written,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
            if sink.is_cautious() && self.passed < self.buffer.len() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets the kernel move what there is; `None` when it cannot.
    fn move_directly(&mut self) -> Option<io::Result<Filled>> {
        let (true, Some(End::Container(reader)), Some(sink)) =
            (self.direct, &mut self.source, &self.sink)
        else {
            return None;
        };
        self.tried = true;
        self.blocked = false;
        let most = self.allowance.unwrap_or(MAX_CAPACITY);
        Some(match reader.move_to(sink, most) {
            Ok(0) => Ok(Filled::End),
            Ok(moved) => {
                if let Some(left) = &mut self.allowance {
                    *left = left.saturating_sub(moved);
                }
                Ok(Filled::Some)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                // Which of the two is to blame decides what to wait for.
                self.blocked = !has_room(sink);
                Ok(match self.allowance {
                    Some(_) if !self.blocked => Filled::End,
                    _ => Filled::Nothing,
                })
            }
            Err(e) if e.kind() == ErrorKind::InvalidInput => {
                self.direct = false;
                return None;
            }
            Err(e) => Err(e),
        })
    }

    fn fill(&mut self) -> io::Result<Filled> {
        let Some(source) = &mut self.source else {
            return Ok(Filled::End);
        };
        self.passed = 0;
        self.tried = true;
        self.buffer
            .resize(self.allowance.unwrap_or(BUFFER).min(BUFFER), 0);
        let read = source.read(&mut self.buffer);
        self.buffer.truncate(*read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => return Ok(Filled::End),
            Ok(taken) => {
                if let Some(left) = &mut self.allowance {
                    *left -= taken;
                }
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock && self.allowance.is_some() => {
                return Ok(Filled::End);
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Filled::Nothing),
            Err(e) => return Err(e),
        }
        if let Some(watch) = &mut self.watch {
            let mut pass = Vec::with_capacity(self.buffer.len());
            let detach = watch.push(&self.buffer, &mut pass);
            self.buffer = pass;
            if detach {
                return Ok(Filled::Detach);
            }
        }
        Ok(Filled::Some)
    }
}

fn has_room(sink: &End) -> bool {
    let mut fds = [PollFd::new(sink.as_fd(), PollFlags::POLLOUT)];
    // An error is room too: the next move will tell.
    !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(0))
}

enum Filled {
    Some,
    Nothing,
    End,
    Detach,
}

#[cfg(test)]
mod tests {
    use super::super::end::CAUTIOUS;
    use super::*;
    use nix::fcntl::OFlag;
    use nix::unistd::pipe2;
    use std::fs::{File, OpenOptions};
    use std::io::{Read, Write};

    /// A pipe: what is read from, what is written to; both non-blocking.
    fn pipe() -> (File, File) {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        (read.into(), write.into())
    }

    fn contents(mut from: &File) -> Vec<u8> {
        let mut bytes = vec![0; 2 * MAX_CAPACITY];
        let mut length = 0;
        while let Ok(read @ 1..) = from.read(&mut bytes[length..]) {
            length += read;
        }
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn bytes_arrive_and_the_end_follows_them() {
        let ((source, mut writer), (reader, sink)) = (pipe(), pipe());
        let mut pump = Pump::new(End::Ready(source), End::Ready(sink), None);
        assert!(matches!(pump.wants(), Wants::Source(_)));
        writer.write_all(b"hello").unwrap();
        assert!(matches!(pump.turn(), Turn::Open));
        assert_eq!(contents(&reader), b"hello");
        drop(writer);
        assert!(matches!(pump.turn(), Turn::Done) && pump.is_done());
    }

    #[test]
    fn nothing_is_read_that_cannot_be_passed_on() {
        let ((source, mut writer), (reader, sink)) = (pipe(), pipe());
        let waiting: Vec<u8> = (0..=255).cycle().take(1 << 16).collect();
        (&sink).write_all(&waiting).unwrap();
        writer.write_all(&waiting).unwrap();
        let mut pump = Pump::new(End::Ready(source), End::Ready(sink), None);
        // It takes one buffer, and then no more.
        assert!(matches!(pump.turn(), Turn::Open));
        assert!(matches!(pump.wants(), Wants::Sink(_)));
        writer.write_all(&waiting).unwrap();
        assert!(matches!(pump.turn(), Turn::Open));
        assert_eq!(
            writer.write(b"x").unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        drop(writer);
        let mut arrived = Vec::new();
        while !pump.is_done() {
            pump.turn();
            arrived.extend(contents(&reader));
        }
        assert!(arrived == waiting.repeat(3));
    }

    #[test]
    fn a_source_that_may_block_is_not_read_when_it_was_the_sink_that_was_asked() {
        let ((source, mut writer), (reader, sink)) = (pipe(), pipe());
        let looker = source.try_clone().unwrap();
        (&sink).write_all(&[0; 1 << 16]).unwrap();
        writer.write_all(b"one").unwrap();
        let mut pump = Pump::new(End::Cautious(source), End::Ready(sink), None);
        assert!(matches!(pump.turn(), Turn::Open));
        assert!(matches!(pump.wants(), Wants::Sink(_)));
        writer.write_all(b"two").unwrap();
        contents(&reader);
        assert!(matches!(pump.turn(), Turn::Open));
        assert_eq!(contents(&reader), b"one");
        assert_eq!(contents(&looker), b"two");
    }

    #[test]
    fn once_the_end_is_known_a_writer_that_goes_on_is_not_waited_for() {
        let ((source, mut writer), (reader, sink)) = (pipe(), pipe());
        let mut pump = Pump::new(End::Ready(source), End::Ready(sink), None);
        writer.write_all(b"last words").unwrap();
        pump.finish();
        assert!(matches!(pump.wants(), Wants::Turn));
        assert!(matches!(pump.turn(), Turn::Done));
        assert_eq!(contents(&reader), b"last words");
    }

    #[test]
    fn a_writer_that_never_stops_is_left_in_the_end() {
        let source = File::open("/dev/zero").unwrap();
        let sink = OpenOptions::new().write(true).open("/dev/null").unwrap();
        let mut pump = Pump::new(End::Ready(source), End::Ready(sink), None);
        pump.finish();
        let turns = (1..100).find(|_| matches!(pump.turn(), Turn::Done));
        assert_eq!(turns, Some(MAX_CAPACITY / BUFFER / ROUNDS + 1));
    }

    #[test]
    fn a_sink_that_may_block_is_fed_page_by_page() {
        let ((source, mut writer), (reader, sink)) = (pipe(), pipe());
        writer.write_all(&[7; 10_000]).unwrap();
        let mut pump = Pump::new(End::Ready(source), End::Cautious(sink), None);
        assert!(matches!(pump.turn(), Turn::Open));
        for expected in [CAUTIOUS, CAUTIOUS, 10_000 - 2 * CAUTIOUS] {
            assert!(matches!(pump.wants(), Wants::Sink(_)));
            assert!(matches!(pump.turn(), Turn::Open));
            assert_eq!(contents(&reader).len(), expected);
        }
    }

    #[test]
    fn a_reader_that_left_is_told_apart_from_an_end() {
        let ((source, mut writer), (reader, sink)) = (pipe(), pipe());
        let mut pump = Pump::new(End::Ready(source), End::Ready(sink), None);
        drop(reader);
        writer.write_all(b"x").unwrap();
        assert!(matches!(pump.turn(), Turn::Broken(_)) && pump.is_done());
    }

    #[test]
    fn the_detach_keys_stay_here_and_what_came_before_them_does_not() {
        let ((source, mut writer), (reader, sink)) = (pipe(), pipe());
        let watch = Watch::new(&"x,y".parse().unwrap());
        let mut pump = Pump::new(End::Ready(source), End::Ready(sink), Some(watch));
        writer.write_all(b"abxy").unwrap();
        assert!(matches!(pump.turn(), Turn::Detach));
        assert_eq!(contents(&reader), b"ab");
    }
}
