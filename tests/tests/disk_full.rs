//! A full disk costs a log line or a file that would have been nice to have; a container's end it cannot cost.

use std::fs::{self, OpenOptions};
use std::path::Path;

use holdfast_tests::daemon02::{Client02, Daemon02};
use holdfast_tests::{Bundle, Sandbox, disk, wait};
use nix::poll::PollFlags;
use serde_json::Value;

/// Runs a container whose directories are on a disk of 256 KiB.
fn on_small_disk<'a>(sandbox: &'a Sandbox, bundle: &Bundle) -> Client02<'a> {
    let daemon = Daemon02::new(sandbox);
    let dir = daemon.container_dir("any").parent().unwrap().to_owned();
    fs::create_dir(&dir).unwrap();
    disk::mount(&dir, "size=256k");
    let client = daemon.run("disk", bundle);
    // Puts a first line into the log, so that a block of the disk is the log's.
    client.init.control("nonsense\n");
    sandbox.wait_file(&client.init.dir().join("shim-log.json"));
    client
}

fn exit_record(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("exit.json")).unwrap()).unwrap()
}

#[test]
fn a_status_that_cannot_be_written_is_kept_until_it_can_whatever_is_asked_meanwhile() {
    let sandbox = Sandbox::new("full");
    let mut client = on_small_disk(&sandbox, &sandbox.sh("read go; exit 7"));
    let dir = client.init.dir().to_owned();
    let log = || fs::read_to_string(dir.join("shim-log.json")).unwrap();
    let filler = dir.parent().unwrap().join("filler");
    disk::fill(&filler);
    client.write("\n");
    sandbox.wait_until("the shim to say what is wrong", || {
        log().contains("trying again")
    });
    let shim = client.init.shim();
    // An exchange of the shim would forget what only this one knows.
    client.init.control("3 0 0\n1 80 24\n0 0 0\n3 0 0\n");
    sandbox.wait_until("control to be read empty", || {
        let control = client.init.control_fifo();
        wait::events(control, PollFlags::POLLIN, std::time::Duration::ZERO).is_empty()
    });
    assert!(shim.is_alive() && !wait::is_hung_up(client.init.exit()));
    assert_eq!(client.init.exit_status(), None);

    fs::remove_file(filler).unwrap();
    assert_eq!(client.init.wait(), 7);
    assert_eq!(exit_record(&dir)["code"], 7);
    // Once for each of the two that it could not write.
    for file in ["exit.json", "shim.json"] {
        let lines = log();
        let lines = lines.lines().filter(|line| line.contains("trying again"));
        assert_eq!(
            lines.filter(|line| line.contains(file)).count(),
            1,
            "{}",
            log()
        );
    }
    sandbox.assert_clean();
}

#[test]
fn unread_output_that_finds_no_room_costs_nothing_else() {
    let sandbox = Sandbox::new("full-unread");
    let bundle = sandbox.sh("seq 1 13000; exit 8");
    let Client02 {
        mut init,
        stdio,
        stdout,
        ..
    } = on_small_disk(&sandbox, &bundle);
    let dir = init.dir().to_owned();
    let filler = dir.parent().unwrap().join("filler");
    disk::fill(&filler);
    // Room for the record, and not for what waits in the FIFO.
    let length = fs::metadata(&filler).unwrap().len();
    let file = OpenOptions::new().write(true).open(&filler).unwrap();
    file.set_len(length - (24 << 10)).unwrap();
    let read = sandbox.read_until(&stdout, "\n1000\n");
    drop(stdout);
    // The rest is more than the FIFO holds: who reads it now leaves less than that.
    let stdout = holdfast_tests::fifo::reader(&stdio.stdout);
    let read = read + &sandbox.read_until(&stdout, "\n4000\n");
    drop(stdout);
    assert!(read.ends_with("\n4000\n"));
    assert_eq!(init.wait(), 8);
    assert_eq!(exit_record(&dir)["code"], 8);
    let log = fs::read_to_string(dir.join("shim-log.json")).unwrap();
    assert!(log.contains("that nobody read are lost"), "{log}");
    assert!(!dir.join("stdout.unread").exists());
    sandbox.assert_clean();
}
