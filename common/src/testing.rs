//! What the unit tests share.

use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something is so that closing a descriptor brings about: a program that another test starts just now has it too, until it is
/// executed.
#[track_caller]
pub fn comes_true(check: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < until, "it does not come true");
        std::thread::yield_now();
    }
}
