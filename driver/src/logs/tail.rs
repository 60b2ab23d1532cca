//! Where the last so many lines of a log begin, found from its end: what is before them is not read, however much it is.
//!
//! A line is an entry of one stream that ends, and the pieces before it of the same stream, wherever the other stream's entries
//! stand in between. So each stream has a beginning of its own.

use std::io;
use std::ops::ControlFlow;

use holdfast_common::layout::Stream;

use super::chain::{Chain, Place};

/// The two streams that can be logged.
pub(super) const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// How far back the beginning of a line is looked for behind entries of the other stream, bytes. A prompt that was answered a
/// gigabyte of errors later is not worth reading them all.
const LOOK_BACK: u64 = 4 << 20;

/// Where each stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beginning(pub [Place; 2]);

impl Beginning {
    /// Where everything begins.
    pub const ALL: Self = Self([Place { file: 0, offset: 0 }; 2]);

    /// Where the first of the two does.
    pub fn first(&self) -> Place {
        self.0[0].min(self.0[1])
    }

    /// Where a stream does.
    pub fn of(&self, stream: Stream) -> Place {
        self.0[index(stream)]
    }
}

/// A stream's place among two.
pub(super) fn index(stream: Stream) -> usize {
    usize::from(stream == Stream::Stderr)
}

/// What is known of a stream, going back.
#[derive(Debug, Clone, Copy, Default)]
struct Side {
    /// Whether what was taken of it begins with a line of which pieces may come before.
    open: bool,
    /// Whether an end of a line was met that is not taken any more.
    over: bool,
}

/// Finds where the last so many lines of these streams begin.
pub(super) fn find(
    chain: &Chain,
    lines: u64,
    wanted: impl Fn(Stream) -> bool,
) -> io::Result<Beginning> {
    let mut beginning = Beginning([chain.end()?; 2]);
    let mut sides = [Side::default(); 2];
    let mut taken = 0;
    // Where the last piece was found that belongs to what is taken.
    let mut since = 0;
    chain.entries_backwards(|place, entry| {
        if taken == lines {
            let settled = |stream: &Stream| {
                let side = sides[index(*stream)];
                !wanted(*stream) || side.over || !side.open
            };
            if STREAMS.iter().all(settled) || since > LOOK_BACK {
                return ControlFlow::Break(());
            }
        }
        since += entry.bytes.len() as u64;
        if !wanted(entry.stream) {
            return ControlFlow::Continue(());
        }
        let side = &mut sides[index(entry.stream)];
        if side.over {
            return ControlFlow::Continue(());
        }
        // A piece of what was taken, or the end of a line before it; the last piece of a stream may have no end yet.
        if entry.ends || !side.open {
            if taken == lines {
                side.over = true;
                return ControlFlow::Continue(());
            }
            taken += 1;
        }
        side.open = true;
        since = 0;
        beginning.0[index(entry.stream)] = place;
        ControlFlow::Continue(())
    })?;
    Ok(beginning)
}
