//! A shim is replaced under its process: same pid, same descriptors, same lock, not a byte lost. A new executable that cannot
//! do its work leaves the old shim in its place, which says why.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use holdfast::{Error, ExitStatus};
use holdfast_tests::command::{show, text};
use holdfast_tests::fake_runtime::install;
use holdfast_tests::matrix::Ended;
use holdfast_tests::{DEADLINE, Gate, Proc, Sandbox, binaries, fifo};
use serde_json::Value;

/// A copy of the shim, in another directory. Through install(1): what a parallel test's child may hold open for writing cannot
/// be executed.
fn copy(sandbox: &Sandbox, name: &str) -> PathBuf {
    let dir = sandbox.path().join(name);
    fs::create_dir(&dir).expect("make a directory");
    let to = dir.join("holdfast-shim");
    put(&binaries::shim(), "755", &to);
    to
}

fn put(from: &Path, mode: &str, to: &Path) {
    let draft = to.with_extension("new");
    let installed = Command::new("install")
        .args(["-m", mode])
        .args([from, &draft])
        .status();
    assert!(installed.is_ok_and(|status| status.success()));
    fs::rename(draft, to).expect("rename into place");
}

fn arg(path: &Path) -> &str {
    path.to_str().expect("sandboxes have plain names")
}

fn shim_json(dir: &Path) -> Value {
    let text = fs::read_to_string(dir.join("shim.json")).expect("read shim.json");
    serde_json::from_str(&text).expect("shim.json is JSON")
}

/// Which files a process has open, in the order of their names.
fn open_files(process: Proc) -> Vec<PathBuf> {
    let mut files: Vec<_> = process.fds().into_values().collect();
    files.sort();
    files
}

/// What a shim's process executes now.
fn inode(shim: Proc) -> u64 {
    let exe = fs::metadata(format!("/proc/{}/exe", shim.pid()));
    exe.expect("look at an executable").ino()
}

#[test]
fn shims_are_replaced_one_or_all_and_stay_who_they_are() {
    let sandbox = Sandbox::new("up-all");
    let (old, new) = (copy(&sandbox, "old-shim"), copy(&sandbox, "new-shim"));
    let bundle = sandbox.sh("while read line; do echo got $line; done; exit 8");
    let ids = ["a", "b"].map(|name| sandbox.id(name));
    for id in &ids {
        sandbox.run_ok(["--shim", arg(&old), "run", "-d", "-b", bundle.arg(), id]);
    }
    sandbox.run_ok([
        "--shim",
        arg(&old),
        "exec",
        "-d",
        "--exec-id",
        "job",
        &ids[1],
        "sleep",
        "1000",
    ]);
    let dir = sandbox.process_dir(&ids[0], "init");
    let container = Proc::from_file(&dir.join("pid")).unwrap();
    let shim = sandbox.shim_of(&dir);
    sandbox.wait_until("hold", || {
        shim.argv().get(4).is_some_and(|word| word == "hold")
    });
    let (files, start_time, before) = (open_files(shim), shim.stat(22), shim_json(&dir));
    let executable = |id: &str, process: &str| {
        shim_json(&sandbox.process_dir(id, process))["executable"].clone()
    };

    let said = sandbox.run_ok(["--shim", arg(&new), "upgrade", &ids[0]]);

    let version = before["version"].as_str().unwrap();
    assert_eq!(
        said,
        format!("{}/init: {version} {}\n", ids[0], new.display())
    );
    let after = shim_json(&dir);
    assert_eq!(
        (&after["pid"], &after["startTime"]),
        (&before["pid"], &before["startTime"])
    );
    assert_eq!(
        (&after["executable"], after.get("refused")),
        (&arg(&new).into(), None)
    );
    assert_eq!(sandbox.shim_of(&dir), shim);
    assert_eq!((shim.exe(), shim.stat(22)), (Some(new.clone()), start_time));
    assert_eq!(open_files(shim), files);
    assert_eq!(container.parent(), Some(shim.pid()));
    assert_eq!(executable(&ids[1], "init"), arg(&old));
    // The lock was never free: nobody would adopt it.
    assert_eq!(sandbox.run_ok(["recover"]), "");

    let said = sandbox.run_ok(["--shim", arg(&new), "upgrade", "--all"]);

    let line = |id: &str, process: &str| format!("{id}/{process}: {version} {}\n", new.display());
    assert_eq!(
        said,
        line(&ids[0], "init") + &line(&ids[1], "init") + &line(&ids[1], "job")
    );
    for id in &ids {
        let dir = sandbox.process_dir(id, "init");
        let stdin = sandbox.open_writer(&dir.join("stdin"));
        sandbox.write_all(&stdin, b"one\n");
        drop(stdin);
        sandbox.run_ok(["close-stdin", id]);
        assert_eq!(sandbox.run_ok(["wait", id]), "8\n");
        let record = sandbox.exit_json(id, "init");
        assert_eq!(record["source"], "reaped", "{record}");
        sandbox.run_ok(["delete", "-f", id]);
    }
    sandbox.assert_clean();
}

#[test]
fn an_executable_that_was_replaced_is_what_a_shim_becomes() {
    let sandbox = Sandbox::new("up-place");
    let shim_file = copy(&sandbox, "shim");
    let id = sandbox.id("place");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    sandbox.run_ok([
        "--shim",
        arg(&shim_file),
        "run",
        "-d",
        "-b",
        bundle.arg(),
        &id,
    ]);
    let shim = sandbox.shim_of(&sandbox.process_dir(&id, "init"));
    put(&binaries::shim(), "755", &shim_file);
    let new = fs::metadata(&shim_file).unwrap().ino();
    assert_ne!(inode(shim), new);
    let mut upgrade = sandbox.holdfast(["upgrade", &id]);
    upgrade.env_remove("HOLDFAST_SHIM");
    let output = sandbox.output_of(upgrade);
    assert!(output.status.success(), "{}", show(&output));
    assert_eq!(inode(shim), new);
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn an_unfit_executable_leaves_the_old_shim_in_its_place_which_says_why() {
    let sandbox = Sandbox::new("up-unfit");
    let unfit = |name: &str| sandbox.path().join(name);
    let script = |name: &str, body: &str| install(&unfit(name), &format!("#!/bin/sh\n{body}\n"));
    put(&binaries::shim(), "644", &unfit("plain"));
    let mut foreign = fs::read(binaries::shim()).unwrap();
    // e_machine (elf(5)): of an architecture that nobody has.
    foreign[18..20].copy_from_slice(&[0xfe, 0xfe]);
    fs::write(unfit("draft"), foreign).unwrap();
    put(&unfit("draft"), "755", &unfit("foreign"));
    script("ends", "exit 3");
    script("hangs", "exec sleep 1000");
    script("older", "echo 0");
    script("stranger", "echo hello");
    fifo::make(&unfit("fifo"));
    let id = sandbox.id("unfit");
    let bundle = sandbox.sh("while read line; do echo got $line; done; exit 8");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    let (shim, stdout) = (sandbox.shim_of(&dir), fifo::reader(&dir.join("stdout")));
    let before = inode(shim);
    let stdin = sandbox.open_writer(&dir.join("stdin"));
    for (name, why) in [
        ("missing", "no such file"),
        ("plain", "permission denied"),
        ("fifo", "permission denied"),
        ("foreign", "exec format error"),
        ("ends", "ended at once with exit status: 3"),
        ("hangs", "no answer within 2 s"),
        ("older", "understands handover 0, this shim speaks 5"),
        ("stranger", "is no holdfast-shim"),
    ] {
        let path = unfit(name);
        let output = sandbox.output(["--shim", arg(&path), "upgrade", &id]);
        assert_eq!(output.status.code(), Some(125), "{name}: {}", show(&output));
        let complaint = text(&output.stderr);
        for words in ["goes on as it was", arg(&path), why] {
            assert!(complaint.contains(words), "{name}: {complaint}");
        }
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        let record = shim_json(&dir);
        assert_eq!(record["executable"], arg(&binaries::shim()), "{name}");
        assert!(
            record["refused"]
                .as_str()
                .is_some_and(|said| said.contains(why)),
            "{record}"
        );
        assert_eq!(
            (sandbox.shim_of(&dir), inode(shim)),
            (shim, before),
            "{name}"
        );
        sandbox.write_all(&stdin, b"still here\n");
        assert_eq!(
            sandbox.read_until(&stdout, "\n"),
            "got still here\n",
            "{name}"
        );
    }
    // What was refused is not tried again.
    sandbox.run_ok(["upgrade", &id]);
    assert_eq!(shim_json(&dir).get("refused"), None);
    drop(stdin);
    sandbox.run_ok(["close-stdin", &id]);
    assert_eq!(sandbox.run_ok(["wait", &id]), "8\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_hundred_upgrades_cost_a_terminal_that_is_read_and_written_not_a_byte() {
    let sandbox = Sandbox::new("up-hundred");
    let shims = ["one", "two"].map(|name| copy(&sandbox, name));
    let bundle = sandbox.sh("stty raw -echo; echo ready; cat").terminal();
    let id = sandbox.id("hundred");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    let shim = sandbox.shim_of(&dir);
    let stdout = fifo::reader(&dir.join("stdout"));
    let stdin = sandbox.open_writer(&dir.join("stdin"));
    assert_eq!(sandbox.read_until(&stdout, "\n").trim(), "ready");
    let container = sandbox
        .driver()
        .load(&holdfast::ContainerId::new(&id).unwrap())
        .unwrap();
    let init = container.init().unwrap();
    let pieces = |n: usize| format!("this is line {n} of what is sent and comes back\n");
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut n = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                sandbox.write_all(&stdin, pieces(n).as_bytes());
                n += 1;
            }
            sandbox.write_all(&stdin, b"the end\n");
            n
        });
        let reading = scope.spawn(|| {
            let (mut seen, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
            while !seen.ends_with(b"the end\n") {
                let count = sandbox.read_some(&stdout, &mut buffer);
                assert!(count > 0, "ended after {} bytes", seen.len());
                seen.extend_from_slice(&buffer[..count]);
            }
            seen
        });
        for n in 0..100 {
            let record = init.upgrade(Some(&shims[n % 2]), DEADLINE).unwrap();
            assert_eq!(record.pid, shim.pid().as_raw());
            assert_eq!(record.executable, arg(&shims[n % 2]));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let count = writing.join().unwrap();
        let seen = reading.join().unwrap();
        let expected = (0..count).map(pieces).collect::<String>() + "the end\n";
        assert!(
            seen == expected.as_bytes(),
            "{} bytes of {}",
            seen.len(),
            expected.len()
        );
        println!("{} bytes there and back under 100 upgrades", seen.len());
    });
    sandbox.run_ok(["kill", &id, "KILL"]);
    assert_eq!(sandbox.run_ok(["wait", &id]), "137\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_process_that_ends_while_its_shim_is_replaced_has_its_exact_status() {
    let sandbox = Sandbox::new("up-ends");
    let driver = sandbox.driver();
    let mut ended_first = 0;
    for _ in 0..20 {
        let gate = sandbox.gate();
        let bundle = sandbox
            .sh(&format!("{}; exit 7", Gate::WAIT))
            .bind(gate.dir());
        let container = sandbox.started(&driver, &bundle, "ends");
        let init = container.init().unwrap();
        let upgraded = thread::scope(|scope| {
            let upgrade = scope.spawn(|| init.upgrade(None, DEADLINE));
            gate.open();
            upgrade.join().unwrap()
        });
        match upgraded {
            Ok(_) => (),
            Err(Error::ContainerExited { .. }) => ended_first += 1,
            Err(e) => panic!("{e}"),
        }
        let record = init.wait(Some(DEADLINE)).unwrap();
        assert_eq!(
            (record.status, record.source),
            (ExitStatus::Code(7), holdfast::Source::Reaped)
        );
        container.delete(false).unwrap();
    }
    println!("{ended_first} of 20 ended before they were replaced");
    sandbox.assert_clean();
}

#[test]
fn a_shim_that_has_adopted_is_replaced_like_any_other() {
    let sandbox = Sandbox::new("up-adopted");
    let new = copy(&sandbox, "new-shim");
    let gate = sandbox.gate();
    let bundle = sandbox
        .sh(&format!("{}; echo after; exit 7", Gate::WAIT))
        .bind(gate.dir());
    let id = sandbox.id("adopted");
    sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    sandbox.kill_shim(&dir);
    assert!(sandbox.recovered(&id).starts_with("adopted"));
    let shim = sandbox.shim_of(&dir);
    for _ in 0..3 {
        sandbox.run_ok(["--shim", arg(&new), "upgrade", &id]);
        assert_eq!(
            (sandbox.shim_of(&dir), shim.exe()),
            (shim, Some(new.clone()))
        );
    }
    gate.open();
    sandbox.assert_adopted_end(&id, "init", &Ended::Code(7));
    assert_eq!(text(&sandbox.output(["attach", &id]).stdout), "after\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_shim_that_is_killed_rather_than_replaced_is_not_waited_for() {
    let sandbox = Sandbox::new("up-killed");
    let driver = sandbox.driver();
    let container = sandbox.started(&driver, &sandbox.bundle(["sleep", "1000"]), "killed");
    let init = container.init().unwrap();
    let shim = sandbox.shim_of(init.dir());
    // It cannot answer, so that the request is under way when it dies.
    shim.signal(nix::sys::signal::Signal::SIGSTOP);
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| init.upgrade(None, Duration::from_secs(1000)));
        let control = fifo::reader(&init.dir().join("control"));
        sandbox.wait_readable(&control);
        sandbox.kill_shim(init.dir());
        let error = upgrade.join().unwrap().unwrap_err();
        assert!(
            matches!(error, Error::ShimGone { alive: true, .. }),
            "{error}"
        );
    });
    container.delete(true).unwrap();
    sandbox.assert_clean();
}
