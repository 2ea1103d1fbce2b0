//! Item memory: pages of one megabyte, whose chunks are named by handles.
//!
//! Owns the reservation, the page table and byte access through relaxed word loads and stores. Knows
//! nothing of items. A wrong or stale handle gives wrong bytes, never an access outside the region.

pub use super::handle::Handle;
use super::handle::{FIRST_PAGE, LONG_PAGES, SHORT_PAGES};
use super::image::Image;
use super::region::{Region, prefetch};
use super::sizes::PAGE_BYTES;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Words of a page.
const PAGE_WORDS: usize = PAGE_BYTES / 8;

/// In the page table: the page was cut in another way before, so who still reads by the old cut reads anywhere in it.
const RECUT: u32 = 1 << 31;

/// The pages. Pages are numbered from 1 and handed out in order; the page table tells each one's class.
pub struct Arena {
    region: Region,
    /// The memory file that the pages lie in, if they do: it is told what becomes of each.
    image: Option<Image>,
    /// [`RECUT`] | a page's stride in words << 8 | class; without these two it is not in use.
    table: Box<[AtomicU32]>,
    pages: usize,
}

impl Arena {
    /// Reserves address space for as many pages as a short handle can name, or for `bytes` and as much again where
    /// these are too few; less where the kernel has no more, but not less than `bytes`. `None` if that is too much.
    pub fn reserve(bytes: u64, exactly: bool) -> Option<Self> {
        let before = FIRST_PAGE as usize - 1;
        let wanted = before + usize::try_from(bytes / PAGE_BYTES as u64).ok()? + super::sizes::CLASSES_PAGES;
        if wanted >= LONG_PAGES {
            return None;
        }
        let ample = if wanted < SHORT_PAGES { SHORT_PAGES } else { (2 * wanted).min(LONG_PAGES) } - 1;
        let mut pages = if exactly { wanted } else { ample };
        loop {
            if let Some(region) = Region::reserve(pages * PAGE_BYTES) {
                let table = (0..=pages).map(|_| AtomicU32::new(0)).collect();
                return Some(Self { region, image: None, table, pages });
            }
            if pages <= wanted {
                return None;
            }
            pages = (pages / 2).max(wanted);
        }
    }

    /// The pages of a memory file.
    pub fn of_file(image: Image) -> Self {
        let pages = image.page_count();
        let table = (0..=pages).map(|_| AtomicU32::new(0)).collect();
        Self { region: image.pages(), image: Some(image), table, pages }
    }

    /// The memory file, if the pages lie in one.
    pub fn image(&self) -> Option<&Image> {
        self.image.as_ref()
    }

    /// Pages that exist as address space, numbered 1..=this.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Whether handles may have more than 32 bits.
    pub fn has_long_handles(&self) -> bool {
        self.pages >= SHORT_PAGES
    }

    /// Gives page `page`, which must be all zero, to a class, with chunks of `stride` bytes.
    pub fn assign(&self, page: u32, class: usize, stride: usize) {
        if let Some(image) = &self.image {
            image.enter(page, class, stride);
        }
        let entry = &self.table[page as usize];
        entry.store(entry.load(Relaxed) & RECUT | ((stride / 8) << 8 | class) as u32, Relaxed);
    }

    /// Takes page `page` from its class: it has no chunks until it is assigned again. Its memory reads as zero, as
    /// a class expects of a new page.
    pub fn clear(&self, page: u32) {
        if let Some(image) = &self.image {
            image.enter(page, 0, 0);
        }
        self.table[page as usize].store(RECUT, Relaxed);
        self.words_of(page).iter().for_each(|word| word.store(0, Relaxed));
    }

    /// Has the kernel give a page of no class, which reads as zero, its memory.
    pub fn touch(&self, page: u32) {
        // Once every 4 KiB: where huge pages are short the kernel gives small ones.
        self.words_of(page).iter().step_by(4096 / 8).for_each(|word| word.store(0, Relaxed));
    }

    /// Gives the memory of a page of no class back to the kernel.
    pub fn release(&self, page: u32) {
        let start = (page as usize - 1) * PAGE_WORDS;
        self.region.discard(start, start + PAGE_WORDS);
    }

    fn words_of(&self, page: u32) -> &'static [AtomicU64] {
        let start = (page as usize - 1) * PAGE_WORDS;
        &self.region.words()[start..start + PAGE_WORDS]
    }

    /// Bytes between chunks of the page of `handle`; 0 when the page is not in use.
    #[inline]
    pub fn stride(&self, handle: Handle) -> usize {
        self.stride_of(handle.page())
    }

    #[inline]
    fn stride_of(&self, page: usize) -> usize {
        self.table.get(page).map_or(0, |entry| ((entry.load(Relaxed) & !RECUT) >> 8) as usize * 8)
    }

    /// Slots of a page; 0 when it is not in use.
    pub fn slots(&self, page: u32) -> u32 {
        PAGE_BYTES.checked_div(self.stride_of(page as usize)).unwrap_or(0) as u32
    }

    /// Class of the page of `handle`; 0 when the page is not in use.
    #[inline]
    pub fn class(&self, handle: Handle) -> usize {
        self.table.get(handle.page()).map_or(0, |entry| (entry.load(Relaxed) & 0xff) as usize)
    }

    /// The chunk's words, all of its page; empty when the handle names none.
    #[inline]
    pub fn chunk(&self, handle: Handle) -> &'static [AtomicU64] {
        let Some(entry) = self.table.get(handle.page()) else { return &[] };
        let stride = ((entry.load(Relaxed) & !RECUT) >> 8) as usize;
        let offset = handle.slot() * stride;
        if stride == 0 || offset + stride > PAGE_WORDS {
            return &[]; // page 0, a page not in use, or one that has been cut into fewer chunks
        }
        let start = (handle.page() - 1) * PAGE_WORDS + offset;
        self.region.words().get(start..start + stride).unwrap_or(&[])
    }

    /// Whether the page of a chunk has been cut in the same way ever since it was first used.
    pub fn is_first_cut(&self, handle: Handle) -> bool {
        self.table.get(handle.page()).is_some_and(|entry| entry.load(Relaxed) & RECUT == 0)
    }

    /// Loads the head of the chunk `slots` behind this one ahead of use, if the page reaches so far.
    #[inline]
    pub fn prefetch_head(&self, handle: Handle, slots: u32) {
        if let Some(later) = Handle::from_raw(handle.raw() + u64::from(slots))
            && let Some(word) = self.chunk(later).first()
        {
            prefetch(word);
        }
    }

    /// Loads the first cache lines of a chunk ahead of use: header, key and a short value.
    #[inline]
    pub fn prefetch(&self, handle: Handle) {
        let chunk = self.chunk(handle);
        for line in 0..3 {
            if let Some(word) = chunk.get(line * 8) {
                prefetch(word);
            }
        }
    }
}

/// Compares bytes from word `at` on with `key`; the stored bytes are zero-padded to the word.
#[inline]
pub fn key_equals(chunk: &[AtomicU64], at: usize, key: &[u8]) -> bool {
    let Some(words) = chunk.get(at..at + key.len().div_ceil(8)) else { return false };
    let mut whole = key.chunks_exact(8);
    for (word, bytes) in words.iter().zip(&mut whole) {
        if word.load(Relaxed) != u64::from_le_bytes(bytes.try_into().expect("chunks of 8")) {
            return false;
        }
    }
    let rest = whole.remainder();
    if rest.is_empty() {
        return true;
    }
    let mask = (1u64 << (rest.len() * 8)) - 1;
    words[words.len() - 1].load(Relaxed) & mask == tail_word(rest)
}

/// Up to 7 bytes as the low bytes of a word.
#[inline]
fn tail_word(bytes: &[u8]) -> u64 {
    let mut word = [0u8; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// Appends `len` bytes from byte offset `at` to `out`. Out of range bytes are left out (a torn length).
#[inline]
pub fn copy_out(chunk: &[AtomicU64], at: usize, len: usize, out: &mut Vec<u8>) {
    let end = at + len;
    if end > chunk.len() * 8 || len == 0 {
        return;
    }
    out.reserve(len + 16);
    let shift = at % 8;
    let mut words = chunk[at / 8..end.div_ceil(8)].iter();
    let written = out.len();
    // SAFETY: `len + 16` bytes were reserved after `written`. Every store below goes to the position of a
    // byte of the value rounded to whole words: at most 7 bytes before the next value byte's word start
    // and 8 past the end, so inside the reservation. All `len` bytes are written before `set_len`.
    unsafe {
        let mut to = out.as_mut_ptr().add(written);
        if shift != 0
            && let Some(first) = words.next()
        {
            to.cast::<u64>().write_unaligned((first.load(Relaxed) >> (shift * 8)).to_le());
            to = to.add(8 - shift);
        }
        for word in words {
            to.cast::<u64>().write_unaligned(word.load(Relaxed).to_le());
            to = to.add(8);
        }
        out.set_len(written + len);
    }
}

/// Writes `bytes` at byte offset `at` of a chunk that nobody else writes. Bytes around them are kept.
/// Nothing is written when they do not fit.
#[inline]
pub fn copy_in(chunk: &[AtomicU64], at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if end > chunk.len() * 8 || bytes.is_empty() {
        return;
    }
    let mut word = at / 8;
    let shift = at % 8;
    let mut rest = bytes;
    if shift != 0 {
        let head = rest.len().min(8 - shift);
        merge(&chunk[word], shift, &rest[..head]);
        rest = &rest[head..];
        word += 1;
    }
    let mut whole = rest.chunks_exact(8);
    for eight in &mut whole {
        chunk[word].store(u64::from_le_bytes(eight.try_into().expect("chunks of 8")), Relaxed);
        word += 1;
    }
    if !whole.remainder().is_empty() {
        merge(&chunk[word], 0, whole.remainder());
    }
}

/// Replaces the bytes of one word from byte `shift` on.
#[inline]
fn merge(cell: &AtomicU64, shift: usize, bytes: &[u8]) {
    let mask = (if bytes.len() == 8 { u64::MAX } else { (1u64 << (bytes.len() * 8)) - 1 }) << (shift * 8);
    let old = cell.load(Relaxed);
    cell.store(old & !mask | (tail_word(bytes) << (shift * 8)), Relaxed);
}

/// Bytes `from..to` of a chunk whose bytes do not change while the borrow lives.
///
/// # Safety
/// Nobody may write these bytes for `'a`: the chunk is pinned, or owned by the caller alone.
pub unsafe fn stable_bytes<'a>(chunk: &[AtomicU64], from: usize, to: usize) -> &'a [u8] {
    let to = to.min(chunk.len() * 8);
    let from = from.min(to);
    // SAFETY: the range is inside the chunk, whose memory is never unmapped; the caller upholds stability.
    unsafe { std::slice::from_raw_parts(chunk.as_ptr().cast::<u8>().add(from), to - from) }
}

/// Bytes `from..to` of a chunk that the caller alone may touch.
///
/// # Safety
/// Nobody else may read or write these bytes for `'a`, be it by a stale handle: docs/memory.md says which ones those are.
#[allow(clippy::mut_from_ref)] // atomics may be written through a shared reference; the contract makes it sole
pub unsafe fn exclusive_bytes(chunk: &[AtomicU64], from: usize, to: usize) -> &mut [u8] {
    let to = to.min(chunk.len() * 8);
    let from = from.min(to);
    // SAFETY: as above; atomics have interior mutability, so writing through their memory is allowed.
    unsafe { std::slice::from_raw_parts_mut(chunk.as_ptr().cast::<u8>().cast_mut().add(from), to - from) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_every_alignment() {
        let chunk: Vec<AtomicU64> = (0..16).map(|_| AtomicU64::new(u64::MAX)).collect();
        let value: Vec<u8> = (1..=60).collect();
        for at in 0..40 {
            for len in 0..60 {
                copy_in(&chunk, at, &value[..len]);
                let mut out = vec![9];
                copy_out(&chunk, at, len, &mut out);
                assert_eq!(&out[1..], &value[..len], "at {at} len {len}");
            }
        }
    }

    #[test]
    fn copy_in_keeps_neighbours() {
        let chunk: Vec<AtomicU64> = (0..2).map(|_| AtomicU64::new(u64::MAX)).collect();
        copy_in(&chunk, 3, &[0; 7]);
        let mut out = Vec::new();
        copy_out(&chunk, 0, 16, &mut out);
        assert_eq!(out, [255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn out_of_range_is_refused_not_followed() {
        let chunk: Vec<AtomicU64> = vec![AtomicU64::new(0)];
        copy_in(&chunk, 4, &[1; 5]);
        let mut out = Vec::new();
        copy_out(&chunk, 4, 5, &mut out);
        assert!(out.is_empty());
        assert!(!key_equals(&chunk, 0, b"longer than eight"));
    }

    #[test]
    fn keys_compare_by_their_own_length() {
        let chunk: Vec<AtomicU64> = (0..4).map(|_| AtomicU64::new(0)).collect();
        copy_in(&chunk, 8, b"hello world");
        assert!(key_equals(&chunk, 1, b"hello world"));
        assert!(key_equals(&chunk, 1, b"hello wo"));
        assert!(!key_equals(&chunk, 1, b"hello worle"));
        assert!(!key_equals(&chunk, 1, b"Hello world"));
    }

    #[test]
    fn bogus_handles_name_nothing() {
        let arena = Arena::reserve(4 << 20, true).unwrap();
        assert!(arena.chunk(Handle::from_raw(u32::MAX.into()).unwrap()).is_empty());
        assert!(arena.chunk(Handle::new(1, 0)).is_empty(), "a page not in use has no chunks");
        arena.assign(1, 3, 64);
        assert_eq!(arena.chunk(Handle::new(1, 5)).len(), 8);
        assert_eq!(arena.class(Handle::new(1, 5)), 3);
        let last = (PAGE_BYTES / 64 - 1) as u32;
        assert_eq!(arena.chunk(Handle::new(1, last)).len(), 8);
        assert!(arena.chunk(Handle::new(1, last + 1)).is_empty(), "no chunk reaches into the next page");
    }

    #[test]
    fn a_page_that_is_cut_anew_says_so() {
        let arena = Arena::reserve(4 << 20, true).unwrap();
        arena.assign(1, 3, 64);
        assert!(arena.is_first_cut(Handle::new(1, 0)));
        arena.clear(1);
        arena.assign(1, 5, 1024);
        assert!(!arena.is_first_cut(Handle::new(1, 0)));
        assert_eq!((arena.class(Handle::new(1, 7)), arena.chunk(Handle::new(1, 7)).len()), (5, 128));
    }
}
