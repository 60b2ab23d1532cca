//! A disk that is full or read-only, and descriptors that have run out, at every step that writes: a launch succeeds or
//! fails with one clear error and leaves nothing; a running container is not touched; and what could not be written is written
//! once there is room. What a full disk does to a status is in `disk_full.rs`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use holdfast_tests::command::{behind, show, text};
use holdfast_tests::{Bundle, DEADLINE, Proc, Sandbox, disk, wait};
use serde_json::Value;

/// Puts the root onto a disk of its own.
fn mount(sandbox: &Sandbox, options: &str) {
    disk::mount(&sandbox.root(), &format!("mode=700,{options}"));
}

/// Writes until the disk is full, but for so many pages.
fn fill_but(file: &Path, pages: u64) {
    let mut filling = OpenOptions::new();
    let mut filling = filling.append(true).create(true).open(file).unwrap();
    while filling.write_all(&[b'x'; 4096]).is_ok() {}
    let length = filling.metadata().unwrap().len();
    filling
        .set_len(length.saturating_sub(pages * 4096))
        .unwrap();
}

/// That a launch failed with one line that says why.
#[track_caller]
fn assert_refused(sandbox: &Sandbox, output: &Output, what: &str) {
    let said = text(&output.stderr);
    let clear = said.contains(what) && said.starts_with("holdfast: ") && said.lines().count() == 1;
    if output.status.code() != Some(125) || !clear {
        sandbox.dump();
        panic!("not one clear word of {what:?}: {}", show(output));
    }
}

fn has_containers(root: &Path) -> bool {
    let mut entries = fs::read_dir(root).unwrap();
    entries.any(|entry| entry.unwrap().path().is_dir())
}

/// After a launch that failed: the id is free, and nothing is there that a shim or a runtime made.
#[track_caller]
fn assert_nothing_left(sandbox: &Sandbox, id: &str) {
    let root = sandbox.root();
    sandbox.wait_until("nothing to be left", || {
        !has_containers(&root)
            && holdfast_tests::process::under(&root).is_empty()
            && !sandbox.runtime_root().join(id).exists()
    });
}

/// Launches, with so little room; whether that was enough.
fn launch(sandbox: &Sandbox, bundle: &Bundle, what: &str) -> bool {
    let id = sandbox.id("web");
    let output = sandbox.output(["run", "-d", "--stdio", "null", "-b", bundle.arg(), &id]);
    if !output.status.success() {
        assert_refused(sandbox, &output, what);
        assert_nothing_left(sandbox, &id);
        return false;
    }
    let record = sandbox.process_dir(&id, "init").join("exitStatus");
    let filler = sandbox.root().join("filler");
    let kept = fs::metadata(&filler).map(|meta| meta.len());
    // Its end needs room too.
    let _ = fs::remove_file(&filler);
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    // The page of what a start has emptied may have been room for the first file of the record, and not for this one.
    assert_eq!(sandbox.wait_file(&record), "7");
    sandbox.run_ok(["delete", &id]);
    if let Ok(length) = kept {
        let file = fs::File::create(&filler).unwrap();
        (&file)
            .write_all(&vec![b'x'; usize::try_from(length).unwrap()])
            .unwrap();
    }
    true
}

#[test]
fn a_launch_without_room_fails_at_every_page_with_one_word_and_leaves_nothing() {
    let sandbox = Sandbox::new("pages");
    mount(&sandbox, "size=256k");
    let bundle = sandbox.sh("exit 7");
    let filler = sandbox.root().join("filler");
    let enough = (0..20).find(|pages| {
        let _ = fs::remove_file(&filler);
        fill_but(&filler, *pages);
        launch(&sandbox, &bundle, "no space left on device")
    });
    let enough = enough.expect("80 KiB are enough");
    assert!(enough > 3, "nothing was tested: {enough} pages are enough");
    fs::remove_file(filler).unwrap();
    sandbox.assert_clean();
}

#[test]
fn a_launch_without_inodes_fails_at_every_file_with_one_word_and_leaves_nothing() {
    let sandbox = Sandbox::new("inodes");
    let bundle = sandbox.sh("exit 7");
    mount(&sandbox, "size=1m,nr_inodes=40");
    let spare = |n: usize| sandbox.root().join(format!("spare-{n}"));
    let mut spares = 0;
    while fs::File::create(spare(spares)).is_ok() {
        spares += 1;
    }
    let mut refused = 0;
    while !launch_without_filler(&sandbox, &bundle) {
        refused += 1;
        spares = spares.checked_sub(1).expect("40 inodes are enough");
        fs::remove_file(spare(spares)).unwrap();
    }
    assert!(
        refused > 8,
        "nothing was tested: {refused} files are enough"
    );
    for n in 0..spares {
        fs::remove_file(spare(n)).unwrap();
    }
    sandbox.run_ok(["list"]);
    for id in sandbox.run_ok(["list", "-q"]).lines() {
        assert_eq!(sandbox.run_ok(["wait", id]), "7\n");
        sandbox.run_ok(["delete", id]);
    }
    sandbox.assert_clean();
}

fn launch_without_filler(sandbox: &Sandbox, bundle: &Bundle) -> bool {
    let id = sandbox.id("web");
    let output = sandbox.output(["run", "-d", "--stdio", "null", "-b", bundle.arg(), &id]);
    if output.status.success() {
        return true;
    }
    assert_refused(sandbox, &output, "no space left on device");
    assert_nothing_left(sandbox, &id);
    false
}

/// A container on a small disk, and what fills that.
struct Small<'a> {
    sandbox: &'a Sandbox,
    id: String,
    filler: PathBuf,
}

impl<'a> Small<'a> {
    fn run(sandbox: &'a Sandbox, script: &str) -> Self {
        mount(sandbox, "size=256k");
        let id = sandbox.id("web");
        sandbox.run_ok(["run", "-d", "-b", sandbox.sh(script).arg(), &id]);
        let filler = sandbox.root().join("filler");
        Self {
            sandbox,
            id,
            filler,
        }
    }

    fn dir(&self) -> PathBuf {
        self.sandbox.process_dir(&self.id, "init")
    }

    fn shim_json(&self) -> Value {
        let bytes = fs::read(self.dir().join("shim.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn fill(&self) {
        fill_but(&self.filler, 0);
    }

    fn make_room(&self) {
        fs::remove_file(&self.filler).unwrap();
    }

    #[track_caller]
    fn ends_with(self, code: &str) {
        let input = self.sandbox.open_writer(&self.dir().join("stdin"));
        self.sandbox.write_all(&input, b"go\n");
        assert_eq!(self.sandbox.run_ok(["wait", &self.id]), code);
        self.sandbox.run_ok(["delete", &self.id]);
        self.sandbox.assert_clean();
    }
}

#[test]
fn an_exchange_on_a_full_disk_is_made_and_told_once_there_is_room() {
    let sandbox = Sandbox::new("full-upgrade");
    let small = Small::run(&sandbox, "read go; exit 5");
    let shim = sandbox.shim_of(&small.dir());
    small.fill();
    let control = holdfast_tests::fifo::both(&small.dir().join("control"));
    sandbox.write_all(&control, b"3 0 0\n");
    sandbox.wait_until("the exchange", || {
        shim.argv().iter().any(|word| word == "asked=1")
    });
    assert_eq!(small.shim_json()["asked"], 0);
    small.make_room();
    sandbox.wait_until("shim.json to say so", || small.shim_json()["asked"] == 1);
    assert_eq!(sandbox.shim_of(&small.dir()), shim);
    small.ends_with("5\n");
}

#[test]
fn a_shim_adopts_on_a_full_disk_and_says_who_it_is_once_there_is_room() {
    let sandbox = Sandbox::new("full-adopt");
    let small = Small::run(&sandbox, "read go; exit 6");
    // Or it would read the end of its input while nobody has that open.
    let _input = sandbox.open_writer(&small.dir().join("stdin"));
    sandbox.kill_shim(&small.dir());
    let before = small.shim_json()["pid"].clone();
    small.fill();
    let said = sandbox.recovered(&small.id);
    assert!(said.starts_with("adopted, pid "), "{said}");
    let shim = sandbox.shim_of(&small.dir());
    assert_eq!(small.shim_json()["pid"], before);
    small.make_room();
    sandbox.wait_until("shim.json to name the new one", || {
        small.shim_json()["pid"] == shim.pid().as_raw()
    });
    small.ends_with("6\n");
}

#[test]
fn an_end_that_cannot_be_put_on_record_by_an_adopter_waits_for_the_next() {
    let sandbox = Sandbox::new("full-lost");
    let small = Small::run(&sandbox, "exec sleep 1000");
    let dir = small.dir();
    sandbox.kill_shim(&dir);
    let process = Proc::from_file(&dir.join("pid")).unwrap();
    sandbox
        .runtime(["delete", "-f", &small.id])
        .status()
        .unwrap();
    sandbox.wait_until("its end", || process.stat(3).is_none());
    // And the host was rebooted besides: that must not be forgotten over it.
    let mut shim = small.shim_json();
    shim["bootId"] = "another".into();
    fs::write(dir.join("shim.json"), shim.to_string()).unwrap();
    small.fill();
    let output = sandbox.output(["recover", &small.id]);
    assert_refused(&sandbox, &output, "no space left on device");
    assert!(!dir.join("exit.json").exists());
    assert_eq!(small.shim_json()["bootId"], "another");
    small.make_room();
    assert_eq!(sandbox.recovered(&small.id), "finished, exit status 255");
    let record = fs::read_to_string(dir.join("exit.json")).unwrap();
    assert!(record.contains("host rebooted"), "{record}");
    sandbox.run_ok(["delete", &small.id]);
    sandbox.assert_clean();
}

#[test]
fn a_record_of_which_only_the_first_file_found_room_is_made_whole_by_an_adopter() {
    let sandbox = Sandbox::new("full-half");
    let small = Small::run(&sandbox, "read go; exit 9");
    let dir = small.dir();
    let fake = holdfast_tests::fifo::both(&dir.join("control"));
    sandbox.kill_shim(&dir);
    drop(fake);
    let process = Proc::from_file(&dir.join("pid")).unwrap();
    sandbox
        .runtime(["delete", "-f", &small.id])
        .status()
        .unwrap();
    let pid = process.pid();
    let record = format!(
        r#"{{"pid":{pid},"exitedAt":"2026-01-02T03:04:05.678901234Z","code":9,"source":"reaped"}}"#
    );
    fs::write(dir.join("exit.json"), &record).unwrap();
    assert_eq!(sandbox.recovered(&small.id), "finished, exit status 9");
    assert_eq!(fs::read_to_string(dir.join("exitStatus")).unwrap(), "9");
    assert_eq!(fs::read_to_string(dir.join("exit.json")).unwrap(), record);
    sandbox.run_ok(["delete", &small.id]);
    sandbox.assert_clean();
}

#[test]
fn a_root_that_is_read_only_can_be_looked_at_and_nothing_is_touched() {
    let sandbox = Sandbox::new("read-only");
    let small = Small::run(&sandbox, "read go; exit 4");
    let root = sandbox.root();
    let mount = |words: &[&str]| {
        let mut mount = Command::new("mount");
        assert!(mount.args(words).arg(&root).status().unwrap().success());
    };
    // For whoever comes from now on: the shim, which writes, keeps the disk from becoming read-only altogether.
    mount(&["--bind", root.to_str().unwrap()]);
    mount(&["-o", "remount,bind,ro"]);
    let why = "read-only file system";
    for words in [
        &["run", "-d", "-b", sandbox.sh(":").arg(), &sandbox.id("no")][..],
        &["exec", &small.id, "true"],
        &["delete", &small.id],
    ] {
        assert_refused(&sandbox, &sandbox.output(words), why);
    }
    let listed: Value = serde_json::from_str(&sandbox.run_ok(["list", "-f", "json"])).unwrap();
    assert_eq!(listed[0]["status"], "running");
    assert_eq!(listed[0].get("holdfast"), None);
    let shown = sandbox.run_ok(["inspect", &small.id]);
    assert!(shown.contains("it runs, and its shim holds it"), "{shown}");

    let _input = sandbox.open_writer(&small.dir().join("stdin"));
    sandbox.kill_shim(&small.dir());
    assert_refused(&sandbox, &sandbox.output(["recover", &small.id]), why);
    let shown = sandbox.run_ok(["inspect", &small.id]);
    assert!(
        shown.contains("it runs, but its shim was killed"),
        "{shown}"
    );
    // Lazily: the writer above was opened through it.
    let mut umount = Command::new("umount");
    assert!(umount.arg("-l").arg(&root).status().unwrap().success());
    let said = sandbox.recovered(&small.id);
    assert!(said.starts_with("adopted, pid "), "{said}");
    small.ends_with("4\n");
}

/// A command that may have so many descriptors open.
fn with_descriptors(command: &Command, most: u64) -> Command {
    let mut prlimit = Command::new("prlimit");
    prlimit.arg(format!("--nofile={most}:{}", 1024));
    behind(prlimit, command)
}

fn allow(process: Proc, most: usize) {
    let mut prlimit = Command::new("prlimit");
    prlimit.arg(format!("--pid={}", process.pid()));
    prlimit.arg(format!("--nofile={most}:1024"));
    assert!(prlimit.status().unwrap().success());
}

#[test]
fn a_launch_without_descriptors_fails_with_one_word_and_leaves_nothing() {
    let sandbox = Sandbox::new("descriptors");
    let bundle = sandbox.sh("exit 7");
    let mut refused = 0;
    // With fewer than that, a dynamic program does not even start.
    for most in 4..40 {
        let id = sandbox.id("web");
        let run = sandbox.holdfast(["run", "-d", "--stdio", "null", "-b", bundle.arg(), &id]);
        let output = sandbox.output_of(with_descriptors(&run, most));
        if !output.status.success() {
            refused += 1;
            if output.status.code() == Some(125) {
                let said = text(&output.stderr);
                assert_eq!(said.lines().count(), 1, "{most}: {}", show(&output));
            }
            assert_nothing_left(&sandbox, &id);
            continue;
        }
        // The shim has the same limit, and a status to put on record.
        let dir = sandbox.process_dir(&id, "init");
        if let Some(shim) = Proc::shim_of(&dir) {
            allow(shim, 1024);
        }
        assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
        sandbox.run_ok(["delete", &id]);
        break;
    }
    assert!(refused > 3, "nothing was tested: {refused}");
    sandbox.assert_clean();
}

#[test]
fn a_shim_without_descriptors_holds_on_and_records_once_it_may() {
    let sandbox = Sandbox::new("shim-descriptors");
    let id = sandbox.id("web");
    let bundle = sandbox.sh("read go; exit 3");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    // One that has become *hold*: on the way there it needs some.
    let shim = sandbox.idle_shim_of(&dir);
    allow(shim, 3);
    // An exchange needs descriptors: it is refused, and so far nobody can be told.
    let control = holdfast_tests::fifo::both(&dir.join("control"));
    sandbox.write_all(&control, b"3 0 0\n");
    let log = || fs::read_to_string(dir.join("shim-log.json")).unwrap_or_default();
    sandbox.wait_until("the refusal", || log().contains("not replaced"));
    let input = sandbox.open_writer(&dir.join("stdin"));
    sandbox.write_all(&input, b"go\n");
    sandbox.wait_until("the shim to say what is wrong", || {
        log().contains("too many open files; trying again until there is space")
            && log().contains("exit.json")
    });
    assert!(shim.is_alive());
    assert!(!dir.join("exitStatus").exists());
    let shown = sandbox.run_ok(["inspect", &id]);
    assert!(shown.contains("finds no room"), "{shown}");
    allow(shim, 1024);
    assert_eq!(sandbox.run_ok(["wait", &id]), "3\n");
    assert!(wait::until(DEADLINE, || !shim.is_alive()));
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}
