//! containerd's own shim, asked directly: what `containerd` adds to it is left out, in its favour. A containerd of the bench's own takes
//! the shims' events, as they insist on one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use holdfast_tests::{Bundle, DEADLINE, Proc, fifo, wait};

use super::ttrpc::{Connection, Field, Message, field};
use super::{Held, Io, Own, Peer, Wait, end, gone, version_of};
use crate::world::World;

/// Its name.
pub const SHIM_V2: &str = "containerd-shim-runc-v2";

/// The name space of what is launched here.
const NAMESPACE: &str = "bench";

/// Where the bench's containerd listens.
pub fn address(world: &World) -> PathBuf {
    world.sandbox.path().join("containerd/sock")
}

/// containerd's shim, and a containerd.
pub struct ShimV2 {
    world: Arc<World>,
    program: PathBuf,
    daemon: Child,
    dir: PathBuf,
}

/// One container's shim.
pub struct Task {
    socket: PathBuf,
    /// What the shim complains into.
    _log: File,
}

impl ShimV2 {
    pub fn new(world: &Arc<World>, daemon: &Path, program: PathBuf) -> Self {
        let dir = world.sandbox.path().join("containerd");
        fs::create_dir(&dir).expect("make a directory");
        let at = |name: &str| dir.join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = \"{}\"\n",
            at("root"),
            at("state"),
            at("sock"),
        );
        let file = dir.join("config.toml");
        fs::write(&file, config).expect("write a file");
        let log = File::create(dir.join("log")).expect("make a file");
        let daemon = Command::new(daemon)
            .arg("--config")
            .arg(&file)
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("duplicate a descriptor"))
            .stderr(log)
            .spawn()
            .expect("start containerd");
        let there = wait::until(DEADLINE, || dir.join("sock.ttrpc").exists());
        assert!(
            there,
            "containerd: {}",
            fs::read_to_string(dir.join("log")).unwrap_or_default()
        );
        Self {
            world: Arc::clone(world),
            program,
            daemon,
            dir,
        }
    }

    fn shim(&self, id: &str, bundle: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(bundle)
            .env("TTRPC_ADDRESS", self.dir.join("sock.ttrpc"));
        command.args(["-namespace", NAMESPACE, "-id", id, "-address"]);
        command.arg(self.dir.join("sock"));
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }
}

impl Drop for ShimV2 {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn task(held: &Held) -> &Task {
    match &held.own {
        Own::Task(task) => task,
        _ => unreachable!("{} is not containerd's", held.id),
    }
}

/// A request about a task, or a process of it.
fn about(id: &str, exec: &str) -> Message {
    Message::default().bytes(1, id).bytes(2, exec)
}

fn number(answer: &[u8], wanted: u64) -> u64 {
    match field(answer, wanted) {
        Some(Field::Number(number)) => number,
        _ => 0,
    }
}

fn code(answer: &[u8]) -> i32 {
    i32::try_from(number(answer, 1)).expect("an exit code")
}

impl Peer for ShimV2 {
    fn name(&self) -> &'static str {
        SHIM_V2
    }

    fn version(&self) -> String {
        let text = Command::new(&self.program)
            .arg("-v")
            .output()
            .expect("run the shim");
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("Version:"));
        line.map_or_else(
            || version_of(&self.program, "-v"),
            |line| line.trim().to_owned(),
        )
    }

    fn can(&self, io: Io) -> bool {
        matches!(io, Io::Null | Io::Fifo | Io::Terminal)
    }

    fn launch(&self, id: &str, bundle: &Bundle, io: Io) -> Held {
        let dir = bundle.dir();
        fifo::make(&dir.join("log"));
        let log = fifo::both(&dir.join("log"));
        let started = self
            .shim(id, dir)
            .arg("start")
            .output()
            .expect("start a shim");
        let address = String::from_utf8_lossy(&started.stdout).into_owned();
        let socket = PathBuf::from(address.trim().trim_start_matches("unix://"));
        let runtime = self.world.runtime.to_str().expect("a plain path");
        let root = self.world.sandbox.runtime_root().display().to_string();
        let options = Message::default().bytes(6, runtime).bytes(7, root);
        let options = Message::default()
            .bytes(1, "containerd.runc.v1.Options")
            .bytes(2, &options);
        let mut create = Message::default()
            .bytes(1, id)
            .bytes(2, bundle.arg())
            .bytes(10, &options);
        let output = io.is_read().then(|| dir.join("stdout"));
        if let Some(output) = &output {
            fifo::make(output);
            create = create.bytes(6, output.to_str().expect("a plain path"));
            create = create.bytes(7, if io.terminal() { "" } else { "/dev/null" });
        }
        if io.terminal() {
            create = create.number(4, 1);
        }
        // A shim opens the FIFO for writing, and waits for a reader there.
        let reader = output.as_ref().map(|path| fifo::reader(path));
        let mut shim = Connection::to(&socket);
        let process = number(&shim.call("Create", &create), 1);
        shim.call("Start", &about(id, ""));
        drop(reader);
        let monitor = number(&shim.call("Connect", &about(id, "")), 1);
        let [monitor, process] = [monitor, process].map(|pid| {
            let pid = i32::try_from(pid).expect("pids are small");
            Proc::new(nix::unistd::Pid::from_raw(pid))
        });
        Held {
            id: id.to_owned(),
            monitor: Some(monitor),
            process,
            output,
            own: Own::Task(Box::new(Task { socket, _log: log })),
        }
    }

    fn exec(&self, held: &Held, process: &str, known: &dyn Fn()) -> i32 {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let exec = format!("exec-{n}");
        let spec = Message::default()
            .bytes(
                1,
                "types.containerd.io/opencontainers/runtime-spec/1/Process",
            )
            .bytes(2, fs::read(process).expect("read a process"));
        let mut shim = Connection::to(&task(held).socket);
        shim.call("Exec", &about(&held.id, &exec).bytes(7, &spec));
        shim.call("Start", &about(&held.id, &exec));
        let code = code(&shim.call("Wait", &about(&held.id, &exec)));
        known();
        shim.call("Delete", &about(&held.id, &exec));
        code
    }

    fn watch<'a>(&'a self, held: &'a Held) -> Wait<'a> {
        let mut shim = Connection::to(&task(held).socket);
        shim.ask("Wait", &about(&held.id, ""));
        Box::new(move |known| {
            let answer = shim.answer("Wait");
            known();
            code(&answer)
        })
    }

    fn remove(&self, held: Held) {
        let mut shim = Connection::to(&task(&held).socket);
        if held.process.is_alive() {
            shim.call("Kill", &about(&held.id, "").number(3, 9));
        }
        shim.call("Wait", &about(&held.id, ""));
        shim.call("Delete", &about(&held.id, ""));
        shim.ask(
            "Shutdown",
            &Message::default().bytes(1, &held.id).number(2, 1),
        );
        if let Some(shim) = held.monitor {
            if wait::until(DEADLINE, || !shim.is_alive()) {
                gone(shim);
            } else {
                end(shim);
            }
        }
        let _ = fs::remove_file(&task(&held).socket);
    }
}
