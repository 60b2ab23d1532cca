//! Holdfast, as a daemon uses it: through the library.

use std::path::Path;
use std::sync::Arc;

use holdfast::{
    ContainerId, CreateOptions, Driver, EventKind, ExecOptions, LogDriver, LogOptions, Monitor,
    Policy, ProcessId, ProcessSpec, Stdio,
};
use holdfast_tests::{Bundle, DEADLINE, Proc, binaries};

use super::{Held, Io, LOG_SIZE, Own, Peer, Wait, disk_log, end, gone};
use crate::world::World;

/// Its name.
pub const HOLDFAST: &str = "holdfast";

/// Holdfast's library and shim.
pub struct Holdfast {
    world: Arc<World>,
    driver: Driver,
}

impl Holdfast {
    pub fn new(world: &Arc<World>) -> Self {
        Self::with_shim(world, &binaries::shim())
    }

    /// With another executable in the shim's place.
    pub fn with_shim(world: &Arc<World>, shim: &Path) -> Self {
        let driver = world.sandbox.driver_builder().shim(shim);
        let runtime = world.runtime.to_str().expect("a plain path");
        Self {
            world: Arc::clone(world),
            driver: driver.runtime(runtime).build().expect("build a driver"),
        }
    }

    /// The driver that it uses.
    pub fn driver(&self) -> &Driver {
        &self.driver
    }
}

/// Where output goes, in our words.
fn stdio(io: Io) -> Stdio {
    let out = match io {
        Io::Null => Policy::Null,
        Io::Fifo | Io::Terminal => Policy::Fifo,
        Io::Spill => Policy::Spill,
        Io::Log | Io::DiskLog | Io::TerminalLog => Policy::Log,
    };
    let log = out.is_moved().then(|| LogOptions {
        max_size: LOG_SIZE,
        ..LogOptions::default()
    });
    Stdio {
        stdin: Policy::Null,
        stderr: out.clone(),
        log: log.filter(|_| out == Policy::Log),
        stdout: out,
        ..Stdio::default()
    }
}

impl Peer for Holdfast {
    fn name(&self) -> &'static str {
        HOLDFAST
    }

    fn version(&self) -> String {
        super::version_of(&binaries::shim(), "--version")
    }

    fn can(&self, _: Io) -> bool {
        true
    }

    fn launch(&self, id: &str, bundle: &Bundle, io: Io) -> Held {
        let mut stdio = stdio(io);
        if let (Io::DiskLog, Some(log)) = (io, &mut stdio.log) {
            let path = Some(disk_log(&self.world, id));
            log.drivers = vec![LogDriver::Cri { path }];
        }
        let options = CreateOptions {
            stdio,
            starts: true,
            ..CreateOptions::default()
        };
        let id = ContainerId::new(id).expect("an id");
        let container = self.driver.create(&id, bundle.dir(), &options);
        let container = container.unwrap_or_else(|e| panic!("create {id}: {e}"));
        container
            .start()
            .unwrap_or_else(|e| panic!("start {id}: {e}"));
        let init = container.init().expect("an init");
        let pid = |pid| Proc::new(nix::unistd::Pid::from_raw(pid));
        Held {
            monitor: Some(pid(init.shim().expect("shim.json").expect("a shim").pid)),
            process: pid(init.identity().expect("pid").expect("a process").pid),
            output: io.is_read().then(|| init.dir().join("stdout")),
            id: id.to_string(),
            own: Own::Library(Box::new(container)),
        }
    }

    fn exec(&self, held: &Held, process: &str, known: &dyn Fn()) -> i32 {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let id = ProcessId::new(format!("exec-{n}")).expect("an id");
        let spec = ProcessSpec::read(process.as_ref()).expect("a process");
        let options = ExecOptions {
            stdio: stdio(Io::Null),
            auto_remove: true,
            ..ExecOptions::default()
        };
        let exec = container(held).exec(&id, &spec, &options);
        let exec = exec.unwrap_or_else(|e| panic!("exec in {}: {e}", held.id));
        let record = exec.wait(Some(DEADLINE)).expect("an end");
        known();
        super::bare::code(&record.status)
    }

    fn watch<'a>(&'a self, held: &'a Held) -> Wait<'a> {
        let mut monitor = Monitor::new().expect("a monitor");
        let init = container(held).init().expect("an init");
        monitor.add(&init).expect("watch it");
        Box::new(move |known| {
            let event = monitor.next(Some(DEADLINE));
            known();
            match event {
                Ok(Some(event)) => match event.kind {
                    EventKind::Exited(record) => super::bare::code(&record.status),
                    EventKind::ShimGone => panic!("{}: its shim is gone", held.id),
                },
                other => panic!("{}: {other:?}", held.id),
            }
        })
    }

    fn remove(&self, held: Held) {
        let container = container(&held);
        if held.process.is_alive() {
            end(held.process);
        }
        if let Some(shim) = held.monitor {
            gone(shim);
        }
        container.delete(true).expect("delete it");
    }
}

fn container(held: &Held) -> &holdfast::Container {
    match &held.own {
        Own::Library(container) => container,
        _ => unreachable!("{} is not ours", held.id),
    }
}
