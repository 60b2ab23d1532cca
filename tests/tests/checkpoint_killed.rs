//! Whoever is killed while a container is taken to the disk, or brought back, leaves a container that goes on, or a checkpoint that is
//! whole: nothing is lost, half of nothing is left, and what was begun can be begun again. CRIU is halted at one of its own steps for
//! that (`criu(8)`, `--action-script`).

use std::fs;
use std::process::Command;

use holdfast_tests::command::text;
use holdfast_tests::criu::{Counter, Halt};
use holdfast_tests::{Bundle, Criu, Proc, Running, Sandbox, rootfs};
use nix::sys::signal::Signal;

/// A container that has counted to 1, with its bundle.
struct Counting<'a> {
    sandbox: &'a Sandbox,
    criu: Criu,
    bundle: Bundle,
    id: String,
}

impl<'a> Counting<'a> {
    #[track_caller]
    fn begin(sandbox: &'a Sandbox, criu: Criu) -> Self {
        let (bundle, id) = (sandbox.counter(), sandbox.id("count"));
        sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
        Counter::of(sandbox, &id).assert_counts(1);
        Self {
            sandbox,
            criu,
            bundle,
            id,
        }
    }

    fn checkpoint(&self, name: &str) -> Command {
        let args = ["checkpoint", "--name", name, &self.id];
        self.criu.holdfast(self.sandbox, args)
    }

    fn restore(&self, name: &str) -> Command {
        let args = ["restore", "-d", "--name", name, &self.id];
        self.criu.holdfast(self.sandbox, args)
    }

    /// What is in the directory of checkpoints, also under names that nobody sees.
    fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(self.bundle.dir().join("checkpoints"));
        let entries = entries.into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn init(&self) -> Proc {
        Proc::from_file(&self.sandbox.process_dir(&self.id, "init").join("pid")).unwrap()
    }

    /// Waits until runtime and CRIU, whose launcher is gone, are too.
    #[track_caller]
    fn wait_for_criu(&self) {
        let dir = self.sandbox.path();
        self.sandbox.wait_until("CRIU's end", || {
            let mut left = holdfast_tests::process::under(dir);
            left.retain(|process| process.comm() != holdfast_tests::process::SHIM);
            left.is_empty() && !runs_runc(dir.to_str().unwrap())
        });
    }

    /// It goes on counting, and the checkpoint that failed can be made.
    #[track_caller]
    fn goes_on(&self, from: u32) {
        Counter::of(self.sandbox, &self.id).assert_counts(from);
        assert!(
            self.sandbox
                .output_of(self.checkpoint("next"))
                .status
                .success()
        );
        assert_eq!(self.entries(), ["next"]);
        self.comes_back("next", from + 1);
    }

    /// It ended with its checkpoint, and comes back where it was.
    #[track_caller]
    fn comes_back(&self, name: &str, from: u32) {
        let output = self.sandbox.output_of(self.restore(name));
        assert!(output.status.success(), "{}", text(&output.stderr));
        Counter::of(self.sandbox, &self.id).assert_counts(from);
        self.sandbox.run_ok(["close-stdin", &self.id]);
        assert_eq!(self.sandbox.run_ok(["wait", &self.id]), "5\n");
        self.sandbox.run_ok(["delete", &self.id]);
        self.sandbox.assert_clean();
    }
}

/// A runtime changes its directory to the bundle, or not, as it likes: it is known by its arguments.
fn runs_runc(sandbox: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("read /proc");
    let pids = processes.flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some(Proc::new(nix::unistd::Pid::from_raw(pid)))
    });
    pids.into_iter().any(|process| {
        let argv = process.argv();
        argv.first()
            .is_some_and(|program| program.ends_with("runc"))
            && argv.iter().any(|word| word.starts_with(sandbox))
    })
}

/// Before everything is written, and after that but before the answer, there is nobody to say yes.
#[test]
fn a_launcher_that_is_killed_before_the_commit_leaves_the_container_running() {
    for action in ["pre-dump", "network-lock"] {
        let Some(criu) = Criu::find() else { return };
        let sandbox = Sandbox::new("cpk-launcher");
        let counting = Counting::begin(&sandbox, criu);
        let halt = Halt::at(&sandbox, action);
        let launcher = sandbox.spawn(halt.on(counting.checkpoint("first")));
        halt.wait();
        launcher.kill();
        halt.let_go();
        counting.wait_for_criu();
        assert_eq!(
            sandbox.run_ok(["checkpoints", "-f", "json", &counting.id]),
            "[]\n"
        );
        counting.goes_on(2);
    }
}

/// Our script has been answered by then, and the checkpoint is in its place. CRIU runs the scripts one after the other, ours first.
#[test]
fn a_launcher_that_is_killed_after_the_commit_leaves_a_checkpoint() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cpk-after");
    let counting = Counting::begin(&sandbox, criu);
    let halt = Halt::at(&sandbox, "post-dump");
    let launcher = sandbox.spawn(halt.on(counting.checkpoint("first")));
    halt.wait();
    assert_eq!(counting.entries(), ["first"]);
    assert!(
        counting.init().is_alive(),
        "it ends before its checkpoint is through"
    );
    launcher.kill();
    halt.let_go();
    assert_eq!(sandbox.run_ok(["wait", &counting.id]), "137\n");
    counting.wait_for_criu();
    assert_eq!(counting.entries(), ["first"]);
    counting.comes_back("first", 2);
}

/// A signal, and a time that is over, are a no: nothing is left, and it is said.
#[test]
fn a_checkpoint_is_given_up_by_a_key_or_after_its_time() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cpk-given-up");
    let counting = Counting::begin(&sandbox, criu);
    for (action, timeout) in [("network-lock", None), ("pre-dump", Some("1ms"))] {
        let halt = Halt::at(&sandbox, action);
        let mut command = counting.checkpoint("first");
        command.args(timeout.iter().flat_map(|timeout| ["--timeout", timeout]));
        let launcher: Running<'_> = sandbox.spawn(halt.on(command));
        halt.wait();
        let said = match timeout {
            None => {
                launcher.signal(Signal::SIGINT);
                "given up; the container goes on"
            }
            Some(_) => "not done after 1ms; the container goes on",
        };
        halt.let_go();
        let output = launcher.wait();
        assert_eq!(output.status.code(), Some(125));
        assert!(
            text(&output.stderr).contains(said),
            "{}",
            text(&output.stderr)
        );
        assert_eq!(counting.entries(), [""; 0]);
    }
    counting.goes_on(2);
}

/// The checkpoint is made without the shim; how the container ended nobody saw, unless the kernel tells.
#[test]
fn a_shim_that_is_killed_meanwhile_costs_no_checkpoint() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cpk-shim");
    let counting = Counting::begin(&sandbox, criu);
    // Somebody at its stdin, or the shim's death would end it.
    let client = Counter::of(&sandbox, &counting.id);
    let halt = Halt::at(&sandbox, "network-lock");
    let launcher = sandbox.spawn(halt.on(counting.checkpoint("first")));
    halt.wait();
    sandbox.kill_shim(&sandbox.process_dir(&counting.id, "init"));
    halt.let_go();
    let output = launcher.wait();
    assert!(output.status.success(), "{}", text(&output.stderr));
    drop(client);
    sandbox.run_ok(["recover", &counting.id]);
    let exit = sandbox.exit_json(&counting.id, "init");
    let known = exit["signal"] == 9 || exit["source"] == "unknown";
    assert!(known, "{exit}");
    assert_eq!(counting.entries(), ["first"]);
    counting.comes_back("first", 2);
}

/// As at any launch: the shim goes on alone.
#[test]
fn a_launcher_that_is_killed_while_it_restores_is_not_missed() {
    let Some(criu) = Criu::find() else { return };
    let sandbox = Sandbox::new("cpk-restorer");
    let counting = Counting::begin(&sandbox, criu);
    assert!(
        sandbox
            .output_of(counting.checkpoint("first"))
            .status
            .success()
    );
    let halt = Halt::at(&sandbox, "post-restore");
    let launcher = sandbox.spawn(halt.on(counting.restore("first")));
    halt.wait();
    launcher.kill();
    halt.let_go();
    let running = || sandbox.run_ok(["list"]).contains(" running ");
    sandbox.wait_until("it to run", running);
    Counter::of(&sandbox, &counting.id).assert_counts(2);
    sandbox.run_ok(["close-stdin", &counting.id]);
    assert_eq!(sandbox.run_ok(["wait", &counting.id]), "5\n");
    sandbox.run_ok(["delete", &counting.id]);
    sandbox.assert_clean();
}

/// What it had the runtime in the middle of is undone by the next, and the checkpoint is none the worse.
#[test]
fn a_shim_that_is_killed_while_it_restores_leaves_nothing_that_runs() {
    for action in ["setup-namespaces", "post-restore"] {
        let Some(criu) = Criu::find() else { return };
        let sandbox = Sandbox::new("cpk-restoring");
        let counting = Counting::begin(&sandbox, criu);
        assert!(
            sandbox
                .output_of(counting.checkpoint("first"))
                .status
                .success()
        );
        let halt = Halt::at(&sandbox, action);
        let launcher = sandbox.spawn(halt.on(counting.restore("first")));
        halt.wait();
        sandbox.kill_shim(&sandbox.process_dir(&counting.id, "init"));
        let output = launcher.wait();
        assert_eq!(output.status.code(), Some(125), "{}", text(&output.stderr));
        halt.let_go();
        counting.wait_for_criu();
        sandbox.run_ok(["recover", &counting.id]);
        let exit = sandbox.exit_json(&counting.id, "init");
        assert_eq!(exit["source"], "unknown", "{exit}");
        assert!(rootfs::path().join("bin/sh").exists(), "its files are gone");
        counting.comes_back("first", 2);
    }
}
