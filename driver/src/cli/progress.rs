//! What is shown while something takes its time: on a terminal, after a second, on one line of stderr that is gone when it is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// What is over by then needs no display.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it moves.
const TURN: Duration = Duration::from_millis(100);

/// Shown from a second on, until it is dropped. Nothing is shown where stderr is no terminal; without colours where `NO_COLOR` is
/// set.
#[derive(Debug)]
pub struct Progress {
    written: Arc<AtomicU64>,
    /// Dropped first: the thread sees it, clears its line and ends.
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to count.
    pub fn begin(what: String) -> Self {
        let written = Arc::new(AtomicU64::new(0));
        let shown = Arc::clone(&written);
        let (done, is_done) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            if is_done.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let bar = ProgressBar::new_spinner().with_elapsed(PATIENCE);
            // A template of ours, which is sound.
            if let Ok(style) =
                ProgressStyle::with_template("{spinner:.cyan} {prefix} {msg} {elapsed}")
            {
                bar.set_style(style);
            }
            bar.set_prefix(what);
            while is_done.recv_timeout(TURN) == Err(RecvTimeoutError::Timeout) {
                match shown.load(Ordering::Relaxed) {
                    0 => bar.set_message("…"),
                    bytes => bar.set_message(HumanBytes(bytes).to_string()),
                }
                bar.tick();
            }
            bar.finish_and_clear();
        });
        Self {
            written,
            done: Some(done),
            thread: Some(thread),
        }
    }

    /// Says how much has been written.
    pub fn written(&self, bytes: u64) {
        self.written.store(bytes, Ordering::Relaxed);
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
