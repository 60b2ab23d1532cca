//! A user without privileges runs containers of their own, with what `holdfast spec --rootless` writes and `$XDG_RUNTIME_DIR`: all
//! that works with root works, and what only a cgroup could give is refused in a line that says so.

use std::fs;
use std::path::Path;

use holdfast_tests::command::{show, text};
use holdfast_tests::{Proc, Sandbox, Supervisor, User, fifo, kernel, runtime};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// What a refusal for want of a cgroup says.
const NO_CGROUP: &str = "it has no cgroup of its own";

/// A container of theirs that sleeps.
#[track_caller]
fn sleeper(user: &User<'_>, id: &str, edit: impl FnOnce(&mut Value)) {
    let bundle = user.bundle(&["sleep", "1000"], edit);
    user.run_ok(["run", "-d", "-b", arg(&bundle), id]);
}

fn arg(path: &Path) -> &str {
    path.to_str().expect("sandboxes have plain names")
}

#[track_caller]
fn status(user: &User<'_>, id: &str) -> String {
    let state: Value = serde_json::from_str(&user.run_ok(["state", id])).unwrap();
    state["status"].as_str().unwrap().to_owned()
}

#[track_caller]
fn pids(user: &User<'_>, id: &str) -> Vec<i32> {
    serde_json::from_str(&user.run_ok(["ps", "-f", "json", id])).unwrap()
}

#[test]
fn a_life_is_led_without_privileges() {
    let sandbox = Sandbox::new("rl-life");
    let user = User::new(&sandbox);
    let bundle = user.bundle(&["sh", "-c", "id -u; cat; exit 7"], |_| {});
    user.run_ok(["create", "-b", arg(&bundle), "web"]);
    assert_eq!(status(&user, "web"), "created");
    assert_eq!(pids(&user, "web").len(), 1);
    user.run_ok(["start", "web"]);
    assert_eq!(status(&user, "web"), "running");
    let listed = user.run_ok(["list"]);
    assert!(listed.contains(&format!("#{}", user.uid())), "{listed}");

    assert_eq!(user.run_ok(["exec", "web", "id", "-u"]), "0\n");
    assert_eq!(
        user.output(["exec", "web", "sh", "-c", "exit 3"])
            .status
            .code(),
        Some(3)
    );
    assert_eq!(
        user.output(["exec", "web", "nope"]).status.code(),
        Some(127)
    );
    let exec = user.holdfast(["exec", "-t", "web", "sh", "-c", "tty; read line"]);
    let mut terminal = sandbox.spawn_on_terminal(&exec, 80, 24);
    terminal.expect("/dev/pts/0\r\n");
    terminal.type_in("\r");
    assert_eq!(terminal.wait().0.code(), Some(0));

    let output = sandbox.feed(user.holdfast(["attach", "web"]), b"hello\n");
    assert_eq!(output.status.code(), Some(7), "{}", show(&output));
    assert_eq!(text(&output.stdout), "0\nhello\n");
    assert_eq!(user.run_ok(["wait", "web"]), "7\n");
    let told = user.run_ok(["events", "web"]);
    assert!(
        told.contains("start-process") && told.contains("exit"),
        "{told}"
    );
    user.run_ok(["delete", "web"]);
    user.assert_clean();
}

#[test]
fn what_only_a_cgroup_gives_is_refused_and_who_is_there_is_known_all_the_same() {
    let sandbox = Sandbox::new("rl-cgroup");
    let user = User::new(&sandbox);
    sleeper(&user, "web", |_| {});
    for args in [
        &["pause", "web"][..],
        &["update", "--memory", "64M", "web"],
        &["stats", "web"],
    ] {
        user.refused(args, &["web", NO_CGROUP, "cgroups(7)"]);
        assert_eq!(status(&user, "web"), "running");
    }
    // Of all, the others would be shown.
    let all = user.output(["stats", "-f", "json"]);
    assert_eq!(
        (all.status.code(), text(&all.stdout)),
        (Some(0), String::new())
    );
    assert!(text(&all.stderr).contains(NO_CGROUP), "{}", show(&all));

    // An exec, what it leaves in the background, and a pid namespace in the namespace.
    let script = "sleep 501 & exec unshare -p -f sleep 502";
    user.run_ok([
        "exec",
        "-d",
        "--cap",
        "CAP_SYS_ADMIN",
        "web",
        "sh",
        "-c",
        script,
    ]);
    let wanted = [
        "sleep 1000",
        "sleep 501",
        "sleep 502",
        "unshare -p -f sleep 502",
    ];
    let name = |pid: &i32| Proc::new(nix::unistd::Pid::from_raw(*pid)).argv().join(" ");
    // Each is a copy of its parent before it executes its program.
    sandbox.wait_until("all of them to be listed, and no others", || {
        let mut commands: Vec<String> = pids(&user, "web").iter().map(name).collect();
        commands.sort();
        commands == wanted
    });
    let table = user.run_ok(["ps", "web"]);
    assert_eq!(table.lines().count(), 5, "{table}");
    let top: Value = serde_json::from_str(&user.run_ok(["top", "-f", "json", "web"])).unwrap();
    assert_eq!(top.as_array().map(Vec::len), Some(4), "{top}");

    // `sleep` of busybox ends by it where it is nobody's init.
    user.run_ok(["kill", "-a", "web", "TERM"]);
    sandbox.wait_until("those who are no init to be gone", || {
        !pids(&user, "web")
            .iter()
            .map(name)
            .any(|it| it == "sleep 501")
    });
    assert_eq!(status(&user, "web"), "running");
    user.run_ok(["kill", "-a", "web", "KILL"]);
    assert_eq!(user.run_ok(["wait", "web"]), "137\n");
    user.run_ok(["delete", "web"]);
    user.assert_clean();
}

#[test]
fn without_a_pid_namespace_either_all_of_it_is_killed_at_its_end() {
    let sandbox = Sandbox::new("rl-pids");
    let user = User::new(&sandbox);
    let bundle = user.bundle(&["sh", "-c", "sleep 1000 & echo $!; read line"], |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
        // Another's is not the user's to mount.
        let proc = json!({
            "destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"],
        });
        config["mounts"][0] = proc;
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    user.run_ok(["run", "-d", "-b", arg(&bundle), "web"]);
    let stdout = fifo::reader(&user.process_dir("web", "init").join("stdout"));
    let left = sandbox.read_until(&stdout, "\n").trim().parse().unwrap();
    let left = Proc::new(nix::unistd::Pid::from_raw(left));
    assert!(left.is_alive());
    for args in [
        &["ps", "web"][..],
        &["top", "web"],
        &["kill", "-a", "web", "TERM"],
    ] {
        user.refused(args, &["web", NO_CGROUP]);
    }
    user.run_ok(["close-stdin", "web"]);
    user.run_ok(["wait", "web"]);
    sandbox.wait_until("what it left to be gone", || !left.is_alive());
    user.run_ok(["delete", "web"]);
    user.assert_clean();
}

#[test]
fn a_killed_shim_is_followed_by_another_and_a_replaced_one_goes_on() {
    let sandbox = Sandbox::new("rl-adopt");
    let user = User::new(&sandbox);
    let bundle = user.bundle(&["sh", "-c", "read line; echo $line; exit 9"], |_| {});
    user.run_ok(["run", "-d", "-b", arg(&bundle), "web"]);
    let dir = user.process_dir("web", "init");
    // Without it, the shim's death is the end of the input that is waited for.
    let _writer = fifo::both(&dir.join("stdin"));
    sandbox.kill_shim(&dir);
    assert!(user.run_ok(["list"]).contains("orphaned"));
    let said = user.run_ok(["recover"]);
    assert!(said.starts_with("web/init: adopted, pid "), "{said}");
    let said = user.run_ok(["upgrade", "web"]);
    assert!(said.starts_with("web/init: "), "{said}");
    let shown = user.run_ok(["inspect", "web"]);
    assert!(shown.contains("it runs, and its shim holds it"), "{shown}");

    let output = sandbox.feed(user.holdfast(["attach", "web"]), b"still here\n");
    let code = kernel::adopted_code(9);
    assert_eq!(output.status.code(), Some(code), "{}", show(&output));
    assert_eq!(text(&output.stdout), "still here\n");
    user.run_ok(["delete", "web"]);
    user.assert_clean();
}

#[test]
fn a_supervisor_without_privileges_restarts_and_adopts() {
    let sandbox = Sandbox::new("rl-sup");
    let user = User::new(&sandbox);
    let supervisor: Supervisor<'_> = sandbox.supervise_with(user.holdfast(["supervise"])).ready();
    let bundle = user.bundle(&["sleep", "1000"], |_| {});
    user.run_ok([
        "run",
        "-d",
        "--restart",
        "always",
        "-b",
        arg(&bundle),
        "web",
    ]);
    let dir = user.process_dir("web", "init");
    let first = Proc::from_file(&dir.join("pid")).unwrap();
    first.signal(Signal::SIGKILL);
    supervisor.wait_event("web", "restart");
    let second = sandbox.wait_for("another process", || {
        Proc::from_file(&dir.join("pid")).filter(|second| second.pid() != first.pid())
    });
    sandbox.kill_shim(&dir);
    supervisor.wait_event("web", "adopted");
    assert!(second.is_alive());
    supervisor.leave();
    user.run_ok(["delete", "-f", "web"]);
    fs::remove_file(user.root().join("~supervise.lock")).unwrap();
    user.assert_clean();
}

#[test]
fn other_users_of_a_mapped_range_talk_are_adopted_and_signalled() {
    let sandbox = Sandbox::new("rl-range");
    let user = User::new(&sandbox);
    let mounts = user.with_subordinate_ids();
    let bundle = user.bundle(
        &["sh", "-c", "read line; echo $line $(id -u); exit 5"],
        |config| {
            user.map_range(config);
            config["process"]["user"] = json!({"uid": 3, "gid": 4});
        },
    );
    user.ok(user.in_mounts(
        &mounts,
        &user.holdfast(["run", "-d", "-b", arg(&bundle), "web"]),
    ));
    let dir = user.process_dir("web", "init");
    let _writer = fifo::both(&dir.join("stdin"));
    let init = Proc::from_file(&dir.join("pid")).unwrap();
    let mapped = user.first_mapped() + 2;
    assert_eq!(
        init.status("Uid").unwrap().split_whitespace().next(),
        Some(&*mapped.to_string())
    );

    // Of a process that is somebody else outside, too: its streams, its end, and who holds it.
    assert_eq!(
        user.run_ok(["exec", "--user", "7:8", "web", "id", "-u"]),
        "7\n"
    );
    user.run_ok([
        "exec",
        "-d",
        "--user",
        "7:8",
        "--exec-id",
        "job",
        "web",
        "sleep",
        "1000",
    ]);
    assert_eq!(pids(&user, "web").len(), 2);
    sandbox.kill_shim(&dir);
    sandbox.kill_shim(&user.process_dir("web", "job"));
    let said = user.run_ok(["recover"]);
    assert_eq!(said.matches("adopted, pid ").count(), 2, "{said}");
    user.run_ok(["kill", "--process", "job", "web", "TERM"]);
    let ended = |code| format!("{}\n", kernel::adopted_code(code));
    assert_eq!(user.run_ok(["wait", "web", "job"]), ended(143));

    let output = sandbox.feed(user.holdfast(["attach", "web"]), b"I am\n");
    let code = kernel::adopted_code(5);
    assert_eq!(output.status.code(), Some(code), "{}", show(&output));
    assert_eq!(text(&output.stdout), "I am 3\n");
    user.run_ok(["delete", "web"]);
    user.assert_clean();
}

#[track_caller]
fn bare_is_refused(user: &User<'_>) {
    let bare = user.bundle(&["true"], |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "user");
        for key in ["uidMappings", "gidMappings"] {
            config["linux"].as_object_mut().unwrap().remove(key);
        }
    });
    user.refused(["run", "-b", arg(&bare), "web"], &["oci runtime: "]);
}

#[test]
fn a_namespace_that_the_user_may_not_have_is_refused_and_nothing_is_left() {
    let sandbox = Sandbox::new("rl-refused");
    let user = User::new(&sandbox);
    // Nobody has given this user a range, and without a user namespace it is root alone who makes others.
    let ranged = user.bundle(&["true"], |config| user.map_range(config));
    user.refused(["run", "-b", arg(&ranged), "web"], &["oci runtime: "]);
    // crun makes a user namespace by itself, and maps what it can.
    if runtime::name() != "crun" {
        bare_is_refused(&user);
    }
    user.assert_clean();
}

#[test]
fn a_place_that_is_not_the_users_is_refused_by_its_name() {
    let sandbox = Sandbox::new("rl-place");
    let user = User::new(&sandbox);
    let list = |variable: Option<&Path>| {
        let mut list = user.holdfast(["list"]);
        match variable {
            Some(dir) => list.env("XDG_RUNTIME_DIR", dir),
            None => list.env_remove("XDG_RUNTIME_DIR"),
        };
        list
    };
    let unset = ["XDG_RUNTIME_DIR", "--root", "HOLDFAST_ROOT"];
    sandbox.refused_command(list(None), &unset);
    for nothing in ["", "relative"] {
        sandbox.refused_command(list(Some(Path::new(nothing))), &unset);
    }
    // As it is after `su`, which keeps the other's environment.
    let theirs = sandbox.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    let bundle = user.bundle(&["true"], |_| {});
    let mut create = user.holdfast(["create", "-b", arg(&bundle), "web"]);
    create.env("XDG_RUNTIME_DIR", &theirs);
    sandbox.refused_command(create, &[arg(&theirs), "permission denied"]);
    fs::create_dir(theirs.join("holdfast")).unwrap();
    let words = ["belongs to uid 0", "use another root"];
    sandbox.refused_command(list(Some(&theirs)), &words);
    let mut create = user.holdfast(["create", "--shim-cgroup", "web", "-b", arg(&bundle), "web"]);
    create.env("XDG_RUNTIME_DIR", user.runtime_dir());
    sandbox.refused_command(
        create,
        &["move the shim to cgroup web", "permission denied"],
    );
    user.assert_clean();
}

#[test]
fn roots_root_is_not_theirs_and_theirs_is_not_roots() {
    let sandbox = Sandbox::new("rl-root");
    let user = User::new(&sandbox);
    sleeper(&user, "web", |_| {});
    let words = ["belongs to uid", "use another root"];
    sandbox.refused(["--root", arg(&user.root()), "list"], &words);
    user.refused(
        ["--root", arg(&sandbox.root()), "list"],
        &["belongs to uid 0", "use another root"],
    );
    user.run_ok(["delete", "-f", "web"]);
    user.assert_clean();
}

#[test]
fn processes_that_proc_hides_are_held_and_told_all_the_same() {
    let sandbox = Sandbox::new("rl-hidden");
    let user = User::new(&sandbox);
    let hidden = "mount -t proc -o hidepid=invisible proc /proc";
    let hidden = |args: &[&str]| user.in_mounts(hidden, &user.holdfast(args));
    let bundle = user.bundle(&["sleep", "1000"], |_| {});
    user.ok(hidden(&["create", "-b", arg(&bundle), "web"]));
    let listed = |word: &str| {
        let listed = user.ok(hidden(&["list"]));
        assert!(listed.contains(word), "{listed}");
    };
    listed(" created ");
    user.ok(hidden(&["start", "web"]));
    listed(" running ");
    // Over before anybody looks: what has ended is hidden even from the parent of a user.
    for code in ["0", "3"] {
        let exec = hidden(&["exec", "web", "sh", "-c", &format!("exit {code}")]);
        let output = sandbox.output_of(exec);
        assert_eq!(output.status.code(), code.parse().ok(), "{}", show(&output));
    }
    sandbox.kill_shim(&user.process_dir("web", "init"));
    let said = user.ok(hidden(&["recover"]));
    assert!(said.starts_with("web/init: adopted, pid "), "{said}");
    user.ok(hidden(&["kill", "web", "KILL"]));
    let ended = format!("{}\n", kernel::adopted_code(137));
    assert_eq!(user.ok(hidden(&["wait", "web"])), ended);
    user.ok(hidden(&["delete", "web"]));
    user.assert_clean();
}

#[test]
fn a_user_without_pages_for_pipes_loses_no_output() {
    let sandbox = Sandbox::new("rl-pipes");
    let user = User::new(&sandbox);
    let script = "i=0; while [ $i -lt 6000 ]; do i=$((i + 1)); echo $i; done; read line";
    let bundle = user.bundle(&["sh", "-c", script], |_| {});
    user.run_ok(["run", "-d", "-b", arg(&bundle), "before"]);
    // pipe(7): once a user has pipe-user-pages-soft, pipes have two pages and cannot be enlarged.
    let hog = "for (;;) { pipe(my $read, my $write) or die; push @pipes, $read, $write; fcntl($write, 1031, 1 << 20) or last }
        for (;;) { pipe(my $read, my $write) or die; push @pipes, $read, $write; last if fcntl($write, 1032, 0) < 1 << 16 }
        $| = 1; print \"full\\n\"; <STDIN>";
    let mut hog_command = user.command(Path::new("perl"));
    hog_command.args(["-e", hog]);
    let hog = sandbox.spawn(hog_command);
    hog.wait_stdout("full\n");

    // What was written into a pipe of the usual size is still there for whoever comes late.
    let mut numbers: String = (1..=6000).map(|n| format!("{n}\n")).collect();
    user.run_ok(["close-stdin", "before"]);
    assert_eq!(user.run_ok(["wait", "before"]), "1\n");
    let output = user.output(["attach", "before"]);
    let as_it_was = text(&output.stdout) == numbers;
    assert!(
        as_it_was,
        "{} bytes, {}",
        output.stdout.len(),
        text(&output.stderr)
    );

    // And everything works with small ones.
    let script = format!("{script}; exit 7");
    let bundle = user.bundle(&["sh", "-c", &script], |_| {});
    let output = sandbox.feed(user.holdfast(["run", "-b", arg(&bundle), "after"]), b"\n");
    assert_eq!(output.status.code(), Some(7), "{}", show(&output));
    numbers.truncate(text(&output.stdout).len());
    assert_eq!(text(&output.stdout), numbers);
    assert_eq!(numbers.lines().count(), 6000);
    user.run_ok(["delete", "before"]);
    drop(hog);
    user.assert_clean();
}
