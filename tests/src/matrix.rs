//! The crash matrix: what is common to its cases. Somebody is killed at some moment; then everything is left to settle, `recover`
//! runs once, and what must hold is looked at: [`Sandbox::settle`], [`Sandbox::verdict`].
//!
//! A usual run takes a sample of each family's cases, always the same; `HOLDFAST_CRASH_MATRIX=all` takes all of them.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::command::show;
use crate::process::{SHIM, under};
use crate::strace::Moment;
use crate::{Proc, Sandbox};

/// The variable that asks for every case.
pub const ALL: &str = "HOLDFAST_CRASH_MATRIX";

/// Of so many cases, a usual run takes one.
const SAMPLE: usize = 10;

/// Cases that have in common who is killed, and in the middle of what.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Who is killed.
    pub victims: &'static str,
    /// In the middle of what, with the numbers of docs/architecture.md.
    pub steps: &'static str,
    /// How many cases there are.
    pub cases: usize,
    /// What has become of the container afterwards, in words for the table.
    pub afterwards: &'static str,
}

impl Family {
    /// Calls for each case that is to be run, with a moment of it; the moments are spread evenly over all. Prints what was
    /// found how often.
    ///
    /// # Panics
    /// When there are no moments, or when too many do not come: nobody was killed, and nothing shown.
    pub fn run(
        &self,
        sandbox: &Sandbox,
        moments: &[Moment],
        mut case: impl FnMut(&Moment) -> String,
    ) {
        let last = moments.len().checked_sub(1).expect("there are moments");
        let (mut killed, mut missed) = (0, 0);
        self.count(|n| {
            let moment = &moments[n * last / self.cases.max(2).saturating_sub(1)];
            println!("{}, {}: right before {moment}", self.victims, self.steps);
            let found = case(moment);
            if sandbox.was_killed() {
                killed += 1;
                found
            } else {
                missed += 1;
                format!("{found} (the moment did not come)")
            }
        });
        // The last ones may not come every time, and a sample has little else.
        let enough = killed > 0 && (killed > missed || killed + missed < SAMPLE);
        assert!(enough, "{missed} of {} did not come", killed + missed);
    }

    /// Calls for each case that is to be run, with its number. Prints what was found how often.
    pub fn count(&self, mut case: impl FnMut(usize) -> String) {
        let all = std::env::var_os(ALL).is_some_and(|value| value == "all");
        let step = if all { 1 } else { SAMPLE };
        // Both ends are in the sample: nothing done, and nearly all.
        let cases: Vec<usize> = (0..self.cases)
            .filter(|n| n % step == 0 || n + 1 == self.cases)
            .collect();
        let mut found = BTreeMap::<String, usize>::new();
        for &n in &cases {
            *found.entry(case(n)).or_default() += 1;
        }
        let (run, all) = (cases.len(), self.cases);
        println!(
            "{}, {}: {run} of {all} cases, found {found:?}",
            self.victims, self.steps,
        );
    }
}

/// How a container has ended, as far as that is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With this code.
    Code(i64),
    /// By this signal.
    Signal(i64),
    /// Nobody knows, and this is why.
    Unknown(String),
}

impl Sandbox {
    /// Waits until nothing is under way: what is left of ours are shims that hold.
    ///
    /// # Panics
    /// When the deadline passes.
    #[track_caller]
    pub fn settle(&self) {
        self.wait_until("everything under way to come to an end", || {
            under(self.path())
                .iter()
                .all(|process| is_holding(*process))
        });
    }

    /// How `wait` says that a process ended, which must be what is on record.
    ///
    /// # Panics
    /// When it does not say so, or says what no process has done.
    #[track_caller]
    pub fn ended(&self, id: &str, process: &str) -> Ended {
        let record: Value = serde_json::from_str(&self.run_ok(["wait", "-f", "json", id, process]))
            .expect("wait -f json prints a record");
        assert_eq!(record, self.exit_json(id, process));
        let words = (
            record["code"].as_i64(),
            record["signal"].as_i64(),
            record["reason"].as_str(),
        );
        match (words, record["source"].as_str()) {
            ((Some(code), None, None), Some("reaped" | "pidfd")) => Ended::Code(code),
            ((None, Some(signal), None), Some("reaped" | "pidfd")) => Ended::Signal(signal),
            ((None, None, Some(reason)), Some("unknown")) if !reason.is_empty() => {
                assert_eq!(self.run_ok(["wait", id, process]), "255\n");
                Ended::Unknown(reason.to_owned())
            }
            _ => panic!("{record} says too much or too little"),
        }
    }

    /// The status of the only container that there is, or none. Nothing may be left of one that is not listed: no process,
    /// no directory, nothing that the runtime knows, no cgroup, no mount.
    ///
    /// # Panics
    /// When something is.
    #[track_caller]
    pub fn verdict(&self, id: &str) -> Option<String> {
        let list = self.run_ok(["list", "-f", "json"]);
        let list: Vec<Value> = serde_json::from_str(&list).expect("list -f json prints a list");
        match list.as_slice() {
            [] => {
                self.assert_nothing(id);
                None
            }
            [state] if state["id"] == *id => state["status"].as_str().map(str::to_owned),
            other => panic!("{other:?} is listed"),
        }
    }

    /// As [`Sandbox::assert_clean`], and no mount either.
    ///
    /// # Panics
    /// When something is left.
    #[track_caller]
    pub fn assert_nothing(&self, id: &str) {
        self.sweep_staging();
        self.assert_clean();
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read the mounts");
        let left: Vec<_> = mounts.lines().filter(|line| line.contains(id)).collect();
        assert!(left.is_empty(), "{left:#?}");
    }

    /// What a launch left that never came to anything is the next launch's to sweep, whatever becomes of that.
    fn sweep_staging(&self) {
        self.forget_supervision();
        let staged = |name: &str| name.starts_with('~');
        let names = fs::read_dir(self.root()).expect("read the root");
        if !names
            .flatten()
            .any(|entry| staged(&entry.file_name().to_string_lossy()))
        {
            return;
        }
        let bundle = self.bundle(["/no-such-program"]);
        let output = self.output(["run", "-b", bundle.arg(), &self.id("sweep")]);
        assert_eq!(output.status.code(), Some(127), "{}", show(&output));
    }
}

fn is_holding(process: Proc) -> bool {
    process.comm() == SHIM && process.argv().get(4).is_some_and(|word| word == "hold")
}
