//! How soon a daemon that comes back knows everything again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use holdfast::{ContainerId, Driver, Monitor};
use holdfast_tests::fifo;

use super::Bench;
use crate::figures::{Row, Unit};
use crate::peers::{HOLDFAST, Held, Holdfast, Io, Peer};

pub const ABOUT: &str = "\
`Driver::reattach()` over so many containers: a daemon after its restart has a verdict on each, and all that live in its `Monitor`. All of them live, each with its \
shim, or a tenth of them, and the others have ended. *Bare read* opens, reads and closes the same files and does nothing with them.";

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

/// So many containers, of whom so many live.
#[derive(Clone, Copy)]
struct Root {
    size: usize,
    living: usize,
}

impl Root {
    /// What its figures are called.
    fn name(self) -> String {
        let Self { size, living } = self;
        match living == size {
            true => format!("{size} that live"),
            false => format!("{size}, a tenth of them living"),
        }
    }
}

/// Of these, and in this order: no container is launched twice.
const ROOTS: [Root; 5] = [
    root(10, 10),
    root(100, 100),
    root(1000, 100),
    root(1000, 1000),
    root(10_000, 1000),
];

/// For a short run.
const FEW: [Root; 2] = [root(5, 5), root(50, 5)];

const fn root(size: usize, living: usize) -> Root {
    Root { size, living }
}

/// A figure of so many: of all together, or of each.
pub fn figure(size: usize, living: usize, what: &str) -> String {
    format!("{}: {what}", root(size, living).name())
}

/// All of them together.
pub const IN_ALL: &str = "in all";
/// One of them.
pub const EACH: &str = "each";

pub fn measure(bench: &Bench, row: &mut Row) {
    let (roots, rounds): (&[Root], usize) = bench.size((&FEW, 2), (&ROOTS, 7));
    row.parameter("rounds", rounds);
    let ours = Holdfast::new(&bench.world);
    let mut held: Vec<Held> = Vec::new();
    let mut ended = Ended::make(bench, &ours);
    for &Root { size, living } in roots {
        ended.make_copies(size - living);
        while held.len() < living {
            held.push(bench.launch(&ours, Io::Null, &["idle"]));
        }
        for _ in 0..rounds {
            let begin = Instant::now();
            let monitor = reattach(ours.driver(), size);
            let all = begin.elapsed().as_secs_f64();
            assert_eq!(monitor.len(), living);
            drop(monitor);
            let begin = Instant::now();
            let read = bare_read(ours.driver().root());
            let bare = begin.elapsed().as_secs_f64();
            assert!(read > size, "{read} files of {size} containers");
            for (who, seconds) in [(HOLDFAST, all), (BARE_READ, bare)] {
                row.add(who, &figure(size, living, IN_ALL), Unit::Seconds, seconds);
                let each = seconds / f64::from(u32::try_from(size).expect("not that many"));
                row.add(who, &figure(size, living, EACH), Unit::Seconds, each);
            }
        }
    }
    ended.make_copies(0);
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

/// A container that has ended, kept outside of the root, and its copies in there.
struct Ended {
    kept: PathBuf,
    root: PathBuf,
    copies: usize,
}

impl Ended {
    fn make(bench: &Bench, ours: &Holdfast) -> Self {
        let held = bench.launch(ours, Io::Null, &["idle"]);
        let id = ContainerId::new(held.id).expect("an id");
        let container = ours.driver().load(&id).expect("a container");
        let init = container.init().expect("an init");
        init.signal(nix::libc::SIGKILL).expect("kill it");
        let patience = Some(holdfast_tests::DEADLINE);
        init.wait(patience).expect("an end");
        init.wait_gone(patience).expect("its shim's end");
        let root = ours.driver().root().to_owned();
        let kept = root.with_file_name("ended");
        fs::rename(container.dir(), &kept).expect("take it out of the root");
        let copies = 0;
        Self { kept, root, copies }
    }

    /// Has so many of them, no fewer and no more.
    fn make_copies(&mut self, wanted: usize) {
        let copied = |n: usize| self.root.join(format!("ended-{n}"));
        for n in wanted..self.copies {
            fs::remove_dir_all(copied(n)).expect("remove a copy");
        }
        for n in self.copies..wanted {
            copy(&self.kept, &copied(n));
        }
        self.copies = wanted;
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
