//! A client of the daemon's: a container with FIFOs for stdio, and somebody who sits at them.

use std::fs::File;

use super::{Daemon02, Process02, Stdio02};
use crate::{Bundle, Sandbox, fifo};

/// A running container, and the reading ends of its output, open since before it began.
#[derive(Debug)]
pub struct Client02<'a> {
    sandbox: &'a Sandbox,
    /// The container's id.
    pub id: String,
    /// Its own process.
    pub init: Process02<'a>,
    /// The FIFOs' paths.
    pub stdio: Stdio02,
    /// The reading end of stdout, and of a terminal.
    pub stdout: File,
    /// The reading end of stderr.
    pub stderr: File,
}

impl<'a> Daemon02<'a> {
    /// Creates and starts a container with FIFOs for stdio, and attaches to them.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    #[must_use]
    pub fn run(&self, name: &str, bundle: &Bundle) -> Client02<'a> {
        let id = self.sandbox.id(name);
        let stdio = Stdio02::fifos(self.sandbox, &id);
        let (stdout, stderr) = (fifo::reader(&stdio.stdout), fifo::reader(&stdio.stderr));
        let created = self.create(&id, bundle, &stdio);
        let mut init = created.unwrap_or_else(|e| panic!("create {id}: {e:?}"));
        init.start().unwrap_or_else(|e| panic!("start {id}: {e:?}"));
        Client02 {
            sandbox: self.sandbox,
            id,
            init,
            stdio,
            stdout,
            stderr,
        }
    }
}

impl Client02<'_> {
    /// The next line of stdout, without its end.
    ///
    /// # Panics
    /// When it does not come before the deadline, or the container has ended first.
    #[track_caller]
    #[must_use]
    pub fn line(&self) -> String {
        let line = self.sandbox.read_until(&self.stdout, "\n");
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// Writes to stdin as `echo … >stdin` does: comes, writes, and goes.
    ///
    /// # Panics
    /// When nobody reads before the deadline.
    #[track_caller]
    pub fn write(&self, input: impl AsRef<[u8]>) {
        let stdin = self.sandbox.open_writer(&self.stdio.stdin);
        self.sandbox.write_all(&stdin, input.as_ref());
    }
}
