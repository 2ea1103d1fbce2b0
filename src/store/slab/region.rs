//! Reserved address space, accessed as atomic words.
//!
//! Owns the only permanent mappings, and the only place where memory of the kernel or of a file becomes Rust memory.
//! A region is never unmapped, so a stale index into it can read old data but never fault; its pages cost nothing
//! until they are touched. Used by the arena, the index and the memory file.

use crate::point::is_memory_refused;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// A never-unmapped range of `AtomicU64`; zero-filled, unless it maps a file.
#[derive(Clone, Copy)]
pub struct Region {
    words: &'static [AtomicU64],
}

/// Alignment of regions: one huge page, so that the kernel can back them with huge pages from the start.
const HUGE_PAGE: usize = 2 << 20;

impl Region {
    /// Reserves `bytes` (rounded up to a huge page) of address space. `None` unless the kernel grants `spare` bytes
    /// more, which are given back at once and so stay available to the rest of the process.
    pub fn reserve(bytes: usize, spare: usize) -> Option<Self> {
        if is_memory_refused() {
            return None;
        }
        let len = bytes.checked_next_multiple_of(HUGE_PAGE)?.max(HUGE_PAGE);
        let mapped = len.checked_add(HUGE_PAGE)?.checked_add(spare.checked_next_multiple_of(HUGE_PAGE)?)?;
        // SAFETY: a fresh private anonymous mapping at an address of the kernel's choice aliases nothing.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return None;
        }
        let offset = base.align_offset(HUGE_PAGE);
        // If `munmap` fails, only address space is lost.
        // SAFETY: `offset` < HUGE_PAGE and the mapping is at least HUGE_PAGE longer than `len`, so `start` and `end`
        // lie inside it. No reference exists to the bytes before and after them, so they can be unmapped.
        let start = unsafe {
            let start = base.cast::<u8>().add(offset);
            if offset > 0 {
                libc::munmap(base, offset);
            }
            libc::munmap(start.add(len).cast(), mapped - offset - len);
            start
        };
        // SAFETY: the `len` bytes from `start` are mapped, zeroed, which is a valid `AtomicU64`, suitably aligned,
        // and never unmapped, so 'static. Only atomic accesses go through the slice.
        let words = unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), len / 8) };
        #[cfg(target_os = "linux")]
        // SAFETY: the range is the mapping's own; advice changes no contents. Failure costs speed only.
        unsafe {
            libc::madvise(words.as_ptr() as *mut libc::c_void, len, libc::MADV_HUGEPAGE);
        }
        Some(Self { words })
    }

    /// Maps the first `bytes` of a file, which must not become shorter while the process lives.
    ///
    /// # Errors
    /// The kernel refuses the mapping.
    pub fn map(file: &File, bytes: usize) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing in this process.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is `bytes` long, aligned to a page and never unmapped, so 'static; any bits are a valid
        // `AtomicU64`. Another writer of the file can cause wrong words, which readers of the region expect.
        let words = unsafe { std::slice::from_raw_parts(base.cast::<AtomicU64>(), bytes / 8) };
        #[cfg(target_os = "linux")]
        // SAFETY: the range is the mapping's own; advice changes no contents. Failure costs speed only.
        unsafe {
            libc::madvise(base, bytes, libc::MADV_HUGEPAGE);
        }
        Ok(Self { words })
    }

    /// A region of words that belong to a region already.
    pub fn over(words: &'static [AtomicU64]) -> Self {
        Self { words }
    }

    /// The words before and from `at`.
    pub fn split(&self, at: usize) -> (Self, Self) {
        let (left, right) = self.words.split_at(at);
        (Self { words: left }, Self { words: right })
    }

    /// Writes a file's region to the file, and waits until it is written.
    ///
    /// # Errors
    /// The system could not write.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: the range is inside a mapping that is never unmapped.
        let result = unsafe {
            libc::msync(self.words.as_ptr() as *mut libc::c_void, std::mem::size_of_val(self.words), libc::MS_SYNC)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The words.
    #[inline]
    pub fn words(&self) -> &'static [AtomicU64] {
        self.words
    }

    /// The same memory in halves of words. Memory accessed in halves must never be accessed in whole words.
    #[inline]
    pub fn halves(&self) -> &'static [AtomicU32] {
        // SAFETY: the memory is the region's, which is never unmapped, and aligned for more; any bits are a valid
        // `AtomicU32`. Races between accesses of different sizes are the callers' to avoid.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast::<AtomicU32>(), self.words.len() * 2) }
    }

    /// Returns the memory of words `from..to` to the kernel; they read as zero afterwards. Memory locked by `mlock`
    /// is locked again when it is next touched.
    pub fn discard(&self, from: usize, to: usize) {
        let range = &self.words[from..to];
        let (start, len) = (range.as_ptr() as *mut libc::c_void, std::mem::size_of_val(range));
        // SAFETY: the range lies inside this region; atomics racing with the discard see zero or old words,
        // both valid.
        let discard = || unsafe { libc::madvise(start, len, libc::MADV_DONTNEED) };
        if discard() == 0 {
            return;
        }
        #[cfg(target_os = "linux")]
        // SAFETY: as above; locking changes no contents.
        unsafe {
            libc::munlock(start, len);
            discard();
            libc::mlock2(start, len, libc::MLOCK_ONFAULT as _);
        }
    }
}

/// Makes the kernel back the page of `word` with memory, by a write that changes nothing, even under concurrent
/// writes. (A `fetch_or` of 0 would not do: compilers make a load of it, and a load is served by the kernel's zero
/// page.)
pub fn touch(word: &AtomicU64) {
    let _ = word.compare_exchange(0, 0, Relaxed, Relaxed);
}

/// Hints the processor to load the cache line of `word`.
#[inline(always)]
pub fn prefetch<W>(word: &W) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing architecturally and the address is valid.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(word).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = word;
}

/// Number of page faults of the calling thread.
#[cfg(all(test, target_os = "linux"))]
pub(in crate::store) fn thread_faults() -> i64 {
    // SAFETY: all zero is a value of the structure, which the call then fills.
    unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &mut usage), 0);
        usage.ru_minflt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_is_zeroed_aligned_and_discardable() {
        let region = Region::reserve(1 << 20, 0).unwrap();
        assert_eq!(region.words().as_ptr() as usize % HUGE_PAGE, 0);
        region.words()[5].store(7, Relaxed);
        region.discard(0, region.words().len());
        assert_eq!(region.words()[5].load(Relaxed), 0);
    }

    #[test]
    fn locked_memory_is_discarded_too() {
        let region = Region::reserve(1 << 20, 0).unwrap();
        let page = region.words().as_ptr() as *const libc::c_void;
        // SAFETY: the page is the region's.
        assert_eq!(unsafe { libc::mlock(page, 4096) }, 0, "any process may lock one page");
        region.words()[5].store(7, Relaxed);
        region.discard(0, 512);
        assert_eq!(region.words()[5].load(Relaxed), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_write_to_touched_memory_does_not_fault() {
        let region = Region::reserve(1 << 20, 0).unwrap();
        let word = &region.words()[4096];
        thread_faults(); // the call may fault itself
        touch(word);
        let before = thread_faults();
        word.store(7, Relaxed);
        assert_eq!(thread_faults(), before);
        touch(word);
        assert_eq!(word.load(Relaxed), 7);
    }
}
