//! The memory through which output goes: made when there is some, and given back to the system when there has been none for a
//! while, because most shims wait most of the time.

use std::time::{Duration, Instant};

use holdfast_common::sys::memory;

/// The most that is read at a time, bytes: twice what a FIFO usually holds. A shim that is killed takes no more along; what is
/// written in larger pieces costs a file system less.
const PIECE: usize = 128 << 10;
/// Room for the entries of as much, in lines of a usual length. Pages of it that are not needed are not there.
const ENTRIES: usize = 2 * PIECE;
/// How long it is kept for what may come next.
const KEPT: Duration = Duration::from_millis(100);

/// Two buffers.
#[derive(Debug, Default)]
pub struct Scratch {
    piece: Vec<u8>,
    entries: Vec<u8>,
    used: Option<Instant>,
    /// Bytes of this turn.
    moved: usize,
}

impl Scratch {
    /// One to read into.
    pub fn piece(&mut self) -> &mut [u8] {
        self.both().0
    }

    /// One to make entries in.
    pub fn entries(&mut self) -> &mut Vec<u8> {
        self.touch();
        self.make_room();
        &mut self.entries
    }

    /// Both.
    pub fn both(&mut self) -> (&mut [u8], &mut Vec<u8>) {
        if self.piece.is_empty() {
            self.piece = vec![0; PIECE];
            self.make_room();
            self.touch();
        }
        (&mut self.piece, &mut self.entries)
    }

    /// Has room for entries made in one piece, apart from the heap: growing step by step they would leave their steps there, below
    /// what stays.
    fn make_room(&mut self) {
        if self.entries.capacity() == 0 {
            self.entries.reserve(ENTRIES);
        }
    }

    /// It was of use: looking whether there is something to read is none.
    pub fn touch(&mut self) {
        self.used = Some(Instant::now());
    }

    /// A turn begins.
    pub fn begin(&mut self) {
        self.moved = 0;
    }

    /// So many bytes were moved.
    pub fn count(&mut self, bytes: usize) {
        self.moved += bytes;
    }

    /// How many were, in the last turn; to be told once.
    pub fn take_moved(&mut self) -> usize {
        std::mem::take(&mut self.moved)
    }

    /// When it is to be given back.
    pub fn due(&self) -> Option<Instant> {
        self.used.map(|used| used + KEPT)
    }

    /// Gives it back, if nobody has needed it for a while.
    pub fn give_back_if_due(&mut self) {
        if self.due().is_some_and(|due| due <= Instant::now()) {
            *self = Self::default();
            memory::trim();
        }
    }
}
