//! What is shown while something takes its time: on a terminal, after a second, on one line of stderr that is gone when it is done.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is over by then needs no display.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it moves.
const TURN: Duration = Duration::from_millis(100);

/// Shown from a second on, until it is dropped. Nothing is shown where stderr is no terminal; without colours where `NO_COLOR` is
/// set.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    /// Dropped first: the thread sees it, clears its line and ends.
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to count the time of one thing.
    pub fn begin(what: String) -> Self {
        let progress = Self::show(what, None, "{spinner:.cyan} {prefix} {msg} {elapsed}");
        progress.bar.set_message("…");
        progress
    }

    /// Begins to count how many of them are done.
    pub fn begin_many(what: &str, number: usize) -> Self {
        let template = "{spinner:.cyan} {prefix} {pos} of {len} {elapsed}";
        Self::show(what.to_owned(), u64::try_from(number).ok(), template)
    }

    fn show(what: String, length: Option<u64>, template: &str) -> Self {
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
        // A template of ours, which is sound.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        let (done, is_done) = mpsc::channel::<()>();
        let shown = bar.clone();
        let thread = thread::spawn(move || {
            if is_done.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            shown.set_draw_target(ProgressDrawTarget::stderr());
            while is_done.recv_timeout(TURN) == Err(RecvTimeoutError::Timeout) {
                shown.tick();
            }
            shown.finish_and_clear();
        });
        Self {
            bar,
            done: Some(done),
            thread: Some(thread),
        }
    }

    /// Says how much has been written.
    pub fn written(&self, bytes: u64) {
        self.bar.set_message(HumanBytes(bytes).to_string());
    }

    /// One more of them is done.
    pub fn done(&self) {
        self.bar.inc(1);
    }

    /// Writes something else to the terminal meanwhile.
    pub fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            // It does not panic, and if it did, nothing would be shown.
            let _ = thread.join();
        }
    }
}
