//! A runtime that does what a test tells it to, for what a real one cannot be made to do: fail at length, hang,
//! log nonsense, create a process and die before it says so.
//!
//! It is a shell script. Before the test's own lines run, the command line is taken apart as runc's is, and
//! recorded. The lines find
//!
//! | word | meaning |
//! |---|---|
//! | `$VERB` `$ID` | the verb, and its first plain argument |
//! | `$LOG` `$PIDFILE` `$CONSOLE` `$BUNDLE` `$PROCESS` | what the options of these names were given |
//! | `$FAKE` | a directory of this runtime's own, the same as [`FakeRuntime::dir`] |
//! | `log_error MESSAGE` | appends an error to the log, as runc does |
//! | `spawn COMMAND…` | starts the command on our stdio and writes its pid to the pid file, as `create` does |
//! | `wait_for FILE` | waits until the test has made the file |
//! | `delegate "$@"` | goes on as the real runtime |
//! | `real "$@"` | runs the real runtime, and comes back |
//!
//! and end with exit status 0 if they do not exit themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Sandbox, runtime};

const PRELUDE: &str = r#"
VERB= ID= LOG= PIDFILE= CONSOLE= BUNDLE= PROCESS=
take_apart() {
    while [ $# -gt 0 ]; do
        case $1 in
        --log) LOG=$2; shift ;;
        --pid-file) PIDFILE=$2; shift ;;
        --console-socket) CONSOLE=$2; shift ;;
        --bundle | -b) BUNDLE=$2; shift ;;
        --process | -p) PROCESS=$2; shift ;;
        --log=*) LOG=${1#*=} ;;
        --pid-file=*) PIDFILE=${1#*=} ;;
        --console-socket=*) CONSOLE=${1#*=} ;;
        --bundle=*) BUNDLE=${1#*=} ;;
        --process=*) PROCESS=${1#*=} ;;
        --root | --log-format | --criu | --rootless | --preserve-fds | --image-path | --work-path) shift ;;
        --user | -u | --cwd | --env | -e | --format | -f | --resources) [ "$1 $VERB" = "-f delete" ] || shift ;;
        -*) ;;
        *) if [ -z "$VERB" ]; then VERB=$1; elif [ -z "$ID" ]; then ID=$1; fi ;;
        esac
        shift
    done
}
take_apart "$@"

printf '%s\n' "$@" >"$FAKE/$VERB.argv"
tr '\0' '\n' </proc/$$/environ >"$FAKE/$VERB.env"
echo "$VERB $ID" >>"$FAKE/calls"

log_error() {
    printf '{"level":"error","msg":"%s","time":"2026-01-02T03:04:05Z"}\n' "$1" >>"$LOG"
}
spawn() {
    # The shell would give a background command /dev/null for stdin.
    "$@" 0<&9 9<&- &
    echo $! >"$PIDFILE.tmp"
    mv "$PIDFILE.tmp" "$PIDFILE"
}
wait_for() {
    while [ ! -e "$1" ]; do sleep 0.01; done
}
real() {
    "$REAL" "$@" 9<&-
}
delegate() {
    exec "$REAL" "$@" 9<&-
}
# Far from the descriptors that --preserve-fds counts from 3 on.
exec 9<&0
"#;

/// A scripted runtime, for `--runtime` or `HOLDFAST_RUNTIME`.
#[derive(Debug)]
pub struct FakeRuntime {
    dir: PathBuf,
}

impl FakeRuntime {
    /// A runtime that runs `body`, one for each sandbox.
    ///
    /// # Panics
    /// When the script cannot be written.
    #[must_use]
    pub fn script(sandbox: &Sandbox, body: &str) -> Self {
        let dir = sandbox.path().join("fake");
        fs::create_dir(&dir).expect("make the fake runtime's directory");
        let fake = Self { dir };
        let text = format!(
            "#!/bin/sh\nFAKE='{}' REAL='{}'\n{PRELUDE}\n{body}\nexit 0\n",
            fake.dir.display(),
            runtime::program()
        );
        install(&fake.path(), &text);
        fake
    }

    /// The executable.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join("runtime")
    }

    /// The executable as an argument.
    ///
    /// # Panics
    /// Never: sandboxes have plain names.
    #[must_use]
    pub fn arg(&self) -> String {
        let path = self.path().into_os_string().into_string();
        path.expect("sandboxes have plain names")
    }

    /// A directory for files that the test and the script exchange (`$FAKE`).
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The arguments of the last call with `verb`, or `None` if there was no such call.
    #[must_use]
    pub fn argv(&self, verb: &str) -> Option<Vec<String>> {
        self.lines(&format!("{verb}.argv"))
    }

    /// The environment of the last call with `verb`, as `KEY=VALUE`.
    #[must_use]
    pub fn env(&self, verb: &str) -> Option<Vec<String>> {
        self.lines(&format!("{verb}.env"))
    }

    /// Every call so far, as `VERB ID`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.lines("calls").unwrap_or_default()
    }

    /// Makes the file that the script waits for with `wait_for $FAKE/NAME`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn let_go(&self, name: &str) {
        fs::write(self.dir.join(name), "").expect("make the file that is waited for");
    }

    fn lines(&self, file: &str) -> Option<Vec<String>> {
        let text = fs::read_to_string(self.dir.join(file)).ok()?;
        Some(text.lines().map(str::to_owned).collect())
    }
}

/// Makes an executable file.
///
/// # Panics
/// When it cannot be written.
pub fn install(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, text).expect("write an executable");
    // Written by another process: a child that a parallel test forks just now could hold a descriptor of
    // ours for a moment, and what is open for writing cannot be executed (ETXTBSY).
    let installed = Command::new("install")
        .args(["-m", "755"])
        .args([&draft, path])
        .status();
    assert!(installed.is_ok_and(|status| status.success()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Proc;
    use crate::command::{show, text};

    #[test]
    fn a_script_sees_its_command_line_taken_apart_and_is_recorded() {
        let sandbox = Sandbox::new("fake");
        let fake = FakeRuntime::script(
            &sandbox,
            r#"
            case $VERB in
            create) spawn cat; wait_for "$FAKE/go" ;;
            delete) log_error "no such thing: $ID"; exit 3 ;;
            esac
            "#,
        );
        let pid_file = sandbox.path().join("pid");
        let log = sandbox.path().join("log.json");
        let mut create = Command::new(fake.path());
        create.current_dir(sandbox.path());
        create.args(["--root", "r", "create", "--bundle", "b", "--pid-file"]);
        create.arg(&pid_file).arg("web");
        let mut create = sandbox.spawn(create);
        sandbox.wait_file(&pid_file);
        let cat = Proc::from_file(&pid_file).unwrap();
        create.write("our stdin is the process's\n");
        create.wait_stdout("our stdin is the process's\n");
        assert!(cat.is_alive());
        fake.let_go("go");
        create.close_stdin();
        let output = create.wait();
        assert!(output.status.success(), "{}", show(&output));

        let mut delete = Command::new(fake.path());
        delete.current_dir(sandbox.path());
        delete.arg("--log").arg(&log).args(["delete", "-f", "web"]);
        let output = sandbox.output_of(delete);
        assert_eq!(output.status.code(), Some(3), "{}", show(&output));
        assert!(text(&fs::read(&log).unwrap()).contains("no such thing: web"));

        assert_eq!(fake.calls(), ["create web", "delete web"]);
        assert_eq!(fake.argv("create").unwrap()[..3], ["--root", "r", "create"]);
        assert!(
            fake.env("delete")
                .unwrap()
                .iter()
                .any(|e| e.starts_with("PATH="))
        );
        assert_eq!(fake.argv("kill"), None);
    }

    #[test]
    fn a_script_can_go_on_as_the_real_runtime() {
        let sandbox = Sandbox::new("delegate");
        let fake = FakeRuntime::script(&sandbox, r#"delegate "$@""#);
        let mut version = Command::new(fake.path());
        version.current_dir(sandbox.path()).arg("--version");
        let said = text(&sandbox.output_of(version).stdout);
        assert!(
            said.starts_with(&format!("{} version", runtime::name())),
            "{said}"
        );
    }
}
