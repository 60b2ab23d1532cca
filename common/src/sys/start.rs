//! A program's start without the standard library's: that looks through /proc/self/maps for the stack's guard page, maps an
//! alternative stack and installs handlers, once an `execve`, which a shim makes three times and whose pages it keeps for as long as
//! it lives.
//!
//! What is missed: a stack overflow is a plain SIGSEGV. What else the library does then is done here.

use std::process::ExitCode;

/// Makes `$main`, a `fn() -> ExitCode`, the program's C main; for a crate that is `#![no_main]`.
#[macro_export]
macro_rules! bare_main {
    ($main:path) => {
        /// Called by the C library once it has set itself up.
        #[unsafe(no_mangle)]
        extern "C" fn main() -> core::ffi::c_int {
            $crate::sys::start::run($main)
        }
    };
}

/// What stands around a program's own main.
pub fn run(main: fn() -> ExitCode) -> i32 {
    open_standard_streams();
    // SAFETY: SIG_IGN runs no code of ours; signal(2) takes two integers and touches no memory.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    i32::from(main() != ExitCode::SUCCESS)
}

/// Whoever started us without one of descriptors 0 to 2 would have the next file that is opened take its place.
fn open_standard_streams() {
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    });
    // SAFETY: the array is exclusively borrowed and its length is passed; poll writes only revents.
    let polled = unsafe { libc::poll(streams.as_mut_ptr(), 3, 0) };
    for stream in streams.iter().filter(|_| polled > 0) {
        if stream.revents & libc::POLLNVAL != 0 {
            // SAFETY: the path is a C string; the descriptor takes the lowest number that is free, which is this one, and
            // stays for as long as the program runs.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
}
