//! The disk that a stream is spilled to: whether it was full, and when it is tried again.

use std::io;
use std::time::{Duration, Instant};

use holdfast_common::layout::Stream;
use holdfast_common::sys::errno_text;

/// How long to wait before it is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// One.
#[derive(Debug, Default)]
pub struct FullDisk(Option<Retry>);

#[derive(Debug)]
struct Retry {
    at: Instant,
    delay: Duration,
}

impl FullDisk {
    /// Whether it was, when it was tried last.
    pub fn is_full(&self) -> bool {
        self.0.is_some()
    }

    /// When it is to be tried again; `None` when it has room.
    pub fn due(&self) -> Option<Instant> {
        self.0.as_ref().map(|retry| retry.at)
    }

    /// It had no room for what is spilled of a stream; each time, it is left alone for longer.
    pub fn had_none(&mut self, stream: Stream, cause: &io::Error) {
        let now = Instant::now();
        let delay = match &self.0 {
            Some(retry) => (retry.delay * 2).min(RETRY.1),
            None => {
                let (file, cause) = (stream.spill_file(), errno_text(cause));
                log::warn!("{file}: {cause}; the process waits until there is room");
                RETRY.0
            }
        };
        let at = now + delay;
        self.0 = Some(Retry { at, delay });
    }

    /// It had room.
    pub fn had_room(&mut self, stream: Stream) {
        if self.0.take().is_some() {
            log::info!("{}: there is room again", stream.spill_file());
        }
    }
}
