//! How many instructions a monitor executes for a container's whole life.

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_tests::binaries;

use super::Bench;
use crate::counter;
use crate::figures::{Row, Unit};
use crate::peers::{Conmon, Holdfast, Io, Peer};

pub const ABOUT: &str = "\
Instructions in user mode that the monitor itself executes for a container's whole life, from its own start to its own end after the container was \
killed, counted one by one by ptrace(2). The runtime, its children and the kernel are not counted. *Until it holds*: until the shim executes itself anew, \
the container being there.";

/// The whole life.
pub const ALL: &str = "instructions, all";

pub fn measure(bench: &Bench, row: &mut Row) {
    let rounds = bench.size(1, 2);
    row.parameter("rounds", rounds);
    let dir = |name: &str| {
        let dir = bench.world.sandbox.path().join(name);
        fs::create_dir(&dir).expect("make a directory");
        dir
    };
    let ours = dir("counted-shim");
    let shim = counter::wrap(&binaries::shim(), &ours);
    let shim = Holdfast::with_shim(&bench.world, &shim);
    let mut peers: Vec<(Box<dyn Peer>, PathBuf)> = vec![(Box::new(shim), ours)];
    if let Some(conmon) = binaries::installed("conmon") {
        let dir = dir("counted-conmon");
        let conmon = Conmon::new(&bench.world, counter::wrap(&conmon, &dir));
        peers.push((Box::new(conmon), dir));
    }
    for _ in 0..rounds {
        for (peer, dir) in &peers {
            let held = bench.launch(peer.as_ref(), Io::Null, &["idle"]);
            peer.remove(held);
            let [until, all] = result(bench, dir);
            if until > 0.0 {
                row.add(peer.name(), "until it holds", Unit::Count, until);
            }
            row.add(peer.name(), ALL, Unit::Count, all);
        }
    }
}

/// What the counter found, which is then removed.
fn result(bench: &Bench, dir: &Path) -> [f64; 2] {
    let file = bench.world.sandbox.wait_for("the counter's result", || {
        let files = fs::read_dir(dir).expect("read a directory").flatten();
        let mut files = files.map(|file| file.path());
        files.find(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("result.") && !name.ends_with(".new")
        })
    });
    let text = fs::read_to_string(&file).expect("read a file");
    fs::remove_file(file).expect("remove a file");
    let mut numbers = text.split_whitespace();
    [(); 2].map(|()| {
        numbers
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number")
    })
}
