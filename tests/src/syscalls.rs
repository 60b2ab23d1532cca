//! How many system calls somebody makes: counts that are the same on a busy machine, as times are not. strace(1) writes them down.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use nix::unistd::gettid;

use crate::command::behind;
use crate::fake_runtime::install;
use crate::strace::call_of;
use crate::{Proc, Sandbox, binaries, command};

/// The system calls of one process, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calls(Vec<String>);

impl Calls {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// How often each was made, most often first: for whoever wants fewer.
    #[must_use]
    pub fn table(&self) -> String {
        let mut made = BTreeMap::<&str, usize>::new();
        for call in &self.0 {
            *made.entry(call).or_default() += 1;
        }
        let mut made: Vec<_> = made.into_iter().collect();
        made.sort_by_key(|(name, count)| (usize::MAX - count, *name));
        let made: Vec<String> = made
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        made.join(", ")
    }

    /// Those before the first of one of these names: C libraries have different calls for the same.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn before(mut self, calls: &[&str]) -> Self {
        let at = self
            .0
            .iter()
            .position(|name| calls.contains(&name.as_str()));
        self.0
            .truncate(at.unwrap_or_else(|| panic!("no {calls:?} among {}", self.table())));
        self
    }
}

impl Sandbox {
    /// Runs a command without input, to its end, and returns its calls; not those of what it starts.
    ///
    /// # Panics
    /// As [`Sandbox::output`], and when it fails.
    #[track_caller]
    pub fn calls(&self, command: &Command) -> Calls {
        let mut strace = Command::new("strace");
        strace.arg("-o").arg(self.calls_file("command"));
        let output = self.output_of(behind(strace, command));
        assert!(output.status.success(), "{}", command::show(&output));
        self.calls_in("command").swap_remove(0)
    }

    /// The calls of a thread of ours that does this, with those of its beginning and its end.
    ///
    /// # Panics
    /// As [`Sandbox::calls_to_the_end`].
    #[track_caller]
    pub fn calls_of_thread(&self, work: impl FnOnce() + Send) -> Calls {
        let (tell, told) = mpsc::channel();
        let (let_go, may_go) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                tell.send(gettid()).expect("somebody asks");
                may_go.recv().expect("somebody watches");
                work();
            });
            let thread = told.recv().expect("a thread");
            self.calls_to_the_end(Proc::new(thread), || {
                let_go.send(()).expect("a thread that waits");
            })
        })
    }

    /// Runs a command without input, to its end, and returns how it makes processes and threads of its own: each call with its
    /// arguments.
    ///
    /// # Panics
    /// As [`Sandbox::calls`].
    #[track_caller]
    pub fn clones(&self, command: &Command) -> Vec<String> {
        let mut strace = Command::new("strace");
        strace.args(["-e", "trace=/^(clone|fork|vfork)", "-o"]);
        strace.arg(self.calls_file("clones"));
        let output = self.output_of(behind(strace, command));
        assert!(output.status.success(), "{}", command::show(&output));
        let text = fs::read_to_string(self.calls_file("clones")).expect("read strace's output");
        let calls = text.lines().filter(|line| call_of(line).is_some());
        calls.map(str::to_owned).collect()
    }

    /// The calls of a process that runs already, from now to its end, which `end` brings about.
    ///
    /// # Panics
    /// When it has not ended before the deadline.
    #[track_caller]
    pub fn calls_to_the_end(&self, process: Proc, end: impl FnOnce()) -> Calls {
        let mut strace = Command::new("strace");
        strace.arg("-o").arg(self.calls_file("end"));
        self.beside(strace, process, end);
        self.calls_in("end").swap_remove(0)
    }

    /// A shim for `--shim` whose calls are written down under a name, with those of all that it starts.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn counted_shim(&self, name: &str) -> PathBuf {
        let path = self.path().join(format!("counted-shim-{name}"));
        // -D: the launcher's child is the shim, and not strace, which stays for as long as anything that it watches.
        let text = format!(
            "#!/bin/sh\nexec strace -D -f -q -o '{}' '{}' \"$@\"\n",
            self.calls_file(name).display(),
            binaries::shim().display()
        );
        install(&path, &text);
        path
    }

    /// The calls of the last shim of that name, as far as it has come: of the process that was started, and of the one that stays.
    ///
    /// # Panics
    /// When it has not forked yet.
    #[must_use]
    pub fn shim_calls(&self, name: &str) -> [Calls; 2] {
        let mut calls = self.calls_in(name);
        calls.truncate(2);
        calls.try_into().expect("a shim forks once")
    }

    fn calls_file(&self, name: &str) -> PathBuf {
        self.path().join(format!("calls-{name}"))
    }

    /// What was written down: the calls of each process, in the order in which they began.
    fn calls_in(&self, name: &str) -> Vec<Calls> {
        let text = fs::read_to_string(self.calls_file(name)).expect("read strace's output");
        let mut processes: Vec<(&str, Calls)> = Vec::new();
        for line in text.lines() {
            // With -f, each line begins with a pid.
            let (pid, rest) = match line.split_once(' ') {
                Some((pid, rest)) if pid.bytes().all(|b| b.is_ascii_digit()) => (pid, rest),
                _ => ("", line),
            };
            let Some(call) = call_of(rest.trim_start()) else {
                continue;
            };
            let known = processes.iter().position(|(known, _)| *known == pid);
            let at = known.unwrap_or_else(|| {
                processes.push((pid, Calls(Vec::new())));
                processes.len() - 1
            });
            processes[at].1.0.push(call.to_owned());
        }
        processes.into_iter().map(|(_, calls)| calls).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_s_calls_are_counted_and_nobody_elses() {
        let sandbox = Sandbox::new("calls");
        let mut mkdir = Command::new("mkdir");
        mkdir.args(["one", "two"]).current_dir(sandbox.path());
        let calls = sandbox.calls(&mkdir);
        assert!(calls.table().contains("mkdir 2"), "{}", calls.table());
        let before = calls.clone().before(&["mkdir"]);
        assert!(before.count() < calls.count());
        assert!(!before.table().contains("mkdir"), "{}", before.table());
    }
}
