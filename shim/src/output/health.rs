//! How a place that output goes to is doing: what could not be written there is dropped and counted, and tried again later and
//! later. One line in the shim's log says when that begins, one when it ends.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long to wait before the second attempt; doubled with each that fails.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// Who has been well for so long begins anew.
const CALM: Duration = Duration::from_secs(10);
/// A peer that was too slow is told of as one that keeps up when it has for so long.
const KEEPING_UP: Duration = Duration::from_secs(1);

/// What is known of a place.
#[derive(Debug)]
pub struct Health {
    /// The place, for people.
    place: String,
    /// How many bytes of output it has not been given, in all.
    dropped: u64,
    trouble: Option<Trouble>,
    delay: Duration,
    /// When the last trouble ended.
    ended: Option<Instant>,
}

/// What is the matter.
#[derive(Debug)]
struct Trouble {
    /// `dropped` when it began.
    before: u64,
    /// When to try again.
    again: Instant,
    /// When bytes were last dropped.
    last: Instant,
}

impl Health {
    pub fn new(place: String, dropped: u64) -> Self {
        Self {
            place,
            dropped,
            trouble: None,
            delay: FIRST_DELAY,
            ended: None,
        }
    }

    /// How many bytes of output were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether there is trouble now.
    pub fn is_troubled(&self) -> bool {
        self.trouble.is_some()
    }

    /// Whether an attempt is due.
    pub fn may_try(&self) -> bool {
        let trouble = self.trouble.as_ref();
        trouble.is_none_or(|it| it.again <= Instant::now())
    }

    /// So many bytes of output are lost to it.
    pub fn drop_bytes(&mut self, bytes: usize) {
        self.dropped += bytes as u64;
        if let Some(trouble) = &mut self.trouble {
            trouble.last = Instant::now();
        }
    }

    /// An attempt failed; the next is due after a while.
    pub fn failed(&mut self, cause: &dyn Display) {
        let now = Instant::now();
        if self.trouble.is_none() && self.ended.is_none_or(|ended| now - ended > CALM) {
            self.delay = FIRST_DELAY;
        }
        let again = now + self.delay;
        self.delay = (self.delay * 2).min(LONGEST_DELAY);
        self.begin(cause, again);
    }

    /// It is slower than the output; the next attempt is due at once.
    pub fn busy(&mut self, cause: &dyn Display) {
        self.begin(cause, Instant::now());
    }

    fn begin(&mut self, cause: &dyn Display, again: Instant) {
        match &mut self.trouble {
            Some(trouble) => trouble.again = again,
            None => {
                log::warn!(
                    "{}: {cause}; output is dropped until it can be written",
                    self.place
                );
                self.trouble = Some(Trouble {
                    before: self.dropped,
                    again,
                    last: Instant::now(),
                });
            }
        }
    }

    /// An attempt succeeded.
    pub fn works(&mut self) {
        self.end_if(true);
    }

    /// An attempt succeeded, at a place that is slow now and then.
    pub fn keeps_up(&mut self) {
        let last = self.trouble.as_ref().map(|trouble| trouble.last);
        self.end_if(last.is_some_and(|last| last.elapsed() > KEEPING_UP));
    }

    fn end_if(&mut self, over: bool) {
        if let Some(trouble) = self.trouble.take_if(|_| over) {
            self.ended = Some(Instant::now());
            let lost = self.dropped - trouble.before;
            log::info!("{}: written again; {lost} bytes were dropped", self.place);
        }
    }
}
