//! What a container's output costs, as ratios, each of two things that are measured in turn in one run: a log's bytes beside conmon's,
//! a FIFO's beside a FIFO without us.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holdfast_tests::binaries::installed;
use holdfast_tests::{Bundle, Proc, Sandbox, conmon, fifo};

const MIB: usize = 1 << 20;
/// How many times the processor time of ours conmon's log needs at least. It is about three; what the disk makes of it varies.
const LESS: f64 = 2.5;

/// One at a time, and with nothing on its way to the disk that is not ours.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    nix::unistd::sync();
    alone
}

/// Lines of 20 to 150 characters.
fn lines(bytes: usize) -> Vec<u8> {
    let (mut lines, mut dice) = (Vec::with_capacity(bytes), 1u32);
    while lines.len() < bytes - 200 {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = 20 + dice as usize / 33_000_000;
        lines.extend_from_slice(&vec![b'x'; length]);
        lines.push(b'\n');
    }
    lines
}

/// A directory for containers with such lines in a file.
fn shared(sandbox: &Sandbox, bytes: usize) -> PathBuf {
    let dir = sandbox.path().join("shared");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("lines"), lines(bytes)).unwrap();
    dir
}

/// What processor time was needed, and what time passed, until a log was complete.
#[derive(Debug, Clone, Copy)]
struct Cost {
    processor: Duration,
    passed: Duration,
}

/// Waits until a log has the container's last word.
fn until_logged(sandbox: &Sandbox, log: &Path, holder: Proc, before: Duration) -> Cost {
    let began = Instant::now();
    let last = || {
        let mut file = File::open(log).ok()?;
        let mut end = String::new();
        file.seek(SeekFrom::End(-10)).ok()?;
        file.read_to_string(&mut end).ok()?;
        end.contains("the end").then_some(())
    };
    sandbox.wait_for("the last line in the log", last);
    Cost {
        passed: began.elapsed(),
        processor: holder.cpu() - before,
    }
}

fn ours(sandbox: &Sandbox, bundle: &Bundle) -> Cost {
    let id = sandbox.id("ours");
    let create = ["create", "--stdio", "log", "--log-max-size", "-1", "-b"];
    sandbox.run_ok([&create[..], &[bundle.arg(), &id]].concat());
    let dir = sandbox.process_dir(&id, "init");
    let shim = sandbox.shim_of(&dir);
    let before = shim.cpu();
    sandbox.run_ok(["start", &id]);
    let cost = until_logged(sandbox, &dir.join("log"), shim, before);
    sandbox.run_ok(["delete", "-f", &id]);
    cost
}

fn theirs(sandbox: &Sandbox, conmon: &Path, bundle: &Bundle) -> Cost {
    let id = sandbox.id("theirs");
    // It is started by then: what it took to get there, a thousandth of the rest, is counted.
    let holder = conmon::hold(conmon, sandbox, bundle, &id);
    let log = sandbox.path().join(format!("conmon-{id}/log"));
    let cost = until_logged(sandbox, &log, holder, Duration::ZERO);
    let killed = sandbox.output_of(sandbox.runc(["kill", &id, "KILL"]));
    assert!(killed.status.success(), "{killed:?}");
    sandbox.wait_until("conmon to end", || !holder.is_alive());
    fs::remove_file(log).unwrap();
    cost
}

#[test]
fn a_log_takes_much_less_of_the_processor_than_conmons() {
    const ROUNDS: usize = 3;
    let _alone = alone();
    let Some(conmon) = installed("conmon") else {
        assert_ne!(
            std::env::var("STRICT").as_deref(),
            Ok("1"),
            "conmon is missing"
        );
        return;
    };
    let sandbox = Sandbox::new("thr-log");
    let shared = shared(&sandbox, 100 * MIB);
    let script = "dd if=/host/lines bs=64k 2>/dev/null; echo the end; exec sleep 1000";
    let bundle = sandbox.sh(script).bind(&shared);
    let mut costs = Vec::new();
    for _ in 0..ROUNDS {
        costs.push((ours(&sandbox, &bundle), theirs(&sandbox, &conmon, &bundle)));
    }
    // The best of each: what else goes on takes time from both, and gives none.
    let best = |cost: fn(&(Cost, Cost)) -> Duration| costs.iter().map(cost).min().unwrap();
    let ratio = |theirs: Duration, ours: Duration| theirs.as_secs_f64() / ours.as_secs_f64();
    let processor = ratio(best(|it| it.1.processor), best(|it| it.0.processor));
    let passed = ratio(best(|it| it.1.passed), best(|it| it.0.passed));
    println!("{costs:?}: {processor:.2} times the processor time, {passed:.2} times the time");
    assert!(
        processor >= LESS,
        "conmon needs only {processor:.2} times as much: {costs:?}"
    );
}

/// Reads to the end marker; how long that took from the first byte on, and how many bytes came.
fn drain(sandbox: &Sandbox, from: &File) -> (Duration, usize) {
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = sandbox.read_some(from, &mut buffer);
    let began = Instant::now();
    while !buffer[..64].contains(&b'!') {
        let count = sandbox.read_some(from, &mut buffer);
        bytes += count;
        assert!(count > 0, "ended after {bytes} bytes");
        // The end is a line of its own, and may be the beginning of a read, or the end of one.
        if count < buffer.len() {
            buffer[63] = buffer[count - 2];
        }
    }
    (began.elapsed(), bytes)
}

#[test]
fn a_fifo_is_as_fast_as_one_without_us_and_costs_the_shim_nothing() {
    const ROUNDS: usize = 15;
    let _alone = alone();
    let sandbox = Sandbox::new("thr-fifo");
    let shared = shared(&sandbox, 64 * MIB);
    let script = "while read go; do dd if=/host/lines bs=64k 2>/dev/null; echo '!'; done";
    let bundle = sandbox.sh(script).bind(&shared);
    let id = sandbox.id("fifo");
    sandbox.run_ok(["run", "-d", "--stdio", "fifo", "-b", bundle.arg(), &id]);
    let dir = sandbox.process_dir(&id, "init");
    let (stdin, stdout) = (
        sandbox.open_writer(&dir.join("stdin")),
        fifo::reader(&dir.join("stdout")),
    );
    // The same program between two FIFOs, under the bare runtime.
    let [bare_in, bare_out] = ["bare-in", "bare-out"].map(|name| {
        let path = sandbox.path().join(name);
        fifo::make(&path);
        path
    });
    let (bare_stdin, bare_stdout) = (fifo::both(&bare_in), fifo::both(&bare_out));
    let bare_id = sandbox.id("bare");
    let mut runc = sandbox.runc(["run", "--bundle", bundle.arg(), &bare_id]);
    let open = |path: &Path| File::options().read(true).write(true).open(path).unwrap();
    runc.stdin(open(&bare_in))
        .stdout(open(&bare_out))
        .stderr(Stdio::null());
    let mut bare = runc.spawn().unwrap();
    let shim = sandbox.shim_of(&dir);
    sandbox.wait_until("the shim to be quiet", || {
        let before = shim.wake_ups();
        std::thread::sleep(Duration::from_millis(100));
        shim.wake_ups() == before
    });
    let (cpu, wake_ups) = (shim.cpu(), shim.wake_ups());
    let (mut with_us, mut without) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        sandbox.write_all(&stdin, b"go\n");
        let (took, bytes) = drain(&sandbox, &stdout);
        with_us = with_us.min(took);
        sandbox.write_all(&bare_stdin, b"go\n");
        let (took, same) = drain(&sandbox, &bare_stdout);
        without = without.min(took);
        assert_eq!(bytes, same);
    }
    let ratio = without.as_secs_f64() / with_us.as_secs_f64();
    println!("{with_us:?} with us, {without:?} without: {ratio:.2}");
    assert_eq!(
        (shim.cpu() - cpu, shim.wake_ups() - wake_ups),
        (Duration::ZERO, 0)
    );
    assert!(ratio >= 0.95, "{ratio:.2}");
    let killed = sandbox.output_of(sandbox.runc(["kill", &bare_id, "KILL"]));
    assert!(killed.status.success(), "{killed:?}");
    let _ = bare.wait();
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}
