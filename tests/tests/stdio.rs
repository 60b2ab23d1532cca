//! Without a terminal, a container's stdio is its client's FIFOs: everything arrives, exactly, whoever comes, goes, is
//! slow or is killed, and the shim has nothing to do with it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use holdfast_tests::command::text;
use holdfast_tests::daemon02::{Client02, Daemon02, Stdio02};
use holdfast_tests::gate::Gate;
use holdfast_tests::{Bundle, Sandbox, fifo, wait};
use nix::sys::signal::Signal;

/// As much as a FIFO holds (pipe(7)).
const FULL: usize = 64 << 10;

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut source = File::open("/dev/urandom").unwrap();
    source.read_exact(&mut bytes).unwrap();
    bytes
}

/// A directory that the container sees as /host, with random bytes in `/host/block`.
fn shared(sandbox: &Sandbox, block: &[u8]) -> PathBuf {
    let dir = sandbox.path().join("shared");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("block"), block).unwrap();
    dir
}

/// Runs a container that nobody ever reads from, to its end.
fn unread<'a>(daemon: &Daemon02<'a>, sandbox: &'a Sandbox, bundle: &Bundle) -> (PathBuf, Stdio02) {
    let id = sandbox.id("unread");
    let stdio = Stdio02::fifos(sandbox, &id);
    let mut init = daemon.create(&id, bundle, &stdio).unwrap();
    init.start().unwrap();
    assert_eq!(init.wait(), 3);
    (init.dir().to_owned(), stdio)
}

#[test]
fn a_gibibyte_arrives_byte_exact_and_costs_the_shim_nothing() {
    const BLOCKS: usize = 64;
    let sandbox = Sandbox::new("io-gib");
    let block = random(16 << 20);
    let shared = shared(&sandbox, &block);
    // Numbered, so that no block can stand for another.
    let script = format!(
        "read go; i=0; while [ $i -lt {BLOCKS} ]; do echo block $i; dd if=/host/block bs=1M 2>/dev/null; \
         i=$((i+1)); done; read end; exit 4"
    );
    let daemon = Daemon02::new(&sandbox);
    let mut client = daemon.run("gib", &sandbox.sh(&script).bind(&shared));
    let shim = client.init.settled_shim();
    let (cpu, wake_ups, began) = (shim.cpu(), shim.wake_ups(), Instant::now());
    client.write("\n");
    let mut buffer = vec![0; 1 << 20];
    for n in 0..BLOCKS {
        assert_eq!(client.line(), format!("block {n}"));
        let mut at = 0;
        while at < block.len() {
            let most = buffer.len().min(block.len() - at);
            let length = sandbox.read_some(&client.stdout, &mut buffer[..most]);
            assert!(length > 0, "ended in block {n} at {at}");
            assert!(
                buffer[..length] == block[at..at + length],
                "block {n} differs between {at} and {}",
                at + length
            );
            at += length;
        }
    }
    let (cpu, wake_ups) = (shim.cpu() - cpu, shim.wake_ups() - wake_ups);
    println!(
        "{BLOCKS} × 16 MiB in {:?}; the shim: {cpu:?}, {wake_ups} wake-ups",
        began.elapsed()
    );
    assert!(cpu < Duration::from_millis(10), "{cpu:?}");
    assert_eq!(wake_ups, 0);
    client.write("\n");
    assert_eq!(client.init.wait(), 4);
    assert_eq!(sandbox.read_to_end(&client.stdout), b"");
    sandbox.assert_clean();
}

#[test]
fn what_nobody_has_read_at_the_end_is_found_beside_the_fifo() {
    let sandbox = Sandbox::new("io-unread");
    let daemon = Daemon02::new(&sandbox);
    let block = random(2 * FULL);
    let shared = shared(&sandbox, &block);
    // In odd pieces, which do not fill the FIFO's pages, and in one.
    let script = "dd if=/host/block bs=4096 count=16 2>/dev/null; \
        dd if=/host/block bs=64k skip=1 >&2 2>/dev/null; exit 3";
    let (dir, stdio) = unread(&daemon, &sandbox, &sandbox.sh(script).bind(&shared));
    for (fifo, file, sent) in [
        (&stdio.stdout, "stdout.unread", &block[..FULL]),
        (&stdio.stderr, "stderr.unread", &block[FULL..]),
    ] {
        // A late reader finds the FIFO ended and empty, and then the file.
        assert_eq!(sandbox.read_to_end(&fifo::reader(fifo)), b"");
        assert!(fs::read(dir.join(file)).unwrap() == sent, "{file} differs");
    }
    assert!(!dir.join("stdin.unread").exists());

    let (dir, _) = unread(&daemon, &sandbox, &sandbox.sh("echo -n x; exit 3"));
    assert_eq!(fs::read(dir.join("stdout.unread")).unwrap(), b"x");
    assert!(!dir.join("stderr.unread").exists());
    sandbox.assert_clean();
}

#[test]
fn only_what_a_reader_left_is_found_beside_the_fifo() {
    let sandbox = Sandbox::new("io-rest");
    let daemon = Daemon02::new(&sandbox);
    let bundle = sandbox.sh("seq 1 2000; read go; exit 5");
    let Client02 {
        mut init,
        stdio,
        stdout,
        ..
    } = daemon.run("rest", &bundle);
    let mut seen = sandbox.read_until(&stdout, "\n1000\n1");
    drop(stdout);
    sandbox.write_all(&sandbox.open_writer(&stdio.stdin), b"\n");
    assert_eq!(init.wait(), 5);
    seen += &fs::read_to_string(init.dir().join("stdout.unread")).unwrap();
    assert_eq!(seen, numbers(2000));
    sandbox.assert_clean();
}

/// What `seq 1 LAST` prints.
fn numbers(last: u32) -> String {
    (1..=last).map(|n| format!("{n}\n")).collect()
}

#[test]
fn a_slow_reader_gets_everything_and_the_end_when_the_container_ends_and_not_before() {
    let sandbox = Sandbox::new("io-slow");
    let daemon = Daemon02::new(&sandbox);
    let block = random(FULL);
    let shared = shared(&sandbox, &block);
    let script = "dd if=/host/block bs=64k 2>/dev/null; read go; exit 6";
    let mut client = daemon.run("slow", &sandbox.sh(script).bind(&shared));
    sandbox.wait_readable(&client.stdout);
    assert!(!wait::is_hung_up(&client.stdout));
    client.write("\n");
    assert_eq!(client.init.wait(), 6);
    assert!(wait::is_hung_up(&client.stdout));
    assert!(sandbox.read_to_end(&client.stdout) == block);

    // One that has read everything there was waits in silence until then.
    let mut client = daemon.run("drained", &sandbox.sh("echo hello; read go; exit 6"));
    assert_eq!(client.line(), "hello");
    sandbox.assert_quiet(&client.stdout);
    client.write("\n");
    sandbox.wait_hangup(&client.stdout);
    assert_eq!(sandbox.read_to_end(&client.stdout), b"");
    assert_eq!(client.init.wait(), 6);
    sandbox.assert_clean();
}

#[test]
fn a_reader_that_reads_nothing_holds_the_container_up_and_loses_nothing() {
    let sandbox = Sandbox::new("io-wait");
    let daemon = Daemon02::new(&sandbox);
    let block = random(4 * FULL);
    let shared = shared(&sandbox, &block);
    let script = "dd if=/host/block bs=1M 2>/dev/null; exit 6";
    let mut client = daemon.run("wait", &sandbox.sh(script).bind(&shared));
    sandbox.assert_quiet(client.init.exit());
    // A byte at a time, then the rest.
    for byte in &block[..1000] {
        let mut read = [0];
        assert_eq!(sandbox.read_some(&client.stdout, &mut read), 1);
        assert_eq!(read[0], *byte);
    }
    assert!(sandbox.read_to_end(&client.stdout) == block[1000..]);
    assert_eq!(client.init.wait(), 6);
    sandbox.assert_clean();
}

#[test]
fn readers_come_and_go_and_together_have_read_everything() {
    let sandbox = Sandbox::new("io-readers");
    let daemon = Daemon02::new(&sandbox);
    let Client02 {
        mut init,
        stdio,
        stdout,
        ..
    } = daemon.run("readers", &sandbox.sh("seq 1 300000; exit 7"));
    drop(stdout);
    let mut seen = Vec::new();
    // More than a FIFO holds is left for the last one, so that the container cannot end before.
    for n in 1..=50 {
        let reader = fifo::reader(&stdio.stdout);
        let mut piece = vec![0; 397 * n];
        let length = sandbox.read_some(&reader, &mut piece);
        assert!(length > 0, "reader {n} saw the end");
        seen.extend_from_slice(&piece[..length]);
    }
    seen.extend(sandbox.read_to_end(&fifo::reader(&stdio.stdout)));
    assert!(text(&seen) == numbers(300_000), "{} bytes", seen.len());
    assert_eq!(init.wait(), 7);
    sandbox.assert_clean();
}

#[test]
fn writers_come_and_go_and_stdin_ends_only_when_it_is_closed() {
    let sandbox = Sandbox::new("io-writers");
    let daemon = Daemon02::new(&sandbox);
    let bundle = sandbox.sh("while read line; do echo $line; done; echo closed; exit 8");
    let mut client = daemon.run("writers", &bundle);
    for n in 0..50 {
        client.write(format!("{n}\n"));
        assert_eq!(client.line(), n.to_string());
    }
    sandbox.assert_quiet(&client.stdout);
    client.init.close_stdin();
    assert_eq!(client.line(), "closed");
    assert_eq!(client.init.wait(), 8);
    sandbox.assert_clean();
}

#[test]
fn stdin_ends_at_its_last_byte() {
    let sandbox = Sandbox::new("io-stdin");
    let daemon = Daemon02::new(&sandbox);
    let input = random(10 << 20);
    let sum = text(&sandbox.feed(Command::new("sha256sum"), &input).stdout);
    let script = "cat >/dev/shm/in; wc -c </dev/shm/in; sha256sum </dev/shm/in; exit 9";
    // Closed while a writer is still there, it ends when that has gone.
    for closed_after in [0, input.len() / 2, input.len()] {
        let mut client = daemon.run("stdin", &sandbox.sh(script));
        let stdin = sandbox.open_writer(&client.stdio.stdin);
        sandbox.write_all(&stdin, &input[..closed_after]);
        client.init.close_stdin();
        sandbox.write_all(&stdin, &input[closed_after..]);
        drop(stdin);
        assert_eq!(client.line(), input.len().to_string(), "{closed_after}");
        assert_eq!(client.line(), sum.trim(), "{closed_after}");
        assert_eq!(client.init.wait(), 9);
    }
    sandbox.assert_clean();
}

#[test]
fn stdin_that_nobody_reads_is_no_ones_trouble() {
    let sandbox = Sandbox::new("io-stdin-full");
    let daemon = Daemon02::new(&sandbox);
    let mut client = daemon.run("full", &sandbox.bundle(["sleep", "1000"]));
    let stdin = sandbox.open_writer(&client.stdio.stdin);
    sandbox.write_all(&stdin, &random(FULL));
    client.init.close_stdin();
    client.init.process().signal(Signal::SIGKILL);
    assert_eq!(client.init.wait(), 137);
    sandbox.assert_clean();
}

#[test]
fn files_are_appended_to_and_dev_null_is_dev_null() {
    let sandbox = Sandbox::new("io-files");
    let daemon = Daemon02::new(&sandbox);
    let file = |name: &str, contents: &str| {
        let path = sandbox.path().join(name);
        fs::write(&path, contents).unwrap();
        path
    };
    let run = |script: &str, stdin: &Path, stdout: &Path, stderr: &Path| {
        let stdio = Stdio02 {
            stdin: stdin.to_owned(),
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
        };
        let id = sandbox.id("files");
        let mut init = daemon.create(&id, &sandbox.sh(script), &stdio).unwrap();
        init.start().unwrap();
        assert_eq!(init.wait(), 0, "{script}");
        assert!(!init.dir().join("stdout.unread").exists());
    };
    let null = Path::new("/dev/null");
    let (input, out, err) = (file("in", "said\n"), file("out", "0\n"), file("err", "1\n"));
    run("cat; echo err >&2", &input, &out, &err);
    assert_eq!(fs::read_to_string(&out).unwrap(), "0\nsaid\n");
    assert_eq!(fs::read_to_string(&err).unwrap(), "1\nerr\n");

    // One file for both: what is written in turns stands there in turns.
    run("echo a; echo b >&2; echo c", null, &out, &out);
    assert_eq!(fs::read_to_string(&out).unwrap(), "0\nsaid\na\nb\nc\n");

    // Nothing comes from /dev/null, and what goes there is gone; an empty path means the same.
    for null in [null, Path::new("")] {
        let script = "test -z \"$(cat)\" && echo out && echo err >&2";
        run(script, null, null, null);
    }
    sandbox.assert_clean();
}

#[test]
fn a_container_outlives_its_shim_and_goes_on_writing() {
    let sandbox = Sandbox::new("io-orphan");
    let daemon = Daemon02::new(&sandbox);
    let gate = sandbox.gate();
    let block = random(FULL);
    fs::write(gate.dir().join("block"), &block).unwrap();
    // With its shim, stdin loses its last writer. A write that failed then would end the script, by SIGPIPE or by its
    // status.
    let script = format!(
        "echo before; cat; dd if=/host/block bs=64k 2>/dev/null && dd if=/host/block bs=64k >&2 2>/dev/null \
        && echo $? >/host/written; {}; echo after",
        Gate::WAIT
    );
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let Client02 {
        init,
        stdio,
        stdout,
        stderr,
        ..
    } = daemon.run("orphan", &bundle);
    assert_eq!(sandbox.read_until(&stdout, "\n"), "before\n");
    drop((stdout, stderr));
    let shim = init.shim();
    shim.signal(Signal::SIGKILL);
    assert_eq!(sandbox.wait_file(&gate.dir().join("written")), "0\n");
    // A process closes its files some time before it has ended.
    sandbox.wait_until("the shim's end", || !shim.is_alive());
    assert!(init.process().is_alive());

    // Nobody has been at the FIFOs since but the container, and it holds what it wrote.
    let (stdout, stderr) = (fifo::reader(&stdio.stdout), fifo::reader(&stdio.stderr));
    gate.open();
    thread::scope(|scope| {
        let stderr = scope.spawn(|| sandbox.read_to_end(&stderr));
        let stdout = sandbox.read_to_end(&stdout);
        assert!(stdout.starts_with(&block), "{} bytes", stdout.len());
        assert_eq!(text(&stdout[block.len()..]), "after\n");
        assert!(stderr.join().unwrap() == block);
    });
}
