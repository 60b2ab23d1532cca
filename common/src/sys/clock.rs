//! The clock by a system call, in the place of the C library's, which asks the code that the kernel lends (vdso(7)). That is a page
//! in a part of the address space where an idle shim has nothing else: three pages of page tables for as long as it lives, and
//! some fifty microseconds to find it. A shim asks for the time when something happens, not all the time.

use std::ffi::c_int;

/// clock_gettime(2), for all who call it by its name: the standard library, too.
///
/// # Safety
/// `time` is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    // SAFETY: it takes an integer, and writes a timespec to where the caller vouches that there is room for one.
    let done = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    if done == 0 { 0 } else { -1 }
}
