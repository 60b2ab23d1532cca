//! The runtime alone, as a shell script would use it. Its containers are children of whoever is nearest and asks for orphans: us.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use holdfast_common::exit_record::ExitStatus;
use holdfast_tests::{Bundle, Proc, fifo};
use nix::sys::wait::{WaitStatus, waitpid};

use super::{Held, Io, Own, Peer, Wait, end, version_of};
use crate::world::World;

/// Its name.
pub const BARE: &str = "runc alone";

/// The bare runtime.
pub struct Bare {
    world: Arc<World>,
}

impl Bare {
    pub fn new(world: &Arc<World>) -> Self {
        Self {
            world: Arc::clone(world),
        }
    }

    fn runtime(&self) -> Command {
        runtime(&self.world)
    }
}

/// The runtime over the world's root, quiet.
pub fn runtime(world: &World) -> Command {
    let mut command = Command::new(&world.runtime);
    command.arg("--root").arg(world.sandbox.runtime_root());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Runs a command of which nothing but success is expected.
pub fn must(command: &mut Command) {
    let status = command
        .status()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(status.success(), "{command:?}: {status}");
}

fn pid_file(world: &World, id: &str) -> PathBuf {
    world.sandbox.path().join(format!("{id}.pid"))
}

impl Peer for Bare {
    fn name(&self) -> &'static str {
        BARE
    }

    fn version(&self) -> String {
        version_of(&self.world.runtime, "--version")
    }

    fn can(&self, io: Io) -> bool {
        matches!(io, Io::Null | Io::Fifo)
    }

    fn launch(&self, id: &str, bundle: &Bundle, io: Io) -> Held {
        let pid_file = pid_file(&self.world, id);
        let mut create = self.runtime();
        create.args(["create", "--bundle", bundle.arg(), "--pid-file"]);
        create.arg(&pid_file).arg(id);
        let output = (io == Io::Fifo).then(|| self.world.sandbox.path().join(format!("{id}.out")));
        match &output {
            Some(path) => {
                fifo::make(path);
                create.stdout(fifo::both(path));
            }
            None => {
                create.stderr(Stdio::null());
            }
        }
        must(&mut create);
        must(self.runtime().args(["start", id]));
        Held {
            id: id.to_owned(),
            monitor: None,
            process: Proc::from_file(&pid_file).expect("the runtime wrote a pid"),
            output,
            own: Own::Nothing,
        }
    }

    fn exec(&self, held: &Held, process: &str, known: &dyn Fn()) -> i32 {
        let mut exec = self.runtime();
        exec.stderr(Stdio::null());
        exec.args(["exec", "--process", process, &held.id]);
        let status = exec.status().expect("run the runtime");
        known();
        status.code().expect("the runtime is not killed")
    }

    /// What the kernel alone takes: the parent waits.
    fn watch<'a>(&'a self, held: &'a Held) -> Wait<'a> {
        Box::new(|known| {
            let ended = waitpid(held.process.pid(), None);
            known();
            match ended {
                Ok(WaitStatus::Exited(_, code)) => code,
                ended => panic!("{}: {ended:?}", held.id),
            }
        })
    }

    fn remove(&self, held: Held) {
        end(held.process);
        must(self.runtime().args(["delete", &held.id]));
        let _ = std::fs::remove_file(pid_file(&self.world, &held.id));
        if let Some(output) = held.output {
            let _ = std::fs::remove_file(output);
        }
    }
}

/// The exit code in a record.
pub fn code(status: &ExitStatus) -> i32 {
    i32::from(status.number())
}
