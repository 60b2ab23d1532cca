//! How fast a container's output gets away, and what that costs whoever holds it.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use holdfast_tests::{DEADLINE, Proc, fifo, wait};
use nix::poll::PollFlags;
use nix::unistd::Pid;

use super::Bench;
use crate::figures::{Row, Unit};
use crate::meter::activity;
use crate::peers::{Io, Peer};
use crate::turns;
use crate::world::Gate;

pub const ABOUT: &str = "\
A process writes lines of 100 bytes, 64 KiB at a time, as fast as it can, and reads the clock before and after. Where the output is somebody's to read, it is read as \
fast as can be, by the same reader. *Bare FIFO* is the same program and the same reader with nobody and no container in between. Logs are of 10 MiB, \
rotated (Holdfast), or cut short there (conmon), in a file system in memory, or on a disk (as far as what is gone so soon gets there). The processor time is that of the process that holds the container.";

/// What is measured, in this order.
pub const OUTPUTS: [Io; 6] = [
    Io::Fifo,
    Io::Spill,
    Io::Log,
    Io::DiskLog,
    Io::Terminal,
    Io::TerminalLog,
];

/// The name of what it is compared with.
pub const BARE_FIFO: &str = "bare FIFO";

/// What of the processor a gibibyte takes.
pub fn cpu(io: Io) -> String {
    format!("{}: processor time a GiB", io.name())
}

pub fn measure(bench: &Bench, row: &mut Row) {
    let rounds = bench.size(1, 9);
    row.parameter("rounds", rounds);
    for round in 0..rounds {
        for io in OUTPUTS {
            row.parameter(&format!("MiB, {}", io.name()), amount(bench, io));
            for _ in 0..turns(io) {
                if io == Io::Fifo {
                    let throughput = bare(bench, amount(bench, io));
                    row.add(BARE_FIFO, io.name(), Unit::Throughput, throughput);
                }
                let peers: Vec<&dyn Peer> = bench.peers_for(io).collect();
                for &peer in turns::in_round(round, &peers) {
                    println!("stdio: round {}, {}, {}", round + 1, io.name(), peer.name());
                    measure_one(bench, row, io, peer);
                }
            }
        }
    }
}

/// How often it takes its turn in a round: what is the kernel's alone is over soon, and differs by noise.
fn turns(io: Io) -> u32 {
    if io == Io::Fifo { 3 } else { 1 }
}

fn measure_one(bench: &Bench, row: &mut Row, io: Io, peer: &dyn Peer) {
    let id = bench.world.sandbox.id("bench");
    let gate = bench.world.gate(&id);
    let [fifo, stamp] = &gate.names;
    let mib = amount(bench, io);
    let bundle = bench.bundle(&id, io, &["write", fifo, stamp, &mib.to_string(), "100"]);
    let held = peer.launch(&id, &bundle, io);
    gate.wait_for(held.process);
    let before = held.monitor.map(|monitor| activity(&[monitor]).1);
    let output = held.output.as_deref().map(fifo::reader);
    let time = written(&gate, output);
    row.add(peer.name(), io.name(), Unit::Throughput, bytes(mib) / time);
    if let (Some(monitor), Some(before)) = (held.monitor, before) {
        let used = activity(&[monitor]).1 - before;
        let each = used * 1024.0 / f64::from(mib);
        row.add(peer.name(), &cpu(io), Unit::Seconds, each);
    }
    peer.remove(held);
}

fn amount(bench: &Bench, io: Io) -> u32 {
    match io {
        Io::Null | Io::Fifo | Io::Spill | Io::Log | Io::DiskLog => bench.size(16, 1024),
        Io::Terminal | Io::TerminalLog => bench.size(8, 128),
    }
}

fn bytes(mib: u32) -> f64 {
    f64::from(mib) * 1_048_576.0
}

/// The same without a container.
fn bare(bench: &Bench, mib: u32) -> f64 {
    let id = bench.world.sandbox.id("bare");
    let gate = bench.world.gate(&id);
    let output = bench.world.sandbox.path().join(&id);
    fifo::make(&output);
    let reader = fifo::reader(&output);
    let [fifo, stamp] = gate.host_names();
    let mut child = Command::new(bench.world.inside())
        .args(["write", &fifo, &stamp, &mib.to_string(), "100"])
        .stdin(Stdio::null())
        .stdout(
            File::options()
                .write(true)
                .open(&output)
                .expect("open a fifo"),
        )
        .spawn()
        .expect("run inside");
    gate.wait_for(Proc::new(Pid::from_raw(
        i32::try_from(child.id()).expect("a pid"),
    )));
    let time = written(&gate, Some(reader));
    child.kill().expect("end it");
    child.wait().expect("collect it");
    std::fs::remove_file(output).expect("remove a fifo");
    bytes(mib) / time
}

/// Lets it write, and reads what is to be read; how many seconds it took.
pub fn written(gate: &Gate, output: Option<File>) -> f64 {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        if let Some(mut output) = output {
            let done = &done;
            scope.spawn(move || {
                let mut piece = vec![0; 64 << 10];
                let turn = Duration::from_millis(100);
                while !wait::events(&output, PollFlags::POLLIN, turn).is_empty()
                    || !done.load(Ordering::Relaxed)
                {
                    let _ = output.read(&mut piece);
                }
            });
        }
        gate.open();
        let ended = wait::until(DEADLINE * 4, || gate.stamps().len() > 1);
        done.store(true, Ordering::Relaxed);
        assert!(ended, "it does not come to an end");
    });
    let stamps = gate.stamps();
    stamps[1].saturating_sub(stamps[0]).as_secs_f64()
}
