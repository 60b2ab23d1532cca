//! The shortest way through each binary: if these fail, the others say nothing. What a shim does in detail is in the
//! tests beside this one.

use holdfast_tests::Sandbox;
use holdfast_tests::command::{show, text};
use holdfast_tests::daemon02::{Daemon02, Stdio02};

#[test]
fn a_container_runs_in_the_foreground() {
    let sandbox = Sandbox::new("smoke");
    let bundle = sandbox.sh("echo hello; exit 7");
    let id = sandbox.id("smoke");
    let output = sandbox.output(["run", "--rm", "-b", bundle.arg(), &id]);
    assert_eq!(output.status.code(), Some(7), "{}", show(&output));
    assert_eq!(text(&output.stdout), "hello\n");
    sandbox.assert_clean();
}

#[test]
fn a_containerd_0_2_daemon_gets_its_exit_status() {
    let sandbox = Sandbox::new("smoke02");
    let daemon = Daemon02::new(&sandbox);
    let bundle = sandbox.sh("cat; exit 7");
    let id = sandbox.id("smoke02");
    let stdio = Stdio02::fifos(&sandbox, "client");
    let stdout = holdfast_tests::fifo::reader(&stdio.stdout);
    let mut init = daemon.create(&id, &bundle, &stdio).unwrap();
    init.start().unwrap();
    let stdin = sandbox.open_writer(&stdio.stdin);
    sandbox.write_all(&stdin, b"hello\n");
    assert_eq!(sandbox.read_until(&stdout, "\n"), "hello\n");
    assert_eq!(init.exit_status(), None);
    drop(stdin);
    init.close_stdin();
    assert_eq!(init.wait(), 7);
    sandbox.assert_clean();
}
