//! A container's mounts: its end is told before they are taken down, and `exit` hangs up after it.

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_tests::{Proc, Sandbox, fifo};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;

/// The mount namespace that a process is in.
fn namespace_of(process: Proc) -> PathBuf {
    let link = format!("/proc/{}/ns/mnt", process.pid());
    fs::read_link(&link).unwrap_or_else(|e| panic!("read {link}: {e}"))
}

/// Waits until a shim holds its process's mount namespace, and nobody else's.
#[track_caller]
fn assert_holds(sandbox: &Sandbox, dir: &Path) {
    let process = Proc::from_file(&dir.join("pid")).expect("a pid");
    let namespace = namespace_of(process);
    sandbox.wait_until("the shim to hold the container's mounts", || {
        held(sandbox.shim_of(dir)) == [namespace.clone()]
    });
}

/// The mount namespaces that a process has open.
fn held(process: Proc) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| path.to_string_lossy().starts_with("mnt:[");
    process.fds().into_values().filter(is_one).collect()
}

#[test]
fn whoever_holds_a_container_holds_its_mounts() {
    let sandbox = Sandbox::new("mounts-held");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let id = sandbox.id("web");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    assert_holds(&sandbox, &dir);

    sandbox.run_ok(["upgrade", &id]);
    assert_holds(&sandbox, &dir);

    sandbox.kill_shim(&dir);
    assert!(sandbox.recovered(&id).starts_with("adopted"), "{id}");
    assert_holds(&sandbox, &dir);

    // An exec is not the last to go.
    sandbox.run_ok(["exec", "-d", "--exec-id", "more", &id, "sleep", "1000"]);
    let exec = sandbox.idle_shim_of(&sandbox.process_dir(&id, "more"));
    assert!(held(exec).is_empty());
    sandbox.run_ok(["kill", &id, "KILL"]);
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

/// A file system that the host has let go of is in the container alone. When `exit` hangs up it is gone, and what it was on can be taken
/// away; also while the shim goes on waiting.
#[test]
fn no_file_system_of_a_container_is_left_when_its_exit_hangs_up() {
    let sandbox = Sandbox::new("mounts-gone");
    let disk = sandbox.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let none = None::<&str>;
    mount(Some("disk"), &disk, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    let watched = disk.join("watched");
    fs::write(&watched, "").unwrap();
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).unwrap();
    let interest = AddWatchFlags::IN_DELETE_SELF;
    inotify.add_watch(&watched, interest).unwrap();
    let bundle = sandbox.bundle(["sleep", "1000"]).bind(&disk);
    let id = sandbox.id("web");
    let hour = ["--exit-command", "/bin/true", "--exit-delay", "1h"];
    sandbox.run_ok([&["run", "-d", "-b", bundle.arg()], &hour[..], &[&id]].concat());
    let dir = sandbox.process_dir(&id, "init");
    let shim = sandbox.idle_shim_of(&dir);
    let exit = fifo::reader(&dir.join("exit"));
    umount(&disk).unwrap();
    assert!(inotify.read_events().is_err(), "the container has it");

    sandbox.run_ok(["kill", &id, "KILL"]);
    sandbox.wait_hangup(&exit);

    let events = inotify.read_events().unwrap_or_default();
    let gone = events
        .iter()
        .any(|event| event.mask.contains(AddWatchFlags::IN_UNMOUNT));
    assert!(gone && shim.is_alive(), "{events:?}");
    assert_eq!(sandbox.run_ok(["wait", &id]), "137\n");
    sandbox.run_ok(["delete", &id]);
    shim.signal(Signal::SIGKILL);
    sandbox.wait_until("the shim's end", || !shim.is_alive());
    sandbox.assert_clean();
}
