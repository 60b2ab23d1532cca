//! What says that an event log may have something new: one inotify instance over the root and each container's directory.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use holdfast_common::id::ContainerId;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use super::reader::Reader;
use crate::error::{Error, Result};

/// The instance, and whose each watch is.
#[derive(Debug)]
pub(super) struct Watch {
    pub inotify: Inotify,
    pub root: WatchDescriptor,
    pub containers: HashMap<WatchDescriptor, ContainerId>,
}

/// What takes a container from the root.
pub(super) const GONE: AddWatchFlags = AddWatchFlags::IN_MOVED_FROM.union(AddWatchFlags::IN_DELETE);

impl Watch {
    /// Watches for containers that come and go.
    pub fn new(dir: &Path) -> Result<Self> {
        let make = || -> nix::Result<Self> {
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
            let come = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CREATE;
            let root = inotify.add_watch(dir, come | GONE | AddWatchFlags::IN_ONLYDIR)?;
            let containers = HashMap::new();
            Ok(Self {
                inotify,
                root,
                containers,
            })
        };
        make().map_err(|e| failed(dir, e.into()))
    }

    /// Watches a container's directory, under the name that stays right.
    pub fn container(&mut self, id: &ContainerId, reader: &Reader) -> io::Result<WatchDescriptor> {
        let written = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE;
        let flags = written | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
        let descriptor = self.inotify.add_watch(&reader.dir(), flags)?;
        self.containers.insert(descriptor, id.clone());
        Ok(descriptor)
    }
}

/// The error that says that a directory cannot be watched.
pub(super) fn failed(path: &Path, e: io::Error) -> Error {
    Error::io("watch", path)(e)
}
