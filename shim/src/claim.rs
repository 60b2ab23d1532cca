//! Taking charge of a process directory: the lock that says that a shim lives, and the two protocol FIFOs.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use holdfast_common::layout;
use holdfast_common::sys::fifo;
use holdfast_common::sys::flock::Lock;
use nix::poll::{PollTimeout, poll};

use crate::error::Error;

/// How long a lock may be held by somebody who only tests it.
const TEST: Duration = Duration::from_millis(250);

/// What a shim holds of a directory, whatever it holds of its process.
#[derive(Debug)]
pub struct Claim {
    /// `shim.lock`, locked.
    pub lock: OwnedFd,
    /// The write end of `exit`.
    pub exit: OwnedFd,
    /// Both ends of `control`: the loop then never sees a hang-up when a client leaves.
    pub control: OwnedFd,
}

impl Claim {
    /// Claims the working directory.
    pub fn take() -> Result<Self, Error> {
        let lock = lock()?.into_file().into();
        let open = |name, how: fn(&Path) -> io::Result<OwnedFd>| {
            how(Path::new(name)).map_err(Error::io("open fifo", name))
        };
        Ok(Self {
            lock,
            exit: open(layout::EXIT_FIFO, fifo::open_write_without_reader)?,
            control: open(layout::CONTROL_FIFO, fifo::open_read_write)?,
        })
    }
}

/// A shim that lives holds the lock for good; somebody who tests it holds it for an instant.
fn lock() -> Result<Lock, Error> {
    let path = Path::new(layout::SHIM_LOCK_FILE);
    let until = Instant::now() + TEST;
    loop {
        if let Some(lock) = Lock::try_take(path).map_err(Error::io("lock", path))? {
            return Ok(lock);
        }
        if Instant::now() > until {
            return Err(Error::Locked(std::env::current_dir().unwrap_or_default()));
        }
        // Nothing tells when a lock is released: a millisecond must pass.
        let _ = poll(&mut [], PollTimeout::from(1u8));
    }
}
