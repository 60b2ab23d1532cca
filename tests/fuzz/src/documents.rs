//! The documents of the state directory. What is understood is kept: written and read again it is the same, and every key of
//! the file is in the file that is written from it, with its value, and the unknown ones in their order.

use holdfast_common::container_state::ContainerState;
use holdfast_common::layout::Stream;
use holdfast_common::process_state::ProcessState;
use holdfast_common::shim_record::ShimRecord;
use serde_json::{Map, Value};

use super::scratch;

/// Our own object, which only has the keys that we know.
const OURS: &str = "holdfast";

const PROCESS_KEYS: [&str; 11] = [
    "terminal",
    "exec",
    "containerdStdin",
    "containerdStdout",
    "containerdStderr",
    "runtimeArgs",
    "noPivotRoot",
    "checkpoint",
    "rootUID",
    "rootGID",
    OURS,
];

const STATE_KEYS: [&str; 10] = [
    "bundle",
    "labels",
    "stdin",
    "stdout",
    "stderr",
    "runtime",
    "runtimeArgs",
    "shim",
    "noPivotRoot",
    OURS,
];

/// process.json.
pub fn process_json(bytes: &[u8]) {
    let name = "process.json";
    let Some(state) = scratch::read(name, bytes, ProcessState::read) else {
        return;
    };
    let written = scratch::round_trip(name, &state, ProcessState::write, ProcessState::read);
    every_key_is_kept(bytes, &written, &PROCESS_KEYS);
    for stream in Stream::ALL {
        assert!(!state.stdio(stream).is_empty());
        let ours = state.holdfast.as_ref();
        assert!(ours.is_some() || !state.inherits(stream));
    }
    if let Ok(process) = state.oci_process() {
        assert_eq!(process.terminal().unwrap_or(false), state.terminal);
    }
}

/// state.json.
pub fn state_json(bytes: &[u8]) {
    let name = "state.json";
    let Some(state) = scratch::read(name, bytes, ContainerState::read) else {
        return;
    };
    let written = scratch::round_trip(name, &state, ContainerState::write, ContainerState::read);
    every_key_is_kept(bytes, &written, &STATE_KEYS);
}

/// shim.json, of which nobody keeps what they do not know: it says which shim, and another writes its own.
pub fn shim_json(bytes: &[u8]) {
    let name = "shim.json";
    let Some(record) = scratch::read(name, bytes, ShimRecord::read) else {
        return;
    };
    let written = scratch::round_trip(name, &record, ShimRecord::write, ShimRecord::read);
    let written = object(&written).expect("what we write is JSON");
    if let Some(before) = object(bytes) {
        for key in ["pid", "startTime", "version", "executable"] {
            assert_eq!(written.get(key), before.get(key), "{key}");
        }
    }
    let identity = record.identity();
    assert_eq!(identity.pid, record.pid);
    if record.is_of_another_boot() {
        assert!(identity.is_of_another_boot(), "{identity}");
    } else {
        assert_eq!(identity.start_time, record.start_time);
    }
}

fn every_key_is_kept(before: &[u8], after: &[u8], known: &[&str]) {
    let after = object(after).expect("what we write is JSON");
    let Some(before) = object(before) else {
        return;
    };
    for (key, value) in &before {
        if key == OURS || (value.is_null() && known.contains(&key.as_str())) {
            continue;
        }
        assert_eq!(after.get(key), Some(value), "{key}");
    }
    let unknown = |object: &Map<String, Value>| -> Vec<String> {
        let keys = object.keys().filter(|key| !known.contains(&key.as_str()));
        keys.cloned().collect()
    };
    assert_eq!(unknown(&after), unknown(&before));
}

/// What a document says, which is an object whatever it says. Not to be had of one that is broken where nobody looks: in the
/// value of a key that is passed over, a byte that is no UTF-8 or a number of a thousand digits does no harm.
pub fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    assert!(bytes.trim_ascii_start().starts_with(b"{"));
    serde_json::from_slice(bytes).ok()
}
