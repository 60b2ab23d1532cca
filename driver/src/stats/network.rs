//! Network interfaces: `/proc/PID/net/dev` of the container's process, which shows its network namespace
//! (network_namespaces(7), proc_pid_net(5)).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use procfs::net::{DeviceStatus, InterfaceDeviceStatus};
use procfs::prelude::FromRead;
use serde::{Deserialize, Serialize};

use super::of_process;
use crate::error::Result;

/// What went through an interface, as its container counts: *received* came in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkInterface {
    /// Its name in the container.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Bad packets received.
    pub rx_errors: u64,
    /// Packets received and dropped.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets dropped instead of being sent.
    pub tx_dropped: u64,
}

impl NetworkInterface {
    /// Whether what goes through it stays in the container.
    pub fn is_loopback(&self) -> bool {
        self.name == "lo"
    }
}

impl From<DeviceStatus> for NetworkInterface {
    fn from(device: DeviceStatus) -> Self {
        Self {
            name: device.name,
            rx_bytes: device.recv_bytes,
            rx_packets: device.recv_packets,
            rx_errors: device.recv_errs,
            rx_dropped: device.recv_drop,
            tx_bytes: device.sent_bytes,
            tx_packets: device.sent_packets,
            tx_errors: device.sent_errs,
            tx_dropped: device.sent_drop,
        }
    }
}

/// `None` when the container's namespace is its shim's, or ours when it has none: what goes through that one is not about it.
pub(super) fn read(pid: i32, shim: Option<i32>) -> Result<Option<Vec<NetworkInterface>>> {
    let own = namespace(&pid.to_string()).map_err(of_process(pid, "ns/net"))?;
    let outside = match shim.map(|shim| namespace(&shim.to_string())) {
        Some(Ok(outside)) => outside,
        _ => namespace("self").map_err(of_process(pid, "ns/net"))?,
    };
    if own == outside {
        return Ok(None);
    }
    let text = fs::read(format!("/proc/{pid}/net/dev")).map_err(of_process(pid, "net/dev"))?;
    let devices = InterfaceDeviceStatus::from_read(&text[..]);
    let devices =
        devices.map_err(|e| of_process(pid, "net/dev")(io::Error::other(e.to_string())))?;
    let mut interfaces: Vec<NetworkInterface> = devices.0.into_values().map(Into::into).collect();
    interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Some(interfaces))
}

fn namespace(process: &str) -> io::Result<(u64, u64)> {
    let meta = fs::metadata(format!("/proc/{process}/ns/net"))?;
    Ok((meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_that_everybody_here_has_are_not_the_containers() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(read(me, None).unwrap(), None);
        assert_eq!(read(me, Some(me)).unwrap(), None);
        // A shim that is gone by now.
        assert_eq!(read(me, Some(-1)).unwrap(), None);
        assert!(read(-1, None).is_err());
    }
}
