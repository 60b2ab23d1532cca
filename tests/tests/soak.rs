//! Containers that come to their ends or are killed, while their shims and their supervisor are killed, at random and for as long
//! as one likes: no exit status is wrong, no byte of output is missing, and in the end nothing is left.
//!
//! A usual run is short and small; `scripts/soak` makes it long and wide. The seed that is printed has another run choose alike.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use holdfast::{
    Container, ContainerId, CreateOptions, Driver, ExitRecord, ExitStatus, Process, Source,
};
use holdfast_tests::command::text;
use holdfast_tests::{Gate, Proc, Random, Sandbox, Supervisor, fifo};
use nix::sys::signal::Signal;

/// How long a usual run kills.
const SECONDS: u64 = 8;
/// Containers of a usual run.
const CONTAINERS: usize = 20;
/// The longest pause between two blows, milliseconds. It is not for anything to happen: the next blow shall fall anywhere.
const PAUSE: u64 = 40;

/// A number that was asked for.
fn asked<N: FromStr>(name: &str) -> Option<N> {
    std::env::var(name).ok()?.parse().ok()
}

/// What is done to a container, or to the supervisor of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    Supervisor,
    Shim,
    Container,
    ContainerThenShim,
    ShimThenContainer,
    /// It comes to its own end.
    OwnEnd,
    ShimThenOwnEnd,
}

/// As often as it is in here.
const BLOWS: [Blow; 12] = [
    Blow::Supervisor,
    Blow::Supervisor,
    Blow::Shim,
    Blow::Shim,
    Blow::Shim,
    Blow::Shim,
    Blow::Container,
    Blow::ContainerThenShim,
    Blow::ShimThenContainer,
    Blow::OwnEnd,
    Blow::OwnEnd,
    Blow::ShimThenOwnEnd,
];

/// How a container's end must be on record.
#[derive(Debug, Clone, Copy)]
struct Expected {
    killed: bool,
    /// A shim held it when it ended, and was not killed before it had said so: then it is not unknown.
    known: bool,
}

struct One<'a> {
    container: Container,
    init: Process,
    gate: Gate<'a>,
    code: u8,
    stdout: fs::File,
    process: Proc,
    /// The last of its shims that was killed.
    killed: Option<Proc>,
    expected: Option<Expected>,
}

impl<'a> One<'a> {
    fn new(sandbox: &'a Sandbox, driver: &Driver, random: &mut Random) -> Self {
        let gate = sandbox.gate();
        let code = u8::try_from(random.below(250)).expect("it is below 250");
        let script = format!("echo begun; {}; echo ended; exit {code}", Gate::WAIT);
        let id = ContainerId::new(sandbox.id("soak")).expect("test ids are ids");
        let bundle = sandbox.sh(&script).bind(gate.dir());
        let container = driver
            .create(&id, bundle.dir(), &CreateOptions::default())
            .expect("create");
        container.start().expect("start");
        let init = container.init().expect("an init");
        Self {
            stdout: fifo::reader(&init.dir().join("stdout")),
            process: Proc::from_file(&init.dir().join("pid")).expect("a pid"),
            container,
            init,
            gate,
            code,
            killed: None,
            expected: None,
        }
    }

    /// The shim that holds it: not one that is on its way to do so.
    fn holder(&self) -> Option<Proc> {
        let is_here = |shim: &Proc| shim.cwd().as_deref() == Some(self.init.dir());
        let holds = |shim: &Proc| shim.argv().get(4).is_some_and(|word| word == "hold");
        let shim = fs::read_to_string(self.init.dir().join("shim.json")).ok()?;
        let shim: serde_json::Value = serde_json::from_str(&shim).ok()?;
        let pid = i32::try_from(shim["pid"].as_i64()?).ok()?;
        Some(Proc::new(nix::unistd::Pid::from_raw(pid)))
            .filter(is_here)
            .filter(holds)
    }

    fn record(&self) -> Option<ExitRecord> {
        self.init.exit_record().expect("a record can be read")
    }

    fn kill_shim(&mut self) {
        let Some(shim) = self.holder() else { return };
        // Before the blow: afterwards it may be another's, who knows less.
        let recorded = self.record().is_some();
        shim.signal(Signal::SIGKILL);
        self.killed = Some(shim);
        if let Some(expected) = &mut self.expected {
            expected.known &= recorded;
        }
    }

    fn ends(&mut self, killed: bool) {
        if self.expected.is_some() {
            return;
        }
        // One that has been killed may take a moment to be gone.
        let known = self.holder().is_some_and(|shim| self.killed != Some(shim));
        self.expected = Some(Expected { killed, known });
        if killed {
            self.process.signal(Signal::SIGKILL);
        } else {
            self.gate.open();
        }
    }

    fn suffer(&mut self, blow: Blow) {
        match blow {
            Blow::Supervisor => (),
            Blow::Shim => self.kill_shim(),
            Blow::Container => self.ends(true),
            Blow::OwnEnd => self.ends(false),
            Blow::ContainerThenShim => {
                self.ends(true);
                self.kill_shim();
            }
            Blow::ShimThenContainer => {
                self.kill_shim();
                self.ends(true);
            }
            Blow::ShimThenOwnEnd => {
                self.kill_shim();
                self.ends(false);
            }
        }
    }

    /// Everything about its end is right, and it is gone. Returns how the end is known.
    fn bury(self, sandbox: &Sandbox) -> Source {
        let expected = self.expected.expect("it was to end");
        let record = self.record().expect("its end is on record");
        let right = match &record.status {
            ExitStatus::Code(code) => !expected.killed && *code == self.code,
            ExitStatus::Signal { signal, .. } => expected.killed && *signal == 9,
            ExitStatus::Unknown { reason } => !expected.known && !reason.is_empty(),
        };
        assert!(right, "{expected:?}, code {}: {record:?}", self.code);
        let whole = "begun\nended\n";
        let said = text(&sandbox.read_to_end(&self.stdout));
        let right = said == whole || expected.killed && whole.starts_with(&said);
        assert!(right, "{expected:?}: {said:?}");
        // Whatever of it still has to be done is waited for, or done.
        self.container.delete(false).expect("delete");
        fs::remove_dir_all(self.gate.dir()).expect("remove the gate");
        record.source
    }
}

/// The supervisor, who is sometimes not there.
struct Watch<'a> {
    sandbox: &'a Sandbox,
    supervisor: Option<Supervisor<'a>>,
    lives: u32,
    adopted: usize,
}

impl<'a> Watch<'a> {
    fn begin(&mut self) -> &Supervisor<'a> {
        let lives = &mut self.lives;
        self.supervisor.get_or_insert_with(|| {
            *lives += 1;
            self.sandbox.supervise()
        })
    }

    fn strike(&mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            self.adopted += adopted(&supervisor);
            supervisor.kill();
        }
    }
}

fn adopted(supervisor: &Supervisor<'_>) -> usize {
    let events = supervisor.events();
    events.iter().filter(|e| e["event"] == "adopted").count()
}

/// What this process has open.
fn own_descriptors() -> Vec<PathBuf> {
    let fds = fs::read_dir("/proc/self/fd").expect("list the descriptors");
    // The one that lists them is gone by then.
    fds.flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok())
        .collect()
}

#[test]
fn whatever_is_killed_no_status_is_wrong_and_nothing_is_left() {
    let length = Duration::from_secs(asked("HOLDFAST_SOAK_SECONDS").unwrap_or(SECONDS));
    let count = asked("HOLDFAST_SOAK_CONTAINERS").unwrap_or(CONTAINERS);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = asked("HOLDFAST_SOAK_SEED").unwrap_or(u64::from(now.subsec_nanos()) | 1);
    println!("HOLDFAST_SOAK_SEED={seed}");
    let mut random = Random::new(seed);
    let sandbox = Sandbox::new("soak");
    let driver = sandbox.driver();
    let before = own_descriptors().len();
    let idle = sandbox.supervise().ready();
    let idle_descriptors = idle.process().fds().len();
    idle.leave();

    let mut watch = Watch {
        sandbox: &sandbox,
        supervisor: None,
        lives: 0,
        adopted: 0,
    };
    let mut blows = BTreeMap::<Blow, u32>::new();
    let mut ends = BTreeMap::<&str, u32>::new();
    let mut all: Vec<One<'_>> = Vec::new();
    let mut bury = |one: One<'_>| {
        let known = match one.bury(&sandbox) {
            Source::Reaped => "reaped",
            Source::Pidfd => "pidfd",
            Source::Unknown => "unknown",
        };
        *ends.entry(known).or_default() += 1;
    };
    all.resize_with(count, || One::new(&sandbox, &driver, &mut random));
    let begun = Instant::now();
    while begun.elapsed() < length {
        let blow = BLOWS[random.index(BLOWS.len())];
        *blows.entry(blow).or_default() += 1;
        if random.below(3) == 0 {
            watch.begin();
        }
        match blow {
            Blow::Supervisor => watch.strike(),
            _ => all[random.index(count)].suffer(blow),
        }
        thread::sleep(Duration::from_millis(random.below(PAUSE)));
        for one in &mut all {
            if one.expected.is_some() && one.record().is_some() {
                let next = One::new(&sandbox, &driver, &mut random);
                bury(std::mem::replace(one, next));
            }
        }
    }
    watch.begin();
    for one in &mut all {
        one.ends(false);
    }
    for one in all {
        sandbox.wait_until("its end on record", || one.record().is_some());
        bury(one);
    }
    let supervisor = watch.supervisor.expect("it was begun").ready();
    println!(
        "{count} containers for {:?}: {blows:?}; ends {ends:?}, adopted {}, supervisors {}",
        begun.elapsed(),
        watch.adopted + adopted(&supervisor),
        watch.lives,
    );
    sandbox.wait_until("the supervisor's descriptors to be what they were", || {
        supervisor.process().fds().len() == idle_descriptors
    });
    supervisor.leave();
    sandbox.assert_clean_but_for_supervision();
    let left = own_descriptors();
    assert_eq!(left.len(), before, "{left:?}");
}
