//! Puts a container under conmon instead of our shim, for the figures beside ours.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::binaries::installed;
use crate::{Bundle, Proc, Sandbox};

/// Creates and starts the container `id` under conmon, with a log file, of so many bytes, and no terminal, as podman does. Returns the
/// conmon that holds it, which goes with the sandbox.
///
/// # Panics
/// When conmon or the runtime fails.
#[must_use]
pub fn hold(
    conmon: &Path,
    sandbox: &Sandbox,
    bundle: &Bundle,
    id: &str,
    log_size: Option<u64>,
) -> Proc {
    let dir = sandbox.path().join(format!("conmon-{id}"));
    std::fs::create_dir(&dir).expect("make conmon's directory");
    let pid_file = dir.join("conmon.pid");
    let status = Command::new(conmon)
        .current_dir(&dir)
        .args(["--api-version", "1", "--runtime"])
        // Unlike us, it wants a path.
        .arg(installed("runc").expect("runc is missing: scripts/test installs it"))
        .args(["--cid", id, "--cuuid", id, "--bundle", bundle.arg()])
        .arg("--runtime-arg=--root")
        .arg(format!(
            "--runtime-arg={}",
            sandbox.runtime_root().display()
        ))
        .arg("--conmon-pidfile")
        .arg(&pid_file)
        .arg("--container-pidfile")
        .arg(dir.join("pid"))
        .arg("--log-path")
        .arg(format!("k8s-file:{}", dir.join("log").display()))
        .args(log_size.map(|size| format!("--log-size-max={size}")))
        .arg("--socket-dir-path")
        .arg(&dir)
        .arg("--exit-dir")
        .arg(&dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("start conmon");
    assert!(status.success(), "conmon: {status}");
    sandbox.wait_file(&dir.join("pid"));
    let started = sandbox.output_of(sandbox.runc(["start", id]));
    assert!(
        started.status.success(),
        "{}",
        crate::command::show(&started)
    );
    Proc::from_file(&pid_file).expect("conmon wrote its pid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_under_conmon_is_measured_and_swept() {
        let Some(conmon) = installed("conmon") else {
            assert_ne!(
                std::env::var("STRICT").as_deref(),
                Ok("1"),
                "conmon is missing"
            );
            return;
        };
        let sandbox = Sandbox::new("conmon");
        let bundle = sandbox.bundle(["sleep", "1000"]);
        let id = sandbox.id("conmon");
        let held = hold(&conmon, &sandbox, &bundle, &id, None);
        assert_eq!(held.comm(), "conmon");
        assert!(held.private_dirty_kib() > 0);
        drop(sandbox);
        assert!(!held.is_alive());
    }
}
