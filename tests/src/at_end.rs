//! Something to be done at the end of a scope, also of one that a failing test leaves: without it, a thread that waits for
//! the test to go on would wait for ever, and the test's failure with it.

/// Calls a function when it is dropped.
#[derive(Debug)]
#[must_use = "it is the end of its scope that counts"]
pub struct AtEnd<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
