//! Containers in a daemon's own epoll loop: the monitor is one descriptor among the daemon's others.
//!
//!     cargo run -p holdfast --example epoll -- ROOT
//!
//! Reattaches to what is in ROOT, tells how everything in it is and ends, and ends with the last of it.

use std::error::Error;
use std::time::Duration;

use holdfast::{Driver, EventKind, Monitor};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Whose turn it is; a real daemon has more of these.
const CONTAINERS: u64 = 1;

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args_os().nth(1).ok_or("name a root")?;
    let driver = Driver::builder().root(root).build()?;
    watch(&driver, &mut |line| println!("{line}"))
}

/// Tells how every process of the root is, and how it ends, until the last has.
pub fn watch(driver: &Driver, tell: &mut dyn FnMut(String)) -> Result<(), Box<dyn Error>> {
    let mut monitor = Monitor::new()?;
    for verdict in driver.reattach(&mut monitor)? {
        tell(verdict.to_string());
    }
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&monitor, EpollEvent::new(EpollFlags::EPOLLIN, CONTAINERS))?;
    // … and the daemon's sockets, timers and signals.
    let mut ready = [EpollEvent::empty(); 16];
    while !monitor.is_empty() {
        let count = epoll.wait(&mut ready, EpollTimeout::NONE)?;
        for event in &ready[..count] {
            // Level-triggered: what is not taken now is there the next time.
            if event.data() == CONTAINERS
                && let Some(event) = monitor.next(Some(Duration::ZERO))?
            {
                let how = match event.kind {
                    EventKind::Exited(record) => format!("ended with {}", record.status.number()),
                    EventKind::ShimGone => "has lost its shim: see Container::recover".to_owned(),
                };
                tell(format!("{}/{} {how}", event.container, event.process));
            }
        }
    }
    Ok(())
}
