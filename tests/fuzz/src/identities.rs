//! Who a process is. No process is taken for another: what is read was in the bytes, whatever a process calls itself.

use holdfast_common::identity::{Identity, Stat};

use super::ends::the_number_is_in;
use super::scratch;

/// After which no pid of its directory means anything.
const SHIM_OF_ANOTHER_BOOT: &[u8] =
    br#"{"pid":1,"startTime":1,"version":"","bootId":"another","executable":""}"#;

/// `pid` and `starttime`, in one input with a bar between them; without one there is no `starttime`.
pub fn pid_starttime(bytes: &[u8]) {
    let mut halves = bytes.splitn(2, |&byte| byte == b'|');
    let pid = halves.next().unwrap_or_default();
    let start_time = halves.next();
    scratch::put("pid", Some(pid));
    scratch::put("starttime", start_time);
    scratch::put("shim.json", None);
    if let Ok(identity) = scratch::with_dir(Identity::recorded) {
        let identity = identity.expect("there is a pid");
        assert!(identity.pid > 0, "{identity} would be a group, or all");
        the_number_is_in(pid, identity.pid.into());
        the_number_is_in(
            start_time.expect("no start time is made up"),
            identity.start_time.into(),
        );
    }
    scratch::put("shim.json", Some(SHIM_OF_ANOTHER_BOOT));
    if let Ok(identity) = scratch::with_dir(Identity::recorded) {
        let identity = identity.expect("there is a pid");
        assert!(identity.is_of_another_boot(), "{identity} may be anybody");
        the_number_is_in(pid, identity.pid.into());
    }
}

/// A line of /proc/PID/stat (proc_pid_stat(5)), whose second field is for the process to choose: the input is taken once for
/// the line, and once for the name.
pub fn proc_stat(bytes: &[u8]) {
    if let Some(stat) = Stat::parse(bytes) {
        let digits = stat.start_time.to_string();
        let found = bytes
            .windows(digits.len())
            .any(|window| window == digits.as_bytes());
        assert!(found, "{stat:?}");
    }
    let line = [
        b"42 (",
        bytes,
        b") S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 10",
    ];
    let stat = Stat::parse(&line.concat()).expect("the line is whole");
    assert_eq!((stat.state, stat.parent, stat.start_time), ('S', 7, 98765));
}
