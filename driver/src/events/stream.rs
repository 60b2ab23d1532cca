//! The event logs of a root as one stream. An inotify instance says which directories have changed; what is in the logs is
//! always read from them, so a change that is told twice, or too late, costs a look and nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use holdfast_common::event_record::EventRecord;
use holdfast_common::id::ContainerId;
use holdfast_common::layout;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, WatchDescriptor};

use super::cursor::{Cursor, Position};
use super::reader::{From, Reader};
use super::watch::{GONE, Watch, failed};
use crate::deadline::Deadline;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::{root, verdict};

/// From where events are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// Everything that the logs still say.
    Beginning,
    /// What happens from now on.
    Now,
    /// What happened at this time or later.
    Time(SystemTime),
    /// What comes after a place that was reached before.
    Cursor(Cursor),
}

/// Something that happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The container.
    pub container: ContainerId,
    /// What (libcontainerd: `StateInfo`).
    pub info: EventRecord,
    /// The place right after it in this container's log; it says nothing of others. Several of them, one for each container, are
    /// one cursor when commas stand between.
    pub cursor: Cursor,
}

/// Who is told of every change (libcontainerd: `Backend`).
pub trait Backend {
    /// A container's state has changed. What is refused comes again with the next [`Events::dispatch`].
    ///
    /// # Errors
    /// The change could not be taken in.
    fn state_changed(
        &mut self,
        container: &ContainerId,
        info: &EventRecord,
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// The events of a root, in each container's order, and over containers by time as far as they are read together. Its
/// descriptor is readable while there may be one to take. It holds two descriptors for each container.
#[derive(Debug)]
pub struct Events {
    root: PathBuf,
    since: Since,
    only: Option<BTreeSet<ContainerId>>,
    logs: BTreeMap<ContainerId, Log>,
    /// None when only what has happened is wanted.
    watch: Option<Watch>,
    pending: VecDeque<StateChange>,
    failed: VecDeque<Error>,
    /// Readable while there is something pending.
    known: EventFd,
    epoll: Epoll,
    skipped: u64,
}

#[derive(Debug)]
struct Log {
    reader: Reader,
    watch: Option<WatchDescriptor>,
    /// Up to where its events were taken.
    taken: Option<Position>,
}

impl Driver {
    /// What happened and what happens to all containers, also to those that are yet to come. The root is made if need be.
    ///
    /// # Errors
    /// The root cannot be trusted, read or watched.
    pub fn events(&self, since: Since) -> Result<Events> {
        root::make(self.root())?;
        let watch = Watch::new(self.root())?;
        Events::new(self.root(), since, Some(watch))
    }

    /// What happened to the containers that there are, as far as their logs still say; an end comes after it. Nothing is
    /// changed by it.
    ///
    /// # Errors
    /// The root cannot be trusted or read.
    pub fn past_events(&self, since: Since) -> Result<Events> {
        root::check(self.root())?;
        Events::new(self.root(), since, None)
    }
}

impl Events {
    fn new(root: &Path, since: Since, watch: Option<Watch>) -> Result<Self> {
        let make = || -> io::Result<_> {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            let known = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
            epoll.add(&known, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
            if let Some(watch) = &watch {
                epoll.add(&watch.inotify, EpollEvent::new(EpollFlags::EPOLLIN, 1))?;
            }
            Ok((epoll, known))
        };
        let (epoll, known) = make().map_err(Error::io("make", "epoll"))?;
        let mut events = Self {
            root: root.to_owned(),
            since,
            only: None,
            logs: BTreeMap::new(),
            watch,
            pending: VecDeque::new(),
            failed: VecDeque::new(),
            known,
            epoll,
            skipped: 0,
        };
        let new = events.scan()?;
        events.take_in(new);
        if let Since::Now = events.since {
            // What comes later is new from its first line on.
            events.since = Since::Beginning;
        }
        Ok(events)
    }

    /// Leaves out all containers but these; they need not exist yet.
    #[must_use]
    pub fn only(mut self, ids: impl IntoIterator<Item = ContainerId>) -> Self {
        let only: BTreeSet<ContainerId> = ids.into_iter().collect();
        self.pending
            .retain(|change| only.contains(&change.container));
        for id in self.logs.keys().cloned().collect::<Vec<_>>() {
            if !only.contains(&id) {
                self.forget(&id);
            }
        }
        self.only = Some(only);
        self
    }

    /// The next event; `None` when there was none in time, or none will come. No timeout: waits for ever.
    ///
    /// # Errors
    /// A log that cannot be read, once; the others' events come all the same. The system's.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<StateChange>> {
        let Some(change) = self.peek(timeout)? else {
            return Ok(None);
        };
        let change = change.clone();
        self.take();
        Ok(Some(change))
    }

    /// Tells a backend of everything that there is, waiting for the first; how much that was.
    ///
    /// # Errors
    /// [`Error::Backend`], and what was refused comes again; as [`Events::next`].
    pub fn dispatch(
        &mut self,
        backend: &mut impl Backend,
        timeout: Option<Duration>,
    ) -> Result<usize> {
        let mut count = 0;
        let mut wait = timeout;
        while let Some(change) = self.peek(wait)? {
            let told = backend.state_changed(&change.container, &change.info);
            told.map_err(|source| Error::Backend {
                id: change.container.clone(),
                word: change.info.word,
                source,
            })?;
            self.take();
            count += 1;
            wait = Some(Duration::ZERO);
        }
        Ok(count)
    }

    /// Where this has got to: with it, [`Since::Cursor`] goes on after the last event that was taken.
    pub fn cursor(&self) -> Cursor {
        let waiting: BTreeSet<&ContainerId> = self
            .pending
            .iter()
            .map(|change| &change.container)
            .collect();
        let mut cursor = match &self.since {
            // What is not there now may be there later.
            Since::Cursor(cursor) => cursor.clone(),
            Since::Beginning | Since::Now | Since::Time(_) => Cursor::default(),
        };
        for (id, log) in &self.logs {
            let place = match waiting.contains(id) {
                true => log.taken.as_ref(),
                false => log.reader.place(),
            };
            match place {
                Some(place) => cursor.0.insert(id.clone(), place.clone()),
                None => cursor.0.remove(id),
            };
        }
        cursor
    }

    /// How many lines of the logs were none, and were passed over.
    pub fn skipped(&self) -> u64 {
        let now: u64 = self.logs.values().map(|log| log.reader.skipped).sum();
        self.skipped + now
    }

    fn peek(&mut self, timeout: Option<Duration>) -> Result<Option<&StateChange>> {
        let deadline = Deadline::after(timeout);
        loop {
            if let Some(error) = self.failed.pop_front() {
                return Err(error);
            }
            if !self.pending.is_empty() {
                return Ok(self.pending.front());
            }
            // Whatever it was written to for is taken: who polls is not to be woken for it again.
            let _ = self.known.read();
            let Some(watch) = &self.watch else {
                return Ok(None);
            };
            let ready = deadline
                .poll(watch.inotify.as_fd(), PollFlags::POLLIN)
                .map_err(|e| failed(&self.root, e))?;
            if !ready.is_empty() {
                self.look()?;
            } else if deadline.has_passed() {
                return Ok(None);
            }
        }
    }

    /// The first event is somebody's.
    fn take(&mut self) {
        if let Some(change) = self.pending.pop_front()
            && let Some(log) = self.logs.get_mut(&change.container)
        {
            log.taken = change.cursor.0.get(&change.container).cloned();
        }
        if self.pending.is_empty() && self.failed.is_empty() {
            let _ = self.known.read();
        }
    }

    /// Takes in what has changed.
    fn look(&mut self) -> Result<()> {
        let Some(watch) = &self.watch else {
            return Ok(());
        };
        let changes = match watch.inotify.read_events() {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            changes => changes.map_err(|e| failed(&self.root, e.into()))?,
        };
        let root = watch.root;
        let mut new = Vec::new();
        let mut changed = BTreeSet::new();
        for change in changes {
            let name = change.name.and_then(|name| name.into_string().ok());
            if change.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                // There were more changes than the kernel keeps.
                new.extend(self.scan()?);
                changed.extend(self.logs.keys().cloned());
            } else if change.wd == root {
                let Some(id) = name.and_then(|name| ContainerId::new(name).ok()) else {
                    continue;
                };
                if change.mask.intersects(GONE) {
                    new.extend(self.read(&id));
                    self.forget(&id);
                } else {
                    new.extend(self.add(&id));
                }
            } else if name.as_deref() == Some(layout::EVENTS_FILE) {
                let ids = self.watch.as_ref().map(|watch| &watch.containers);
                changed.extend(ids.and_then(|ids| ids.get(&change.wd)).cloned());
            }
        }
        for id in changed {
            new.extend(self.read(&id));
        }
        self.take_in(new);
        Ok(())
    }

    /// Looks at what is in the root; returns what was not read before.
    fn scan(&mut self) -> Result<Vec<StateChange>> {
        let names = match verdict::directories(&self.root) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names?,
        };
        let there: BTreeSet<ContainerId> = names
            .into_iter()
            .filter_map(|name| ContainerId::new(name).ok())
            .collect();
        let mut new = Vec::new();
        let gone = |id: &&ContainerId| !there.contains(id);
        for id in self.logs.keys().filter(gone).cloned().collect::<Vec<_>>() {
            new.extend(self.read(&id));
            self.forget(&id);
        }
        for id in &there {
            new.extend(self.add(id));
        }
        Ok(new)
    }

    /// Begins with a container's log.
    fn add(&mut self, id: &ContainerId) -> Vec<StateChange> {
        let wanted = self.only.as_ref().is_none_or(|only| only.contains(id));
        if !wanted || self.logs.contains_key(id) {
            return Vec::new();
        }
        match self.open(id) {
            Ok(log) => {
                self.logs.insert(id.clone(), log);
                self.read(id)
            }
            // It was removed at once.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound) => Vec::new(),
            Err(e) => {
                self.failed.push_back(self.unreadable(id, e));
                Vec::new()
            }
        }
    }

    fn open(&mut self, id: &ContainerId) -> io::Result<Log> {
        let from = match &self.since {
            Since::Beginning | Since::Time(_) => From::Beginning,
            Since::Now => From::End,
            Since::Cursor(cursor) => cursor.0.get(id).map_or(From::Beginning, From::Place),
        };
        let reader = Reader::open(&self.root.join(id))?;
        // The watch comes before the first look, or what happens between the two would be seen by neither.
        let watch = match &mut self.watch {
            Some(watch) => Some(watch.container(id, &reader)?),
            None => None,
        };
        let reader = reader.begin(from)?;
        let taken = reader.place().cloned();
        Ok(Log {
            reader,
            watch,
            taken,
        })
    }

    fn read(&mut self, id: &ContainerId) -> Vec<StateChange> {
        let mut new = Vec::new();
        let since = match self.since {
            Since::Time(time) => Some(time),
            Since::Beginning | Since::Now | Since::Cursor(_) => None,
        };
        let Some(log) = self.logs.get_mut(id) else {
            return new;
        };
        let read = log.reader.read(&mut |info, place| {
            if since.is_none_or(|time| info.time >= time) {
                new.push(StateChange {
                    container: id.clone(),
                    cursor: Cursor::of(id, &place),
                    info,
                });
            }
        });
        if let Err(e) = read {
            self.failed.push_back(self.unreadable(id, e));
        }
        new
    }

    /// Merges by time what is each in its log's order.
    fn take_in(&mut self, new: Vec<StateChange>) {
        if new.is_empty() && self.failed.is_empty() {
            return;
        }
        let mut latest: HashMap<ContainerId, SystemTime> = HashMap::new();
        let mut keyed: Vec<(SystemTime, StateChange)> = new
            .into_iter()
            .map(|change| {
                // A clock that was set back does not turn a log's order round.
                let latest = latest
                    .entry(change.container.clone())
                    .or_insert(change.info.time);
                *latest = change.info.time.max(*latest);
                (*latest, change)
            })
            .collect();
        keyed.sort_by_key(|(time, _)| *time);
        self.pending
            .extend(keyed.into_iter().map(|(_, change)| change));
        // Its counter has room for more than there can be.
        let _ = self.known.write(1);
    }

    fn forget(&mut self, id: &ContainerId) {
        let Some(log) = self.logs.remove(id) else {
            return;
        };
        self.skipped += log.reader.skipped;
        if let (Some(watch), Some(descriptor)) = (&mut self.watch, log.watch) {
            watch.containers.remove(&descriptor);
            // It goes by itself with the directory.
            let _ = watch.inotify.rm_watch(descriptor);
        }
    }

    fn unreadable(&self, id: &ContainerId, e: io::Error) -> Error {
        Error::io("read", self.root.join(id).join(layout::EVENTS_FILE))(e)
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}
