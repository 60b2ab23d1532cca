//! A shim ends with its process and not before: whatever signal it is sent, it notes it and stays. Whoever means the
//! container signals the container.

use std::fs;
use std::process::Command;

use holdfast_tests::Sandbox;
use holdfast_tests::daemon02::Daemon02;
use nix::sys::signal::Signal;

#[test]
fn a_shim_stays_whatever_signal_it_is_sent() {
    let sandbox = Sandbox::new("signals");
    let daemon = Daemon02::new(&sandbox);
    for terminal in [false, true] {
        let bundle = sandbox.sh("read code; exit $code");
        let bundle = if terminal { bundle.terminal() } else { bundle };
        let mut client = daemon.run("signals", &bundle);
        let shim = client.init.settled_shim();
        // These two are the kernel's, whoever sends them.
        let all = Signal::iterator().filter(|s| !matches!(s, Signal::SIGKILL | Signal::SIGSTOP));
        for signal in all {
            shim.signal(signal);
        }
        let pid = shim.pid();
        let real_time = Command::new("sh")
            .arg("-c")
            .arg(format!(
                "kill -34 {pid} && kill -64 {pid} && kill -64 {pid}"
            ))
            .status();
        assert!(real_time.unwrap().success());
        sandbox.wait_until("the last signal to be noted", || {
            let log = fs::read_to_string(client.init.dir().join("shim-log.json")).unwrap();
            log.matches("signal 64 ").count() == 2 && log.contains("signal 15 ")
        });
        assert_eq!(client.init.settled_shim(), shim);
        client.write("9\n");
        assert_eq!(client.init.wait(), 9);
    }
    sandbox.assert_clean();
}

#[test]
fn a_shim_that_was_stopped_goes_on_where_it_was() {
    let sandbox = Sandbox::new("stopped");
    let daemon = Daemon02::new(&sandbox);
    let mut client = daemon.run("stopped", &sandbox.bundle(["cat"]).terminal());
    let shim = client.init.settled_shim();
    shim.signal(Signal::SIGSTOP);
    sandbox.wait_until("the shim to stop", || shim.stat(3).as_deref() == Some("T"));
    client.write("hello\n");
    client.init.control("nonsense\n");
    sandbox.assert_quiet(&client.stdout);
    shim.signal(Signal::SIGCONT);
    assert_eq!(client.line(), "hello");
    client.init.close_stdin();
    assert_eq!(client.init.wait(), 0);
    sandbox.assert_clean();
}
