//! Whatever stands in the place of a state file: those who need the file say which one is wrong and why, those who do not
//! need it give the right answer, all at once; the neighbours are well, and nothing is changed by looking.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use holdfast::{ContainerId, Driver, Error, Finding};
use holdfast_tests::command::{show, text};
use holdfast_tests::{DEADLINE, Sandbox, Snapshot, fifo, wait};
use serde_json::Value;

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Absent,
    Empty,
    Blank,
    Truncated,
    Alien,
    WrongTypes,
    Binary,
    Directory,
    LinkToTheSame,
    LinkToNowhere,
    LinkToItself,
    LinkToZero,
    Fifo,
    Socket,
    Huge,
}

use Damage::*;

const ALL: [Damage; 15] = [
    Absent,
    Empty,
    Blank,
    Truncated,
    Alien,
    WrongTypes,
    Binary,
    Directory,
    LinkToTheSame,
    LinkToNowhere,
    LinkToItself,
    LinkToZero,
    Fifo,
    Socket,
    Huge,
];

/// The file, in a container's directory, and what it looks like with every type wrong.
const FILES: [(&str, &str); 7] = [
    (
        "state.json",
        r#"{"bundle":7,"labels":"x","runtimeArgs":{}}"#,
    ),
    (
        "init/process.json",
        r#"{"terminal":"yes","exec":1,"args":"sh"}"#,
    ),
    ("init/pid", "twelve"),
    ("init/starttime", "-1"),
    (
        "init/exit.json",
        r#"{"pid":"1","exitedAt":0,"code":"7","source":1}"#,
    ),
    ("init/exitStatus", "256"),
    ("init/shim.json", r#"{"pid":"x","startTime":[]}"#),
];

/// Damages one file, which is put back when this is dropped.
struct Damaged {
    path: PathBuf,
    saved: PathBuf,
}

impl Damaged {
    fn new(sandbox: &Sandbox, path: PathBuf, wrong_types: &str, damage: Damage) -> Self {
        let saved = sandbox.path().join("saved");
        let original = fs::read(&path).unwrap_or_else(|_| b"{\"pid\":1}".to_vec());
        if path.exists() {
            fs::rename(&path, &saved).unwrap();
        }
        let write = |bytes: &[u8]| fs::write(&path, bytes).unwrap();
        match damage {
            Absent => {}
            Empty => write(b""),
            Blank => write(b" \n"),
            // A number that is cut short is another number, unless nothing is left of it.
            Truncated if path.extension().is_none() => write(b"-"),
            Truncated => write(&original[..original.len() / 2]),
            Alien => write(br#"{"kind":"Pod"}"#),
            WrongTypes => write(wrong_types.as_bytes()),
            Binary => write(b"\xff\xfe\x00\x80{"),
            Directory => fs::create_dir(&path).unwrap(),
            LinkToTheSame => symlink(&saved, &path).unwrap(),
            LinkToNowhere => symlink("/nowhere/at/all", &path).unwrap(),
            LinkToItself => symlink(path.file_name().unwrap(), &path).unwrap(),
            LinkToZero => symlink("/dev/zero", &path).unwrap(),
            Fifo => fifo::make(&path),
            Socket => drop(UnixListener::bind(&path).unwrap()),
            Huge => File::create(&path).unwrap().set_len(100 << 20).unwrap(),
        }
        Self { path, saved }
    }
}

impl Drop for Damaged {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(&self.path);
        let _ = fs::rename(&self.saved, &self.path);
    }
}

/// What is asked of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    List,
    State,
    Wait,
    Kill,
    Attach,
    Survey,
}

use Question::*;

const QUESTIONS: [Question; 6] = [List, State, Wait, Kill, Attach, Survey];

/// What somebody who asks is told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// All that is known, without what changes from one time to the other.
    Told(String),
    /// An error, in words.
    Refused(String),
}

/// A container beside a healthy one.
struct Pair<'a> {
    sandbox: &'a Sandbox,
    driver: Driver,
    id: String,
    neighbour: String,
    running: bool,
}

impl Pair<'_> {
    fn ask(&self, question: Question) -> Answer {
        let id = self.id.as_str();
        match question {
            List => self.list(),
            State => answer(&self.sandbox.output(["state", id])),
            Kill => answer(&self.sandbox.output(["kill", id, "0"])),
            // The command would wait for a running one, as it should.
            Wait if self.running => self.in_time(|driver, id| {
                let waited = driver
                    .load(&id)?
                    .init()?
                    .wait(Some(Duration::from_millis(1)));
                match waited {
                    Err(Error::WaitTimeout { .. }) => Ok("it runs".to_owned()),
                    other => other.map(|record| format!("{record:?}")),
                }
            }),
            Wait => answer(&self.sandbox.output(["wait", id])),
            Attach if self.running => self.in_time(|driver, id| {
                let streams = driver.load(&id)?.init()?.stdio()?;
                Ok(format!(
                    "{} {}",
                    streams.stdin.is_some(),
                    streams.stdout.is_some()
                ))
            }),
            Attach => answer(&self.sandbox.output(["attach", id])),
            Survey => self.survey(),
        }
    }

    /// `list` goes on after a container that it cannot understand.
    fn list(&self) -> Answer {
        let output = self.sandbox.output(["list", "-f", "json"]);
        assert!(output.status.success(), "{}", show(&output));
        let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let find = |id: &str| {
            listed
                .as_array()
                .unwrap()
                .iter()
                .find(|c| c["id"] == id)
                .cloned()
        };
        let neighbour = find(&self.neighbour).expect("the neighbour is listed");
        assert_eq!(neighbour["status"], "running");
        // What is wrong stands with what is listed, and nowhere else.
        assert!(output.stderr.is_empty(), "{}", show(&output));
        match find(&self.id) {
            Some(state) if state["status"] == "corrupt" => {
                let reason = state["holdfast"]["reason"].as_str().unwrap();
                assert!(!reason.contains('\n'), "{state}");
                Answer::Refused(reason.to_owned())
            }
            Some(state) => Answer::Told(state.to_string()),
            None => panic!("is not listed: {}", show(&output)),
        }
    }

    fn survey(&self) -> Answer {
        let driver = self.driver.clone();
        let verdicts = wait::within(DEADLINE, move || driver.survey())
            .expect("survey hangs")
            .unwrap();
        let neighbour = verdicts
            .iter()
            .find(|verdict| verdict.id == self.neighbour)
            .unwrap();
        assert!(
            matches!(neighbour.finding, Finding::Running),
            "{neighbour:?}"
        );
        let of_id: Vec<_> = verdicts
            .iter()
            .filter(|verdict| verdict.id == self.id)
            .collect();
        let [verdict] = of_id[..] else {
            panic!("not one verdict: {of_id:?}");
        };
        match &verdict.finding {
            Finding::Unreadable(error) => Answer::Refused(error.to_string()),
            Finding::Exited(record) => Answer::Told(format!("exited {}", record.status.number())),
            other => Answer::Told(format!("{other:?}")),
        }
    }

    /// The answer of a library call, which must not wait.
    fn in_time(
        &self,
        ask: impl FnOnce(Driver, ContainerId) -> Result<String, Error> + Send + 'static,
    ) -> Answer {
        let (driver, id) = (
            self.driver.clone(),
            ContainerId::new(self.id.as_str()).unwrap(),
        );
        match wait::within(DEADLINE, move || ask(driver, id)).expect("it hangs") {
            Ok(text) => Answer::Told(text),
            Err(e) => Answer::Refused(e.to_string()),
        }
    }

    /// Asks everything of everything that is wrong with every file.
    fn survives(&self, expected: impl Fn(&str, Damage, Question) -> Expected) {
        let healthy = QUESTIONS.map(|question| self.ask(question));
        let dir = self.sandbox.container_dir(&self.id);
        let mut problems = Vec::new();
        for (file, wrong_types) in FILES {
            for damage in ALL {
                let path = dir.join(file);
                if damage == Absent && !path.exists() {
                    continue;
                }
                let damaged = Damaged::new(self.sandbox, path.clone(), wrong_types, damage);
                let before = Snapshot::of(&self.sandbox.root());
                for (question, healthy) in QUESTIONS.into_iter().zip(&healthy) {
                    let answer = self.ask(question);
                    let as_expected = match (expected(file, damage, question), &answer) {
                        (Expected::Same, _) => answer == *healthy,
                        (Expected::Names, Answer::Refused(words)) => {
                            words.contains(path.to_str().unwrap())
                        }
                        (Expected::Says(words), Answer::Told(told) | Answer::Refused(told)) => {
                            told.contains(words)
                        }
                        (Expected::Names, Answer::Told(_)) => false,
                    };
                    if !as_expected {
                        problems.push(format!("{file} {damage:?} {question:?}: {answer:?}"));
                    }
                }
                before.assert_unchanged(&format!("{file} {damage:?}: a question"));
                drop(damaged);
            }
        }
        assert!(problems.is_empty(), "{}", problems.join("\n"));
        assert_eq!(QUESTIONS.map(|question| self.ask(question)), healthy);
    }
}

/// What a question about a container with a damaged file should bring.
#[derive(Debug)]
enum Expected {
    /// The file is not needed.
    Same,
    /// An error that names the file.
    Names,
    /// Something else that is true.
    Says(&'static str),
}

fn answer(output: &Output) -> Answer {
    if output.status.code() == Some(125) {
        return Answer::Refused(one_line(output));
    }
    Answer::Told(show(output))
}

fn one_line(output: &Output) -> String {
    let stderr = text(&output.stderr);
    assert!(
        stderr.starts_with("holdfast: ") && stderr.matches('\n').count() == 1,
        "{}",
        show(output)
    );
    stderr
}

fn pair<'a>(sandbox: &'a Sandbox, script: &str, running: bool) -> Pair<'a> {
    let (id, neighbour) = (sandbox.id("damaged"), sandbox.id("neighbour"));
    let sleep = sandbox.bundle(["sleep", "1000"]);
    sandbox.run_ok(["run", "-d", "-b", sleep.arg(), &neighbour]);
    sandbox.run_ok(["run", "-d", "-b", sandbox.sh(script).arg(), &id]);
    let pair = Pair {
        sandbox,
        driver: sandbox.driver(),
        id,
        neighbour,
        running,
    };
    if !running {
        let init = pair
            .driver
            .load(&ContainerId::new(pair.id.as_str()).unwrap())
            .unwrap()
            .init()
            .unwrap();
        init.wait(Some(DEADLINE)).unwrap();
        init.wait_gone(Some(DEADLINE)).unwrap();
    }
    pair
}

#[test]
fn a_running_container_is_understood_or_the_file_is_named() {
    let sandbox = Sandbox::new("files-run");
    let pair = pair(&sandbox, "exec sleep 1000", true);
    pair.survives(|file, damage, question| match (file, damage, question) {
        ("state.json" | "init/process.json", ..) => Expected::Names,
        // The runtime has not written it yet, or its shim has not: a moment that is seen now and then.
        ("init/pid" | "init/starttime", Absent, List | State) => Expected::Says("creating"),
        ("init/pid" | "init/starttime", Absent, Kill) => Expected::Says("is not started"),
        ("init/pid" | "init/starttime", Absent, Survey) => Expected::Says("Launching"),
        ("init/pid" | "init/starttime", _, List | State | Kill | Survey) => Expected::Names,
        // As for containerd 0.2, a number that is still to be written.
        ("init/exitStatus", Empty | Blank, _) => Expected::Same,
        ("init/exit.json" | "init/exitStatus", _, List | State | Wait | Survey) => Expected::Names,
        _ => Expected::Same,
    });
    sandbox.run_ok(["kill", &pair.id, "KILL"]);
    assert_eq!(sandbox.run_ok(["wait", &pair.id]), "137\n");
}

#[test]
fn a_stopped_container_is_understood_or_the_file_is_named() {
    let sandbox = Sandbox::new("files-stop");
    let pair = pair(&sandbox, "echo hello; exit 7", false);
    pair.survives(|file, damage, question| match (file, damage, question) {
        ("state.json" | "init/process.json", ..) => Expected::Names,
        ("init/pid", Absent, _) => Expected::Same,
        ("init/pid" | "init/starttime", _, Kill) => Expected::Names,
        // exitStatus says the same.
        ("init/exit.json", Absent, _) => Expected::Same,
        ("init/exit.json", _, List | State | Wait | Attach | Survey) => Expected::Names,
        _ => Expected::Same,
    });
    sandbox.run_ok(["delete", &pair.id]);
}

#[test]
fn a_stopped_container_without_a_record_is_lost_and_says_so() {
    let sandbox = Sandbox::new("files-lost");
    let pair = pair(&sandbox, "exit 7", false);
    let dir = sandbox.process_dir(&pair.id, "init");
    for file in ["exit.json", "exitStatus"] {
        fs::remove_file(dir.join(file)).unwrap();
    }
    let before = Snapshot::of(&sandbox.root());
    let refused = |question| match pair.ask(question) {
        Answer::Refused(words) => words,
        Answer::Told(told) => panic!("{told}"),
    };
    assert!(refused(Wait).contains("is not known"), "{}", refused(Wait));
    assert!(
        refused(Attach).contains("is not known"),
        "{}",
        refused(Attach)
    );
    let told = |question, words: &str| match pair.ask(question) {
        Answer::Told(told) => assert!(told.contains(words), "{told}"),
        Answer::Refused(refused) => panic!("{refused}"),
    };
    told(State, "stopped");
    told(List, "stopped");
    told(Survey, "Lost");
    before.assert_unchanged("asking");
    sandbox.run_ok(["delete", &pair.id]);
}

#[test]
fn what_containerd_0_2_records_is_enough() {
    let sandbox = Sandbox::new("files-02");
    let pair = pair(&sandbox, "exit 7", false);
    let dir = sandbox.process_dir(&pair.id, "init");
    fs::remove_file(dir.join("exit.json")).unwrap();
    let status = |text: &str| fs::write(dir.join("exitStatus"), text).unwrap();
    status("9");
    assert_eq!(pair.ask(Survey), Answer::Told("exited 9".to_owned()));
    status("137\n");
    assert_eq!(sandbox.run_ok(["wait", &pair.id]), "137\n");
    for bad in ["256", "-1", "x", "1 2", "99999999999999999999999"] {
        status(bad);
        let path = dir.join("exitStatus");
        sandbox.refused(["wait", &pair.id], &[path.to_str().unwrap()]);
    }
}
