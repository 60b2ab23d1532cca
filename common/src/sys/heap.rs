//! The heap of a process that is to stay small. It begins as a piece of the executable's own image (`.bss`), which the page tables
//! that map the program map as well: a heap of the C library's is two more places in the address space, with tables of their own.
//! What is large comes from the system, and goes back to it.
//!
//! With musl alone: glibc's is measured as it is, and sanitizers bring their own.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dlmalloc::{Allocator, Dlmalloc};

/// Bytes of the image that are heap. Those that are not needed are never touched. With the program they fit into the 2 MiB of a
/// page table.
const IMAGE: usize = 256 << 10;
/// From so many bytes on a piece is mapped for itself.
const LARGE: usize = 32 << 10;
/// What a piece of the allocator's stands on, bytes: two words.
const ALIGNED: usize = 2 * size_of::<usize>();
/// Of x86_64; where pages are larger, what is given back is less.
const PAGE: usize = 4096;

/// The global allocator, for `#[global_allocator]`.
#[derive(Debug)]
pub struct Heap;

/// Gives what is free at the heap's end back to the system, as malloc_trim(3) does.
pub fn trim() {
    // SAFETY: the allocator is exclusively borrowed; it gives back only what nobody has.
    unsafe { heap().trim(0) };
}

/// In whole pages, so that no end of a heap that is larger than need be is written to.
static HEAP: Mutex<Dlmalloc<Source>> = Mutex::new({
    let mut heap = Dlmalloc::new_with_allocator(Source);
    assert!(heap.set_granularity(PAGE));
    heap
});

fn heap() -> MutexGuard<'static, Dlmalloc<Source>> {
    HEAP.lock().unwrap_or_else(PoisonError::into_inner)
}

#[repr(C, align(16))]
struct Image(UnsafeCell<[u8; IMAGE]>);

// SAFETY: nobody but the allocator, which is behind a lock, gets a pointer into it, and it gives each piece to one caller.
unsafe impl Sync for Image {}

static FIRST: Image = Image(UnsafeCell::new([0; IMAGE]));
/// How much of it the allocator has, from its beginning; changed under the allocator's lock alone.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Where the allocator gets memory: from the image while that lasts, as from sbrk(2); then from the system.
struct Source;

impl Source {
    /// Takes back what is from `at` to `at + size`; whether that could be done.
    fn take_back(at: *mut u8, size: usize) -> bool {
        let first = FIRST.0.get().addr();
        let (begin, end) = (at.addr(), at.addr() + size);
        if !(first..first + IMAGE).contains(&begin) {
            // SAFETY: the allocator had it from map(), and has nothing in it any more.
            return unsafe { libc::munmap(at.cast(), size) } == 0;
        }
        if end != first + TAKEN.load(Ordering::Relaxed) {
            return false;
        }
        TAKEN.store(begin - first, Ordering::Relaxed);
        // Pages in part belong to others as well.
        let offset = begin.next_multiple_of(PAGE) - begin;
        let whole = (size.saturating_sub(offset)) / PAGE * PAGE;
        if whole > 0 {
            // SAFETY: these pages are within what the allocator gives back, which nobody has anything in.
            unsafe { libc::madvise(at.add(offset).cast(), whole, libc::MADV_DONTNEED) };
        }
        true
    }
}

// SAFETY: what alloc returns is mapped, aligned to 16 bytes, and nobody else's until it is taken back.
unsafe impl Allocator for Source {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        let taken = TAKEN.load(Ordering::Relaxed);
        if size <= IMAGE - taken {
            TAKEN.store(taken + size, Ordering::Relaxed);
            // SAFETY: taken + size is within the image.
            return (unsafe { FIRST.0.get().cast::<u8>().add(taken) }, size, 0);
        }
        // Not page by page.
        let size = size.next_multiple_of(2 * LARGE);
        (map(size), size, 0)
    }

    /// Of what is mapped for itself, of which this allocator has nothing.
    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        ptr::null_mut()
    }

    fn free_part(&self, at: *mut u8, old: usize, new: usize) -> bool {
        Self::take_back(at.wrapping_add(new), old - new)
    }

    fn free(&self, at: *mut u8, size: usize) -> bool {
        Self::take_back(at, size)
    }

    fn can_release_part(&self, _: u32) -> bool {
        true
    }

    /// What is taken again from the image has been written to, perhaps.
    fn allocates_zeros(&self) -> bool {
        false
    }

    fn page_size(&self) -> usize {
        PAGE
    }
}

/// New memory of the system's, zeros; null where it has none.
fn map(size: usize) -> *mut u8 {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping touches nothing that is there.
    let at = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return ptr::null_mut();
    }
    at.cast()
}

/// Whether it is mapped for itself: what is large, and the rare thing that must stand on more than 16 bytes.
fn is_mapped(layout: Layout) -> bool {
    layout.size() >= LARGE || layout.align() > ALIGNED
}

// SAFETY: every piece comes from mmap(2) or from the allocator, by its layout alone, and goes back where it came from. A mapping
// begins with a page, and nothing asks for more than that.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match layout.align() {
            _ if !is_mapped(layout) => {
                // SAFETY: the allocator asks for nothing; its pieces stand on 16 bytes.
                unsafe { heap().c_malloc(layout.size()) }
            }
            ..=PAGE => map(layout.size()),
            _ => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if is_mapped(layout) {
            // SAFETY: by its layout it was mapped for itself, and the caller has nothing in it any more.
            unsafe { libc::munmap(at.cast(), layout.size()) };
            return;
        }
        // SAFETY: by its layout it is the allocator's, and the caller has nothing in it any more.
        unsafe { heap().c_free(at) }
    }

    /// What is mapped is zeros.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the same contract.
        let at = unsafe { self.alloc(layout) };
        if !at.is_null() && !is_mapped(layout) {
            // SAFETY: it is as large as that, and nobody else's.
            unsafe { ptr::write_bytes(at, 0, layout.size()) };
        }
        at
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller vouches that the size, rounded up to the alignment, is within isize.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if is_mapped(layout) && is_mapped(new) {
            // SAFETY: it was mapped for itself with the old size, and only its caller knows where.
            let moved =
                unsafe { libc::mremap(at.cast(), layout.size(), size, libc::MREMAP_MAYMOVE) };
            if moved == libc::MAP_FAILED {
                return ptr::null_mut();
            }
            return moved.cast();
        }
        // SAFETY: the caller keeps to the contract of all three; both have room for as many bytes, and are apart.
        unsafe {
            let to = self.alloc(new);
            if !to.is_null() {
                ptr::copy_nonoverlapping(at, to, layout.size().min(size));
                self.dealloc(at, layout);
            }
            to
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    /// One test: there is one heap, and others would take from it between two looks.
    #[test]
    fn pieces_are_apart_keep_their_bytes_and_are_given_back() {
        let sizes = [1, 16, 100, 4000, 5000, LARGE - 1, LARGE, 3 * LARGE];
        let aligns = [1, ALIGNED, 64, PAGE];
        let mut pieces = Vec::new();
        // More than the image has.
        for round in 0..8_usize {
            for (n, size) in sizes.into_iter().enumerate() {
                let layout = layout(size, aligns[(round + n) % aligns.len()]);
                let mark = u8::try_from(round * sizes.len() + n).unwrap();
                // SAFETY: no size is zero; what is written to is as large as asked for, and each piece is given back once, as it
                // was taken.
                let at = unsafe { Heap.alloc_zeroed(layout) };
                assert!(!at.is_null() && at.addr().is_multiple_of(layout.align()));
                // SAFETY: as above.
                let bytes = unsafe { std::slice::from_raw_parts_mut(at, size) };
                assert!(bytes.iter().all(|byte| *byte == 0));
                bytes.fill(mark);
                pieces.push((at, layout, mark));
            }
        }
        for (n, (at, before, mark)) in pieces.iter_mut().enumerate() {
            let size = sizes[n * 5 % sizes.len()];
            // SAFETY: as above.
            *at = unsafe { Heap.realloc(*at, *before, size) };
            let kept = before.size().min(size);
            *before = layout(size, before.align());
            // SAFETY: as above.
            let bytes = unsafe { std::slice::from_raw_parts_mut(*at, size) };
            assert!(bytes[..kept].iter().all(|byte| byte == mark));
            bytes.fill(*mark);
        }
        for (at, layout, mark) in pieces {
            // SAFETY: as above.
            let bytes = unsafe { std::slice::from_raw_parts(at, layout.size()) };
            assert!(bytes.iter().all(|byte| *byte == mark));
            // SAFETY: as above.
            unsafe { Heap.dealloc(at, layout) };
        }
        trim();
        assert!(TAKEN.load(Ordering::Relaxed) <= PAGE, "nothing came back");
        // SAFETY: as above.
        assert!(unsafe { Heap.alloc(layout(1, 2 * PAGE)) }.is_null());
    }
}
