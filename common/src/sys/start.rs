//! A program's start without the standard library's: that looks through /proc/self/maps for the stack's guard page, maps an
//! alternative stack and installs handlers, once an `execve`, which a shim makes three times and whose pages it keeps for as long as
//! it lives.
//!
//! What is missed: a stack overflow is a plain SIGSEGV. What else the library does then is done here.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

/// Makes `$main`, a `fn(Vec<OsString>) -> ExitCode`, which is given the words without the program's name, the program's C main; for a crate that is `#![no_main]`.
#[macro_export]
macro_rules! bare_main {
    ($main:path) => {
        /// Called by the C library once it has set itself up.
        #[unsafe(no_mangle)]
        extern "C" fn main(
            count: core::ffi::c_int,
            words: *const *const core::ffi::c_char,
        ) -> core::ffi::c_int {
            // SAFETY: the C library calls main with as many C strings as it says.
            unsafe { $crate::sys::start::run(count, words, $main) }
        }
    };
}

/// What stands around a program's own main. The words come from C's main, because `std::env::args_os` has them only where the C
/// library tells its constructors, and musl does not.
///
/// # Safety
/// There are `count` C strings at `words`.
pub unsafe fn run(
    count: c_int,
    words: *const *const c_char,
    main: fn(Vec<OsString>) -> ExitCode,
) -> i32 {
    let words = (1..usize::try_from(count).unwrap_or(0)).map(|n| {
        // SAFETY: the caller vouches for `count` C strings, of which this is one; it is copied.
        let word = unsafe { CStr::from_ptr(*words.add(n)) };
        OsStr::from_bytes(word.to_bytes()).to_owned()
    });
    let words = words.collect();
    open_standard_streams();
    // SAFETY: SIG_IGN runs no code of ours; signal(2) takes two integers and touches no memory.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    i32::from(main(words) != ExitCode::SUCCESS)
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
