//! Runs a script that was written for runc with runc, and with the name replaced, to compare what both say.
//!
//! A script finds the words of a tool with its state directory in `$TOOL`, a container id of its own in `$ID`, a bundle in
//! `$BUNDLE` and the sandbox in `$DIR`, and these functions:
//!
//! | word | meaning |
//! |---|---|
//! | `quietly COMMAND…` | without input and output |
//! | `says COMMAND…` | and then `yes` or `no`, whether it succeeded |
//! | `refuses COMMAND…` | quietly; prints `refused` or `accepted` |
//! | `soon COMMAND…` | again and again until it succeeds |
//! | `is STATUS` | whether that is the container's |

use std::process::Command;

use crate::command::{show, text};
use crate::{Bundle, Sandbox, binaries};

const PRELUDE: &str = r#"
quietly() { "$@" </dev/null >/dev/null 2>/dev/null; }
says() { "$@" && echo yes || echo no; }
refuses() { "$@" >/dev/null 2>&1 && echo accepted || echo refused; }
soon() { tries=0; until "$@"; do tries=$((tries+1)); [ $tries -lt 600 ] || { echo never: "$@"; exit; }; sleep 0.05; done; }
is() { $TOOL state $ID 2>/dev/null | grep -q "\"status\": \"$1\""; }
"#;

/// One of the two.
struct Tool {
    words: String,
    id: String,
}

impl Sandbox {
    /// Runs a script with both; returns what both printed, with `ID` for the id.
    ///
    /// # Panics
    /// When they did not print the same, or complained.
    #[track_caller]
    pub fn same_as_runc(&self, bundle: &Bundle, script: &str) -> String {
        let [wanted, got] = self.beside_runc(bundle, script);
        assert_eq!(got, wanted, "of\n{script}");
        got
    }

    /// Runs a script with both; returns what each printed, runc first, with `ID` for the id.
    ///
    /// # Panics
    /// When they complained, or are not done by the deadline.
    #[track_caller]
    pub fn beside_runc(&self, bundle: &Bundle, script: &str) -> [String; 2] {
        self.tools()
            .map(|tool| self.run_with(&tool, bundle, script))
    }

    fn tools(&self) -> [Tool; 2] {
        // Of one length, since they line up columns.
        let [runc, holdfast] = loop {
            let ids = [self.id("runc"), self.id("hold")];
            if ids[0].len() == ids[1].len() {
                break ids;
            }
        };
        // Beside the runtime root of ours, in which our own containers are too.
        let (root, bare) = (self.root(), self.path().join("bare"));
        let program = binaries::holdfast();
        [
            Tool {
                words: format!("runc --root {}", bare.display()),
                id: runc,
            },
            Tool {
                words: format!("{} --root {}", program.display(), root.display()),
                id: holdfast,
            },
        ]
    }

    #[track_caller]
    fn run_with(&self, tool: &Tool, bundle: &Bundle, script: &str) -> String {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{PRELUDE}{script}")]);
        command.envs(self.environment());
        command.env("TOOL", &tool.words).env("ID", &tool.id);
        command.env("BUNDLE", bundle.dir()).env("DIR", self.path());
        command.current_dir(self.path());
        let output = self.output_of(command);
        assert!(
            output.stderr.is_empty(),
            "{}: {}",
            tool.words,
            show(&output)
        );
        text(&output.stdout).replace(&tool.id, "ID")
    }
}
