//! The manual: pages for the command and each of its verbs, made from the definitions of the command line, and two by hand, which
//! name everything that there is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_tests::Sandbox;
use holdfast_tests::command::{show, text};
use holdfast_tests::pages::Page;

fn page(name: &str) -> String {
    Page::read(name).text
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// What the reader sees.
fn rendered(sandbox: &Sandbox, pages: &[PathBuf]) -> String {
    let mut man = Command::new("man");
    man.args(["--warnings=w", "-l"]).args(pages);
    man.env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8");
    man.env_remove("MANROFFOPT").env_remove("MANOPT");
    man.current_dir(sandbox.path());
    let output = sandbox.output_of(man);
    assert!(output.status.success(), "{}", show(&output));
    assert_eq!(text(&output.stderr), "", "a page has a fault");
    text(&output.stdout)
}

#[test]
fn every_verb_has_a_page_and_every_page_renders_without_a_warning() {
    let sandbox = Sandbox::new("manual");
    assert_eq!(sandbox.run_ok(["man-pages", "man"]), "");
    let pages: Vec<PathBuf> = entries(&sandbox.path().join("man"))
        .iter()
        .flat_map(|section| entries(section))
        .collect();
    let names = pages.iter().map(|page| page.file_name().unwrap());
    let names: Vec<String> = names
        .map(|name| name.to_str().unwrap().to_owned())
        .collect();
    // Lines of two spaces, a verb, and what it does.
    let help = sandbox.run_ok(["--help"]);
    let (verbs, _) = help.split_once("Global options:").unwrap();
    let verbs = verbs.lines().filter_map(|line| line.strip_prefix("  "));
    let mut expected: Vec<String> = verbs
        .map(|line| line.split(' ').next().unwrap())
        .filter(|verb| *verb != "help")
        .map(|verb| format!("holdfast-{verb}.1"))
        .collect();
    assert!(expected.len() > 25, "{expected:?}");
    expected.sort();
    expected.push("holdfast.1".to_owned());
    expected.extend(["holdfast-state-directory.5", "holdfast-shim.8"].map(str::to_owned));
    assert_eq!(names, expected);

    let all = rendered(&sandbox, &pages);
    assert_eq!(all.matches("\nNAME\n").count(), pages.len());
    assert!(!all.contains('@'), "a placeholder is left");
    let version = sandbox.run_ok(["--version"]);
    assert!(all.contains(&format!("\n{}", version.lines().next().unwrap())));
    // As apropos(1) and the index of pages want it.
    let mut lexgrog = Command::new("lexgrog");
    lexgrog.args(&pages).current_dir(sandbox.path());
    let output = sandbox.output_of(lexgrog);
    assert!(output.status.success(), "{}", show(&output));
}

#[test]
fn a_page_has_the_verbs_flags_and_examples_and_no_other() {
    let sandbox = Sandbox::new("pages");
    sandbox.run_ok(["man-pages", "man"]);
    let dir = sandbox.path().join("man/man1");
    let run = rendered(&sandbox, &[dir.join("holdfast-run.1")]);
    for words in [
        "holdfast-run - create and start a container",
        "holdfast run [OPTIONS] <ID>",
        "-d, --detach",
        "--restart <POLICY> [default: no]",
        "holdfast run -b BUNDLE web  ",
        "The command was not found",
    ] {
        assert!(run.contains(words), "{words}: {run}");
    }
    assert!(!run.contains("--runtime-root"), "{run}");
    let main = rendered(&sandbox, &[dir.join("holdfast.1")]);
    for words in [
        "--runtime-root <DIR>",
        "HOLDFAST_ROOT",
        "Look at them",
        "/run/holdfast",
    ] {
        assert!(main.contains(words), "{words}: {main}");
    }
    // A directory that cannot be made.
    fs::write(sandbox.path().join("file"), "").unwrap();
    sandbox.refused(["man-pages", "file/man"], &["write man page file/man"]);
}

/// Words in backquotes in a table's first column.
fn first_column(page: &str) -> Vec<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split(" |").next());
    let code = cells.flat_map(|cell| cell.split('`').step_by(2));
    code.map(str::to_owned).collect()
}

#[test]
fn the_pages_by_hand_name_every_file_word_and_message() {
    let plain = |name: &str| page(name).replace('\\', "");
    let files = plain("driver/man/holdfast-state-directory.5");
    let formats = page("docs/state-directory.md");
    let (table, _) = formats.split_once("**No fsync.**").unwrap();
    let mut named = 0;
    for file in first_column(table) {
        let name = file.rsplit('/').next().unwrap().trim_end_matches(" …");
        let name = name.replace("<stream>", "stdout");
        let (begin, end) = (
            files.find(&format!(".B {name}")),
            files.find(&format!("fB{name}")),
        );
        assert!(
            begin.or(end).is_some(),
            "{name} is not in driver/man/holdfast-state-directory.5"
        );
        named += 1;
    }
    assert!(named > 25, "{named}");

    let shim = plain("driver/man/holdfast-shim.8");
    let architecture = page("docs/architecture.md");
    let (_, launch) = architecture.split_once("`launch` takes:").unwrap();
    let (launch, _) = launch.split_once("`hold` takes").unwrap();
    for word in first_column(launch) {
        let key = word.split('=').next().unwrap();
        assert!(
            shim.contains(&format!("{key}=")),
            "{word} is not in driver/man/holdfast-shim.8"
        );
    }
    let (_, control) = formats.split_once("## Control").unwrap();
    let types = control.lines().filter_map(|line| line.strip_prefix("| "));
    let types: Vec<&str> = types
        .filter_map(|row| row.split(' ').next())
        .filter(|word| word.parse::<u8>().is_ok())
        .collect();
    assert!(types.len() >= 4, "{types:?}");
    for number in types {
        assert!(
            shim.contains(&format!("\n.B {number} ")),
            "message {number} is not in driver/man/holdfast-shim.8"
        );
    }
}
