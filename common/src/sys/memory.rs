//! The heap, whosever it is.

/// Gives what is free of the heap back to the system, as malloc_trim(3) does.
pub fn trim() {
    #[cfg(all(feature = "small", target_env = "musl"))]
    super::heap::trim();
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes an integer, and touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
