//! A container that has used something of everything that is counted, within limits, and then does nothing: for whoever
//! reads counters.

use serde_json::json;

use crate::{Bundle, Gate, Sandbox};

/// Works on processors, memory, a disk and an interface, and then waits at the gate.
const WORK: &str = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done
    dd if=/dev/zero of=/dev/shm/held bs=1M count=3 2>/dev/null
    dd if=/dev/zero of=/host/written bs=1M count=24 conv=fsync 2>/dev/null
    nc 127.0.0.1 9 </dev/null 2>/dev/null
    sleep 1000 & echo done > /host/worked";

/// Limits of each kind that a test reads: 16 MiB, 5 ms of processor time in 100 (so little that it is throttled
/// on a machine that has other work to do as well), 50 processes.
#[must_use]
pub fn limited(bundle: Bundle) -> Bundle {
    bundle.edit(|config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 16 << 20 });
        config["linux"]["resources"]["cpu"] = json!({ "quota": 5_000, "period": 100_000 });
        config["linux"]["resources"]["pids"] = json!({ "limit": 50 });
    })
}

impl Sandbox {
    /// One that has worked, and now waits at the gate; its id.
    ///
    /// # Panics
    /// When it cannot be started, or is not done by the deadline.
    #[track_caller]
    #[must_use]
    pub fn worker(&self, name: &str) -> (String, Gate<'_>) {
        let gate = self.gate();
        let script = format!("{WORK}; {}", Gate::WAIT);
        let bundle = limited(self.sh(&script).bind(gate.dir()));
        let id = self.id(name);
        self.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
        self.wait_file(&gate.dir().join("worked"));
        (id, gate)
    }
}
