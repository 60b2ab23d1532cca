//! System calls that nix and std do not wrap safely, one file a family, without policy: descriptors in
//! as `BorrowedFd`, out as `OwnedFd`, always close-on-exec. The only place with `unsafe`.

#![allow(unsafe_code)]

#[cfg(all(feature = "small", target_env = "musl"))]
mod clock;
pub mod datagram;
pub mod detach;
pub mod exec;
pub mod fd;
pub mod fifo;
pub mod flock;
#[cfg(any(test, all(feature = "small", target_env = "musl")))]
pub mod heap;
pub mod memory;
pub mod pidfd;
pub mod process;
pub mod pty;
pub mod rename;
pub mod scm;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod start;

use std::io;

/// What an error means, in lower case and without its number, as style asks: `no such file or directory`.
pub fn errno_text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => {
            let text = nix::errno::Errno::from_raw(number).desc();
            // "No such file …" becomes "no such file …", but "I/O error" and "RFS …" keep their capitals.
            let mut letters = text.chars();
            match (letters.next(), text.chars().nth(1)) {
                (Some(first), Some(second)) if second.is_lowercase() => {
                    first.to_lowercase().chain(letters).collect()
                }
                _ => text.to_owned(),
            }
        }
        None => error.to_string(),
    }
}
