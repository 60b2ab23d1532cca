//! Runs a command as somebody at a terminal would: on a pseudo-terminal that is its controlling one, so that Ctrl-C
//! and a change of size arrive as signals.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::command::{behind, text};
use crate::{DEADLINE, Proc, Sandbox, wait};

impl Sandbox {
    /// Starts a command in a session of its own, on a new terminal of `columns` × `rows`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn spawn_on_terminal(&self, command: &Command, columns: u16, rows: u16) -> Terminal<'_> {
        // From the start close-on-exec: a command that a parallel test starts just now, or this one, would keep the
        // terminal from ever hanging up.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).expect("open a terminal");
        grantpt(&master).expect("grant a terminal");
        unlockpt(&master).expect("unlock a terminal");
        let path = PathBuf::from(ptsname_r(&master).expect("a terminal has a name"));
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let slave = options.custom_flags(OFlag::O_NOCTTY.bits()).open(&path);
        let slave = slave.expect("open a terminal's other side");
        resize(&path, columns, rows);
        let clone = || slave.try_clone().expect("duplicate a descriptor");
        let child = in_own_session(command)
            .stdin(clone())
            .stdout(clone())
            .stderr(clone())
            .spawn()
            .expect("start a command on a terminal");
        Terminal {
            sandbox: self,
            master: File::from(OwnedFd::from(master)),
            path,
            seen: Vec::new(),
            child,
        }
    }
}

/// The same command under setsid(1), which makes its stdin the controlling terminal and replaces itself by it.
fn in_own_session(command: &Command) -> Command {
    let mut session = Command::new("setsid");
    session.args(["--ctty", "--wait"]);
    behind(session, command)
}

fn resize(terminal: &Path, columns: u16, rows: u16) {
    let (columns, rows) = (columns.to_string(), rows.to_string());
    let status = Command::new("stty")
        .arg("-F")
        .arg(terminal)
        .args(["cols", &columns, "rows", &rows])
        .status();
    assert!(status.is_ok_and(|status| status.success()), "stty failed");
}

/// A terminal, and the command that was started on it. The command is killed when it is dropped.
#[derive(Debug)]
pub struct Terminal<'a> {
    sandbox: &'a Sandbox,
    master: File,
    path: PathBuf,
    seen: Vec<u8>,
    child: Child,
}

impl Terminal<'_> {
    /// The process, to look at or to signal.
    ///
    /// # Panics
    /// Never: pids are small.
    #[must_use]
    pub fn process(&self) -> Proc {
        let pid = i32::try_from(self.child.id()).expect("pids are small");
        Proc::new(Pid::from_raw(pid))
    }

    /// Types; `\x03` is Ctrl-C, `\x04` is Ctrl-D.
    #[track_caller]
    pub fn type_in(&self, keys: &str) {
        self.sandbox.write_all(&self.master, keys.as_bytes());
    }

    /// Reads until `needle` is on the screen, and forgets everything up to its end. Returns what was before it.
    ///
    /// # Panics
    /// When the terminal hangs up or the deadline passes first.
    #[track_caller]
    pub fn expect(&mut self, needle: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let screen = text(&self.seen);
            if let Some((before, after)) = screen.split_once(needle) {
                self.seen = after.as_bytes().to_vec();
                return before.to_owned();
            }
            // The master blocks, unlike the FIFOs.
            self.sandbox.wait_readable(&self.master);
            let n = self.sandbox.read_some(&self.master, &mut buffer);
            assert!(n > 0, "hung up before {needle:?}, after {screen:?}");
            self.seen.extend_from_slice(&buffer[..n]);
        }
    }

    /// Changes the size, as dragging a corner does.
    ///
    /// # Panics
    /// When stty(1) cannot.
    pub fn resize(&self, columns: u16, rows: u16) {
        resize(&self.path, columns, rows);
    }

    /// The terminal's modes as stty(1) saves them, to see that they are put back.
    ///
    /// # Panics
    /// When stty(1) cannot tell.
    #[must_use]
    pub fn modes(&self) -> String {
        let output = Command::new("stty")
            .arg("-F")
            .arg(&self.path)
            .arg("-g")
            .output();
        text(&output.expect("run stty").stdout).trim().to_owned()
    }

    /// Waits until the command has ended, reading all the while, so that it cannot stop for want of a reader.
    /// Returns its status and what is left on the screen.
    ///
    /// # Panics
    /// When the deadline passes.
    #[track_caller]
    pub fn wait(mut self) -> (ExitStatus, String) {
        let mut status = None;
        if !wait::until(DEADLINE, || {
            // Looked for before reading: what it has written by its end is read after its end.
            status = self.child.try_wait().expect("wait for a child");
            self.read_what_is_there();
            status.is_some()
        }) {
            let seen = text(&self.seen);
            self.sandbox
                .give_up(&format!("the command's end after {seen:?}"));
        }
        let status = status.expect("the wait ended because there was a status");
        (status, text(&self.seen))
    }

    fn read_what_is_there(&mut self) {
        let mut buffer = [0; 4096];
        while wait::events(&self.master, PollFlags::POLLIN, Duration::ZERO)
            .contains(PollFlags::POLLIN)
        {
            match self.sandbox.read_some(&self.master, &mut buffer) {
                0 => return,
                n => self.seen.extend_from_slice(&buffer[..n]),
            }
        }
    }

    /// Closes the terminal under the command's feet, as a lost connection does, and waits until it has ended.
    ///
    /// # Panics
    /// When the deadline passes.
    #[track_caller]
    pub fn hang_up(mut self) -> ExitStatus {
        let nothing = File::open("/dev/null").expect("open /dev/null");
        drop(std::mem::replace(&mut self.master, nothing));
        self.sandbox
            .wait_for("the end of a command without a terminal", || {
                self.child.try_wait().expect("wait for a child")
            })
    }

    /// Kills the command with SIGKILL.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn kill(mut self) -> ExitStatus {
        self.process().signal(Signal::SIGKILL);
        self.child.wait().expect("wait for what was killed")
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn size_and_interrupt_reach_the_command() {
        let sandbox = Sandbox::new("terminal");
        let mut sh = Command::new("sh");
        sh.args([
            "-c",
            "stty size; trap 'stty size' WINCH; echo ready; while :; do sleep 0.01; done",
        ]);
        sh.current_dir(sandbox.path());
        let mut terminal = sandbox.spawn_on_terminal(&sh, 100, 30);
        terminal.expect("30 100\r\n");
        terminal.expect("ready");
        terminal.resize(81, 25);
        terminal.expect("25 81\r\n");
        terminal.type_in("\x03");
        let (status, screen) = terminal.wait();
        assert_eq!(status.signal(), Some(2), "{status}");
        assert!(screen.contains("^C"), "{screen:?}");
    }

    #[test]
    fn a_terminal_can_go_before_the_command() {
        let sandbox = Sandbox::new("hangup");
        let mut sh = Command::new("sh");
        sh.args([
            "-c",
            "trap 'exit 9' HUP; echo ready; while :; do sleep 0.01; done",
        ]);
        sh.current_dir(sandbox.path());
        let mut terminal = sandbox.spawn_on_terminal(&sh, 80, 24);
        terminal.expect("ready");
        assert_eq!(terminal.hang_up().code(), Some(9));
    }
}
