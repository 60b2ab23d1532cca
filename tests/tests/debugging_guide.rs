//! Every command of docs/debugging.md, typed in its order into one shell, prints what the page says.

use holdfast_tests::pages::Page;
use holdfast_tests::{Bundle, DEADLINE, Running, Sandbox, wait};

/// A command, and what it prints.
struct Step<'a> {
    command: &'a str,
    prints: String,
}

fn steps(page: &Page) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    let blocks = page.blocks_of("console");
    for line in blocks.into_iter().flat_map(|block| block.text.lines()) {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step {
                command,
                prints: String::new(),
            }),
            None => {
                let step = steps.last_mut().expect("a block begins with a command");
                step.prints.push_str(line);
                step.prints.push('\n');
            }
        }
    }
    steps
}

/// Whether a text is as shown; `…` is whatever it is.
fn is_as_shown(shown: &str, text: &str) -> bool {
    let mut pieces = shown.trim_end().split('…');
    let first = pieces.next().unwrap();
    let Some(mut rest) = text.trim_end().strip_prefix(first) else {
        return false;
    };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        let Some(at) = rest.find(piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    true
}

/// A shell that commands are typed into.
struct Shell<'a> {
    running: Running<'a>,
    typed: usize,
}

impl<'a> Shell<'a> {
    fn new(sandbox: &'a Sandbox) -> Self {
        let mut sh = sandbox.beside_holdfast("sh");
        sh.env("LC_ALL", "C");
        let mut running = sandbox.spawn(sh);
        running.write("exec 2>&1\n");
        Self { running, typed: 0 }
    }

    /// What a command prints.
    #[track_caller]
    fn run(&mut self, command: &str) -> String {
        self.typed += 1;
        let (begin, end) = (format!("--{}", self.typed), format!("{}--", self.typed));
        let line = format!("echo {begin}\n{command}\nprintf '\\n%s\\n' {end}\n");
        self.running.write(&line);
        self.running.wait_stdout(&format!("\n{end}\n"));
        let all = self.running.stdout();
        let (_, printed) = all.rsplit_once(&format!("{begin}\n")).unwrap();
        let (printed, _) = printed.split_once(&format!("\n{end}\n")).unwrap();
        // A terminal ends its lines with both.
        printed.replace('\r', "")
    }
}

#[test]
fn every_command_of_the_page_prints_what_it_says() {
    let page = Page::read("docs/debugging.md");
    let sandbox = Sandbox::new("guide");
    let names = ["web", "term", "job"];
    let ids = names.map(|name| sandbox.id(name));
    let scripts = page.blocks_of("sh");
    assert_eq!(scripts.len(), names.len());
    for ((name, id), script) in names.iter().zip(&ids).zip(scripts) {
        let bundle = sandbox.sh(script.text);
        let bundle: Bundle = if *name == "term" {
            bundle.terminal()
        } else {
            bundle
        };
        // As without the flag, where nobody presets another.
        sandbox.run_ok(["run", "-d", "--stdio", "log", "-b", bundle.arg(), id]);
    }
    let ours = |text: &str| {
        let mut text = text.to_owned();
        for (name, id) in names.iter().zip(&ids) {
            let dir = sandbox.container_dir(id).display().to_string();
            text = text.replace(&format!("/run/holdfast/{name}/"), &format!("{dir}/"));
            text = text.replace(&format!("/{name}/init"), &format!("/{id}/init"));
            text = text.replace(&format!("{name}/init: "), &format!("{id}/init: "));
            text = text.replace(&format!("recover {name}"), &format!("recover {id}"));
        }
        text
    };
    let steps = steps(&page);
    assert!(steps.len() > 30, "the page has only {}", steps.len());
    let mut shell = Shell::new(&sandbox);
    for Step { command, prints } in steps {
        let (command, prints) = (ours(command), ours(&prints));
        let mut printed = shell.run(&command);
        // What is looked at may take a moment to come.
        let only_looks = command.starts_with("cat ");
        let as_shown = wait::until(DEADLINE, || {
            if is_as_shown(&prints, &printed) {
                return true;
            }
            if only_looks {
                printed = shell.run(&command);
            }
            !only_looks
        });
        if !as_shown || !is_as_shown(&prints, &printed) {
            sandbox.dump();
            panic!("$ {command}\n{printed}\nshould print\n{prints}");
        }
    }
    drop(shell);
    for id in &ids {
        sandbox.run_ok(["delete", "-f", id]);
    }
    sandbox.assert_clean();
}

#[test]
fn what_is_as_shown() {
    for (shown, text, expected) in [
        ("a\n", "a", true),
        ("a", "ab", false),
        ("", "", true),
        ("", "a", false),
        ("a…", "abc\nd", true),
        ("…c", "abc", true),
        ("a…c…e", "abcde", true),
        ("a…c…e", "abde", false),
    ] {
        assert_eq!(is_as_shown(shown, text), expected, "{shown} {text}");
    }
}
