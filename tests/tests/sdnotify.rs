//! What a container has to say to its launcher's service manager gets there, as far as it may say it, and nothing that it says can hurt
//! anybody. A service manager that is played here is told the same as a real one (`systemd.rs`).

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use holdfast_tests::command::show;
use holdfast_tests::service_manager::{SAY, Speaker, talkative};
use holdfast_tests::{FakeRuntime, Proc, Sandbox, wait};
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};

const CONTAINER: [&str; 2] = ["--sd-notify", "container"];

/// A container that says nothing by itself, started by the manager; its shim.
fn quiet(
    sandbox: &Sandbox,
    manager: &holdfast_tests::service_manager::Manager<'_>,
    flags: &[&str],
) -> (String, Proc) {
    let id = sandbox.id("web");
    let script = "trap 'exit 9' TERM; while :; do sleep 0.02; done";
    let bundle = talkative(sandbox, script);
    let args = [&["run", "-d"], flags, &["-b", bundle.arg(), &id]].concat();
    let output = sandbox.output_of(manager.holdfast(args));
    assert!(output.status.success(), "{}", show(&output));
    let init = sandbox.process_dir(&id, "init");
    let shim = sandbox.idle_shim_of(&init);
    assert_eq!(manager.next(), format!("MAINPID={}", shim.pid()));
    // Before that, a signal means nothing to it.
    let process = Proc::from_file(&init.join("pid")).unwrap();
    sandbox.wait_until("its trap", || {
        let caught = process.status("SigCgt").unwrap_or_default();
        u64::from_str_radix(caught.trim(), 16).is_ok_and(|set| set & (1 << 14) != 0)
    });
    (id, shim)
}

fn shim_log(sandbox: &Sandbox, id: &str) -> String {
    let log = sandbox.process_dir(id, "init").join("shim-log.json");
    fs::read_to_string(log).unwrap()
}

#[test]
fn a_container_says_that_it_is_ready_and_what_it_may_not_say_is_left_out() {
    let sandbox = Sandbox::new("notify");
    let manager = sandbox.manager();
    let script = r#"
        say 'MAINPID=1\nNOTIFYACCESS=all\nFDSTORE=1\nSTATUS=coming up'
        read line; say 'READY=1\nMAINPID=1'
        read line; say 'STOPPING=1'; exit 7
    "#;
    let bundle = talkative(&sandbox, script);
    let id = sandbox.id("web");
    let args = [&["run", "-d"], &CONTAINER[..], &["-b", bundle.arg(), &id]].concat();
    // It returns, though nobody is ready.
    let output = sandbox.output_of(manager.holdfast(args));
    assert!(output.status.success(), "{}", show(&output));
    let shim = sandbox.shim_of(&sandbox.process_dir(&id, "init")).pid();
    assert_eq!(manager.next(), format!("MAINPID={shim}"));
    assert_eq!(manager.next(), "STATUS=coming up");
    let stdin = sandbox.open_writer(&sandbox.process_dir(&id, "init").join("stdin"));
    sandbox.write_all(&stdin, b"\n");
    assert_eq!(manager.next(), format!("MAINPID={shim}\nREADY=1"));
    sandbox.write_all(&stdin, b"\n");
    assert_eq!(manager.next(), "STOPPING=1");
    assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
    sandbox.run_ok(["delete", &id]);
    assert!(manager.is_quiet(Duration::ZERO));
    sandbox.assert_clean();
}

#[test]
fn in_the_foreground_the_launcher_stays_the_main_process() {
    let sandbox = Sandbox::new("notify-fore");
    let manager = sandbox.manager();
    let bundle = talkative(&sandbox, "say 'READY=1'; exit 7");
    let id = sandbox.id("fore");
    let args = [&["run"], &CONTAINER[..], &["-b", bundle.arg(), &id]].concat();
    let output = sandbox.output_of(manager.holdfast(args));
    assert_eq!(output.status.code(), Some(7), "{}", show(&output));
    assert_eq!(manager.next(), "READY=1");
    assert!(manager.is_quiet(Duration::ZERO));
    sandbox.assert_clean();
}

#[test]
fn the_starter_says_so_where_the_container_cannot() {
    let sandbox = Sandbox::new("notify-start");
    let manager = sandbox.manager();
    let bundle = sandbox.sh("[ -z \"$NOTIFY_SOCKET\" ] || exit 3; read line; exit 7");
    for (flag, words) in [
        ("--sd-notify=shim", &["run", "-d"][..]),
        // As podman has it.
        ("--sdnotify=conmon", &["run", "-d"]),
        ("--sd-notify=shim", &["create"]),
    ] {
        let id = sandbox.id("start");
        let args = [words, &[flag, "-b", bundle.arg(), &id]].concat();
        let launch = sandbox.spawn(manager.holdfast(args));
        let main = manager.next();
        let shim = sandbox.shim_of(&sandbox.process_dir(&id, "init")).pid();
        assert_eq!(main, format!("MAINPID={shim}"));
        let start = (words == ["create"]).then(|| {
            assert!(manager.is_quiet(Duration::ZERO));
            sandbox.spawn(sandbox.holdfast(["start", &id]))
        });
        assert_eq!(manager.receive().0, "READY=1");
        assert!(sandbox.run_ok(["state", &id]).contains("\"running\""));
        // Whoever said so does not go before it was heard.
        let (message, barrier) = manager.receive();
        assert_eq!((message.as_str(), barrier.len()), ("BARRIER=1", 1));
        let teller = start.as_ref().unwrap_or(&launch).process();
        assert!(teller.is_alive());
        drop(barrier);
        for running in [Some(launch), start].into_iter().flatten() {
            let output = running.wait();
            assert!(output.status.success(), "{}", show(&output));
        }
        sandbox.run_ok(["close-stdin", &id]);
        assert_eq!(sandbox.run_ok(["wait", &id]), "7\n");
        sandbox.run_ok(["delete", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn a_manager_without_a_file_hears_all_that_a_service_may_say() {
    let sandbox = Sandbox::new("notify-all");
    let manager = sandbox.abstract_manager();
    let (id, shim) = quiet(&sandbox, &manager, &CONTAINER);
    let speaker = Speaker::of(&sandbox, &id);
    let ready = format!("MAINPID={}\nREADY=1", shim.pid());
    for (said, heard) in [
        ("EXTEND_TIMEOUT_USEC=5000000", None),
        ("READY=1\nMAINPID=42\nFDSTORE=1", Some(ready.as_str())),
        ("WATCHDOG=1\nSTATUS=42 requests", None),
        ("RELOADING=1\nMONOTONIC_USEC=123456", None),
        ("WATCHDOG=trigger", None),
        ("STOPPING=1\nERRNO=28\nBUSERROR=org.example.Full", None),
    ] {
        speaker.say(said);
        assert_eq!(manager.next(), heard.unwrap_or(said));
    }
    sandbox.run_ok(["delete", "-f", &id]);
    assert!(manager.is_quiet(Duration::ZERO));
    sandbox.assert_clean();
}

#[test]
fn unless_it_is_asked_for_the_variable_is_somebody_elses() {
    let sandbox = Sandbox::new("notify-not");
    let manager = sandbox.manager();
    let bundle = sandbox
        .sh("[ -z \"$NOTIFY_SOCKET\" ] && [ ! -e /run/notify ]")
        .run();
    for flags in [&[][..], &["--sd-notify", "ignore"]] {
        let id = sandbox.id("not");
        let args = [&["run"], flags, &["-b", bundle.arg(), &id]].concat();
        let output = sandbox.output_of(manager.holdfast(args));
        assert_eq!(output.status.code(), Some(0), "{}", show(&output));
    }
    // And without the variable there is nobody to tell.
    let id = sandbox.id("none");
    let args = [&["run"], &CONTAINER[..], &["-b", bundle.arg(), &id]].concat();
    let mut command = sandbox.holdfast(args);
    command.env_remove("NOTIFY_SOCKET");
    assert_eq!(sandbox.output_of(command).status.code(), Some(0));
    assert!(manager.is_quiet(Duration::ZERO));
    sandbox.assert_clean();
}

#[test]
fn any_user_of_the_container_may_speak_and_an_exec_knows_how() {
    let sandbox = Sandbox::new("notify-user");
    let manager = sandbox.manager();
    let (id, _) = quiet(&sandbox, &manager, &CONTAINER);
    let say = format!("NOTIFY_SOCKET=/run/notify/notify.sock; {SAY}; say 'STATUS=exec'");
    sandbox.run_ok(["exec", &id, "sh", "-c", &say]);
    assert_eq!(manager.next(), "STATUS=exec");
    let as_user = "say() { logger \"$(printf '\\n%b' \"$1\")\"; }; say 'STATUS=user'; id -u";
    let said = sandbox.run_ok(["exec", "-u", "1000", &id, "sh", "-c", as_user]);
    assert_eq!(
        (said.as_str(), manager.next().as_str()),
        ("1000\n", "STATUS=user")
    );
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_service_manager_that_is_gone_stops_nobody_and_one_that_comes_back_is_told() {
    let sandbox = Sandbox::new("notify-gone");
    let manager = sandbox.manager();
    let (id, shim) = quiet(&sandbox, &manager, &CONTAINER);
    let speaker = Speaker::of(&sandbox, &id);
    speaker.say("STATUS=one");
    assert_eq!(manager.next(), "STATUS=one");
    manager.leave();
    for _ in 0..3 {
        speaker.say("STATUS=two");
    }
    speaker.wait_heard(&sandbox);
    assert!(shim_log(&sandbox, &id).contains("what the container says is dropped"));
    let manager = sandbox.manager();
    // What was dropped stays so.
    speaker.say("STATUS=three");
    assert_eq!(manager.next(), "STATUS=three");
    assert_eq!(shim_log(&sandbox, &id).lines().count(), 1);
    assert!(shim.is_alive());
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn one_that_has_no_time_is_waited_for_and_nothing_is_lost_or_piles_up() {
    let sandbox = Sandbox::new("notify-busy");
    let manager = sandbox.manager();
    let (id, shim) = quiet(&sandbox, &manager, &CONTAINER);
    let speaker = Speaker::of(&sandbox, &id);
    speaker.socket().set_nonblocking(true).unwrap();
    // As many as find room in the manager's queue, the shim's hand, and the container's own. Long ones, so that they are not so many.
    let message = |n: usize| format!("STATUS={n} {}", "x".repeat(1000));
    let mut said = 0;
    let mut say = || {
        let taken = speaker.socket().send(message(said).as_bytes()).is_ok();
        said += usize::from(taken);
        taken
    };
    // The shim reads so many a second: for longer than that there is no room any more.
    sandbox.wait_until("no room any more", || {
        while say() {}
        !wait::until(Duration::from_millis(1200), &mut say)
    });
    let before = shim.wake_ups();
    assert!(!wait::until(Duration::from_millis(1200), || shim
        .wake_ups()
        != before));
    // Whatever shim has one of them in its hand.
    sandbox.run_ok(["upgrade", &id]);
    for n in 0..said {
        assert_eq!(manager.next(), message(n));
    }
    assert!(manager.is_quiet(Duration::from_millis(50)));
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn a_flood_costs_the_shim_nothing_that_stays() {
    let sandbox = Sandbox::new("notify-flood");
    let manager = sandbox.manager();
    let (id, shim) = quiet(&sandbox, &manager, &CONTAINER);
    let speaker = Speaker::of(&sandbox, &id);
    speaker.say("STATUS=before");
    assert_eq!(manager.next(), "STATUS=before");
    sandbox.wait_until("the shim to be idle", || shim.waits_in("epoll"));
    let (memory, wakes) = (shim.private_dirty_kib(), shim.wake_ups());
    let end = Instant::now() + Duration::from_secs(2);
    let junk = "x".repeat(100_000);
    speaker.socket().set_nonblocking(true).unwrap();
    let mut taken = 0;
    while Instant::now() < end {
        for message in ["STATUS=flood", "FDSTORE=1", "", &junk, "\0\n\0"] {
            taken += u32::from(speaker.socket().send(message.as_bytes()).is_ok());
        }
        while !manager.is_quiet(Duration::ZERO) {
            assert_eq!(manager.next(), "STATUS=flood");
        }
    }
    // Its queue, and so many a second; with as many wake-ups at most, and one for each second.
    let most = 64 * 4 + 1024;
    assert!((1..=most).contains(&taken), "{taken}");
    let woken = shim.wake_ups() - wakes;
    assert!(woken < 2000, "{woken} wake-ups");
    // It is itself again.
    sandbox.wait_until("the flood to be over", || {
        while !manager.is_quiet(Duration::ZERO) {
            manager.next();
        }
        let before = shim.wake_ups();
        !wait::until(Duration::from_millis(1200), || shim.wake_ups() != before)
    });
    let grown = shim.private_dirty_kib().saturating_sub(memory);
    assert!(grown <= 16, "{grown} KiB more");
    speaker.say("READY=1");
    assert_eq!(manager.next(), format!("MAINPID={}\nREADY=1", shim.pid()));
    sandbox.run_ok(["delete", "-f", &id]);
    sandbox.assert_clean();
}

#[test]
fn descriptors_that_come_along_are_closed_and_nobody_waits_for_that() {
    let sandbox = Sandbox::new("notify-fds");
    let manager = sandbox.manager();
    let (id, shim) = quiet(&sandbox, &manager, &CONTAINER);
    let speaker = Speaker::of(&sandbox, &id);
    let held = shim.fds();
    let send = |message: &str, numbers: &[i32]| speaker.send_with(message, numbers);
    speaker.wait_heard(&sandbox);
    // A socket whose last owner waits a minute for a peer that never reads, when it closes it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut lingers = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    lingers.set_nonblocking(true).unwrap();
    while lingers.write(&[0; 65536]).is_ok() {}
    let minute = nix::libc::linger {
        l_onoff: 1,
        l_linger: 60,
    };
    setsockopt(&lingers, sockopt::Linger, &minute).unwrap();
    let many = vec![lingers.as_raw_fd(); 200];
    send("FDSTORE=1\nSTATUS=with sockets", &many);
    // Whoever is last waits: a thread, or a command that is being started meanwhile and has it for a moment. Not the shim.
    let closing = std::thread::spawn(move || drop(lingers));
    assert_eq!(manager.next(), "STATUS=with sockets");
    speaker.say("STATUS=and on");
    assert_eq!(manager.next(), "STATUS=and on");
    // The peer goes, and with it what was waited for.
    drop(listener);
    closing.join().unwrap();
    sandbox.wait_until("what came along to be gone", || {
        shim.fds().len() <= held.len() + 1
    });
    sandbox.wait_until("no child to be left", || shim.children().len() <= 1);
    // And at the end: it is in nobody's way there either.
    let (mut last, accepted) = std::os::unix::net::UnixStream::pair().unwrap();
    last.write_all(b"x").unwrap();
    send("FDSTORE=1", &[accepted.as_raw_fd()]);
    sandbox.run_ok(["kill", &id, "KILL"]);
    assert_eq!(sandbox.run_ok(["wait", &id]), "137\n");
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn the_socket_is_there_again_after_a_replacement_and_after_the_shims_death() {
    let sandbox = Sandbox::new("notify-adopt");
    let manager = sandbox.manager();
    let (id, shim) = quiet(&sandbox, &manager, &CONTAINER);
    let speaker = Speaker::of(&sandbox, &id);
    for n in 0..3 {
        sandbox.run_ok(["upgrade", &id]);
        speaker.say(&format!("STATUS={n}"));
        assert_eq!(manager.next(), format!("STATUS={n}"));
    }
    let init = sandbox.process_dir(&id, "init");
    assert_eq!(sandbox.shim_of(&init), shim);
    sandbox.kill_shim(&init);
    assert!(speaker.socket().send(b"READY=1").is_err());
    assert!(sandbox.recovered(&id).starts_with("adopted"));
    let shim = sandbox.shim_of(&init);
    assert_eq!(manager.next(), format!("MAINPID={}", shim.pid()));
    Speaker::of(&sandbox, &id).say("READY=1");
    assert_eq!(manager.next(), format!("MAINPID={}\nREADY=1", shim.pid()));
    // From inside it has the same name as ever.
    let say = format!("NOTIFY_SOCKET=/run/notify/notify.sock; {SAY}; say 'STATUS=inside'");
    sandbox.run_ok(["exec", &id, "sh", "-c", &say]);
    assert_eq!(manager.next(), "STATUS=inside");
    // Who comes when all is over says so to whoever asked, and nothing to the manager.
    let process = Proc::from_file(&init.join("pid")).unwrap();
    sandbox.kill_shim(&init);
    sandbox.run_ok(["kill", &id, "KILL"]);
    sandbox.wait_until("somebody to reap it", || process.stat(3).is_none());
    assert_eq!(sandbox.recovered(&id), "finished, exit status 255");
    assert!(manager.is_quiet(Duration::ZERO));
    sandbox.run_ok(["delete", &id]);
    sandbox.assert_clean();
}

#[test]
fn signals_to_a_services_main_process_are_the_containers() {
    let sandbox = Sandbox::new("notify-main");
    let manager = sandbox.manager();
    for mode in ["container", "shim"] {
        let (id, shim) = quiet(&sandbox, &manager, &["--sd-notify", mode]);
        if mode == "shim" {
            assert_eq!(manager.next(), "READY=1");
        }
        shim.signal(Signal::SIGTERM);
        assert_eq!(sandbox.run_ok(["wait", &id]), "9\n");
        sandbox.run_ok(["delete", &id]);
    }
    sandbox.assert_clean();
}

#[test]
fn what_cannot_be_done_is_refused_and_leaves_nothing() {
    let sandbox = Sandbox::new("notify-bad");
    let manager = sandbox.manager();
    let bundle = sandbox.bundle(["sleep", "1000"]).run();
    let id = sandbox.id("bad");
    let run = |flags: &[&str]| -> Vec<String> {
        let words = [&["run", "-d", "-b", bundle.arg()], flags, &[&id]].concat();
        words.into_iter().map(str::to_owned).collect()
    };
    let long = format!("/{}", "x".repeat(200));
    for socket in ["run/notify", "vsock:2:1234", "@", &long] {
        let mut command = sandbox.holdfast(run(&CONTAINER));
        command.env("NOTIFY_SOCKET", socket);
        sandbox.refused_command(command, &["notify", "is no socket"]);
    }
    sandbox.refused_command(
        manager.holdfast(run(&["--sd-notify", "loudly"])),
        &["--sd-notify", "loudly"],
    );
    let restarted = run(&["--restart", "always", "--sd-notify", "shim"]);
    sandbox.refused_command(
        manager.holdfast(restarted),
        &["restart policy always", "service manager"],
    );
    // A runtime that does not know how.
    let fake = FakeRuntime::script(&sandbox, r#"unset NOTIFY_SOCKET; delegate "$@""#);
    let runtime = fake.arg();
    let args = run(&["--runtime", &runtime, "--sd-notify", "container"]);
    let said = sandbox.refused_command(manager.holdfast(args), &["no notify socket"]);
    assert!(said.contains("NOTIFY_SOCKET"), "{said}");
    assert!(manager.is_quiet(Duration::ZERO));
    sandbox.assert_clean();
}
