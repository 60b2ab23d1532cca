//! Linked into one more shim with AddressSanitizer by `scripts/check-memory`: a byte that is read after it was freed, once the
//! shim has executed itself to hold a container, and one that is never freed where it tells its version. If they are not
//! reported, a run without reports means nothing.

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::{CStr, c_char, c_int};
use std::hint::black_box;

/// Run before `main`, with its arguments (glibc).
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn(c_int, *const *const c_char) = err;

extern "C" fn err(count: c_int, words: *const *const c_char) {
    let word = |index: c_int| {
        // SAFETY: argv has `count` strings.
        (index < count).then(|| unsafe { CStr::from_ptr(*words.offset(index as isize)) })
    };
    let layout = Layout::new::<u8>();
    if word(1) == Some(c"--version") {
        // SAFETY: a byte is not nothing.
        black_box(unsafe { alloc(layout) });
    }
    // ID BUNDLE RUNTIME hold …
    if word(4) == Some(c"hold") {
        // SAFETY: none; that is what it is here for.
        unsafe {
            let byte = black_box(alloc(layout));
            dealloc(byte, layout);
            black_box(*byte);
        }
    }
}
