//! Slab class arithmetic: memcached sizes and strides.
//!
//! Owns the table of classes; knows no memory. *memcached_size* is what memcached would need for an item and what
//! users see (`chunk_size`, `size=`, `bytes`); *footprint* is what the item takes here, which is less.

use crate::limits::CLASSES;
use crate::store::item::WORD;

/// Bytes of a slab page.
pub const PAGE_BYTES: usize = 1 << 20;

/// Header size in bytes of an item with a short value that never expires.
pub const HEADER: usize = 12;

/// Bytes that the header of any other item has in addition; with a large value or a long time to live it has more.
const MORE: usize = 4;

/// Size of memcached's item header, as part of memcached_size.
pub const MEMCACHED_HEADER: usize = 48;

/// Size of a CAS id, as part of memcached_size.
const MEMCACHED_CAS: usize = 8;

/// Pages beyond `-m` that must exist: each class may always take its first one.
pub const CLASSES_PAGES: usize = CLASSES;

/// Maximum slots of a page: a handle has 15 bits for the slot.
const SLOTS_MAX: usize = 1 << 15;

/// Smallest memcached_size of a class that can hold a value above `COPY_MAX`, which has a pin, and length and expiry
/// time at full width.
const LARGE_SIZE: usize = crate::limits::COPY_MAX + MEMCACHED_HEADER + 8;

/// Settings that determine the class table.
#[derive(Clone, Debug)]
pub struct SizeConfig {
    /// `-n`: bytes of key, value and flags in the smallest class.
    pub chunk_size: usize,
    /// `-f`: ratio between neighbouring classes.
    pub growth_factor: f64,
    /// `-o slab_chunk_max` in bytes: the largest chunk.
    pub chunk_max: usize,
    /// `-I` in bytes: the largest memcached_size of an item.
    pub item_size_max: usize,
    /// `-o slab_sizes`: explicit sizes, ascending; empty = by factor.
    pub slab_sizes: Vec<u32>,
    /// Whether items have a CAS id (no `-C`).
    pub use_cas: bool,
}

impl Default for SizeConfig {
    /// memcached's defaults.
    fn default() -> Self {
        let (chunk_size, growth_factor, slab_sizes, use_cas) = (48, 1.25, Vec::new(), true);
        Self { chunk_size, growth_factor, chunk_max: 512 << 10, item_size_max: 1 << 20, slab_sizes, use_cas }
    }
}

/// Sizes of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassSize {
    /// Size that users see, in bytes.
    pub memcached_size: usize,
    /// Bytes between chunks in memory; a multiple of [`WORD`].
    pub stride: usize,
    /// Chunks in one page.
    pub per_page: usize,
}

/// The table of slab classes, 1..=largest.
#[derive(Clone, Debug)]
pub struct Sizes {
    classes: [ClassSize; CLASSES],
    largest: usize,
    config: SizeConfig,
    /// Smallest class of a memcached_size, by size / 8, up to 4 KB: a shortcut for the hot path.
    small: Vec<u8>,
}

impl Sizes {
    /// Computes the table by memcached's rule.
    pub fn new(config: SizeConfig) -> Self {
        let mut sizes = Self { classes: [ClassSize::default(); CLASSES], largest: 0, config, small: Vec::new() };
        let mut size = MEMCACHED_HEADER + sizes.config.chunk_size;
        let mut id = 1;
        while id < CLASSES - 1 {
            let memcached_size = if sizes.config.slab_sizes.is_empty() {
                if size as f64 >= sizes.config.chunk_max as f64 / sizes.config.growth_factor {
                    break;
                }
                size.next_multiple_of(8)
            } else {
                match sizes.config.slab_sizes.get(id - 1) {
                    Some(given) => (*given as usize).next_multiple_of(8),
                    None => break,
                }
            };
            sizes.classes[id] = sizes.class_size(memcached_size);
            size = (memcached_size as f64 * sizes.config.growth_factor) as usize;
            id += 1;
        }
        sizes.largest = id;
        sizes.classes[id] = sizes.class_size(sizes.config.chunk_max);
        sizes.small = (0..=512).map(|eighths| sizes.search(eighths * 8) as u8).collect();
        sizes
    }

    fn class_size(&self, memcached_size: usize) -> ClassSize {
        // memcached's size counts NUL, CR and LF, which are not stored here: room for rounding up.
        let saved = MEMCACHED_HEADER - HEADER - MORE + if self.config.use_cas { MEMCACHED_CAS } else { 0 };
        let large = if memcached_size >= LARGE_SIZE { 12 - MORE } else { 0 };
        // `-n 1 -o slab_sizes` allows sizes below that of the header alone.
        let stride = (memcached_size.saturating_sub(saved) + large)
            .next_multiple_of(WORD)
            .clamp(PAGE_BYTES / SLOTS_MAX, PAGE_BYTES);
        ClassSize { memcached_size, stride, per_page: PAGE_BYTES / stride }
    }

    fn search(&self, memcached_size: usize) -> usize {
        (1..=self.largest).find(|&id| self.classes[id].memcached_size >= memcached_size).unwrap_or(self.largest)
    }

    /// The memcached_size of an item, from key and value lengths in bytes.
    #[inline]
    pub fn memcached_size(&self, klen: usize, vlen: usize, has_flags: bool) -> usize {
        MEMCACHED_HEADER
            + if self.config.use_cas { MEMCACHED_CAS } else { 0 }
            + if has_flags { 4 } else { 0 }
            + klen
            + 1
            + vlen
            + 2
    }

    /// Whether a memcached_size is within `-I`.
    #[inline]
    pub fn fits(&self, memcached_size: usize) -> bool {
        memcached_size <= self.config.item_size_max
    }

    /// Whether an item of this memcached_size is stored as a chain of chunks.
    #[inline]
    pub fn is_chunked(&self, memcached_size: usize) -> bool {
        memcached_size > self.config.chunk_max
    }

    /// Smallest class for an item of this memcached_size (at most the largest chunk) and footprint; `None` if no
    /// class is large enough.
    #[inline]
    pub fn class_of(&self, memcached_size: usize, footprint: usize) -> Option<usize> {
        let mut id = match self.small.get(memcached_size.div_ceil(8)) {
            Some(&id) => usize::from(id),
            None => self.search_from_middle(memcached_size),
        };
        while footprint > self.classes[id].stride {
            id += 1;
            if id > self.largest {
                return None;
            }
        }
        Some(id)
    }

    fn search_from_middle(&self, memcached_size: usize) -> usize {
        let classes = &self.classes[1..=self.largest];
        (classes.partition_point(|c| c.memcached_size < memcached_size) + 1).min(self.largest)
    }

    /// Smallest class with chunks of at least `footprint` bytes.
    pub fn class_of_footprint(&self, footprint: usize) -> usize {
        let classes = &self.classes[1..=self.largest];
        (classes.partition_point(|c| c.stride < footprint) + 1).min(self.largest)
    }

    /// Number of the largest class.
    pub fn largest(&self) -> usize {
        self.largest
    }

    /// Sizes of class `id`.
    #[inline]
    pub fn class(&self, id: usize) -> &ClassSize {
        &self.classes[id]
    }

    /// Whether pages of class `id` may have chunks of `stride` bytes.
    pub fn cuts(&self, id: usize, stride: usize) -> bool {
        let known = (1..=self.largest).contains(&id);
        known && stride.is_multiple_of(WORD) && (PAGE_BYTES / SLOTS_MAX..=self.classes[id].stride).contains(&stride)
    }

    /// Fingerprint of the layout of pages and items: memory of another fingerprint cannot be recovered.
    pub fn fingerprint(&self) -> u64 {
        // The first number is the version of the item layout (`item`, `reservation`); change it with the layout.
        let mut words = vec![6, PAGE_BYTES, usize::from(self.config.use_cas), self.config.chunk_max];
        words.extend((1..=self.largest).flat_map(|id| [self.classes[id].memcached_size, self.classes[id].stride]));
        let bytes: Vec<u8> = words.iter().flat_map(|word| (*word as u64).to_le_bytes()).collect();
        crate::hash::checksum(&bytes)
    }

    /// Settings that the table was made from.
    pub fn config(&self) -> &SizeConfig {
        &self.config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_table_is_memcacheds() {
        let sizes = Sizes::new(SizeConfig::default());
        let memcached_size: Vec<usize> = (1..=sizes.largest()).map(|id| sizes.class(id).memcached_size).collect();
        assert_eq!(memcached_size.len(), 39);
        let known = [
            96, 120, 152, 192, 240, 304, 384, 480, 600, 752, 944, 1184, 1480, 1856, 2320, 2904, 3632, 4544, 5680, 7104,
            8880, 11104, 13880, 17352, 21696, 27120, 33904, 42384, 52984, 66232, 82792, 103496, 129376, 161720, 202152,
            252696, 315872, 394840, 524288,
        ];
        assert_eq!(memcached_size, known);
    }

    #[test]
    fn every_size_finds_the_smallest_class_that_holds_it() {
        let sizes = Sizes::new(SizeConfig::default());
        for memcached_size in (60..20_000).chain([100_000, 394_840, 394_841, 524_288]) {
            let id = sizes.class_of(memcached_size, 0).unwrap();
            assert!(sizes.class(id).memcached_size >= memcached_size);
            assert!(id == 1 || sizes.class(id - 1).memcached_size < memcached_size);
        }
    }

    #[test]
    fn slots_fit_a_handle_at_any_chunk_size() {
        for chunk_size in [1, 8, 48, 1000] {
            let sizes = Sizes::new(SizeConfig { chunk_size, ..SizeConfig::default() });
            for id in 1..=sizes.largest() {
                assert!(sizes.class(id).per_page <= SLOTS_MAX);
                assert_eq!(sizes.class(id).stride % WORD, 0);
            }
        }
    }
}
