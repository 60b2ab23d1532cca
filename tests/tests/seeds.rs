//! docs/seeds.md finds, for each exported name of five interfaces that daemons were written against, what it is here. A name
//! without a row, or a row that leads nowhere, is one that nobody finds.

use std::fs;
use std::path::{Path, PathBuf};

/// The sections of the page, and every name that each of them must have: types, constants and variables; of an interface, its
/// methods.
const NAMES: [(&str, &str); 5] = [
    (
        "containerd 0.2",
        "ErrContainerExited ErrProcessNotExited ErrContainerNotStarted ErrContainerStartTimeout ExitFile ExitStatusFile \
         StateFile ControlFile InitProcessID Checkpoint PlatformProcessState State Resource Paused Stopped Running ProcessState",
    ),
    (
        "docker",
        "StateStart StatePause StateResume StateExit StateRestart StateRestore StateStartProcess StateExitProcess StateOOM \
         CommonStateInfo Backend Backend.StateChanged Backend.AttachStreams Client.Create Client.Signal Client.SignalProcess \
         Client.AddProcess Client.Resize Client.Pause Client.Resume Client.Restore Client.Stats Client.GetPidsForContainer \
         Client.Summary Client.UpdateResources CreateOption IOPipe",
    ),
    (
        "OCI runtime-spec 0.3.0",
        "VersionMajor VersionMinor VersionPatch VersionDev Version Hook Hooks Mount Platform Process Root User Spec State",
    ),
    (
        "OCI runtime-spec 1.x",
        "ContainerState StateCreating StateCreated StateRunning StateStopped State SeccompFdName ContainerProcessState",
    ),
    (
        "runc",
        "Status Created Running Pausing Paused Stopped Status.String BaseState BaseContainer.ID BaseContainer.Status \
         BaseContainer.State BaseContainer.OCIState BaseContainer.Config BaseContainer.Processes BaseContainer.Stats \
         BaseContainer.Set BaseContainer.Start BaseContainer.Run BaseContainer.Destroy BaseContainer.Signal BaseContainer.Exec",
    ),
];

fn top() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("the crate is in the workspace")
        .to_owned()
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn sources(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).expect("read a directory of sources") {
        let path = entry.expect("read an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(&path).expect("read a source"));
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether a source declares the last part of an item (`fn`, `struct`, a field, a variant …), and has the part before it.
fn declares(source: &str, item: &str) -> bool {
    let mut parts = item.rsplit("::");
    let name = parts.next().unwrap_or_default();
    let has = |word: &str| source.split(|c| !is_word(c)).any(|it| it == word);
    let declared = source.lines().map(str::trim).any(|line| {
        let line = line
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub ");
        let line = line.trim_start_matches("const fn ");
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        let declared = match first {
            "fn" | "struct" | "enum" | "const" | "type" | "trait" | "mod" => rest,
            _ => line,
        };
        let rest = declared.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with([':', '(', ',', '<', ' ', '{', ';']))
    });
    // A module is a file's name, and no word of it has to be in it.
    declared
        && parts
            .next()
            .is_none_or(|before| before.starts_with(char::is_lowercase) || has(before))
}

#[test]
fn every_name_has_a_row_and_every_row_leads_somewhere() {
    let page = fs::read_to_string(top().join("docs/seeds.md")).expect("read docs/seeds.md");
    let mut code = Vec::new();
    for dir in ["driver/src", "common/src"] {
        sources(&top().join(dir), &mut code);
    }
    let verbs = fs::read_to_string(top().join("driver/src/cli/mod.rs")).expect("read the verbs");
    let sections: Vec<&str> = page.split("\n## ").skip(1).collect();
    assert_eq!(sections.len(), NAMES.len());
    for (section, (title, names)) in sections.into_iter().zip(NAMES) {
        assert!(section.starts_with(title), "{title}");
        let rows = section
            .lines()
            .filter(|line| line.starts_with("| "))
            .skip(1);
        let rows: Vec<Vec<&str>> = rows
            .map(|row| row.split('|').map(str::trim).collect())
            .collect();
        let found: Vec<&str> = rows.iter().map(|row| row[1]).collect();
        assert_eq!(
            found,
            names.split_whitespace().collect::<Vec<_>>(),
            "{title}"
        );
        for row in rows {
            let (name, here, shown) = (row[1], row[2], row[3]);
            for item in quoted(here) {
                let exists = match item.strip_prefix("holdfast ") {
                    Some(verb) => {
                        let (first, rest) = verb.split_at(1);
                        verbs.contains(&format!("    {}{rest}(", first.to_uppercase()))
                    }
                    None => code.iter().any(|source| declares(source, item)),
                };
                assert!(exists, "{title}, {name}: there is no {item}");
            }
            let has_reason = here.starts_with("not yet") || here.starts_with("none: ");
            assert!(
                has_reason || quoted(here).count() > 0,
                "{title}, {name}: is nothing here"
            );
            assert!(
                has_reason || quoted(shown).count() > 0,
                "{title}, {name}: has no test"
            );
            for test in quoted(shown) {
                let (file, test) = test.split_once("::").expect("a file and a test");
                let path = match file.contains('/') {
                    true => top().join(format!("{file}.rs")),
                    false => top().join(format!("tests/tests/{file}.rs")),
                };
                let text = fs::read_to_string(&path).unwrap_or_default();
                assert!(
                    text.contains(&format!("fn {test}()")),
                    "{file} has no test {test}"
                );
            }
        }
    }
}

#[test]
fn an_item_that_is_not_there_is_not_found() {
    let source = "pub struct Container {\n    pub id: String,\n}\nimpl Container {\n    pub fn pause(&self) {}\n}";
    for (item, wanted) in [
        ("Container", true),
        ("Container::pause", true),
        ("Container::id", true),
        ("module::Container", true),
        ("Container::pau", false),
        ("Driver::pause", false),
        ("Contain", false),
        ("String", false),
    ] {
        assert_eq!(declares(source, item), wanted, "{item}");
    }
}
