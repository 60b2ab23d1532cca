//! The service manager's side: sd_notify(3) without its library, which is one datagram a message, and
//! sd_watchdog_enabled(3), which is two variables.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use super::super::error::{Error, Result};

/// Tells the service manager, if there is one.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Watchdog>,
    status: String,
}

#[derive(Debug)]
struct Watchdog {
    every: Duration,
    next: Instant,
}

impl Notifier {
    /// As the environment says.
    ///
    /// # Errors
    /// `NOTIFY_SOCKET` is no address of a socket.
    pub fn from_environment() -> Result<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let socket = variable("NOTIFY_SOCKET")
            .map(|name| open(&name).map_err(|e| Error::io("open NOTIFY_SOCKET", name, e)));
        let meant_for_us =
            variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let patience = variable("WATCHDOG_USEC").filter(|_| meant_for_us);
        let patience = patience.and_then(|patience| patience.parse().ok());
        Ok(Self {
            socket: socket.transpose()?,
            watchdog: patience.filter(|&micros| micros > 0).map(|micros| {
                // As sd_watchdog_enabled(3) recommends: twice in the time allowed.
                let every = Duration::from_micros(micros) / 2;
                Watchdog {
                    every,
                    next: Instant::now(),
                }
            }),
            status: String::new(),
        })
    }

    /// Everything is in its place.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// We are about to leave.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// One line for people; sent only when it is news.
    pub fn status(&mut self, status: String) {
        if status != self.status {
            self.send(&format!("STATUS={status}"));
            self.status = status;
        }
    }

    /// Says that we are alive, if it is time to.
    pub fn keep_alive(&mut self) {
        let now = Instant::now();
        if let Some(watchdog) = &mut self.watchdog
            && watchdog.next <= now
        {
            watchdog.next = now + watchdog.every;
            self.send("WATCHDOG=1");
        }
    }

    /// When that is again.
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.watchdog.as_ref()?.next)
    }

    fn send(&self, message: &str) {
        if let Some((socket, to)) = &self.socket
            && let Err(e) = socket.send_to_addr(message.as_bytes(), to)
        {
            // A service manager that does not listen is no reason to stop.
            log::debug!("notify {message}: {e}");
        }
    }
}

fn open(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}
