//! The examples for daemon authors: what docs/embedding.md shows works.

use std::collections::BTreeSet;

use holdfast_tests::{Gate, Sandbox};

#[path = "../../driver/examples/epoll.rs"]
#[allow(dead_code, reason = "its main is for those who run it")]
mod epoll;

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
        .map(|(container, code)| format!("{}/init ended with {code}", container.id()))
        .collect();
    let mut told = BTreeSet::new();
    std::thread::scope(|scope| {
        scope.spawn(|| gates.iter().for_each(Gate::open));
        epoll::watch(&driver, &mut |line| {
            told.insert(line);
        })
        .unwrap();
    });
    assert_eq!(told, expected);
    for container in containers {
        container.delete(false).unwrap();
    }
    sandbox.assert_clean();
}
