//! Linked into a shim with AddressSanitizer by `scripts/check-memory`: what it does with an error. `ASAN_OPTIONS` would reach
//! only those shims that inherit an environment, and be passed on to the runtime.

use std::ffi::c_char;

/// Called by the sanitizer before anything else runs, so there is nothing in here that could be instrumented.
#[unsafe(no_mangle)]
pub extern "C" fn __asan_default_options() -> *const c_char {
    concat!(env!("OPTIONS"), "\0").as_ptr().cast()
}
