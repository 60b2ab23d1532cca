//! Containers under tokio: an `AsyncFd` over the monitor, and a stream of events out of it. What may take long (`create`,
//! `start`, `delete` run an OCI runtime) goes to `spawn_blocking`.
//!
//!     cargo run -p holdfast --example tokio -- ROOT
//!
//! Reattaches to what is in ROOT, tells how everything in it is and ends, and ends with the last of it.

use std::error::Error;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use holdfast::{Driver, Event, EventKind, Monitor};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};
use tokio::runtime::Builder;

/// A monitor that can be awaited.
struct Events(AsyncFd<Watched>);

struct Watched(Monitor);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Events {
    // It asks for a type whose descriptor stays the same and open; a monitor is one. What replaces it asks by `unsafe`.
    #[allow(deprecated, reason = "without unsafe, and in every tokio 1")]
    fn of(monitor: Monitor) -> io::Result<Self> {
        AsyncFd::with_interest(Watched(monitor), Interest::READABLE).map(Self)
    }

    /// The next event; `None` when no process is watched any more.
    async fn next(&mut self) -> Result<Option<Event>, Box<dyn Error>> {
        while !self.0.get_ref().0.is_empty() {
            let mut guard = self.0.readable_mut().await?;
            match guard.get_inner_mut().0.next(Some(Duration::ZERO))? {
                Some(event) => return Ok(Some(event)),
                // Edge-triggered: only when there is nothing left is there something to wait for.
                None => guard.clear_ready_matching(Ready::READABLE),
            }
        }
        Ok(None)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args_os().nth(1).ok_or("name a root")?;
    let runtime = Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let driver = Driver::builder().root(root).build()?;
        // Adopting launches shims, and waits for them.
        let reattaching = tokio::task::spawn_blocking(move || {
            let mut monitor = Monitor::new()?;
            let verdicts = driver.reattach(&mut monitor)?;
            holdfast::Result::Ok((monitor, verdicts))
        });
        let (monitor, verdicts) = reattaching.await??;
        for verdict in verdicts {
            println!("{verdict}");
        }
        let mut events = Events::of(monitor)?;
        while let Some(event) = events.next().await? {
            let (container, process) = (event.container, event.process);
            match event.kind {
                EventKind::Exited(record) => {
                    println!(
                        "{container}/{process} ended with {}",
                        record.status.number()
                    );
                }
                EventKind::ShimGone => println!("{container}/{process} has lost its shim"),
            }
        }
        Ok(())
    })
}
