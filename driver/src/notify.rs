//! Words to the service manager of whoever creates a container (sd_notify(3)): what is asked for, and `READY=1` where it is the
//! starter who says it. What a container has to say itself is the shim's to pass on.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use holdfast_common::notify::{NOTIFY_SOCKET, Notify, Ready, check_address};
use holdfast_common::sys::{datagram, scm};
use nix::fcntl::OFlag;
use nix::poll::PollFlags;

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::options::CreateOptions;
use crate::process::Process;

/// How long a service manager may take to take a message, and to act on it.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the caller's environment says of its service manager (`NOTIFY_SOCKET`), for [`CreateOptions::notify`]; `None` when there is none.
/// `main` makes the container's shim the main process of the service, for a caller that is about to end.
///
/// # Errors
/// [`Error::BadNotify`]: what it says is no address of a unix socket.
pub fn notify_from_environment(ready: Ready, main: bool) -> Result<Option<Notify>> {
    let socket = std::env::var_os(NOTIFY_SOCKET).filter(|value| !value.is_empty());
    let Some(socket) = socket else {
        return Ok(None);
    };
    let notify = Notify {
        socket: socket.to_string_lossy().into_owned(),
        ready,
        main,
    };
    check_socket(&notify)?;
    Ok(Some(notify))
}

fn check_socket(notify: &Notify) -> Result<()> {
    check_address(&notify.socket).map_err(|e| Error::BadNotify {
        what: e.to_string(),
    })
}

/// Makes sure that what is asked for can be done.
pub(crate) fn check(options: &CreateOptions) -> Result<()> {
    let Some(notify) = &options.notify else {
        return Ok(());
    };
    check_socket(notify)?;
    if notify.ready == Ready::Container && options.checkpoint.is_some() {
        return Err(Error::BadNotify {
            what: "a container that is restored has no socket to speak to".to_owned(),
        });
    }
    Ok(())
}

impl Process {
    /// What its creator's service manager is told of it.
    pub fn notify(&self) -> Option<&Notify> {
        self.process_state().holdfast.as_ref()?.notify.as_ref()
    }

    /// Says that it is ready, if it is the starter who says so. That it cannot be said is no reason to undo a start.
    pub(crate) fn tell_started(&self) {
        if let Some(notify) = self.notify().filter(|notify| notify.ready == Ready::Start)
            && let Err(e) = tell(&notify.socket, "READY=1", Deadline::after(Some(PATIENCE)))
        {
            log::warn!("{}", Error::io("notify", &notify.socket)(e));
        }
    }
}

/// Sends a message, and returns when it was acted on: a service manager believes nobody who is gone when it looks
/// (sd_notify_barrier(3)).
fn tell(socket: &str, message: &str, deadline: Deadline) -> io::Result<()> {
    let manager = datagram::connect_to(socket)?;
    let in_time = |send: &dyn Fn() -> io::Result<()>| -> io::Result<()> {
        loop {
            match send() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    let room = deadline.poll(manager.as_fd(), PollFlags::POLLOUT)?;
                    if room.is_empty() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                sent => return sent,
            }
        }
    };
    in_time(&|| datagram::send(manager.as_fd(), message.as_bytes()))?;
    let (seen, barrier) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    in_time(&|| scm::send(manager.as_fd(), b"BARRIER=1", barrier.as_fd()))?;
    drop(barrier);
    // One that knows of no barriers closes it at once, or when it ends.
    deadline.poll(seen.as_fd(), PollFlags::empty())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_message_is_followed_by_a_barrier_that_is_waited_for() {
        let dir = scratch("notify");
        let path = dir.join("socket");
        let manager = UnixDatagram::bind(&path).unwrap();
        let name = path.to_str().unwrap().to_owned();
        let told = std::thread::spawn(move || {
            tell(
                &name,
                "READY=1",
                Deadline::after(Some(Duration::from_secs(30))),
            )
        });
        let receive = || {
            let mut bytes = [0; 64];
            let (length, fds) = scm::receive(manager.as_fd(), &mut bytes).unwrap();
            (bytes[..length].to_vec(), fds)
        };
        assert_eq!(receive().0, b"READY=1");
        let (message, fds) = receive();
        assert_eq!(message, b"BARRIER=1");
        assert!(!told.is_finished());
        drop(fds);
        told.join().unwrap().unwrap();
    }

    #[test]
    fn nobody_and_one_who_does_not_read_are_told_apart() {
        let dir = scratch("notify-busy");
        let path = dir.join("socket");
        let name = path.to_str().unwrap();
        let tell = || {
            tell(
                name,
                "READY=1",
                Deadline::after(Some(Duration::from_millis(50))),
            )
        };
        assert_eq!(tell().unwrap_err().kind(), io::ErrorKind::NotFound);
        let _manager = UnixDatagram::bind(&path).unwrap();
        let busy = std::iter::repeat_with(tell).find_map(std::result::Result::err);
        assert_eq!(busy.unwrap().kind(), io::ErrorKind::TimedOut);
    }
}
