//! Everything that can wake a supervisor, behind one epoll: signals, the monitor's exits, directories that change, and
//! descriptors that say that it is somebody's turn. Level-triggered: what is not taken now is there the next time.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use holdfast::{ContainerId, Monitor};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use super::super::error::{Error, Result};
use super::super::session::Signals;
use super::known::Key;

/// What woke us, in the order of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants us to leave.
    Signals,
    /// The monitor has something.
    Exits,
    /// A directory has changed.
    Directories,
    /// What this process waited for has happened.
    Turn(Key),
    /// There is room for events.
    Room,
}

/// What changed in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The root has a directory of this name.
    Appeared(String),
    /// It had.
    Gone(String),
    /// This container has a process directory of this name.
    Process(ContainerId, String),
    /// It had.
    ProcessGone(ContainerId, String),
    /// The directory of this container's init got a file.
    Init(ContainerId),
    /// There were more changes than the kernel keeps.
    Many,
}

/// What descriptor shows that a container's turn has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It hangs up.
    HangUp,
    /// It is readable.
    Readable,
}

#[derive(Debug, Clone)]
enum Watched {
    Root,
    Container(ContainerId),
    Init(ContainerId),
}

const SIGNALS: u64 = 0;
const EXITS: u64 = 1;
const DIRECTORIES: u64 = 2;
const ROOM: u64 = 3;
/// The first token of what processes wait for.
const TURNS: u64 = 4;

/// The epoll and what is in it.
#[derive(Debug)]
pub struct Sources {
    epoll: Epoll,
    inotify: Inotify,
    watched: HashMap<WatchDescriptor, Watched>,
    turns: HashMap<Key, (u64, OwnedFd)>,
    next_token: u64,
    wants_room: bool,
}

impl Sources {
    /// Watches signals and the monitor, which both must live as long.
    ///
    /// # Errors
    /// The system's.
    pub fn new(signals: &Signals, monitor: &Monitor) -> Result<Self> {
        let make = || -> nix::Result<Self> {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
            let readable = |token| EpollEvent::new(EpollFlags::EPOLLIN, token);
            epoll.add(signals, readable(SIGNALS))?;
            epoll.add(monitor, readable(EXITS))?;
            epoll.add(&inotify, readable(DIRECTORIES))?;
            Ok(Self {
                epoll,
                inotify,
                watched: HashMap::new(),
                turns: HashMap::new(),
                next_token: TURNS,
                wants_room: false,
            })
        };
        make().map_err(|e| Error::io("make", "epoll", e.into()))
    }

    /// Waits for what happens first, at the longest until the deadline.
    ///
    /// # Errors
    /// epoll_wait(2)'s.
    pub fn wait(&mut self, deadline: Option<Instant>) -> Result<Vec<Event>> {
        let timeout = deadline.map_or(EpollTimeout::NONE, |at| {
            let left = at.saturating_duration_since(Instant::now());
            // Rounded up, or the last millisecond would be spent spinning.
            let millis = left.as_nanos().div_ceil(1_000_000);
            EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
        });
        let mut events = [EpollEvent::empty(); 64];
        let count = match self.epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            count => count.map_err(|e| Error::io("wait for", "epoll", e.into()))?,
        };
        let mut tokens: Vec<u64> = events[..count].iter().map(EpollEvent::data).collect();
        tokens.sort_unstable();
        let event = |token| match token {
            SIGNALS => Some(Event::Signals),
            EXITS => Some(Event::Exits),
            DIRECTORIES => Some(Event::Directories),
            ROOM => Some(Event::Room),
            turn => {
                let found = self.turns.iter().find(|(_, (token, _))| *token == turn);
                let key = found.map(|(key, _)| key.clone())?;
                self.cancel(&key);
                Some(Event::Turn(key))
            }
        };
        Ok(tokens.into_iter().filter_map(event).collect())
    }

    /// Wakes us once for a process when a descriptor shows the sign; instead of what it waited for before.
    ///
    /// # Errors
    /// epoll_ctl(2)'s.
    pub fn wait_for(&mut self, key: &Key, fd: OwnedFd, sign: Sign) -> Result<()> {
        self.cancel(key);
        let interest = match sign {
            // Hang-ups are always reported.
            Sign::HangUp => EpollFlags::empty(),
            Sign::Readable => EpollFlags::EPOLLIN,
        };
        let token = self.next_token;
        let added = self.epoll.add(&fd, EpollEvent::new(interest, token));
        added.map_err(|e| Error::io("wait for", "epoll", e.into()))?;
        self.next_token += 1;
        self.turns.insert(key.clone(), (token, fd));
        Ok(())
    }

    /// Wakes us when there is room for events, as long as that is wanted.
    pub fn wait_for_room(&mut self, outlet: impl AsFd, wanted: bool) {
        let done = match (wanted, self.wants_room) {
            (true, false) => {
                let writable = EpollEvent::new(EpollFlags::EPOLLOUT, ROOM);
                self.epoll.add(outlet, writable)
            }
            (false, true) => self.epoll.delete(outlet),
            _ => return,
        };
        match done {
            Ok(()) => self.wants_room = wanted,
            // The next event makes another attempt.
            Err(e) => log::debug!("wait for room: {e}"),
        }
    }

    fn cancel(&mut self, key: &Key) {
        if let Some((_, fd)) = self.turns.remove(key) {
            // Closing would not take it out: others have the same file open.
            let _ = self.epoll.delete(&fd);
        }
    }

    /// Watches for containers that come and go.
    ///
    /// # Errors
    /// inotify_add_watch(2)'s.
    pub fn watch_root(&mut self, root: &Path) -> Result<()> {
        self.watch(root, coming_and_going(), Watched::Root)
    }

    /// Watches for a container's processes that come and go. Twice does no harm.
    ///
    /// # Errors
    /// inotify_add_watch(2)'s.
    pub fn watch_container(&mut self, id: &ContainerId, dir: &Path) -> Result<()> {
        let watched = Watched::Container(id.clone());
        self.watch(dir, coming_and_going(), watched)
    }

    /// Watches the directory of a container's init for files, until [`Sources::unwatch_init`]. Not with `IN_ONESHOT`: the kernel tells
    /// before it takes such a watch away, and one that is set again in between goes with it.
    ///
    /// # Errors
    /// inotify_add_watch(2)'s.
    pub fn watch_init(&mut self, id: &ContainerId, dir: &Path) -> Result<()> {
        self.watch(dir, AddWatchFlags::IN_MOVED_TO, Watched::Init(id.clone()))
    }

    /// No file of a container's init is news any more.
    pub fn unwatch_init(&mut self, id: &ContainerId) {
        let of_init = |watched: &Watched| matches!(watched, Watched::Init(of) if of == id);
        for (descriptor, _) in self.watched.extract_if(|_, watched| of_init(watched)) {
            // Of a directory that is gone there is no watch either.
            let _ = self.inotify.rm_watch(descriptor);
        }
    }

    fn watch(&mut self, dir: &Path, flags: AddWatchFlags, watched: Watched) -> Result<()> {
        match self
            .inotify
            .add_watch(dir, flags | AddWatchFlags::IN_ONLYDIR)
        {
            Ok(descriptor) => {
                self.watched.insert(descriptor, watched);
                Ok(())
            }
            // It was removed meanwhile, and its parent's watch says so.
            Err(Errno::ENOENT) if !matches!(watched, Watched::Root) => Ok(()),
            Err(e) => Err(Error::io("watch", dir, e.into())),
        }
    }

    /// A container is gone.
    pub fn forget(&mut self, id: &ContainerId) {
        let waiting = self.turns.extract_if(|(of, _), _| of == id);
        for (_, (_, fd)) in waiting {
            // As in `cancel`.
            let _ = self.epoll.delete(&fd);
        }
        self.watched.retain(|_, watched| match watched {
            Watched::Root => true,
            Watched::Container(of) | Watched::Init(of) => of != id,
        });
    }

    /// What has changed since the last call.
    ///
    /// # Errors
    /// read(2)'s.
    pub fn changes(&mut self) -> Result<Vec<Change>> {
        let events = match self.inotify.read_events() {
            Err(Errno::EAGAIN) => return Ok(Vec::new()),
            events => events.map_err(|e| Error::io("read", "inotify", e.into()))?,
        };
        Ok(events
            .into_iter()
            .filter_map(|event| self.change(event))
            .collect())
    }

    fn change(&mut self, event: InotifyEvent) -> Option<Change> {
        let is = |flag| event.mask.contains(flag);
        if is(AddWatchFlags::IN_Q_OVERFLOW) {
            return Some(Change::Many);
        }
        if is(AddWatchFlags::IN_IGNORED) {
            self.watched.remove(&event.wd);
            return None;
        }
        let name = event.name.unwrap_or_default().into_string().ok()?;
        match self.watched.get(&event.wd)?.clone() {
            Watched::Init(id) => Some(Change::Init(id)),
            _ if !is(AddWatchFlags::IN_ISDIR) => None,
            Watched::Container(id) if is(AddWatchFlags::IN_MOVED_TO) => {
                Some(Change::Process(id, name))
            }
            Watched::Container(id) => Some(Change::ProcessGone(id, name)),
            Watched::Root if is(AddWatchFlags::IN_MOVED_TO) => Some(Change::Appeared(name)),
            Watched::Root => Some(Change::Gone(name)),
        }
    }
}

/// What is unfinished gets its name in the end.
fn coming_and_going() -> AddWatchFlags {
    let moves = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_MOVED_FROM;
    moves | AddWatchFlags::IN_DELETE
}

/// A descriptor to wait for that somebody else keeps as well.
///
/// # Errors
/// dup(2)'s.
pub fn duplicate(fd: impl AsFd) -> Result<OwnedFd> {
    let duplicated: io::Result<OwnedFd> = fd.as_fd().try_clone_to_owned();
    duplicated.map_err(|e| Error::io("duplicate", "exit fifo", e))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_file_is_missed_however_soon_the_watch_is_set_again() {
        let dir = std::env::temp_dir().join(format!("holdfast-watch-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let id = ContainerId::new("web").unwrap();
        let (signals, monitor) = (Signals::catch_own().unwrap(), Monitor::new().unwrap());
        let mut sources = Sources::new(&signals, &monitor).unwrap();
        let (moves, wanted) = mpsc::channel();
        let mover = std::thread::spawn({
            let (from, to) = (dir.join("new"), dir.join("pid"));
            move || {
                for () in wanted {
                    File::create(&from).unwrap();
                    fs::rename(&from, &to).unwrap();
                }
            }
        });
        for turn in 0..20_000 {
            sources.watch_init(&id, &dir).unwrap();
            moves.send(()).unwrap();
            let deadline = Instant::now() + Duration::from_secs(10);
            while !sources
                .changes()
                .unwrap()
                .contains(&Change::Init(id.clone()))
            {
                assert!(Instant::now() < deadline, "nothing was told of file {turn}");
                sources.wait(Some(deadline)).unwrap();
            }
        }
        drop(moves);
        mover.join().unwrap();
        sources.unwatch_init(&id);
        assert!(sources.watched.is_empty());
        fs::remove_dir_all(&dir).unwrap();
    }
}
