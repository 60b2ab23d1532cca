//! What comes after a launch: hold, replacement in place, adopt, and the steps of the exit (docs/architecture.md).

use std::fs;
use std::path::PathBuf;

use holdfast_tests::command::text;
use holdfast_tests::matrix::{Ended, Family};
use holdfast_tests::{Gate, Proc, Sandbox, fifo};
use nix::sys::signal::Signal;

use super::{
    CODE, CONTAINER_SHIM, RUNTIME_DELETE, SAYS, SHIM_ADOPT, SHIM_EXIT, SHIM_HOLD,
    SHIM_RUNTIME_DELETE, arg, gone, runtime_moments, says_and_ends, talker,
};

/// A container that holds, its gate, its directory and somebody who reads its output.
pub struct Held<'a> {
    sandbox: &'a Sandbox,
    pub id: String,
    pub gate: Gate<'a>,
    pub dir: PathBuf,
    stdout: fs::File,
}

impl<'a> Held<'a> {
    pub fn new(sandbox: &'a Sandbox, options: &[&str]) -> Self {
        let (id, gate) = (sandbox.id("held"), sandbox.gate());
        let bundle = talker(sandbox, &gate);
        sandbox.run_ok([options, &["run", "-d", "-b", bundle.arg(), &id]].concat());
        let dir = sandbox.process_dir(&id, "init");
        let stdout = fifo::reader(&dir.join("stdout"));
        Self {
            sandbox,
            id,
            gate,
            dir,
            stdout,
        }
    }

    pub fn shim(&self) -> Proc {
        self.sandbox.shim_of(&self.dir)
    }

    /// Lets it end, if it has not; everything about that must be right. Returns what is known.
    #[track_caller]
    pub fn check(self) -> Ended {
        let ended = self.sandbox.ended(&self.id, "init");
        let read = self.sandbox.read_to_end(&self.stdout);
        assert_eq!(text(&read), SAYS);
        gone(self.sandbox, &self.id);
        ended
    }

    /// Its shim was killed on its way out: what is on record stays, what is not is unknown, and the one that comes after it does
    /// what it had still to do.
    #[track_caller]
    pub fn has_ended(self) -> String {
        let record = || fs::read_to_string(self.dir.join("exit.json")).ok();
        let before = record();
        self.sandbox.settle();
        self.sandbox.run_ok(["recover"]);
        let known = self.sandbox.ended(&self.id, "init");
        assert!(before.is_none() || before == record(), "it was {before:?}");
        // Nothing of it waits for `delete`.
        self.sandbox
            .wait_until("the last shim's end", || Proc::shim_of(&self.dir).is_none());
        let left = fs::read_dir(self.sandbox.runtime_root()).unwrap().count();
        assert_eq!(left, 0, "the runtime still knows of it");
        assert_eq!(self.check(), known);
        match known {
            CODE => "7".to_owned(),
            Ended::Unknown(_) => "unknown".to_owned(),
            other @ (Ended::Code(_) | Ended::Signal(_)) => panic!("{other:?}"),
        }
    }

    /// Adopted, or held all the time: it goes on, and its status is exact, where the kernel keeps it for an adopter.
    #[track_caller]
    pub fn goes_on(self) -> String {
        self.sandbox.settle();
        let said = self.sandbox.recovered(&self.id);
        assert_eq!(self.sandbox.verdict(&self.id).as_deref(), Some("running"));
        // Only the first shim, replaced or not, is the process's parent.
        let init = Proc::from_file(&self.dir.join("pid")).unwrap();
        let adopted = init.parent() != Some(self.shim().pid());
        self.gate.open();
        if adopted {
            self.sandbox.assert_adopted_end(&self.id, "init", &CODE);
            self.check();
        } else {
            assert_eq!(self.check(), CODE);
        }
        if said.is_empty() { "held" } else { "adopted" }.to_owned()
    }
}

#[test]
fn the_shim_is_killed_while_it_is_replaced() {
    let sandbox = Sandbox::new("cm-hold");
    let upgrade = |held: &Held<'_>| {
        let control = fifo::both(&held.dir.join("control"));
        sandbox.write_all(&control, b"3 0 0\n");
    };
    let held = Held::new(&sandbox, &[]);
    let moments = sandbox.moments_of(held.shim(), || {
        upgrade(&held);
        sandbox.wait_until("the answer", || {
            fs::read_to_string(held.dir.join("shim.json"))
                .is_ok_and(|json| json.contains(r#""asked":1"#))
        });
        held.shim().signal(Signal::SIGKILL);
    });
    held.goes_on();
    SHIM_HOLD.run(&sandbox, &moments, |moment| {
        let held = Held::new(&sandbox, &[]);
        let shim = held.shim();
        sandbox.kill_at(moment, shim, || {
            upgrade(&held);
            let answered = || {
                fs::read_to_string(held.dir.join("shim.json"))
                    .is_ok_and(|json| json.contains(r#""asked":1"#))
            };
            sandbox.wait_until("an end or an answer", || !shim.is_alive() || answered());
            shim.signal(Signal::SIGKILL);
        });
        held.goes_on()
    });
}

#[test]
fn the_one_that_adopts_is_killed_as_well() {
    let sandbox = Sandbox::new("cm-adopt");
    let held = Held::new(&sandbox, &[]);
    sandbox.kill_shim(&held.dir);
    let shim = sandbox.traced_shim(None);
    sandbox.run_ok(["--shim", arg(&shim), "recover", &held.id]);
    let moments = sandbox.launch_moments();
    held.goes_on();
    SHIM_ADOPT.run(&sandbox, &moments, |moment| {
        let held = Held::new(&sandbox, &[]);
        sandbox.kill_shim(&held.dir);
        let shim = sandbox.traced_shim(Some(moment));
        sandbox.output(["--shim", arg(&shim), "recover", &held.id]);
        held.goes_on()
    });
}

#[test]
fn the_shim_is_killed_and_then_the_container() {
    let sandbox = Sandbox::new("cm-container");
    CONTAINER_SHIM.count(|_| {
        let held = Held::new(&sandbox, &[]);
        assert_eq!(sandbox.read_until(&held.stdout, "one\n"), "one\n");
        let process = Proc::from_file(&held.dir.join("pid")).unwrap();
        sandbox.kill_shim(&held.dir);
        process.signal(Signal::SIGKILL);
        sandbox.wait_until("its end", || process.stat(3).is_none());
        sandbox.run_ok(["recover"]);
        assert!(matches!(sandbox.ended(&held.id, "init"), Ended::Unknown(_)));
        assert_eq!(text(&sandbox.read_to_end(&held.stdout)), "");
        gone(&sandbox, &held.id);
        "unknown".to_owned()
    });
}

#[test]
fn the_shim_is_killed_on_its_way_out() {
    let sandbox = Sandbox::new("cm-exit");
    let held = Held::new(&sandbox, &[]);
    let moments = sandbox.moments_of(held.shim(), || held.gate.open());
    assert_eq!(held.check(), CODE);
    SHIM_EXIT.run(&sandbox, &moments, |moment| {
        let held = Held::new(&sandbox, &[]);
        sandbox.kill_at(moment, held.shim(), || held.gate.open());
        held.has_ended()
    });
}

/// Kills the runtime in the middle of the shim's `delete`, and then does `after`.
fn mid_delete(family: &Family, after: &str) {
    let sandbox = Sandbox::new("cm-delete");
    let bundle = says_and_ends(&sandbox);
    let moments = runtime_moments(&sandbox, "delete", &bundle);
    family.run(&sandbox, &moments, |moment| {
        let runtime = sandbox.traced_runtime("delete", Some(moment), after);
        let held = Held::new(&sandbox, &["--runtime", arg(&runtime)]);
        let shim = held.shim();
        held.gate.open();
        sandbox.wait_until("the shim's end", || !shim.is_alive());
        let _ = sandbox.traced_runtime("never", None, "");
        sandbox.settle();
        sandbox.run_ok(["recover"]);
        assert_eq!(held.check(), CODE);
        "7".to_owned()
    });
}

#[test]
fn the_runtime_is_killed_while_it_deletes() {
    mid_delete(&RUNTIME_DELETE, "");
}

#[test]
fn the_runtime_and_the_shim_are_killed_while_they_delete() {
    mid_delete(&SHIM_RUNTIME_DELETE, "kill -KILL $PPID");
}
