//! What the containers of a root write, in a daemon's own epoll loop: each log that is followed is one descriptor.
//!
//!     cargo run -p holdfast --example logs -- ROOT
//!
//! Begins with everything that is kept, and ends with the last container.

use std::error::Error;
use std::time::Duration;

use holdfast::{Driver, LogQuery, Logs};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args_os().nth(1).ok_or("name a root")?;
    let driver = Driver::builder().root(root).build()?;
    follow(&driver, &mut |line| println!("{line}"))
}

/// Tells every line that the containers of the root have written, and write, until the last has ended.
pub fn follow(driver: &Driver, tell: &mut dyn FnMut(String)) -> Result<(), Box<dyn Error>> {
    let query = LogQuery {
        follow: true,
        join: true,
        // A daemon that was killed goes on after the cursor that it kept (`after`), and neither loses nor doubles a line.
        ..LogQuery::default()
    };
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut open: Vec<Option<(String, Logs)>> = Vec::new();
    for entry in driver.list()? {
        let logs = match entry.container?.init()?.logs(&query) {
            Ok(logs) => logs,
            // Its output is not logged; the error says where it is.
            Err(e @ holdfast::Error::NotLogged { .. }) => {
                tell(e.to_string());
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        let number = u64::try_from(open.len())?;
        epoll.add(&logs, EpollEvent::new(EpollFlags::EPOLLIN, number))?;
        open.push(Some((entry.id, logs)));
    }
    // … and the daemon's sockets, timers and signals.
    let mut ready = [EpollEvent::empty(); 16];
    while open.iter().any(Option::is_some) {
        let count = epoll.wait(&mut ready, EpollTimeout::NONE)?;
        for event in &ready[..count] {
            let slot = &mut open[usize::try_from(event.data())?];
            let Some((id, logs)) = slot else { continue };
            while let Some(line) = logs.next(Some(Duration::ZERO))? {
                let text = String::from_utf8_lossy(&line.bytes);
                tell(format!("{id} {}: {text}", line.stream.name()));
            }
            // What was told is done: this is the moment to keep `logs.cursor()`.
            if logs.is_over() {
                epoll.delete(&*logs)?;
                *slot = None;
            }
        }
    }
    Ok(())
}
