//! A launcher that is attached, and who else is killed with it.

use std::fs;

use holdfast_tests::command::text;
use holdfast_tests::matrix::Ended;
use holdfast_tests::{Gate, Proc, Sandbox, fifo};
use nix::sys::signal::Signal;

use super::{
    AND_THE_LAUNCHER, BOTH_EXIT, BOTH_HOLD, CODE, LAUNCHER_ATTACHED, LAUNCHER_RUNTIME_DELETE, SAYS,
    arg, gone, nothing_or, runtime_moments, says_and_ends, says_the_rest, talker,
};

#[test]
fn an_attached_launcher_is_killed() {
    let sandbox = Sandbox::new("cm-run");
    let bundle = says_and_ends(&sandbox);
    let run = |id: &str| sandbox.holdfast(["run", "--keep", "-b", bundle.arg(), id]);
    let id = sandbox.id("whole");
    let moments = sandbox.moments(&run(&id));
    nothing_or(&sandbox, &id, &CODE, SAYS);
    LAUNCHER_ATTACHED.run(&sandbox, &moments, |moment| {
        let id = sandbox.id("cut");
        let said = text(&sandbox.killed_at(moment, &run(&id)).stdout);
        nothing_or(&sandbox, &id, &CODE, &said)
    });
}

#[test]
fn a_launcher_and_its_shim_are_killed_while_it_is_attached() {
    let sandbox = Sandbox::new("cm-attached");
    BOTH_HOLD.count(|n| {
        let (id, gate) = (sandbox.id("attached"), sandbox.gate());
        let bundle = talker(&sandbox, &gate);
        let run = sandbox.spawn(sandbox.holdfast(["run", "--keep", "-b", bundle.arg(), &id]));
        run.wait_stdout("one\n");
        let dir = sandbox.process_dir(&id, "init");
        if n % 2 == 0 {
            sandbox.kill_shim(&dir);
            run.kill();
        } else {
            run.kill();
            sandbox.kill_shim(&dir);
        }
        let stdout = fifo::reader(&dir.join("stdout"));
        assert!(sandbox.recovered(&id).starts_with("adopted"));
        gate.open();
        sandbox.assert_adopted_end(&id, "init", &CODE);
        assert_eq!(text(&sandbox.read_to_end(&stdout)), "two\n");
        gone(&sandbox, &id);
        "adopted".to_owned()
    });
}

#[test]
fn an_attached_launcher_and_the_shim_are_killed_at_the_end() {
    let sandbox = Sandbox::new("cm-end");
    let attached = |kill: &dyn Fn(Proc, &Gate<'_>)| {
        let (id, gate) = (sandbox.id("attached"), sandbox.gate());
        let bundle = talker(&sandbox, &gate);
        let run = sandbox.spawn(sandbox.holdfast(["run", "--keep", "-b", bundle.arg(), &id]));
        run.wait_stdout("one\n");
        kill(sandbox.shim_of(&sandbox.process_dir(&id, "init")), &gate);
        // Its reader is there when it says it, and has it.
        run.wait_stdout(SAYS);
        run.signal(Signal::SIGKILL);
        run.wait();
        sandbox.settle();
        sandbox.run_ok(["recover"]);
        let known = sandbox.ended(&id, "init");
        says_the_rest(&sandbox, &id, SAYS);
        gone(&sandbox, &id);
        known
    };
    let moments = std::cell::OnceCell::new();
    let known = attached(&|shim, gate| {
        let found = sandbox.moments_of(shim, || gate.open());
        moments.set(found).expect("it is called once");
    });
    assert_eq!(known, CODE);
    let moments = moments.get().expect("it was called");
    BOTH_EXIT.run(&sandbox, moments, |moment| {
        match attached(&|shim, gate| sandbox.kill_at(moment, shim, || gate.open())) {
            CODE => "7".to_owned(),
            Ended::Unknown(_) => "unknown".to_owned(),
            other @ (Ended::Code(_) | Ended::Signal(_)) => panic!("{other:?}"),
        }
    });
}

#[test]
fn an_attached_launcher_and_the_runtime_are_killed_while_it_deletes() {
    let sandbox = Sandbox::new("cm-rm");
    let moments = runtime_moments(&sandbox, "delete", &says_and_ends(&sandbox));
    let launcher = sandbox.path().join("launcher");
    let after = AND_THE_LAUNCHER.replace("$LAUNCHER", arg(&launcher));
    LAUNCHER_RUNTIME_DELETE.run(&sandbox, &moments, |moment| {
        let (id, gate) = (sandbox.id("attached"), sandbox.gate());
        let bundle = talker(&sandbox, &gate);
        let runtime = sandbox.traced_runtime("delete", Some(moment), &after);
        let command = sandbox.holdfast([
            "--runtime",
            arg(&runtime),
            "run",
            "--rm",
            "-b",
            bundle.arg(),
            &id,
        ]);
        let run = sandbox.spawn(command);
        fs::write(&launcher, run.process().pid().to_string()).unwrap();
        run.wait_stdout("one\n");
        let shim = sandbox.shim_of(&sandbox.process_dir(&id, "init"));
        gate.open();
        // Not collected before that: until then its pid is its own.
        sandbox.wait_until("the shim's end", || !shim.is_alive());
        assert_eq!(text(&run.wait().stdout), SAYS);
        let _ = sandbox.traced_runtime("never", None, "");
        sandbox.settle();
        sandbox.run_ok(["recover"]);
        assert_eq!(sandbox.verdict(&id), None);
        "nothing".to_owned()
    });
}
