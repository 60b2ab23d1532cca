//! Under a real systemd: services that are ready when their container says so, stop when they are asked to, fail as their container fails,
//! and hand their sockets on; and cgroups that systemd manages.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;

use holdfast_tests::command::{behind, show};
use holdfast_tests::service_manager::talkative;
use holdfast_tests::{DEADLINE, Sandbox, wait};

#[test]
fn a_service_is_ready_when_its_container_says_so_and_stops_as_it_does() {
    let sandbox = Sandbox::new("sd-ready");
    let systemd = sandbox.systemd();
    let gate = sandbox.gate();
    let script = format!(
        "trap 'say STOPPING=1; exit 0' TERM; say 'STATUS=coming up'; {}; \
         say 'READY=1\\nSTATUS=up\\nMAINPID=1'; while :; do sleep 0.02; done",
        holdfast_tests::Gate::WAIT
    );
    let bundle = talkative(&sandbox, &script).bind(gate.dir());
    let id = sandbox.id("web");
    let ended = sandbox.path().join("ended");
    let unit = format!(
        "[Service]\nType=notify\nNotifyAccess=all\n\
         ExecStart=@HOLDFAST@ run -d --rm --sd-notify container -b {} {id}\n\
         ExecStopPost=/bin/sh -c 'echo $$SERVICE_RESULT $$EXIT_CODE $$EXIT_STATUS > {}'\n",
        bundle.arg(),
        ended.display()
    );
    systemd.unit("web.service", &unit);
    let start = sandbox.spawn(systemd.systemctl(&["start", "web.service"]));
    sandbox.wait_until("the container's first words", || {
        systemd.property("web.service", "StatusText") == "coming up"
    });
    assert_eq!(systemd.property("web.service", "ActiveState"), "activating");
    // The launcher has gone, and the shim is the main process.
    let main = systemd.property("web.service", "MainPID");
    let shim = systemd.process(&main);
    assert_eq!(shim.comm(), "holdfast-shim");
    gate.open();
    let started = start.wait();
    assert!(started.status.success(), "{}", show(&started));
    assert_eq!(systemd.property("web.service", "ActiveState"), "active");
    assert_eq!(systemd.property("web.service", "StatusText"), "up");
    assert_eq!(systemd.property("web.service", "MainPID"), main);
    systemd.ctl(&["stop", "web.service"]);
    // What it was, it does not keep when it has forgotten the unit.
    let said = fs::read_to_string(ended).unwrap();
    assert_eq!(said, "success exited 0\n");
    sandbox.wait_until("the container to be gone", || {
        !sandbox.container_dir(&id).exists()
    });
    drop(systemd);
    sandbox.assert_clean();
}

#[test]
fn a_service_fails_with_the_containers_own_code_after_its_exit_command() {
    let sandbox = Sandbox::new("sd-fails");
    let systemd = sandbox.systemd();
    let gate = sandbox.gate();
    let script = format!("{}; exit 7", holdfast_tests::Gate::WAIT);
    let bundle = sandbox.sh(&script).bind(gate.dir());
    let id = sandbox.id("fails");
    // It takes a while: systemd ends what is left of a service when its main process has ended.
    let command = sandbox.path().join("hook");
    let told = sandbox.path().join("told");
    let text = format!(
        "#!/bin/sh\nsleep 0.5; echo $HOLDFAST_EXIT_STATUS > {}\n",
        told.display()
    );
    holdfast_tests::fake_runtime::install(&command, &text);
    let unit = format!(
        "[Service]\nType=notify\nNotifyAccess=all\n\
         ExecStart=@HOLDFAST@ run -d --sd-notify shim --exit-command {} -b {} {id}\n",
        command.display(),
        bundle.arg()
    );
    systemd.unit("fails.service", &unit);
    systemd.ctl(&["start", "fails.service"]);
    assert_eq!(systemd.property("fails.service", "ActiveState"), "active");
    gate.open();
    sandbox.wait_until("the service to fail", || {
        systemd.property("fails.service", "ActiveState") == "failed"
    });
    assert_eq!(systemd.property("fails.service", "Result"), "exit-code");
    assert_eq!(systemd.property("fails.service", "ExecMainStatus"), "7");
    assert_eq!(fs::read_to_string(told).unwrap(), "7\n");
    assert_eq!(systemd.run_ok(&["wait", &id]), "7\n");
    systemd.run_ok(&["delete", &id]);
    drop(systemd);
    sandbox.assert_clean();
}

#[test]
fn in_the_foreground_the_launcher_is_the_service() {
    let sandbox = Sandbox::new("sd-fore");
    let systemd = sandbox.systemd();
    let script = "trap 'exit 0' TERM; say 'READY=1'; while :; do sleep 0.02; done";
    let bundle = talkative(&sandbox, script);
    let id = sandbox.id("fore");
    let unit = format!(
        "[Service]\nType=notify\nNotifyAccess=all\n\
         ExecStart=@HOLDFAST@ run --sd-notify container -b {} {id}\n",
        bundle.arg()
    );
    systemd.unit("fore.service", &unit);
    systemd.ctl(&["start", "fore.service"]);
    let main = systemd.process(&systemd.property("fore.service", "MainPID"));
    assert_eq!(main.comm(), "holdfast");
    systemd.ctl(&["stop", "fore.service"]);
    assert_eq!(systemd.property("fore.service", "Result"), "success");
    drop(systemd);
    sandbox.assert_clean();
}

#[test]
fn a_socket_unit_hands_its_connection_to_the_container() {
    let sandbox = Sandbox::new("sd-socket");
    let systemd = sandbox.systemd();
    // A connection a service: what comes in on 3 goes out there.
    let bundle =
        sandbox.sh("echo \"$LISTEN_FDS $LISTEN_PID\" >&3; read line <&3; echo \"got $line\" >&3");
    let id = sandbox.id("socket");
    // Whoever asks the kernel for a free port has it to himself until then.
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    systemd.unit(
        "talk.socket",
        &format!("[Socket]\nListenStream=127.0.0.1:{port}\nAccept=yes\nReusePort=yes\n"),
    );
    let unit = format!(
        "[Service]\nExecStart=@HOLDFAST@ run -b {} {id}\n",
        bundle.arg()
    );
    systemd.unit("talk@.service", &unit);
    systemd.ctl(&["start", "talk.socket"]);
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.write_all(b"hello\n").unwrap();
    let mut lines = BufReader::new(client).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("1 1"));
    assert_eq!(lines.next().as_deref(), Some("got hello"));
    systemd.ctl(&["stop", "talk.socket"]);
    sandbox.wait_until("the container to be gone", || {
        !sandbox.container_dir(&id).exists()
    });
    drop(systemd);
    sandbox.assert_clean();
}

#[test]
fn cgroups_are_systemds_where_that_is_asked_for() {
    let sandbox = Sandbox::new("sd-cgroup");
    let systemd = sandbox.systemd();
    let id = sandbox.id("scope");
    let bundle = sandbox.bundle(["sleep", "1000"]).edit(|config| {
        config["linux"]["cgroupsPath"] = serde_json::json!(format!("system.slice:hf:{id}"));
        config["linux"]["resources"]["pids"] = serde_json::json!({ "limit": 50 });
    });
    let run = ["--systemd-cgroup", "run", "-d", "-b", bundle.arg(), &id];
    systemd.run_ok(&run);
    let scope = format!("hf-{id}.scope");
    assert_eq!(systemd.property(&scope, "ActiveState"), "active");
    assert_eq!(systemd.property(&scope, "TasksMax"), "50");
    // What it was created with, it keeps: no verb needs the flag again.
    systemd.run_ok(&["update", "--pids-limit", "60", &id]);
    assert_eq!(systemd.property(&scope, "TasksMax"), "60");
    assert!(
        systemd
            .run_ok(&["exec", &id, "echo", "in it"])
            .contains("in it")
    );
    let stats = systemd.run_ok(&["stats", "-f", "json", &id]);
    assert!(stats.contains("\"pids\""), "{stats}");
    systemd.run_ok(&["pause", &id]);
    systemd.run_ok(&["resume", &id]);
    systemd.run_ok(&["kill", &id, "KILL"]);
    assert_eq!(systemd.run_ok(&["wait", &id]), "137\n");
    systemd.run_ok(&["delete", &id]);
    assert!(wait::until(DEADLINE, || {
        systemd.property(&scope, "ActiveState") != "active"
    }));
    drop(systemd);
    sandbox.assert_clean();
}

/// What a systemd that took the host for its own would change of it.
fn host() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap();
    let mounts = read("/proc/self/mountinfo");
    let theirs = |line: &&str| {
        ["/sys", "/run", "/proc", "/etc"]
            .iter()
            .any(|top| line.contains(&format!(" {top}")))
    };
    let mut host: Vec<String> = mounts.lines().filter(theirs).map(str::to_owned).collect();
    host.extend(
        [
            "/proc/1/cgroup",
            "/proc/self/cgroup",
            "/proc/sys/kernel/hostname",
            "/proc/sys/kernel/core_pattern",
        ]
        .map(read),
    );
    host
}

#[test]
fn the_host_is_none_of_its_business() {
    let sandbox = Sandbox::new("sd-host");
    let before = host();
    let systemd = sandbox.systemd();
    assert_eq!(systemd.property("init.scope", "ActiveState"), "active");
    assert_eq!(host(), before);
    drop(systemd);
    assert_eq!(host(), before);
    sandbox.assert_clean();
}

/// The same command where the host's systemd, if there is one, is not to be found: a runtime looks for its directory.
fn without_systemd(command: &Command) -> Command {
    let hide = "if [ -e /run/systemd ]; then mount -t tmpfs tmpfs /run/systemd; fi; exec \"$@\"";
    let mut hidden = Command::new("unshare");
    hidden.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        hide,
        "sh",
    ]);
    behind(hidden, command)
}

#[test]
fn without_a_systemd_the_runtime_says_so_and_nothing_is_left() {
    let sandbox = Sandbox::new("sd-none");
    let id = sandbox.id("none");
    let bundle = sandbox.bundle(["true"]);
    let run = ["--systemd-cgroup", "run", "-d", "-b", bundle.arg(), &id];
    sandbox.refused_command(
        without_systemd(&sandbox.holdfast(run)),
        &["systemd not running on this host"],
    );
    sandbox.assert_clean();
}
