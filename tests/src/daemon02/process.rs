//! A process of the daemon's: its control FIFO, its end, its status.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::StartError;
use crate::{Proc, Sandbox};

/// A process that this daemon started or loaded.
#[derive(Debug)]
pub struct Process02<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) dir: PathBuf,
    pub(super) exit: File,
    pub(super) control: File,
    pub(super) pid: Proc,
    pub(super) shim: Option<Child>,
    pub(super) start_command: Option<Command>,
}

impl Process02<'_> {
    /// The process directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The container's process.
    #[must_use]
    pub fn process(&self) -> Proc {
        self.pid
    }

    /// The daemon's end of `exit`, which hangs up when the process is over.
    #[must_use]
    pub fn exit(&self) -> &File {
        &self.exit
    }

    /// The shim that holds it, found as anybody could find it.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn shim(&self) -> Proc {
        Proc::shim_of(&self.dir).expect("a shim holds the process")
    }

    /// The shim, once it holds and has nothing to do: before that its memory and descriptors are the launch's.
    ///
    /// # Panics
    /// When the deadline passes.
    #[track_caller]
    #[must_use]
    pub fn settled_shim(&self) -> Proc {
        self.sandbox.wait_for("the shim to hold", || {
            let shim = Proc::shim_of(&self.dir)?;
            let holds = shim.argv().iter().any(|word| word == "hold");
            // It sleeps nowhere else than in its poll: that it sleeps says that it has got there.
            let polls = shim
                .fds()
                .values()
                .any(|fd| fd.ends_with("anon_inode:[eventpoll]"));
            (holds && polls && shim.stat(3)? == "S").then_some(shim)
        })
    }

    /// Runs `runtime start`, for a container's init.
    ///
    /// # Errors
    /// [`StartError::Start`] with the runtime's output.
    ///
    /// # Panics
    /// When it is no created init, or the runtime does not come back.
    pub fn start(&mut self) -> Result<(), StartError> {
        let start = self.start_command.take().expect("a created init");
        let output = self.sandbox.output_of(start);
        if output.status.success() {
            return Ok(());
        }
        let all = crate::command::text(&[output.stdout, output.stderr].concat());
        // A container that is over at once may have been deleted by its shim before `runc start` comes to remove the
        // FIFO that it waited at. containerd reports that as a failed start; a test must not.
        if all.contains("exec.fifo: no such file or directory") && self.exit_status().is_some() {
            return Ok(());
        }
        Err(StartError::Start(all))
    }

    /// Writes one line, or anything else, to `control`.
    ///
    /// # Panics
    /// When nobody makes room for it before the deadline.
    #[track_caller]
    pub fn control(&self, line: impl AsRef<[u8]>) {
        self.sandbox.write_all(&self.control, line.as_ref());
    }

    /// The daemon's end of `control`, which is open both ways.
    #[must_use]
    pub fn control_fifo(&self) -> &File {
        &self.control
    }

    /// Asks for stdin to be closed.
    pub fn close_stdin(&self) {
        self.control("0 0 0\n");
    }

    /// Asks for another terminal size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.control(format!("1 {columns} {rows}\n"));
    }

    /// The exit status on record, as containerd reads it: nothing while the file is absent or empty.
    ///
    /// # Panics
    /// When it is not a number.
    #[must_use]
    pub fn exit_status(&self) -> Option<u32> {
        let text = fs::read_to_string(self.dir.join("exitStatus")).ok()?;
        (!text.is_empty()).then(|| text.parse().expect("exitStatus is a decimal number"))
    }

    /// Waits for the hang-up on `exit`, then reads the status, which has to be there by then. If the shim is
    /// ours it is collected, as containerd does.
    ///
    /// # Panics
    /// When the deadline passes, or there is a hang-up and no status.
    #[track_caller]
    pub fn wait(&mut self) -> u32 {
        self.sandbox.wait_hangup(&self.exit);
        if let Some(shim) = &mut self.shim {
            let status = shim.wait().expect("wait for the shim");
            assert!(status.success(), "the shim's own end: {status}");
        }
        self.exit_status().unwrap_or_else(|| {
            self.sandbox.dump();
            panic!("exit hung up and there is no exitStatus");
        })
    }

    /// Kills the daemon, as far as this process is concerned: its descriptors close, its shim lives on.
    ///
    /// The shim stays a child of the test, so a zombie of it is collected when the test ends.
    pub fn abandon(self) {}
}
