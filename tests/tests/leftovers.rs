//! When a container ends, nothing of it is left, wherever its processes are; and when an exec ends, that is on record,
//! whatever it leaves behind.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use holdfast_tests::daemon02::{Daemon02, Stdio02};
use holdfast_tests::{AtEnd, Proc, Sandbox, fifo, spec, wait};
use nix::poll::PollFlags;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// Starts three children that outlive their parents: a plain one, one in a session of its own, and one whose parent has
/// ended at once. Each writes its pid as it is in its pid namespace, then becomes `sleep`.
const CHILDREN: &str = "child() { sh -c 'echo $$; exec sleep 1000'; }; child & setsid sh -c 'echo $$; exec sleep 1000' & \
    (setsid sh -c '(sh -c \"echo \\$\\$; exec sleep 1000\" &)' &)";

/// The processes whose pids are the next `n` lines.
fn processes(sandbox: &Sandbox, stdout: &fs::File, n: usize) -> Vec<Proc> {
    let pid = || {
        let line = sandbox.read_until(stdout, "\n");
        Proc::new(Pid::from_raw(line.trim().parse().unwrap()))
    };
    let processes: Vec<_> = (0..n).map(|_| pid()).collect();
    for process in &processes {
        sandbox.wait_until("a child to sleep", || sleeps(*process));
    }
    processes
}

/// Whether it is still one of ours, and not another that has got its pid.
fn sleeps(process: Proc) -> bool {
    process.argv() == ["sleep", "1000"] && process.is_alive()
}

#[test]
fn a_container_among_the_hosts_processes_leaves_none_behind() {
    let sandbox = Sandbox::new("left");
    let daemon = Daemon02::new(&sandbox);
    for terminal in [false, true] {
        // HUP is what a terminal's end sends to its session.
        let script = format!("trap '' HUP; {CHILDREN}; read go; exit 3");
        let bundle = sandbox.sh(&script).host_pid();
        let bundle = if terminal { bundle.terminal() } else { bundle };
        let mut client = daemon.run("left", &bundle);
        let children = processes(&sandbox, &client.stdout, 3);
        let process = spec::process(&["sh", "-c", &format!("{CHILDREN}; read go")]);
        let stdio = Stdio02::fifos(&sandbox, &format!("exec-{terminal}"));
        let stdout = fifo::reader(&stdio.stdout);
        let mut exec = daemon
            .exec(&client.id, "exec", &bundle, &process, &stdio)
            .unwrap();
        let of_exec = processes(&sandbox, &stdout, 3);

        client.write("\n");
        assert_eq!(client.init.wait(), 3);
        // Looked at once, not waited for: when `exit` hangs up, they are gone.
        for child in children {
            assert!(!sleeps(child), "{child:?} is left");
        }
        // What was executed in the container goes with it, as its own shim sees in its own time.
        assert_eq!(exec.wait(), 137);
        for child in of_exec {
            assert!(!sleeps(child), "{child:?} of the exec is left");
        }
    }
    sandbox.assert_clean();
}

#[test]
fn what_the_last_child_says_before_it_is_killed_is_kept() {
    let sandbox = Sandbox::new("left-words");
    let daemon = Daemon02::new(&sandbox);
    let script = "sh -c 'echo child; exec sleep 1000' & read go; exit 3";
    let mut client = daemon.run("words", &sandbox.sh(script).host_pid());
    sandbox.wait_readable(&client.stdout);
    client.write("\n");
    // As long as a child has stdout open there is no end to it; when `exit` hangs up, there is.
    assert_eq!(client.init.wait(), 3);
    assert!(wait::is_hung_up(&client.stdout));
    assert_eq!(sandbox.read_to_end(&client.stdout), b"child\n");
    sandbox.assert_clean();
}

#[test]
fn what_a_child_writes_until_it_is_killed_is_kept() {
    let sandbox = Sandbox::new("left-unread");
    let daemon = Daemon02::new(&sandbox);
    let shared = sandbox.path().join("shared");
    fs::create_dir(&shared).unwrap();
    // Nobody reads. What it has written is also in a file, right after.
    let script =
        "i=0; while :; do echo line $i.; echo line $i. >>/host/written; i=$((i+1)); done & exit 3";
    let bundle = sandbox.sh(script).host_pid().bind(&shared);
    let stdio = Stdio02::fifos(&sandbox, "unread");
    let mut init = daemon
        .create(&sandbox.id("unread"), &bundle, &stdio)
        .unwrap();
    init.start().unwrap();
    assert_eq!(init.wait(), 3);
    let written = fs::read_to_string(shared.join("written")).unwrap_or_default();
    let kept = fs::read_to_string(init.dir().join("stdout.unread")).unwrap_or_default();
    let last = written.lines().last().unwrap_or_default();
    assert!(
        kept.contains(last),
        "{last:?} was written after {:?}",
        kept.lines().last()
    );
    sandbox.assert_clean();
}

#[test]
fn what_an_exec_leaves_behind_does_not_delay_its_record() {
    let sandbox = Sandbox::new("left-exec");
    let daemon = Daemon02::new(&sandbox);
    for (terminal, host_pid) in [(false, true), (true, true), (false, false)] {
        let bundle = sandbox.bundle(["sleep", "1000"]);
        let bundle = if host_pid { bundle.host_pid() } else { bundle };
        let mut client = daemon.run("left", &bundle);
        let stdio = Stdio02::fifos(&sandbox, &client.id.replace("left", "exec"));
        let stdout = fifo::reader(&stdio.stdout);
        let script = format!("trap '' HUP; {CHILDREN}; echo said; read go; exit 5");
        let mut process = spec::process(&["sh", "-c", &script]);
        process["terminal"] = serde_json::json!(terminal);
        let mut exec = daemon
            .exec(&client.id, "exec", &bundle, &process, &stdio)
            .unwrap();
        let mut lines: Vec<_> = (0..4)
            .map(|_| sandbox.read_until(&stdout, "\n").trim().to_owned())
            .collect();
        lines.retain(|line| line != "said");
        let children: Vec<_> = lines
            .iter()
            // Pids of a namespace of its own mean nothing here.
            .filter(|_| host_pid)
            .map(|pid| Proc::new(Pid::from_raw(pid.parse().unwrap())))
            .collect();
        for child in &children {
            sandbox.wait_until("a child to sleep", || sleeps(*child));
        }
        sandbox.write_all(&sandbox.open_writer(&stdio.stdin), b"\n");
        assert_eq!(exec.wait(), 5);
        // They go on, as they would without a shim, and so does the container.
        for child in &children {
            assert!(sleeps(*child), "{child:?} is gone");
        }
        assert!(client.init.exit_status().is_none());
        client.init.process().signal(Signal::SIGKILL);
        assert_eq!(client.init.wait(), 137);
        for child in &children {
            assert!(!sleeps(*child), "{child:?} is left");
        }
    }
    sandbox.assert_clean();
}

#[test]
fn a_child_that_never_stops_writing_does_not_keep_an_execs_shim() {
    let sandbox = Sandbox::new("left-yes");
    let daemon = Daemon02::new(&sandbox);
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let container = daemon.run("yes", &bundle);
    for (n, (terminal, reader)) in [(false, false), (false, true), (true, false), (true, true)]
        .into_iter()
        .enumerate()
    {
        let name = format!("exec-{n}");
        let stdio = Stdio02::fifos(&sandbox, &name);
        let stdout = fifo::reader(&stdio.stdout);
        let mut process = spec::process(&["sh", "-c", "trap '' HUP; yes & read go; exit 5"]);
        process["terminal"] = serde_json::json!(terminal);
        let mut exec = daemon
            .exec(&container.id, &name, &bundle, &process, &stdio)
            .unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            if reader {
                scope.spawn(|| {
                    let mut piece = vec![0; 1 << 16];
                    while !stop.load(Ordering::Relaxed) {
                        sandbox.read_some(&stdout, &mut piece);
                    }
                });
            }
            let _end = AtEnd(|| stop.store(true, Ordering::Relaxed));
            sandbox.write_all(&sandbox.open_writer(&stdio.stdin), b"\n");
            let hung_up = wait::events(exec.exit(), PollFlags::empty(), wait::DEADLINE);
            assert_eq!(
                hung_up,
                PollFlags::POLLHUP,
                "terminal: {terminal}, reader: {reader}"
            );
        });
        assert_eq!(exec.wait(), 5);
    }
}
