//! What to wait for where a stream's FIFO is at its end because its shim was killed, and the process that it belongs to runs on:
//! the shim that adopts it, an end on record, or the process's own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holdfast_common::exit_record::ExitRecord;
use holdfast_common::identity::Identity;
use holdfast_common::layout::{self, Stream};
use holdfast_common::sys::flock;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// A process without a shim. Its descriptor is readable when that may have changed.
#[derive(Debug)]
pub(super) struct Orphan {
    epoll: Epoll,
    inotify: Inotify,
    _pidfd: Option<OwnedFd>,
}

impl Orphan {
    /// Watches the process of this directory, and this stream of it.
    pub fn watch(dir: &Path, stream: Stream) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(&dir.join(stream.name()), AddWatchFlags::IN_OPEN)?;
        inotify.add_watch(dir, AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let readable = EpollEvent::new(EpollFlags::EPOLLIN, 0);
        epoll.add(&inotify, readable)?;
        let identity = Identity::recorded(dir).ok().flatten();
        let pidfd = identity
            .map(|identity| identity.open())
            .transpose()?
            .flatten();
        if let Some(pidfd) = &pidfd {
            epoll.add(pidfd, readable)?;
        }
        Ok(Self {
            epoll,
            inotify,
            _pidfd: pidfd,
        })
    }

    /// Takes what was told: it is about to be looked at.
    pub fn take(&self) {
        while self
            .inotify
            .read_events()
            .is_ok_and(|events| !events.is_empty())
        {}
    }
}

impl AsFd for Orphan {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

/// Whether nobody will write to the streams of a process any more, now that nobody has them open to write: it has ended, or nobody
/// is left who could say so. A shim closes them after it has put the end on record, unless it is killed.
pub(super) fn is_over(dir: &Path) -> io::Result<bool> {
    // A record that cannot be understood is one all the same.
    let ended = || !matches!(ExitRecord::read(dir), Ok(None));
    if ended() {
        return Ok(true);
    }
    if flock::is_held(&dir.join(layout::SHIM_LOCK_FILE))? {
        return Ok(false);
    }
    let identity = Identity::recorded(dir).ok().flatten();
    let lives = identity.is_some_and(|identity| identity.is_alive());
    // It may have been adopted, and ended, between the looks.
    Ok(!lives || ended())
}
