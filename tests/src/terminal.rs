//! Runs a command as somebody at a terminal would: on a pseudo-terminal that is its controlling one, so that Ctrl-C
//! and a change of size arrive as signals.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::poll::PollFlags;
use nix::pty::{Winsize, openpty};
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
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).expect("open a terminal");
        let slave = File::from(pty.slave);
        let path = fs::read_link(format!("/proc/self/fd/{}", slave.as_raw_fd()));
        let clone = || slave.try_clone().expect("duplicate a descriptor");
        let child = in_own_session(command)
            .stdin(clone())
            .stdout(clone())
            .stderr(clone())
            .spawn()
            .expect("start a command on a terminal");
        Terminal {
            sandbox: self,
            master: File::from(pty.master),
            path: path.expect("a terminal has a name"),
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
        let status = Command::new("stty")
            .arg("-F")
            .arg(&self.path)
            .args(["cols", &columns.to_string(), "rows", &rows.to_string()])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "stty failed");
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
}
