//! Zeroed memory from the kernel, which costs nothing until it is touched.
//!
//! Owns one mapping, and unmaps it when dropped. Knows nothing of its use; `events` allocates its rings here.
#![allow(unsafe_code)]

use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// A slice of words, initially zero.
pub struct Words {
    start: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: the value owns the mapping, and only shared atomics access it.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// Allocates `len` words from the kernel.
    ///
    /// # Errors
    /// The kernel has no memory.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        if len == 0 {
            return Ok(Self { start: NonNull::dangling(), len });
        }
        let bytes = len.checked_mul(size_of::<AtomicU64>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // Not `MAP_NORESERVE`: the kernel should refuse what it cannot promise.
        // SAFETY: a fresh private anonymous mapping at an address of the kernel's choice aliases nothing.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    #[inline]
    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has `len` words, aligned to a page, and lives as long as `self`; the kernel's zeroes are
        // valid. Without words the pointer is dangling and aligned, as it may be.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: the mapping is this value's, and no reference into it outlives it.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.len * size_of::<AtomicU64>()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    /// Resident bytes of the mapping, as reported by the kernel.
    fn resident(words: &Words) -> usize {
        let pages = (words.len * 8).div_ceil(4096);
        let mut states = vec![0u8; pages];
        // SAFETY: the range is a mapping, and there is a byte for each of its pages.
        let result = unsafe { libc::mincore(words.start.as_ptr().cast(), words.len * 8, states.as_mut_ptr()) };
        assert_eq!(result, 0);
        states.iter().filter(|state| **state & 1 == 1).count() * 4096
    }

    #[test]
    fn words_are_zero_and_have_no_memory_until_they_are_touched() {
        let words = Words::zeroed(128 << 20).unwrap();
        assert_eq!((words.len(), resident(&words)), (128 << 20, 0));
        words[64 << 20].store(7, Relaxed);
        assert!((4096..=4 << 20).contains(&resident(&words)));
        assert_eq!((words[0].load(Relaxed), words[64 << 20].load(Relaxed)), (0, 7));
    }

    #[test]
    fn memory_that_the_kernel_lacks_is_an_error() {
        assert!(Words::zeroed(1 << 50).is_err() && Words::zeroed(usize::MAX).is_err());
        assert!(Words::zeroed(0).unwrap().is_empty());
    }
}
