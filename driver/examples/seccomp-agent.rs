//! A seccomp agent that makes directories for a container, and may be killed and replaced at any moment: the container's shim
//! keeps what it needs.
//!
//!     cargo run -p holdfast --example seccomp-agent -- ROOT ID
//!
//! The container's bundle has a filter that notifies of `mkdir` and `mkdirat`, and its `listenerPath` leads to the shim
//! (`ROOT/ID/init/seccomp.runtime`, or any with `--seccomp-agent-store`). What such an agent does for a container it does with
//! its own rights: this one makes directories and nothing else, only inside the container's root file system, and they are the
//! agent's own user's.

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use holdfast::{Answer, ContainerId, Driver, Notification, SeccompListener};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, mkdirat};

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(root), Some(id)) = (args.next(), args.next()) else {
        return Err("name a root and a container".into());
    };
    let driver = Driver::builder().root(root).build()?;
    let mut store = Some(driver.load(&ContainerId::new(id)?)?.seccomp()?);
    println!("connected");
    let mut listeners: Vec<SeccompListener> = Vec::new();
    while store.is_some() || !listeners.is_empty() {
        let fds = store.iter().map(|store| store.as_fd());
        let fds = fds.chain(listeners.iter().map(|listener| listener.as_fd()));
        let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        poll(&mut fds, PollTimeout::NONE)?;
        let events = fds
            .iter()
            .map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let mut events: Vec<_> = events.collect();
        let of_listeners = events.split_off(usize::from(store.is_some()));

        for (listener, events) in listeners.iter().zip(&of_listeners) {
            if events.contains(PollFlags::POLLIN)
                && let Some(call) = listener.next(AT_ONCE)?
            {
                serve(listener, &call)?;
            }
        }
        // None of its processes is left.
        let mut of_listeners = of_listeners.into_iter();
        listeners.retain(|_| {
            !of_listeners
                .next()
                .is_some_and(|e| e.contains(PollFlags::POLLHUP))
        });

        if let Some(connected) = store
            .as_ref()
            .filter(|_| events.iter().any(|e| !e.is_empty()))
        {
            match connected.receive(AT_ONCE)? {
                Some(listener) => {
                    let (pid, again) = (listener.state().pid, listener.restarted());
                    println!("listens to process {pid}, {again} calls begin anew");
                    listeners.push(listener);
                }
                // The container has ended; or its shim was killed, and what is here is all there is.
                None => store = None,
            }
        }
    }
    Ok(())
}

fn serve(listener: &SeccompListener, call: &Notification) -> Result<(), Box<dyn Error>> {
    let made = directory(call).and_then(|(path, mode)| {
        // Until here, the thread may have been killed and its number given to another.
        if !listener.is_waiting(call.id).unwrap_or(false) {
            return Err(Errno::ESRCH);
        }
        println!("mkdir {} {mode:o}", path.display());
        make(call.pid, &path, mode)
    });
    let answer = match made {
        Ok(()) => Answer::Return(0),
        Err(errno) => Answer::Fail(errno as i32),
    };
    // It need not wait any more: that is its own affair.
    listener.answer(call.id, answer)?;
    Ok(())
}

/// The path and mode of the call: `mkdir(path, mode)` or `mkdirat(fd, path, mode)`.
fn directory(call: &Notification) -> Result<(PathBuf, Mode), Errno> {
    let number = libc::c_long::from(call.call);
    let (at, path, mode) = match number {
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mkdir => (libc::AT_FDCWD, call.args[0], call.args[1]),
        // A descriptor is an int: the upper half of its register is nobody's.
        #[allow(clippy::cast_possible_truncation, reason = "see above")]
        libc::SYS_mkdirat => (call.args[0] as i32, call.args[1], call.args[2]),
        _ => return Err(Errno::ENOSYS),
    };
    let path = string(call.pid, path)?;
    let mode = Mode::from_bits_truncate(u32::try_from(mode & 0o7777).unwrap_or(0));
    if path.is_absolute() {
        return Ok((path, mode));
    }
    // As the container sees it; it has a root of its own, so that this leads from there.
    let from = match at {
        libc::AT_FDCWD => format!("/proc/{}/cwd", call.pid),
        fd => format!("/proc/{}/fd/{fd}", call.pid),
    };
    let from = fs::read_link(from).map_err(errno)?;
    Ok((from.join(path), mode))
}

/// A string in a thread's memory.
fn string(pid: u32, address: u64) -> Result<PathBuf, Errno> {
    let memory = File::open(format!("/proc/{pid}/mem")).map_err(errno)?;
    let mut bytes = vec![0; 4096];
    // Less may be there: the rest of a mapping.
    let length = memory.read_at(&mut bytes, address).map_err(errno)?;
    let end = bytes[..length].iter().position(|&byte| byte == 0);
    bytes.truncate(end.ok_or(Errno::ENAMETOOLONG)?);
    if bytes.is_empty() {
        return Err(Errno::ENOENT);
    }
    Ok(OsString::from_vec(bytes).into())
}

/// Makes it, wherever links in the container lead, inside the container.
fn make(pid: u32, path: &Path, mode: Mode) -> Result<(), Errno> {
    let Some(Component::Normal(name)) = path.components().next_back() else {
        return Err(Errno::EEXIST);
    };
    let open = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let root = nix::fcntl::openat(AT_FDCWD, &root, open, Mode::empty())?;
    let how = OpenHow::new()
        .flags(open)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let parent = openat2(&root, path.parent().unwrap_or(Path::new("/")), how)?;
    mkdirat(&parent, name, mode)
}

fn errno(e: io::Error) -> Errno {
    Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO))
}
