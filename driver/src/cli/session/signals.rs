//! The signals of an attached session, as a descriptor. Only catches; what a signal means is the session's business.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use signal_hook::{SigId, flag, low_level};

/// Left alone. CHLD and URG speak of ourselves; PIPE is an error of a write; TSTP, TTIN and TTOU are our shell's job
/// control; ILL, FPE, SEGV and BUS are our own bugs, and would come again and again.
const NOT_CAUGHT: [i32; 12] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGCHLD,
    libc::SIGURG,
    libc::SIGPIPE,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGBUS,
];

/// Ask a program to end.
pub const ENDING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// Catches signals from its making on; what comes before the session is ready waits.
#[derive(Debug)]
pub struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// Catches every signal that can be passed on.
    ///
    /// # Errors
    /// socketpair(2)'s or sigaction(2)'s.
    pub fn catch_all() -> io::Result<Self> {
        // 32 and 33 belong to the C library's threads.
        let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
        let all = (1..32).chain(real_time);
        Self::catch(all.filter(|number| !NOT_CAUGHT.contains(number)))
    }

    /// Catches what concerns a client that only looks on: its end and its window.
    ///
    /// # Errors
    /// socketpair(2)'s or sigaction(2)'s.
    pub fn catch_own() -> io::Result<Self> {
        Self::catch(ENDING.into_iter().chain([libc::SIGWINCH, libc::SIGCONT]))
    }

    /// Catches what concerns a client that draws on the terminal: as [`Signals::catch_own`], and the key that stops it.
    ///
    /// # Errors
    /// socketpair(2)'s or sigaction(2)'s.
    pub fn catch_watching() -> io::Result<Self> {
        let drawing = [libc::SIGWINCH, libc::SIGTSTP];
        Self::catch(ENDING.into_iter().chain(drawing))
    }

    fn catch(numbers: impl Iterator<Item = i32>) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        SignalDelivery::with_pipe(read, write, SignalOnly, numbers).map(Self)
    }

    /// The first that asks us to end among what has come since the last call.
    pub fn ending(&mut self) -> Option<i32> {
        let mut signals = self.take().into_iter();
        signals.find(|signal| ENDING.contains(signal))
    }

    /// What has come since the last call.
    pub fn take(&mut self) -> Vec<i32> {
        self.0.pending().collect()
    }
}

/// While it lives, the first signal that asks us to end waits for its turn, and the second ends us at once: nobody should
/// have to sit out a runtime that is stuck.
#[derive(Debug)]
pub struct Impatience {
    asked: Arc<AtomicBool>,
    registered: Vec<SigId>,
}

impl Impatience {
    /// Begins to count.
    ///
    /// # Errors
    /// sigaction(2)'s.
    pub fn begin() -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let mut impatience = Self {
            asked: Arc::clone(&asked),
            registered: Vec::new(),
        };
        for signal in ENDING {
            // In this order: the first one finds the flag unset and leaves it set.
            let end = flag::register_conditional_default(signal, Arc::clone(&asked))?;
            impatience.registered.push(end);
            let asked = flag::register(signal, Arc::clone(&asked))?;
            impatience.registered.push(asked);
        }
        Ok(impatience)
    }

    /// Whether we were asked to end.
    pub fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Impatience {
    fn drop(&mut self) {
        for id in &self.registered {
            low_level::unregister(*id);
        }
    }
}

impl AsFd for Signals {
    /// Readable when there is something to [`Signals::take`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}
