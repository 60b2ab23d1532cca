//! Containers in a daemon's mio loop. mio is edge-triggered: whoever is woken takes all there is.
//!
//!     cargo run -p holdfast --example mio -- ROOT
//!
//! Reattaches to what is in ROOT, tells how everything in it is and ends, and ends with the last of it.

use std::error::Error;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use holdfast::{Driver, EventKind, Monitor};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// Whose turn it is; a real daemon has more of these.
const CONTAINERS: Token = Token(1);

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args_os().nth(1).ok_or("name a root")?;
    let driver = Driver::builder().root(root).build()?;
    let mut monitor = Monitor::new()?;
    for verdict in driver.reattach(&mut monitor)? {
        println!("{verdict}");
    }
    let mut poll = Poll::new()?;
    let fd = monitor.as_fd().as_raw_fd();
    poll.registry()
        .register(&mut SourceFd(&fd), CONTAINERS, Interest::READABLE)?;
    let mut events = Events::with_capacity(16);
    while !monitor.is_empty() {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == CONTAINERS {
                take_all(&mut monitor)?;
            }
        }
    }
    Ok(())
}

fn take_all(monitor: &mut Monitor) -> holdfast::Result<()> {
    while let Some(event) = monitor.next(Some(Duration::ZERO))? {
        match event.kind {
            EventKind::Exited(record) => println!(
                "{}/{} ended with {}",
                event.container,
                event.process,
                record.status.number()
            ),
            EventKind::ShimGone => println!("{} has lost a shim", event.container),
        }
    }
    Ok(())
}
