//! The service manager's side: sd_notify(3) without its library, which is one datagram a message, and
//! sd_watchdog_enabled(3), which is two variables.

use std::collections::VecDeque;
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
    /// What must arrive, and has not been taken yet: without `READY=1`, we would be killed for not coming up.
    unsent: VecDeque<String>,
    again: Option<Instant>,
}

/// When a message is tried again that could not be sent: nothing tells when there is room for one.
const AGAIN: Duration = Duration::from_millis(100);

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
            unsent: VecDeque::new(),
            again: None,
        })
    }

    /// Everything is in its place.
    pub fn ready(&mut self) {
        self.send_surely("READY=1".to_owned());
    }

    /// We are about to leave.
    pub fn stopping(&mut self) {
        self.send_surely("STOPPING=1".to_owned());
    }

    /// One line for people; sent only when it is news.
    pub fn status(&mut self, status: String) {
        if status != self.status {
            self.unsent
                .retain(|message| !message.starts_with("STATUS="));
            self.send_surely(format!("STATUS={status}"));
            self.status = status;
        }
    }

    /// Says that we are alive, if it is time to; and what could not be said before.
    pub fn keep_alive(&mut self) {
        self.send_unsent();
        let now = Instant::now();
        if self
            .watchdog
            .as_ref()
            .is_some_and(|watchdog| watchdog.next <= now)
        {
            self.alive();
        }
    }

    /// Says that we are alive, now: what comes next may take a while.
    pub fn alive(&mut self) {
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.next = Instant::now() + watchdog.every;
            // Should it not arrive, another will.
            let _ = self.send("WATCHDOG=1");
        }
    }

    /// When to call [`Notifier::keep_alive`] again.
    pub fn deadline(&self) -> Option<Instant> {
        let watchdog = self.watchdog.as_ref().map(|watchdog| watchdog.next);
        [watchdog, self.again].into_iter().flatten().min()
    }

    fn send_surely(&mut self, message: String) {
        self.unsent.push_back(message);
        self.send_unsent();
    }

    fn send_unsent(&mut self) {
        self.again = None;
        while let Some(message) = self.unsent.front() {
            if let Err(e) = self.send(message)
                && e.kind() == io::ErrorKind::WouldBlock
            {
                self.again = Some(Instant::now() + AGAIN);
                return;
            }
            self.unsent.pop_front();
        }
    }

    fn send(&self, message: &str) -> io::Result<()> {
        let Some((socket, to)) = &self.socket else {
            return Ok(());
        };
        let sent = socket.send_to_addr(message.as_bytes(), to);
        // A service manager that does not listen is no reason to stop.
        sent.map(drop)
            .inspect_err(|e| log::debug!("notify {message}: {e}"))
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
