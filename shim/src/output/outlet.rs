//! The FIFO that a reader has, or will have: its write end, and whether anybody is at the other.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use holdfast_common::layout::Stream;
use holdfast_common::sys::{errno_text, fifo};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// One.
#[derive(Debug)]
pub struct Outlet {
    fifo: OwnedFd,
    /// Tells when somebody opens the FIFO.
    watch: Option<Inotify>,
    /// A read end, where that cannot be told: then the FIFO is filled whether or not anybody reads.
    hold: Option<OwnedFd>,
}

impl Outlet {
    /// Of a write end.
    pub fn new(fifo: OwnedFd, stream: Stream) -> io::Result<Self> {
        let watch = watch(&fifo);
        let hold = match &watch {
            Ok(_) => None,
            Err(e) => {
                let (name, cause) = (stream.name(), errno_text(e));
                log::warn!("cannot tell whether {name} has a reader: {cause}");
                Some(open_read(&fifo)?)
            }
        };
        Ok(Self {
            fifo,
            watch: watch.ok(),
            hold,
        })
    }

    /// The write end.
    pub fn fifo(&self) -> &OwnedFd {
        &self.fifo
    }

    /// What tells when somebody opens the FIFO.
    pub fn watch(&self) -> Option<&Inotify> {
        self.watch.as_ref()
    }

    /// Whether somebody has the FIFO open to read it.
    pub fn has_reader(&self) -> bool {
        if self.hold.is_some() {
            return true;
        }
        let mut fds = [PollFd::new(self.fifo.as_fd(), PollFlags::empty())];
        // pipe(7), poll(2): a write end whose readers are gone has an error.
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(_) => !fds[0]
                .revents()
                .unwrap_or(PollFlags::empty())
                .contains(PollFlags::POLLERR),
            Err(_) => false,
        }
    }

    /// Takes note that the FIFO was opened, so that the next time is told of too. By whom, is seen by itself.
    pub fn see_opens(&self) {
        if let Some(watch) = &self.watch {
            while watch.read_events().is_ok() {}
        }
    }

    /// How many bytes nobody has read yet.
    pub fn waiting(&self) -> u64 {
        fifo::waiting(self.fifo.as_fd()).unwrap_or(0)
    }

    /// Waits for room; whether there may be some.
    pub fn wait_for_room(&self, timeout: Duration) -> bool {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO);
        let mut fds = [PollFd::new(self.fifo.as_fd(), PollFlags::POLLOUT)];
        matches!(poll(&mut fds, timeout), Ok(1..))
    }

    /// A read end.
    pub fn open_read(&self) -> io::Result<OwnedFd> {
        open_read(&self.fifo)
    }
}

/// By descriptor, as the name may be gone.
fn open_read(fifo: &OwnedFd) -> io::Result<OwnedFd> {
    fifo::open_read(&by_descriptor(fifo))
}

fn by_descriptor(fifo: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", fifo.as_raw_fd()).into()
}

fn watch(fifo: &OwnedFd) -> io::Result<Inotify> {
    let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    watch.add_watch(&by_descriptor(fifo), AddWatchFlags::IN_OPEN)?;
    Ok(watch)
}
