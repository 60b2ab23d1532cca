//! What people are told to type works: every command in a block of README.md, CONTRIBUTING.md and docs/ is typed, line by line and
//! in order, into a shell on a terminal. docs/debugging.md, which shows what is printed too, has a test of its own
//! (debugging_guide.rs).
//!
//! A page's commands find `./bundle`, a container that says *ready*, repeats what it hears, and ends at `exit` or SIGTERM;
//! /run/holdfast stands for the sandbox's root. A command must end by itself with exit code 0, with nobody at the keyboard. One
//! that waits for a person has a line in [`PEOPLE`]; one that needs something to be there first, in [`before`].

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use holdfast_tests::command::show;
use holdfast_tests::pages::{self, Page};
use holdfast_tests::{Bundle, Criu, Sandbox, Terminal, seccomp};
use serde_json::json;

/// Pages whose blocks another test runs, and which.
const ELSEWHERE: [(&str, &str); 1] = [("docs/debugging.md", "debugging_guide.rs")];

/// Languages of blocks that nobody types.
const NO_COMMANDS: [&str; 7] = ["text", "json", "rust", "rust,no_run", "toml", "ini", "yaml"];

/// What a person does about a command that has these words in it: waits for this to be shown, and types that.
const PEOPLE: [(&str, &[(&str, &str)]); 8] = [
    ("holdfast run -b ", &[("ready", "exit\n")]),
    (
        "holdfast attach ",
        &[("", "hello\n"), ("heard: hello", "\x10\x11")],
    ),
    ("exec -t web sh", &[("# ", "exit\n")]),
    ("stats --watch", &[("CPU %", INTERRUPT)]),
    ("events -f", &[("start-container", INTERRUPT)]),
    ("logs -f", &[("ready", INTERRUPT)]),
    ("holdfast supervise", &[("\"ready\"", INTERRUPT)]),
    ("cat exit ", &[("", THE_END)]),
];

/// Ctrl-C: the command ends, with whatever exit code it has for that.
const INTERRUPT: &str = "\x03";

/// Not typed: the container is ended meanwhile.
const THE_END: &str = "(the end)";

/// The container of the pages.
const ID: &str = "web";

struct Reader<'a> {
    sandbox: &'a Sandbox,
    terminal: Terminal<'a>,
    bundle: Bundle,
    criu: Option<Criu>,
}

impl<'a> Reader<'a> {
    fn new(sandbox: &'a Sandbox) -> Self {
        let script = "trap 'exit 0' TERM; stty -echo; echo ready
            while read -r line; do
                [ \"$line\" != exit ] || exit 0
                echo \"heard: $line\"
            done";
        // Its id is the same for everybody who runs this; its cgroup must not be.
        let cgroup = sandbox.id("documented");
        let bundle = sandbox
            .sh(script)
            .terminal()
            .edit(|config| config["linux"]["cgroupsPath"] = json!(format!("/{cgroup}")));
        std::os::unix::fs::symlink(bundle.dir(), sandbox.path().join("bundle")).unwrap();
        let mut bash = sandbox.beside_holdfast("bash");
        bash.args(["--norc", "--noprofile", "--noediting", "-i"]);
        bash.env("TERM", "dumb").env("LC_ALL", "C.UTF-8");
        let criu = Criu::find();
        if let Some(criu) = &criu {
            bash.env("HOLDFAST_CRIU", criu.path());
        }
        // A reader has not said where output goes.
        bash.env_remove("HOLDFAST_STDIO");
        let mut terminal = sandbox.spawn_on_terminal(&bash, 250, 50);
        terminal.type_in("PS1='<<<$?''>>>'; PS2=\n");
        terminal.expect("<<<0>>>");
        Self {
            sandbox,
            terminal,
            bundle,
            criu,
        }
    }

    fn web_is_there(&self) -> bool {
        self.sandbox.container_dir(ID).exists()
    }

    /// What the reader of a line has done before.
    fn before(&self, command: &str) {
        let is_launch = ["holdfast run ", "holdfast create "]
            .iter()
            .any(|launch| command.starts_with(launch));
        // Each launch is another way to begin.
        if is_launch && self.web_is_there() {
            self.sandbox.run_ok(["delete", "-f", ID]);
        }
        if command.starts_with("cd ") && !self.web_is_there() {
            let mut run = self
                .sandbox
                .holdfast(["run", "-d", "-b", self.bundle.arg(), ID]);
            run.env_remove("HOLDFAST_STDIO");
            assert!(self.sandbox.output_of(run).status.success());
        }
        if command.contains("--seccomp-agent-store") {
            let socket = self.sandbox.path().join("agent.sock");
            let config = self.bundle.config().clone();
            let bundle = self.sandbox.bundle(["true"]).edit(|ours| *ours = config);
            let bundle = seccomp::filtered(bundle, seccomp::MKDIR, &socket);
            self.put(bundle.config());
        }
        if command.starts_with("holdfast spec ") {
            fs::remove_file(self.bundle.dir().join("config.json")).unwrap();
        }
    }

    fn after(&self, command: &str) {
        if command.starts_with("holdfast spec ") {
            let written = self.bundle.dir().join("config.json");
            assert!(written.exists(), "{command}");
        }
        self.put(self.bundle.config());
    }

    fn put(&self, config: &serde_json::Value) {
        fs::write(self.bundle.dir().join("config.json"), config.to_string()).unwrap();
    }

    fn type_line(&mut self, line: &str, place: &str) {
        // Whatever goes wrong, it was here.
        eprintln!("{place}: {line}");
        let command = line.split(" #").next().unwrap().trim_end();
        let takes_criu = ["holdfast checkpoint ", "holdfast restore "];
        if self.criu.is_none() && takes_criu.iter().any(|verb| command.starts_with(verb)) {
            return;
        }
        self.before(command);
        let root = format!("{}/", self.sandbox.root().display());
        self.terminal
            .type_in(&format!("{}\n", line.replace("/run/holdfast/", &root)));
        let with_blank = format!("{command} ");
        let person = PEOPLE.iter().find(|(words, _)| with_blank.contains(words));
        let mut interrupted = false;
        for (shown, keys) in person.map_or(&[][..], |(_, does)| does) {
            self.terminal.expect(shown);
            if *keys == THE_END {
                self.sandbox.run_ok(["kill", ID, "KILL"]);
            } else {
                self.terminal.type_in(keys);
            }
            interrupted = *keys == INTERRUPT;
        }
        let mut shown = self.terminal.expect("<<<");
        let code = self.terminal.expect(">>>");
        if code != "0" && !interrupted {
            self.sandbox.dump();
            shown.truncate(4000);
            panic!("{place}: exit code {code}: {line}\n{shown}");
        }
        self.after(command);
    }
}

/// A script of ours is run by whoever works here, or by CI; it must be there, and be one.
fn is_our_script(command: &str) -> bool {
    let Some(script) = command
        .split(' ')
        .next()
        .filter(|word| word.starts_with("scripts/"))
    else {
        return false;
    };
    let path = pages::top().join(script);
    let meta = path.metadata().unwrap_or_else(|e| panic!("{script}: {e}"));
    assert!(meta.permissions().mode() & 0o111 != 0, "{script}");
    let parsed = Command::new("bash").arg("-n").arg(&path).status();
    assert!(parsed.unwrap().success(), "{script}");
    true
}

#[test]
fn every_command_of_every_page_does_what_it_should() {
    for page in pages::all() {
        if ELSEWHERE.iter().any(|(name, _)| *name == page.name) {
            continue;
        }
        let commands = page.blocks().into_iter().filter(|block| {
            let is_command = pages::COMMANDS.contains(&block.language);
            let place = format!("{}:{}", page.name, block.line);
            assert!(
                is_command || NO_COMMANDS.contains(&block.language),
                "{place}: is this to be typed? Say `sh`, or one of {NO_COMMANDS:?}"
            );
            is_command
        });
        let lines = commands.flat_map(|block| block.text.lines().zip(block.line + 1..));
        let lines = lines.filter(|(line, _)| !line.trim().is_empty() && !line.starts_with('#'));
        let typed: Vec<_> = lines.filter(|(line, _)| !is_our_script(line)).collect();
        if typed.is_empty() {
            continue;
        }
        let sandbox = Sandbox::new("pages");
        let mut reader = Reader::new(&sandbox);
        for (line, number) in typed {
            reader.type_line(line, &format!("{}:{number}", page.name));
        }
        let there = reader.web_is_there();
        drop(reader);
        if there {
            sandbox.run_ok(["delete", "-f", ID]);
        }
        sandbox.forget_supervision();
        sandbox.assert_clean();
    }
}

#[test]
fn the_story_of_the_readme_is_told() {
    let sandbox = Sandbox::new("story");
    let mut demo = Command::new(pages::top().join("scripts/demo"));
    demo.arg("--built").current_dir(sandbox.path());
    let output = sandbox.output_of(demo);
    assert!(output.status.success(), "{}", show(&output));
    assert!(
        show(&output).contains("All of it as promised."),
        "{}",
        show(&output)
    );
}

/// Every verb, and what its help says.
fn helps(sandbox: &Sandbox) -> Vec<(String, String)> {
    let help = sandbox.run_ok(["--help"]);
    let (verbs, _) = help.split_once("Global options:").unwrap();
    let verbs = verbs.lines().filter_map(|line| line.strip_prefix("  "));
    let verbs = verbs.map(|line| line.split(' ').next().unwrap().to_owned());
    let mut helps: Vec<(String, String)> = verbs
        .filter(|verb| verb != "help")
        .map(|verb| {
            let help = sandbox.run_ok([&verb, "--help"]);
            (verb, help)
        })
        .collect();
    helps.push((String::new(), help));
    helps
}

#[test]
fn every_verb_and_flag_that_a_page_speaks_of_is_there() {
    let sandbox = Sandbox::new("spoken");
    let helps = helps(&sandbox);
    let global = helps.last().unwrap().1.as_str();
    let mut seen = 0;
    for page in pages::all() {
        for code in page.code() {
            let words: Vec<&str> = code.split_whitespace().collect();
            // `holdfast VERB …` and `VERB … --flag`; what begins otherwise is another program's.
            let named = code.starts_with("holdfast ");
            let Some(verb) = words.get(usize::from(named)) else {
                continue;
            };
            let listed = helps.iter().find(|(known, _)| known == verb);
            let Some((_, help)) = listed else {
                let is_word = verb.starts_with(|c: char| c.is_ascii_lowercase());
                if named && is_word && *verb != "help" {
                    // One that is for packages alone is in no list.
                    sandbox.run_ok([verb, "--help"]);
                }
                continue;
            };
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap();
                let known = help.contains(flag) || global.contains(flag);
                assert!(known, "{}: `{code}`: there is no {flag}", page.name);
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn every_page_stands_in_the_readme_and_every_link_leads_somewhere() {
    let readme = Page::read("README.md").text;
    for page in pages::all() {
        let linked = readme.contains(&format!("]({})", page.name));
        assert!(
            linked || page.name == "README.md",
            "{} is not in README.md",
            page.name
        );
        let dir = pages::top().join(&page.name).parent().unwrap().to_owned();
        for link in page.text.split("](").skip(1) {
            let (link, _) = link.split_once(')').unwrap();
            let file = link.split('#').next().unwrap();
            let leads = link.contains("://") || file.is_empty() || dir.join(file).exists();
            assert!(leads, "{}: {link}", page.name);
        }
    }
}

#[test]
fn a_page_that_another_test_runs_is_run_by_it() {
    for (page, test) in ELSEWHERE {
        let text = fs::read_to_string(pages::top().join("tests/tests").join(test)).unwrap();
        assert!(text.contains(&format!("Page::read(\"{page}\")")), "{test}");
        assert!(!Page::read(page).blocks_of("console").is_empty());
    }
}
