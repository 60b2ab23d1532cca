//! Replacing a shim under its process: control type 3, and waiting for the answer in shim.json. Nobody polls: inotify(7)
//! tells when the file is replaced.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use holdfast_common::control::Message;
use holdfast_common::layout;
use holdfast_common::shim_record::ShimRecord;
use holdfast_common::state_file;
use nix::poll::{PollFd, PollFlags};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::deadline::Deadline;
use crate::end::Look;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::text;

impl Process {
    /// Has its shim execute its (possibly replaced) executable, or another one, in place: same pid, same descriptors, same
    /// lock, nothing in flight lost. Returns what shim.json says then.
    ///
    /// # Errors
    /// [`Error::NotReplaced`] with the reason, and the old shim goes on; it has exited; [`Error::ShimGone`]; [`Error::ShimBusy`] when
    /// there is no answer in time (the request stands).
    pub fn upgrade(&self, shim: Option<&Path>, timeout: Duration) -> Result<ShimRecord> {
        let deadline = Deadline::after(Some(timeout));
        let dir = self.dir();
        let failed = |e: nix::Error| Error::io("watch", dir)(e.into());
        let inotify =
            Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(failed)?;
        // The watch comes first: no answer is missed.
        inotify
            .add_watch(dir, AddWatchFlags::IN_MOVED_TO)
            .map_err(failed)?;
        let before = ShimRecord::read(dir)?;
        let next = dir.join(layout::SHIM_NEXT_FILE);
        if let Some(shim) = shim {
            let path = text::absolute(shim)?;
            state_file::write_bytes(&next, text::utf8(&path)?.as_bytes())?;
        }
        if let Err(e) = self.send(Message::Reexec) {
            // Or whoever asks next would get what was meant for now.
            let _ = std::fs::remove_file(next);
            return Err(e);
        }
        loop {
            // In this order: what it answered before it ended counts.
            let look = self.end.look()?;
            match ShimRecord::read(dir) {
                Ok(record) if record.asked > before.asked => {
                    return match record.refused {
                        None => Ok(record),
                        Some(reason) => Err(Error::NotReplaced {
                            id: self.container_id().clone(),
                            process: self.id().clone(),
                            reason,
                        }),
                    };
                }
                // It may have removed itself.
                Err(e) if matches!(look, Look::Waiting) => return Err(e.into()),
                Ok(_) | Err(_) => (),
            }
            match look {
                Look::Waiting => (),
                Look::Recorded(_) => return Err(self.exited()),
                Look::ShimGone => return Err(self.shim_gone()?),
            }
            // A record comes by rename as well; a shim that is killed hangs up.
            let mut fds = [
                PollFd::new(inotify.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.end.as_fd(), PollFlags::empty()),
            ];
            let happened = deadline.poll_any(&mut fds);
            if !happened.map_err(Error::io("watch", dir))? {
                return Err(Error::ShimBusy {
                    id: self.container_id().clone(),
                    process: self.id().clone(),
                    timeout,
                });
            }
            let _ = inotify.read_events();
        }
    }
}
