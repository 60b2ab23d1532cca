//! Sockets that a service manager opened for a program, from descriptor 3 on (sd_listen_fds(3)): how many, and what they are called.

use serde::{Deserialize, Serialize};

/// How many descriptors there are.
pub const LISTEN_FDS: &str = "LISTEN_FDS";
/// For whom.
pub const LISTEN_PID: &str = "LISTEN_PID";
/// What they are called, with colons between.
pub const LISTEN_FDNAMES: &str = "LISTEN_FDNAMES";

/// Sockets for a container: its descriptors from 3 on, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenFds {
    /// How many; 0 for none.
    pub count: u32,
    /// What they are called, with colons between; `None` when nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<String>,
}

impl ListenFds {
    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        self.count == 0
    }
}
