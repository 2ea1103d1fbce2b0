//! What a memory file records of each page: its class and stride, with a checksum.
//!
//! Owns the format of an entry: `class u8 | stride/4 u24 | checksum u32`. The words are those of the file's header. The
//! arena enters every assignment of a page; recovery reads the entries of the previous process.

use crate::store::item::WORD;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The entries, by number of the page. Pages are numbered from 1, so the first is unused.
#[derive(Clone, Copy)]
pub struct PageEntries(&'static [AtomicU64]);

impl PageEntries {
    /// Entries in these words.
    pub fn over(words: &'static [AtomicU64]) -> Self {
        Self(words)
    }

    /// Records a page's class and its stride in bytes; class 0 = not in use.
    pub fn enter(&self, page: u32, class: usize, stride: usize) {
        let entry = (class | (stride / WORD) << 8) as u32;
        let word = u64::from(entry) | u64::from(checksum(page, entry)) << 32;
        self.0[page as usize].store(word, Relaxed);
    }

    /// Class and stride of a page; `None` if it is not in use, or the checksum of its entry is wrong.
    pub fn get(&self, page: u32) -> Option<(usize, usize)> {
        let word = self.0[page as usize].load(Relaxed);
        let (entry, check) = (word as u32, (word >> 32) as u32);
        let (class, stride) = ((entry & 0xff) as usize, (entry >> 8) as usize * WORD);
        (class != 0 && check == checksum(page, entry)).then_some((class, stride))
    }

    /// Clears all entries.
    pub fn clear(&self) {
        self.0.iter().for_each(|entry| entry.store(0, Relaxed));
    }
}

/// Checksum of a page's entry, different for each page.
fn checksum(page: u32, entry: u32) -> u32 {
    crate::hash::checksum(&(u64::from(page) << 32 | u64::from(entry)).to_le_bytes()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_or_misplaced_entry_is_none() {
        let words: &'static [AtomicU64] = Vec::leak((0..4).map(|_| AtomicU64::new(0)).collect());
        let entries = PageEntries::over(words);
        entries.enter(2, 5, 152);
        assert_eq!([1, 2].map(|page| entries.get(page)), [None, Some((5, 152))]);
        words[3].store(words[2].load(Relaxed), Relaxed);
        assert_eq!(entries.get(3), None, "the entry of another page");
        words[2].fetch_xor(1 << 9, Relaxed);
        assert_eq!(entries.get(2), None);
        entries.enter(2, 0, 0);
        assert_eq!(entries.get(2), None);
    }
}
