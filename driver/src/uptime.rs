//! How long something has been there: start times count from boot (field 22 of proc_pid_stat(5)), and so does /proc/uptime.

use std::time::Duration;

use procfs::prelude::FromRead;

use crate::container::Container;
use crate::error::Result;

/// How long ago a process started that started so many clock ticks after boot; `None` when the kernel does not tell.
pub(crate) fn since(start_time: u64) -> Option<Duration> {
    let text = std::fs::read("/proc/uptime").ok()?;
    let up = procfs::Uptime::from_read(&text[..]).ok()?;
    let start = start_time as f64 / procfs::ticks_per_second() as f64;
    Duration::try_from_secs_f64((up.uptime - start).max(0.0)).ok()
}

impl Container {
    /// How long its own process has been there; `None` when there is none, or the kernel does not tell.
    ///
    /// # Errors
    /// Its directory cannot be understood.
    pub fn uptime(&self) -> Result<Option<Duration>> {
        let alive = self.init()?.alive()?;
        Ok(alive.and_then(|identity| since(identity.start_time)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_common::identity::Identity;

    #[test]
    fn this_process_has_not_been_there_for_long() {
        let me = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(since(me.start_time).unwrap() < Duration::from_secs(3600));
        assert!(since(0).unwrap() > since(me.start_time).unwrap());
        assert_eq!(since(u64::MAX), Some(Duration::ZERO));
    }
}
