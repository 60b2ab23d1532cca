//! How soon a daemon that comes back knows everything again.

use std::fs;
use std::path::Path;
use std::time::Instant;

use holdfast::{Container, ContainerId, Driver, Monitor};
use holdfast_tests::fifo;

use super::Bench;
use crate::figures::{Row, Unit};
use crate::peers::{HOLDFAST, Held, Holdfast, Io, Peer};

pub const ABOUT: &str = "\
`Driver::reattach()` over so many containers: a daemon after its restart has a verdict on each, and all that live in its `Monitor`. As many of them live as the \
parameter says, each with its shim; the others have ended. *Bare read* opens, reads and closes the same files and does nothing with them.";

/// The name of what it is compared with.
pub const BARE_READ: &str = "bare read";

/// What is read of a container that has ended, or lives.
const FILES: [&str; 8] = [
    "state.json",
    "init/process.json",
    "init/shim.lock",
    "init/exit.json",
    "init/shim.json",
    "init/pid",
    "init/starttime",
    "init/created",
];

pub fn measure(bench: &Bench, row: &mut Row) {
    let (sizes, living, rounds): (&[usize], usize, usize) =
        bench.size((&[10, 100], 3, 2), (&[10, 100, 1000, 10_000], 200, 7));
    row.parameter("living", living);
    row.parameter("rounds", rounds);
    let ours = Holdfast::new(&bench.world);
    let mut held: Vec<Held> = Vec::new();
    let ended = Ended::make(bench, &ours);
    let mut copies = 0;
    for &size in sizes {
        // One of them is the one that has ended.
        while held.len() < living.min(size - 1) {
            held.push(bench.launch(&ours, Io::Null, &["idle"]));
        }
        while held.len() + copies + 1 < size {
            ended.copy(copies);
            copies += 1;
        }
        for _ in 0..rounds {
            let begin = Instant::now();
            let monitor = reattach(ours.driver(), size);
            let all = begin.elapsed().as_secs_f64();
            drop(monitor);
            let begin = Instant::now();
            let read = bare_read(ours.driver().root());
            let bare = begin.elapsed().as_secs_f64();
            assert!(read > size, "{read} files of {size} containers");
            for (who, seconds) in [(HOLDFAST, all), (BARE_READ, bare)] {
                row.add(who, &format!("{size}, all"), Unit::Seconds, seconds);
                let each = seconds / f64::from(u32::try_from(size).expect("not that many"));
                row.add(who, &format!("{size}, each"), Unit::Seconds, each);
            }
        }
    }
    for n in 0..copies {
        fs::remove_dir_all(ended.copied(n)).expect("remove a copy");
    }
    ended.container.delete(true).expect("delete it");
    for held in held {
        ours.remove(held);
    }
}

/// Everything that a daemon needs before it goes on.
fn reattach(driver: &Driver, size: usize) -> Monitor {
    let mut monitor = Monitor::new().expect("a monitor");
    let verdicts = driver.reattach(&mut monitor).expect("look at everything");
    assert_eq!(verdicts.len(), size);
    monitor
}

/// How many files were read.
fn bare_read(root: &Path) -> usize {
    let entries = fs::read_dir(root).expect("read the root").flatten();
    let read = |dir: &Path| {
        let read = |file: &&&str| fs::read(dir.join(file)).is_ok();
        let files = FILES.iter().filter(read).count();
        // As it lives, perhaps.
        if let Ok(pid) = fs::read_to_string(dir.join("init/pid")) {
            let _ = std::hint::black_box(fs::read(format!("/proc/{}/stat", pid.trim())));
        }
        files
    };
    entries.map(|entry| read(&entry.path())).sum()
}

/// A container that has ended, to be copied.
struct Ended {
    container: Container,
}

impl Ended {
    fn make(bench: &Bench, ours: &Holdfast) -> Self {
        let held = bench.launch(ours, Io::Null, &["idle"]);
        let id = ContainerId::new(held.id.clone()).expect("an id");
        let container = ours.driver().load(&id).expect("a container");
        let init = container.init().expect("an init");
        init.signal(nix::libc::SIGKILL).expect("kill it");
        let patience = Some(holdfast_tests::DEADLINE);
        init.wait(patience).expect("an end");
        init.wait_gone(patience).expect("its shim's end");
        Self { container }
    }

    fn copied(&self, n: usize) -> std::path::PathBuf {
        let name = format!("{}-copy-{n}", self.container.id());
        self.container.dir().with_file_name(name)
    }

    fn copy(&self, n: usize) {
        copy(self.container.dir(), &self.copied(n));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("make a directory");
    for entry in fs::read_dir(from).expect("read a directory").flatten() {
        let (kind, to) = (
            entry.file_type().expect("a type"),
            to.join(entry.file_name()),
        );
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), &to).expect("copy a file");
        } else {
            fifo::make(&to);
        }
    }
}
