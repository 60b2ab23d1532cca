//! Sockets that a service manager opened for this very process (sd_listen_fds(3)): they go on to the container, as with runc.
//! `LISTEN_PID` says that it is meant; variables that a caller left in its environment are nobody's.

use holdfast::ListenFds;
use holdfast_common::listen_fds::{LISTEN_FDNAMES, LISTEN_FDS, LISTEN_PID};

use super::error::{Error, Result};

/// What the environment says.
///
/// # Errors
/// It says that there are sockets for us, but not how many.
pub fn from_environment() -> Result<ListenFds> {
    let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let pid = variable(LISTEN_PID).and_then(|pid| pid.parse().ok());
    if pid != Some(std::process::id()) {
        return Ok(ListenFds::default());
    }
    let Some(count) = variable(LISTEN_FDS) else {
        return Ok(ListenFds::default());
    };
    Ok(ListenFds {
        count: count.parse().map_err(|_| Error::NotANumber {
            variable: LISTEN_FDS,
            value: count,
        })?,
        names: variable(LISTEN_FDNAMES),
    })
}
