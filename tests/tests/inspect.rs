//! `inspect` says what is the matter, whatever it is, and the command that it names mends it: each is typed here, as it
//! stands, and what comes of it is looked at.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use holdfast_tests::command::{show, text};
use holdfast_tests::{Bundle, Proc, Sandbox, Snapshot, binaries, fifo, process};
use nix::sys::signal::Signal;
use serde_json::Value;

/// A container and whoever looks at it.
struct Patient<'a> {
    sandbox: &'a Sandbox,
    id: String,
}

impl<'a> Patient<'a> {
    fn run(sandbox: &'a Sandbox, bundle: &Bundle) -> Self {
        let id = sandbox.id("web");
        sandbox.run_ok(["run", "-d", "-b", bundle.arg(), &id]);
        Self { sandbox, id }
    }

    fn sleeping(sandbox: &'a Sandbox) -> Self {
        Self::run(sandbox, &sandbox.bundle(["sleep", "1000"]))
    }

    fn dir(&self) -> PathBuf {
        self.sandbox.process_dir(&self.id, "init")
    }

    fn shim(&self) -> Proc {
        self.sandbox
            .wait_for("a shim", || Proc::shim_of(&self.dir()))
    }

    fn kill_shim(&self) {
        let shim = self.shim();
        shim.signal(Signal::SIGKILL);
        self.sandbox
            .wait_until("the shim's end", || !shim.is_alive());
    }

    fn inspect(&self) -> Value {
        let found = self
            .sandbox
            .run_ok(["inspect", "--format", "json", &self.id]);
        serde_json::from_str(&found).unwrap()
    }

    /// Its condition and the command that mends it. What is written for people says the same.
    #[track_caller]
    fn verdict(&self) -> (String, Option<String>) {
        let verdict = &self.inspect()["verdict"];
        let shown = self.sandbox.run_ok(["inspect", &self.id]);
        let mend = verdict["mend"].as_str();
        assert!(
            shown.contains(&format!(
                "  mend      {}\n",
                mend.unwrap_or("nothing to do")
            )),
            "{shown}\n{verdict}"
        );
        let condition = verdict["condition"].as_str().unwrap();
        (condition.to_owned(), mend.map(str::to_owned))
    }

    #[track_caller]
    fn assert_is(&self, expected: &str) {
        let (condition, _) = self.verdict();
        if condition != expected {
            self.sandbox.dump();
            panic!("is {condition}, not {expected}: {:#}", self.inspect());
        }
    }

    #[track_caller]
    fn wait_until_is(&self, expected: &str) {
        let what = format!("{expected}: {}", self.inspect()["verdict"]);
        // Only one look: it changes between two.
        self.sandbox
            .wait_until(&what, || self.inspect()["verdict"]["condition"] == expected);
        self.assert_is(expected);
    }

    /// Types the command that mends it.
    #[track_caller]
    fn mend(&self) {
        let command = self.verdict().1.expect("there is something to do");
        let mut sh = Command::new("sh");
        let path = std::env::var("PATH").unwrap();
        let bin = binaries::holdfast().parent().unwrap().to_owned();
        sh.arg("-c").arg(&command).current_dir(self.sandbox.path());
        sh.env("PATH", format!("{}:{path}", bin.display()));
        let output = self.sandbox.output_of(sh);
        assert!(output.status.success(), "{command}: {}", show(&output));
    }

    fn is_there(&self) -> bool {
        self.sandbox.container_dir(&self.id).exists()
    }

    /// As everything that is broken must end: healthy again, or gone.
    #[track_caller]
    fn discharge(self) {
        if self.is_there() {
            self.sandbox.run_ok(["delete", "-f", &self.id]);
        }
        self.sandbox.assert_clean();
    }
}

#[test]
fn a_healthy_container_is_described_and_nothing_is_changed_by_looking() {
    let sandbox = Sandbox::new("inspect");
    let web = Patient::run(&sandbox, &sandbox.bundle(["cat"]));
    sandbox.run_ok(["exec", "-d", "--exec-id", "job", &web.id, "sleep", "1000"]);
    let shim = web.shim().pid().as_raw();
    let pid = Proc::from_file(&web.dir().join("pid"))
        .unwrap()
        .pid()
        .as_raw();
    let input = sandbox.open_writer(&web.dir().join("stdin"));
    sandbox.write_all(&input, b"hello\n");
    let out = web.dir().join("stdout");
    sandbox.wait_until("the output to wait", || {
        web.inspect()["processes"][0]["fifos"][3]["waiting"] == 6
    });
    let before = Snapshot::of(&sandbox.root());
    let found = web.inspect();
    before.assert_unchanged("inspect");

    assert_eq!(found["verdict"]["condition"], "running");
    assert_eq!(found["verdict"]["mend"], Value::Null);
    assert_eq!(found["runtime"]["status"], "running");
    assert_eq!(found["runtime"]["pid"], pid);
    let init = &found["processes"][0];
    assert_eq!(init["kernel"]["pid"], pid);
    assert_eq!(init["kernel"]["existence"], "runs");
    assert_eq!(init["kernel"]["command"], "cat");
    assert_eq!(init["shim"]["lock"]["held"], true);
    assert_eq!(init["shim"]["lock"]["holder"], shim);
    assert_eq!(init["shim"]["record"]["pid"], shim);
    assert_eq!(init["shim"]["executable"]["installed"], true);
    let cgroups = init["cgroups"].as_array().unwrap();
    assert!(
        cgroups
            .iter()
            .any(|line| line.as_str().unwrap().contains(&web.id))
    );
    let fifos = init["fifos"].as_array().unwrap();
    let names: Vec<_> = fifos.iter().map(|fifo| &fifo["name"]).collect();
    assert_eq!(names, ["control", "exit", "stdin", "stdout", "stderr"]);
    let pids = |holders: &Value| -> Vec<i64> {
        let mut pids: Vec<i64> = holders
            .as_array()
            .unwrap()
            .iter()
            .map(|holder| holder["pid"].as_i64().unwrap())
            .collect();
        pids.sort_unstable();
        pids
    };
    let mut both = vec![i64::from(shim), i64::from(pid)];
    both.sort_unstable();
    assert_eq!(pids(&fifos[3]["readers"]), both);
    assert_eq!(pids(&fifos[3]["writers"]), [i64::from(pid)]);
    let mut writers = vec![i64::from(shim), std::process::id().into()];
    writers.sort_unstable();
    assert_eq!(pids(&fifos[2]["writers"]), writers);
    assert_eq!(found["processes"][1]["process"], "job");
    assert_eq!(found["processes"][1]["verdict"]["condition"], "running");

    let job = sandbox.run_ok(["inspect", &web.id, "job"]);
    assert!(job.starts_with(&format!("{}/job\n", web.id)), "{job}");
    let refused = sandbox.output(["inspect", &web.id, "nope"]);
    assert_eq!(refused.status.code(), Some(125), "{}", show(&refused));
    // Not a byte was taken.
    assert_eq!(sandbox.read_until(&fifo::reader(&out), "\n"), "hello\n");
    web.discharge();
}

#[test]
fn each_stage_of_a_life_has_its_name() {
    let sandbox = Sandbox::new("stages");
    let web = Patient {
        sandbox: &sandbox,
        id: sandbox.id("web"),
    };
    let bundle = sandbox.sh("trap 'exit 7' TERM; echo; while :; do sleep 1000 & wait; done");
    sandbox.run_ok(["create", "-b", bundle.arg(), &web.id]);
    web.assert_is("created");
    web.mend();
    sandbox.wait_readable(fifo::reader(&web.dir().join("stdout")));
    web.assert_is("running");
    let mut pause = sandbox.runtime(["pause", &web.id]);
    assert!(pause.status().unwrap().success());
    web.assert_is("paused");
    let mut resume = sandbox.runtime(["resume", &web.id]);
    assert!(resume.status().unwrap().success());
    sandbox.run_ok(["kill", &web.id, "TERM"]);
    assert_eq!(sandbox.run_ok(["wait", &web.id]), "7\n");
    web.wait_until_is("exited");
    assert_eq!(web.inspect()["processes"][0]["ending"]["record"]["code"], 7);
    web.mend();
    assert!(!web.is_there());
    web.discharge();
}

#[test]
fn a_stopped_shim_is_found_out_without_waiting_for_it() {
    let sandbox = Sandbox::new("stuck");
    let web = Patient::sleeping(&sandbox);
    let shim = web.shim();
    shim.signal(Signal::SIGSTOP);
    sandbox.wait_until("the shim to stop", || shim.stat(3).as_deref() == Some("T"));
    web.assert_is("stuck");
    web.mend();
    web.wait_until_is("running");
    web.discharge();
}

#[test]
fn what_a_killed_shim_leaves_is_told_apart_and_recovered() {
    let sandbox = Sandbox::new("orphans");
    let web = Patient::sleeping(&sandbox);
    web.kill_shim();
    web.assert_is("orphaned");
    let listed = list(&sandbox, &web.id);
    assert_eq!(listed["status"], "running");
    assert_eq!(listed["holdfast"]["finding"], "orphaned");
    web.mend();
    web.assert_is("running");
    assert_eq!(list(&sandbox, &web.id).get("holdfast"), None);

    // Its end, with nobody to see it: what the runtime knows about it goes first, so that nobody waits.
    web.kill_shim();
    let pid = Proc::from_file(&web.dir().join("pid")).unwrap();
    pid.signal(Signal::SIGKILL);
    sandbox.wait_until("its end", || !pid.is_alive());
    web.assert_is("lost");
    assert_eq!(list(&sandbox, &web.id)["holdfast"]["finding"], "lost");
    web.discharge();
}

#[test]
fn an_executable_that_was_replaced_is_told_and_upgraded() {
    let sandbox = Sandbox::new("outdated");
    let shim = sandbox.path().join("holdfast-shim");
    fs::copy(binaries::shim(), &shim).unwrap();
    let id = sandbox.id("web");
    let bundle = sandbox.bundle(["sleep", "1000"]);
    let mut run = sandbox.holdfast(["run", "-d", "-b", bundle.arg(), &id]);
    run.env("HOLDFAST_SHIM", &shim);
    let output = sandbox.output_of(run);
    assert!(output.status.success(), "{}", show(&output));
    let web = Patient {
        sandbox: &sandbox,
        id,
    };
    web.assert_is("running");
    let newer = sandbox.path().join("newer");
    fs::copy(binaries::shim(), &newer).unwrap();
    fs::rename(newer, &shim).unwrap();
    web.assert_is("outdated");
    web.mend();
    web.assert_is("running");
    web.discharge();
}

/// What may happen to a directory, to whose shim, and what is found then.
struct Damage {
    what: &'static str,
    shim_lives: bool,
    condition: &'static str,
    /// Whether it still runs, held, when everything is mended.
    runs_on: bool,
}

/// Does something to a container's files.
fn damage(web: &Patient<'_>, what: &str) {
    let (name, how) = what.split_once(' ').unwrap();
    let path = web.sandbox.container_dir(&web.id).join(name);
    match how {
        "absent" => fs::remove_file(path).unwrap(),
        "empty" => fs::write(path, "").unwrap(),
        "torn" => fs::write(path, "{\"pid\":").unwrap(),
        "directory" => {
            let _ = fs::remove_file(&path);
            fs::create_dir(path).unwrap();
        }
        "fifo" => {
            let _ = fs::remove_file(&path);
            fifo::make(&path);
        }
        other => panic!("how is {other} done?"),
    }
}

#[test]
fn whatever_is_damaged_is_named_and_what_is_advised_mends_it() {
    let sandbox = Sandbox::new("damage");
    let case = |what, shim_lives, condition, runs_on| Damage {
        what,
        shim_lives,
        condition,
        runs_on,
    };
    let cases = [
        case("state.json torn", true, "corrupt", true),
        case("state.json absent", true, "corrupt", true),
        case("state.json torn", false, "corrupt", false),
        case("init/process.json empty", true, "corrupt", false),
        case("init/process.json fifo", false, "corrupt", false),
        case("init/pid torn", true, "corrupt", true),
        case("init/pid torn", false, "corrupt", false),
        case("init/pid absent", true, "corrupt", true),
        case("init/pid absent", false, "corrupt", false),
        case("init/starttime empty", true, "corrupt", true),
        case("init/starttime absent", true, "corrupt", true),
        case("init/starttime absent", false, "corrupt", false),
        case("init/starttime directory", false, "corrupt", false),
        case("init/exit absent", true, "corrupt", true),
        case("init/exit absent", false, "corrupt", true),
        case("init/control directory", true, "corrupt", true),
        case("init/control absent", false, "corrupt", true),
        case("init/shim.json torn", true, "running", true),
        case("init/shim.json fifo", true, "running", true),
        case("init/shim.json directory", true, "running", true),
        case("init/shim-log.json fifo", true, "running", true),
        case("init/log.json directory", true, "running", true),
        case("init/exit.json torn", true, "corrupt", true),
        case("init/exit.json empty", false, "corrupt", true),
        case("init/exitStatus torn", true, "corrupt", true),
        case("init/stdout absent", true, "running", true),
    ];
    for Damage {
        what,
        shim_lives,
        condition,
        runs_on,
    } in cases
    {
        let web = Patient::sleeping(&sandbox);
        if !shim_lives {
            web.kill_shim();
        }
        damage(&web, what);
        let (found, _) = web.verdict();
        if found != condition {
            sandbox.dump();
            panic!("{what}: is {found}, not {condition}: {:#}", web.inspect());
        }
        // One thing after the other may have to be mended.
        for _ in 0..3 {
            if web.is_there() && web.verdict().1.is_some() {
                web.mend();
            }
        }
        if runs_on {
            web.assert_is("running");
        } else {
            assert!(!web.is_there(), "{what}: is still there");
        }
        if what.ends_with("directory") && runs_on {
            // Not what `delete` is tested with here.
            let (name, _) = what.split_once(' ').unwrap();
            let path = sandbox.container_dir(&web.id).join(name);
            let _ = fs::remove_dir(path);
        }
        web.discharge();
    }
}

#[test]
fn a_directory_that_is_nobodys_is_told_and_can_be_removed() {
    let sandbox = Sandbox::new("nobody");
    let web = Patient {
        sandbox: &sandbox,
        id: sandbox.id("web"),
    };
    for make_init in [false, true] {
        fs::create_dir(sandbox.container_dir(&web.id)).unwrap();
        if make_init {
            fs::create_dir(web.dir()).unwrap();
        }
        web.assert_is("corrupt");
        let row = list(&sandbox, &web.id);
        assert_eq!(
            (&row["status"], &row["pid"]),
            (&"corrupt".into(), &0.into())
        );
        assert_eq!(row["holdfast"]["finding"], "corrupt");
        assert!(sandbox.run_ok(["list"]).contains("corrupt"));
        // What other verbs need cannot be had of it; who asks for that is told why it is not there.
        let quiet = sandbox.output(["list", "-q"]);
        assert!(quiet.status.success(), "{}", show(&quiet));
        assert_eq!(text(&quiet.stdout), "");
        assert!(text(&quiet.stderr).contains(&web.id), "{}", show(&quiet));
        web.mend();
        assert!(!web.is_there());
    }
    let refused = sandbox.output(["inspect", &web.id]);
    assert_eq!(refused.status.code(), Some(125), "{}", show(&refused));
    web.discharge();
}

/// A container's row in `list`.
fn list(sandbox: &Sandbox, id: &str) -> Value {
    let output = sandbox.output(["list", "-f", "json"]);
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let row = rows.into_iter().find(|row| row["id"] == id);
    row.unwrap_or_else(|| panic!("{id} is not listed: {}", show(&output)))
}

#[test]
fn a_shim_tells_what_it_holds_when_asked() {
    let sandbox = Sandbox::new("view");
    let web = Patient::run(&sandbox, &sandbox.bundle(["cat"]));
    let log = web.dir().join("shim-log.json");
    let views = || -> Vec<Value> {
        let log = fs::read_to_string(&log).unwrap_or_default();
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|line: &Value| line["msg"] == "view")
            .map(|line| line["view"].clone())
            .collect()
    };
    let shim = web.shim();
    // The log has heard enough of this; it is not deaf to the question.
    let control = fifo::both(&web.dir().join("control"));
    sandbox.write_all(&control, b"no\n1 80");
    for n in 0..300 {
        shim.signal(Signal::SIGUSR2);
        if n % 100 == 0 {
            sandbox.write_all(&control, b"x\n1 80");
        }
    }
    sandbox.wait_until("the view", || {
        shim.signal(Signal::SIGUSR1);
        views()
            .last()
            .is_some_and(|view| view["control"]["badLines"] == 4)
    });
    let view = views().pop().unwrap();
    assert_eq!(view["pid"], shim.pid().as_raw());
    assert_eq!(view["phase"], "hold");
    assert_eq!(view["process"]["child"], true);
    assert_eq!(view["control"]["begun"], 4);
    assert_eq!(view["asked"], 0);
    for (name, number) in view["descriptors"].as_object().unwrap() {
        let fd = i32::try_from(number.as_i64().unwrap()).unwrap();
        let target = shim.fds().remove(&fd).expect("the descriptor is open");
        let file = if name == "lock" { "shim.lock" } else { name };
        assert_eq!(target, web.dir().join(file));
    }
    sandbox.write_all(&control, b" 24\n");
    sandbox.run_ok(["close-stdin", &web.id]);
    assert_eq!(sandbox.run_ok(["wait", &web.id]), "0\n");
    web.discharge();
}

#[test]
fn views_are_bounded_too() {
    let sandbox = Sandbox::new("views");
    let web = Patient::sleeping(&sandbox);
    let log = web.dir().join("shim-log.json");
    fs::write(&log, vec![b'x'; 256 << 10]).unwrap();
    let shim = web.shim();
    let idle = || shim.stat(3).as_deref() == Some("S");
    shim.signal(Signal::SIGUSR1);
    sandbox.wait_until("the signal to be taken", || {
        idle() && shim.status("ShdPnd").as_deref() == Some("0000000000000000")
    });
    assert_eq!(fs::metadata(&log).unwrap().len(), 256 << 10);
    // Emptied by hand, it has room again.
    fs::write(&log, "").unwrap();
    shim.signal(Signal::SIGUSR1);
    sandbox.wait_until("a view", || fs::metadata(&log).unwrap().len() > 100);
    assert!(process::under(&web.dir()).contains(&shim));
    web.discharge();
}
