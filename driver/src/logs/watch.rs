//! What says that a log may have something new: one inotify instance over the files that are read, the directory that they are
//! in, and the directories of the process. What is in them is always looked at anew, so that an event too many costs a look and
//! nothing else.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use holdfast_common::layout;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use super::file::FileId;
use crate::error::{Error, Result};

/// What happens to names in a directory, and to the directory itself. The same for all: one directory has one mask.
const NAMES: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);
/// A name that is new.
const ARRIVES: AddWatchFlags = AddWatchFlags::IN_CREATE.union(AddWatchFlags::IN_MOVED_TO);
/// A directory that is not what it was.
const MOVED: AddWatchFlags = AddWatchFlags::IN_DELETE_SELF
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_IGNORED);

/// Files of a process directory that say how its process and its shim are.
const TELLING: [&str; 4] = [
    layout::SHIM_FILE,
    layout::START_TIME_FILE,
    layout::EXIT_FILE,
    layout::EXIT_STATUS_FILE,
];

/// What is watched, by its names.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// The file that is written to.
    pub log: PathBuf,
    /// The process directory.
    pub process: PathBuf,
}

/// What has happened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct News {
    /// Something was written.
    pub written: bool,
    /// How many files have taken the name of the one that is written to.
    pub arrivals: u64,
    /// Its name has another file, or none.
    pub renamed: bool,
    /// The process, its shim or its directory may not be what it was.
    pub life: bool,
    /// Not everything was told: names must be looked at anew, and nothing can be counted.
    pub lost: bool,
}

impl News {
    /// More of it.
    pub fn add(&mut self, more: News) {
        self.written |= more.written;
        self.arrivals += more.arrivals;
        self.renamed |= more.renamed;
        self.life |= more.life;
        self.lost |= more.lost;
    }

    /// Whether names must be looked at.
    pub fn has_names(&self) -> bool {
        self.renamed || self.lost
    }

    /// What there is about names, to be looked at now.
    pub fn take_names(&mut self) -> News {
        let rest = News {
            written: self.written,
            life: self.life,
            ..News::default()
        };
        std::mem::replace(self, rest)
    }
}

/// The instance.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: Inotify,
    names: Names,
    /// Each by the names that it is watched under.
    directories: HashMap<WatchDescriptor, Vec<PathBuf>>,
    files: HashMap<FileId, WatchDescriptor>,
}

impl Watch {
    /// Watches the names; no file yet.
    pub fn new(names: Names) -> Result<Self> {
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let inotify = Inotify::init(flags).map_err(|e| failed(&names.log, e.into()))?;
        let mut watch = Self {
            inotify,
            names,
            directories: HashMap::new(),
            files: HashMap::new(),
        };
        watch.arm()?;
        Ok(watch)
    }

    /// The file that is written to.
    pub fn log(&self) -> &Path {
        &self.names.log
    }

    /// Watches other names from now on.
    pub fn rename(&mut self, names: Names) -> Result<()> {
        self.names = names;
        self.arm()
    }

    /// Watches the directories that bear the names now, and no others.
    pub fn arm(&mut self) -> Result<()> {
        let before = std::mem::take(&mut self.directories);
        let process = self.names.process.clone();
        let container = process.parent().unwrap_or(&process).to_owned();
        for dir in [container, process] {
            self.add_directory(&dir)?;
        }
        self.add_nearest(&self.names.log.clone())?;
        for gone in before.into_keys() {
            if !self.directories.contains_key(&gone) {
                // It went by itself if its directory is gone.
                let _ = self.inotify.rm_watch(gone);
            }
        }
        Ok(())
    }

    /// Watches the directory of a file, or the nearest that there is above it, and the one above that: a directory that is removed
    /// while somebody has a file in it open does not tell of it itself.
    fn add_nearest(&mut self, file: &Path) -> Result<()> {
        loop {
            let above = file.ancestors().skip(1);
            let mut missing = None;
            for dir in above {
                if self.add_directory(dir)? {
                    if let Some(parent) = dir.parent() {
                        self.add_directory(parent)?;
                    }
                    break;
                }
                missing = Some(dir);
            }
            // One that came before the watch above it was there is told by nobody.
            match missing {
                Some(dir) if dir.is_dir() => {}
                _ => return Ok(()),
            }
        }
    }

    /// Whether there is such a directory.
    fn add_directory(&mut self, dir: &Path) -> Result<bool> {
        match self.inotify.add_watch(dir, NAMES) {
            Ok(descriptor) => {
                let names = self.directories.entry(descriptor).or_default();
                if !names.iter().any(|name| name == dir) {
                    names.push(dir.to_owned());
                }
                Ok(true)
            }
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
            Err(e) => Err(failed(dir, e.into())),
        }
    }

    /// Watches these files, and no others; whether there was a new one among them, which may have grown meanwhile.
    pub fn watch_files<'a>(
        &mut self,
        files: impl Iterator<Item = (FileId, BorrowedFd<'a>)>,
    ) -> Result<bool> {
        let mut before = std::mem::take(&mut self.files);
        let mut new = false;
        for (id, file) in files {
            let descriptor = match before.remove(&id) {
                Some(descriptor) => descriptor,
                None => {
                    new = true;
                    // By what it is, not by what it is called.
                    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                    let added = self
                        .inotify
                        .add_watch(Path::new(&path), AddWatchFlags::IN_MODIFY);
                    added.map_err(|e| failed(&self.names.log, e.into()))?
                }
            };
            self.files.insert(id, descriptor);
        }
        for gone in before.into_values() {
            let _ = self.inotify.rm_watch(gone);
        }
        Ok(new)
    }

    /// What has happened since this was asked last.
    pub fn news(&mut self) -> Result<News> {
        let mut news = News::default();
        loop {
            match self.inotify.read_events() {
                Ok(events) => events.iter().for_each(|event| self.note(event, &mut news)),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(e) => return Err(failed(&self.names.log, e.into())),
            }
        }
        if news.lost {
            self.arm()?;
        }
        Ok(news)
    }

    fn note(&self, event: &InotifyEvent, news: &mut News) {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            news.lost = true;
            news.life = true;
            return;
        }
        let Some(dirs) = self.directories.get(&event.wd) else {
            news.written |= event.mask.contains(AddWatchFlags::IN_MODIFY);
            return;
        };
        let Some(name) = &event.name else {
            if event.mask.intersects(MOVED) {
                news.lost = true;
                news.life = true;
            }
            return;
        };
        for dir in dirs {
            self.note_name(dir, name, event.mask, news);
        }
    }

    fn note_name(&self, dir: &Path, name: &OsStr, mask: AddWatchFlags, news: &mut News) {
        let path = dir.join(name);
        if path == self.names.log {
            news.renamed = true;
            news.arrivals += u64::from(mask.intersects(ARRIVES));
        } else if self.names.log.starts_with(&path) {
            // A directory above it.
            news.lost = true;
        }
        let telling = || {
            let name = name.to_str().unwrap_or_default();
            dir == self.names.process && TELLING.contains(&name)
        };
        let stopped = || Some(dir) == self.names.process.parent() && name == layout::STOPPED_FILE;
        if path == self.names.process || telling() || stopped() {
            news.life = true;
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn failed(path: &Path, e: io::Error) -> Error {
    // inotify_init(2): there are too many instances; descriptors are rarely what is short.
    if e.raw_os_error() == Some(nix::libc::EMFILE) {
        return Error::TooManyWatches {
            path: path.to_owned(),
        };
    }
    Error::io("watch", path)(e)
}
