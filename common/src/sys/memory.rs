//! The C library's heap.

/// Gives what is free of the heap back to the system (malloc_trim(3)), where the C library can; musl's does so by itself.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes an integer, and touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
