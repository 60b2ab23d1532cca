//! A parent that takes its time: it runs a command, becomes the parent of whatever is orphaned below it, and reaps only when it is
//! told to. It says `ran` when the command is done, and `reaped` for each line on its stdin.

#![forbid(unsafe_code)]

use std::process::Command;

use holdfast_common::sys::process::{Children, become_subreaper, reap};

fn main() -> std::io::Result<()> {
    become_subreaper()?;
    let mut words = std::env::args_os().skip(1);
    let program = words.next().expect("a command to run");
    let status = Command::new(program).args(words).status()?;
    assert!(status.success(), "{status}");
    println!("ran");
    for line in std::io::stdin().lines() {
        line?;
        while matches!(reap(-1), Children::Ended(_)) {}
        println!("reaped");
    }
    Ok(())
}
