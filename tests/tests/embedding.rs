//! The examples for daemon authors: what docs/embedding.md shows works.

use std::collections::BTreeSet;

use holdfast_tests::{Gate, Sandbox};

#[path = "../../driver/examples/epoll.rs"]
#[allow(dead_code, reason = "its main is for those who run it")]
mod epoll;

#[path = "../../driver/examples/logs.rs"]
#[allow(dead_code, reason = "its main is for those who run it")]
mod logs;

#[test]
fn a_daemon_follows_the_logs_of_all_its_containers_in_one_epoll() {
    let sandbox = Sandbox::new("embedding-logs");
    let driver = sandbox.driver();
    let gates = [0, 1, 2].map(|_| sandbox.gate());
    let ids = [0, 1, 2].map(|n| {
        let script = format!("echo early; {}; echo late {n}; echo oh >&2", Gate::WAIT);
        let bundle = sandbox.sh(&script).bind(gates[n].dir());
        let id = sandbox.id("logged");
        sandbox.run_ok(["run", "-d", "--stdio", "log", "-b", bundle.arg(), &id]);
        id
    });
    let silent = sandbox.started(&driver, &sandbox.sh("true"), "silent");
    let mut told = BTreeSet::new();
    let mut early = 0;
    logs::follow(&driver, &mut |line| {
        if line.ends_with("early") {
            early += 1;
            if early == ids.len() {
                gates.iter().for_each(Gate::open);
            }
        }
        told.insert(line);
    })
    .unwrap();
    for (n, id) in ids.iter().enumerate() {
        for line in ["stdout: early", &format!("stdout: late {n}"), "stderr: oh"] {
            assert!(
                told.remove(&format!("{id} {line}")),
                "{line} of {id}: {told:?}"
            );
        }
        sandbox.run_ok(["delete", id]);
    }
    let rest: Vec<_> = told.into_iter().collect();
    assert!(rest.len() == 1 && rest[0].contains("/dev/null"), "{rest:?}");
    silent.delete(true).unwrap();
    sandbox.assert_clean();
}

#[test]
fn a_daemon_with_an_epoll_of_its_own_hears_of_every_end() {
    let sandbox = Sandbox::new("embedding");
    let driver = sandbox.driver();
    let codes = [0, 7, 255];
    let gates = codes.map(|_| sandbox.gate());
    let containers = [0, 1, 2].map(|n| {
        let script = format!("{}; exit {}", Gate::WAIT, codes[n]);
        let bundle = sandbox.sh(&script).bind(gates[n].dir());
        sandbox.started(&driver, &bundle, "embedded")
    });
    let expected: BTreeSet<String> = std::iter::zip(&containers, codes)
        .flat_map(|(container, code)| {
            let id = container.id();
            [
                format!("{id}/init: running"),
                format!("{id}/init ended with {code}"),
            ]
        })
        .collect();
    let mut told = BTreeSet::new();
    epoll::watch(&driver, &mut |line| {
        told.insert(line);
        // Everything has its verdict.
        if told.len() == codes.len() {
            gates.iter().for_each(Gate::open);
        }
    })
    .unwrap();
    assert_eq!(told, expected);
    for container in containers {
        container.delete(false).unwrap();
    }
    sandbox.assert_clean();
}
