//! The supervisor, alone and with each of the others (docs/architecture.md, "Supervise").

use std::fs;
use std::path::Path;

use holdfast_tests::fake_runtime::install;
use holdfast_tests::matrix::Ended;
use holdfast_tests::strace::Moment;
use holdfast_tests::{Gate, Proc, Sandbox, Supervisor};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::hold::Held;
use super::{
    AND_THE_LAUNCHER, CODE, SUPERVISOR, SUPERVISOR_ADOPTER, SUPERVISOR_LAUNCHER,
    SUPERVISOR_RESTART, SUPERVISOR_RUNTIME, SUPERVISOR_SHIM, SUPERVISOR_SHIM_EXIT, arg, nothing_or,
    runtime_moments, says_and_ends,
};

/// A container whose shim has been killed.
fn orphan(sandbox: &Sandbox) -> Held<'_> {
    let held = Held::new(sandbox, &[]);
    sandbox.kill_shim(&held.dir);
    held
}

/// A supervisor that knows of a container.
fn supervised<'a>(sandbox: &'a Sandbox, id: &str) -> Supervisor<'a> {
    let supervisor = sandbox.supervise().ready();
    supervisor.wait_event(id, "restored");
    supervisor
}

/// Kills a supervisor that is behind strace(1), if it has not been.
fn end(supervisor: Supervisor<'_>, sandbox: &Sandbox) {
    let strace = supervisor.process();
    sandbox.wait_until("an end, or readiness", || {
        !strace.is_alive() || supervisor.is_ready()
    });
    for supervisor in strace.children() {
        supervisor.signal(Signal::SIGKILL);
    }
    sandbox.wait_until("strace's end", || !strace.is_alive());
    supervisor.kill();
}

#[test]
fn the_supervisor_is_killed_while_it_restores() {
    let sandbox = Sandbox::new("cm-restore");
    let supervise = sandbox.holdfast(["supervise"]);
    let held = orphan(&sandbox);
    end(sandbox.supervise_with(sandbox.traced(&supervise)), &sandbox);
    held.goes_on();
    let mut moments = sandbox.traced_moments();
    // Before that it is a program that is being loaded.
    let right = moments.iter().position(|moment| moment.is("flock"));
    let moments = moments.split_off(right.expect("it takes the right to supervise"));
    SUPERVISOR.run(&sandbox, &moments, |moment| {
        let held = orphan(&sandbox);
        end(
            sandbox.supervise_with(sandbox.doomed(moment, &supervise)),
            &sandbox,
        );
        held.goes_on()
    });
}

#[test]
fn the_supervisor_and_the_shim_are_killed_while_it_holds() {
    let sandbox = Sandbox::new("cm-adopts");
    // The shim first; the supervisor dies of adopting what it left.
    let lose_shim = |supervisor: &Supervisor<'_>, held: &Held<'_>| {
        let process = supervisor.process();
        sandbox.kill_shim(&held.dir);
        sandbox.wait_until("an end, or an adoption", || {
            !process.is_alive() || !supervisor.events_of(&held.id, "adopted").is_empty()
        });
        process.signal(Signal::SIGKILL);
    };
    let held = Held::new(&sandbox, &[]);
    let supervisor = supervised(&sandbox, &held.id);
    let moments = sandbox.moments_of(supervisor.process(), || lose_shim(&supervisor, &held));
    supervisor.kill();
    held.goes_on();
    SUPERVISOR_SHIM.run(&sandbox, &moments, |moment| {
        let held = Held::new(&sandbox, &[]);
        let supervisor = supervised(&sandbox, &held.id);
        sandbox.kill_at(moment, supervisor.process(), || {
            lose_shim(&supervisor, &held)
        });
        supervisor.kill();
        held.goes_on()
    });
}

#[test]
fn the_supervisor_and_two_shims_are_killed() {
    let sandbox = Sandbox::new("cm-three");
    let supervise =
        |shim: &Path| sandbox.supervise_with(sandbox.holdfast(["--shim", arg(shim), "supervise"]));
    let held = orphan(&sandbox);
    let shim = sandbox.traced_shim(None);
    supervise(&shim).ready().kill();
    sandbox.settle();
    let moments = sandbox.launch_moments();
    held.goes_on();
    SUPERVISOR_ADOPTER.run(&sandbox, &moments, |moment| {
        let held = orphan(&sandbox);
        let shim = sandbox.traced_shim(Some(moment));
        let script = fs::read_to_string(&shim).unwrap();
        let script = script.replace("exec strace", "strace") + "kill -KILL $PPID\n";
        install(&shim, &script);
        let supervisor = supervise(&shim);
        sandbox.wait_until("its end", || !supervisor.process().is_alive());
        supervisor.kill();
        held.goes_on()
    });
}

#[test]
fn the_supervisor_and_the_shim_are_killed_at_the_end() {
    let sandbox = Sandbox::new("cm-sup-exit");
    let held = Held::new(&sandbox, &[]);
    let moments = sandbox.moments_of(held.shim(), || held.gate.open());
    held.has_ended();
    SUPERVISOR_SHIM_EXIT.run(&sandbox, &moments, |moment| {
        let held = Held::new(&sandbox, &[]);
        let supervisor = supervised(&sandbox, &held.id);
        sandbox.kill_at(moment, held.shim(), || held.gate.open());
        supervisor.kill();
        held.has_ended()
    });
}

#[test]
fn the_supervisor_and_the_launcher_are_killed() {
    let sandbox = Sandbox::new("cm-sup-run");
    // The supervisor starts what its launcher does not, and has nothing to restart.
    let bundle = sandbox.sh("echo one; echo two");
    let run = |id: &str| {
        let args = ["run", "-d", "--restart", "on-failure", "-b", bundle.arg()];
        sandbox.holdfast(args.iter().chain(&[id]))
    };
    let id = sandbox.id("whole");
    let moments = sandbox.moments(&run(&id));
    nothing_or(&sandbox, &id, &Ended::Code(0), "");
    SUPERVISOR_LAUNCHER.run(&sandbox, &moments, |moment| {
        let id = sandbox.id("cut");
        let supervisor = sandbox.supervise().ready();
        sandbox.killed_at(moment, &run(&id));
        supervisor.kill();
        nothing_or(&sandbox, &id, &Ended::Code(0), "")
    });
}

/// A container that ends with 7 when it is let through its gate, and is restarted once.
struct Restarted<'a> {
    sandbox: &'a Sandbox,
    id: String,
    gate: Gate<'a>,
}

impl<'a> Restarted<'a> {
    fn new(sandbox: &'a Sandbox, options: &[&str]) -> Self {
        let (id, gate) = (sandbox.id("again"), sandbox.gate());
        let script = format!("echo ran >>/host/runs; {}; exit 7", Gate::WAIT);
        let bundle = sandbox.sh(&script).bind(gate.dir());
        let run = ["run", "-d", "--stdio", "null", "--restart", "on-failure:1"];
        sandbox.run_ok(options.iter().chain(&run).chain(&["-b", bundle.arg(), &id]));
        Self { sandbox, id, gate }
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.gate.dir().join("runs")).map_or(0, |runs| runs.lines().count())
    }

    /// Lets it end; the supervisor dies of restarting it, or has done so.
    fn ends(&self, supervisor: &Supervisor<'_>) {
        let process = supervisor.process();
        self.gate.open();
        self.sandbox.wait_until("an end, or a restart", || {
            !process.is_alive() || !supervisor.events_of(&self.id, "restart").is_empty()
        });
        process.signal(Signal::SIGKILL);
    }

    /// The next supervisor brings it to where there is nothing to do: it has run twice, and ended twice with 7, or once, and
    /// a reason stands for the second time. Either way it was restarted once.
    #[track_caller]
    fn comes_to_rest(self) -> (usize, Ended) {
        let sandbox = self.sandbox;
        sandbox.settle();
        sandbox.run_ok(["recover"]);
        let supervisor = sandbox.supervise().ready();
        let gave_up = || !supervisor.events_of(&self.id, "gave-up").is_empty();
        sandbox.wait_until("a second run, or none", || self.runs() == 2 || gave_up());
        if !gave_up() {
            self.gate.open();
        }
        supervisor.wait_event(&self.id, "gave-up");
        let ended = sandbox.ended(&self.id, "init");
        let file = sandbox.process_dir(&self.id, "init").join("process.json");
        let state: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(state["holdfast"]["restarts"]["count"], 1);
        supervisor.leave();
        let runs = self.runs();
        super::gone(sandbox, &self.id);
        (runs, ended)
    }
}

#[test]
fn the_supervisor_is_killed_while_it_restarts() {
    let sandbox = Sandbox::new("cm-restart");
    let once = Restarted::new(&sandbox, &[]);
    let supervisor = supervised(&sandbox, &once.id);
    let moments = sandbox.moments_of(supervisor.process(), || once.ends(&supervisor));
    supervisor.kill();
    assert_eq!(once.comes_to_rest(), (2, CODE));
    SUPERVISOR_RESTART.run(&sandbox, &moments, |moment| {
        let one = Restarted::new(&sandbox, &[]);
        let supervisor = supervised(&sandbox, &one.id);
        sandbox.kill_at(moment, supervisor.process(), || one.ends(&supervisor));
        supervisor.kill();
        assert_eq!(one.comes_to_rest(), (2, CODE));
        "restarted".to_owned()
    });
}

#[test]
fn the_supervisor_and_the_runtime_are_killed_while_it_restarts() {
    let sandbox = Sandbox::new("cm-sup-create");
    let moments: Vec<Moment> = runtime_moments(&sandbox, "create", &says_and_ends(&sandbox));
    let file = sandbox.path().join("supervisor");
    let after = AND_THE_LAUNCHER.replace("$LAUNCHER", arg(&file));
    SUPERVISOR_RUNTIME.run(&sandbox, &moments, |moment| {
        let runtime = sandbox.traced_runtime("never", None, "");
        let one = Restarted::new(&sandbox, &["--runtime", arg(&runtime)]);
        let supervisor = supervised(&sandbox, &one.id);
        let process: Proc = supervisor.process();
        fs::write(&file, process.pid().to_string()).unwrap();
        let _ = sandbox.traced_runtime("create", Some(moment), &after);
        one.gate.open();
        sandbox.wait_until("the supervisor's end", || !process.is_alive());
        supervisor.kill();
        sandbox.settle();
        let _ = sandbox.traced_runtime("never", None, "");
        match one.comes_to_rest() {
            (2, CODE) => "restarted".to_owned(),
            (1, Ended::Unknown(reason)) if reason.contains("restart") => "unknown".to_owned(),
            other => panic!("{other:?}"),
        }
    });
}
