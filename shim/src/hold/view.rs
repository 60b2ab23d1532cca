//! A shim's own view, for whoever looks at it with `kill -USR1` and `cat shim-log.json`: one more line of its log, with what
//! it holds in a `view` object, which other readers of the log pass over. Information only; nothing reads it back.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use holdfast_common::exit_record::ExitRecord;
use holdfast_common::log_line::LogLine;
use serde::Serialize;

use super::control::Control;
use crate::handover::{Direct, Holding, Stdio, Terminal};
use crate::output::OutputView;

/// One line of shim-log.json.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    line: LogLine,
    view: View<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    pid: u32,
    version: &'static str,
    executable: &'a Path,
    /// `hold`, or `record` while a status could not be put on record.
    phase: &'static str,
    process: Process,
    kind: Ends,
    descriptors: Descriptors,
    control: ControlView,
    #[serde(skip_serializing_if = "Option::is_none")]
    terminal: Option<Pending>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<OutputView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seccomp: Option<SeccompView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify: Option<RelayView>,
    /// How often a replacement was asked for.
    asked: u32,
    /// How the process ended, as long as that is not on record.
    #[serde(skip_serializing_if = "Option::is_none")]
    unrecorded: Option<&'a ExitRecord>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    pid: i32,
    /// Its end is reaped, or else read through a pidfd.
    child: bool,
}

/// What its end will ask for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ends {
    exec: bool,
    shared_pids: bool,
    ours: bool,
    auto_remove: bool,
    /// It is the main process of a service.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    main: bool,
}

/// The numbers, as in /proc/PID/fd.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Descriptors {
    lock: RawFd,
    exit: RawFd,
    control: RawFd,
    #[serde(skip_serializing_if = "Option::is_none")]
    pidfd: Option<RawFd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdin: Option<RawFd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout: Option<RawFd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr: Option<RawFd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    master: Option<RawFd>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ControlView {
    /// Bytes of a line that has only begun; absent while one is skipped that is too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    begun: Option<usize>,
    bad_lines: u64,
}

#[derive(Serialize)]
struct SeccompView {
    /// Whose listeners are kept.
    pids: Vec<i32>,
    /// Whether an agent is connected.
    agent: bool,
}

#[derive(Serialize)]
struct RelayView {
    /// What the container's words come in at, and how many bytes of them the service manager had no room for.
    socket: RawFd,
    pending: usize,
}

/// Bytes on their way.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pending {
    pending_input: usize,
    pending_output: usize,
    /// Whether input is still taken.
    input: bool,
}

/// The line, end included, for one write.
pub fn line(holding: &Holding, control: &Control, unrecorded: Option<&ExitRecord>) -> Vec<u8> {
    let Holding { claim, kind, .. } = holding;
    let mut descriptors = Descriptors {
        lock: claim.lock.as_raw_fd(),
        exit: claim.exit.as_raw_fd(),
        control: claim.control.as_raw_fd(),
        pidfd: number(&holding.pidfd),
        ..Descriptors::default()
    };
    let terminal = match &holding.stdio {
        Stdio::Direct(Direct {
            stdin,
            stdout,
            stderr,
        }) => {
            descriptors.stdin = number(stdin);
            descriptors.stdout = number(stdout);
            descriptors.stderr = number(stderr);
            None
        }
        Stdio::Terminal(terminal) => {
            descriptors.master = Some(terminal.master.as_raw_fd());
            descriptors.stdin = number(&terminal.input);
            descriptors.stdout = number(&terminal.output);
            Some(pending(terminal))
        }
    };
    let view = View {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION"),
        executable: &holding.executable,
        phase: if unrecorded.is_some() {
            "record"
        } else {
            "hold"
        },
        process: Process {
            pid: holding.pid,
            child: holding.pidfd.is_none(),
        },
        kind: Ends {
            exec: kind.exec,
            shared_pids: kind.shared_pids,
            ours: kind.ours,
            auto_remove: kind.auto_remove,
            main: kind.main,
        },
        descriptors,
        control: ControlView {
            begun: control.reader().partial().map(<[u8]>::len),
            bad_lines: control.bad_lines(),
        },
        terminal,
        output: holding.output.as_ref().map(|it| it.view()),
        seccomp: holding.seccomp.as_ref().map(|store| SeccompView {
            pids: store.held.iter().map(|held| held.pid).collect(),
            agent: store.agent.is_some(),
        }),
        notify: holding.relay.as_ref().map(|relay| {
            let (socket, pending) = relay.seen();
            RelayView { socket, pending }
        }),
        asked: holding.asked,
        unrecorded,
    };
    let line = LogLine::now("info", "view".to_owned());
    // Strings, numbers and a path; one that is not UTF-8 costs the view, nothing else.
    let mut text = serde_json::to_vec(&Line { line, view }).unwrap_or_default();
    text.push(b'\n');
    text
}

fn pending(terminal: &Terminal) -> Pending {
    Pending {
        pending_input: terminal.pending_input.len(),
        pending_output: terminal.pending_output.len(),
        input: terminal.input.is_some(),
    }
}

fn number(fd: &Option<OwnedFd>) -> Option<RawFd> {
    fd.as_ref().map(AsRawFd::as_raw_fd)
}
