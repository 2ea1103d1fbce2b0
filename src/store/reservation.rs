//! Reservations and pins: values while they are uploaded, and while they are sent.
//!
//! A [`Reservation`] owns an unlinked item while its value arrives; dropping it frees everything. A value over
//! `slab_chunk_max` is a chain of chunks that grows as bytes arrive, so an announced length alone takes no memory. A
//! [`Pinned`] value stays readable without the bucket's lock: the item counts its pins, and an item that is unlinked
//! while pinned is freed by its last pin.
//!
//! ```text
//! chain chunk:  word 0 = kind::CHAIN | next u64 | previous u64, 0 = the head | chain u64 | place u32
//!               data from byte 32; every chunk but the last is full
//! ```
//! `chain` is the same in all chunks of an item and unique within the process. To find the item of a chunk, the page
//! mover locks the bucket that `place` names, and looks there for the item whose first chunk has the same `chain`.
//!
//! Owns the layout of chains and the pin count. Knows no verbs; used by `write`, the page mover and `cache`.

use crate::cache_lines::{Shared, wrote};
use crate::clock::Expiry;
use crate::limits::OUTPUT_PINS;
use crate::store::item::Handle;
use crate::store::item::{Header, Item, Key, Meta, OPEN_BYTES, iflag, kind, state};
use crate::store::item::{Links, raw_of};
use crate::store::item::{WORD, copy_in, exclusive_bytes, load_pair, stable_bytes, store_pair};
use crate::store::store::Store;
use crate::store::write::OutOfMemory;
use std::io::IoSlice;
use std::sync::atomic::{AtomicU32, Ordering::*};

/// Set in the pin word once the item is unlinked.
const DEAD: u32 = 1 << 31;
const COUNT: u32 = DEAD - 1;

/// Bytes of a chain chunk before its data: kind, links and chain name.
pub(super) const CHAIN_HEADER: usize = 8 * WORD;
const CHAIN_NUMBER: usize = 5;
const CHAIN_PLACE: usize = 7;

// The pin count cannot overflow: one connection holds at most `OUTPUT_PINS` pins in its unsent replies, so 8 million
// connections would have to pin the same value. The assertion is for half of that.
const _: () = assert!(COUNT as usize / (2 * OUTPUT_PINS) > 4_000_000);

/// Name of a chain, unique within the process, with the place of its item in the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ChainName {
    /// 64 bits, since 32 would wrap within hours.
    pub(super) number: u64,
    /// Upper half of the key's hash.
    pub(super) place: u32,
}

impl ChainName {
    /// The name of the chain that a chunk belongs to.
    pub(super) fn of(chunk: &[AtomicU32]) -> Self {
        let place = chunk.get(CHAIN_PLACE).map_or(0, |word| word.load(Relaxed));
        Self { number: load_pair(chunk, CHAIN_NUMBER), place }
    }

    fn put(self, chunk: &[AtomicU32]) {
        store_pair(chunk, CHAIN_NUMBER, self.number);
        if let Some(word) = chunk.get(CHAIN_PLACE) {
            word.store(self.place, Relaxed);
        }
    }

    /// A hash of the same bucket as the item's key.
    pub(super) fn hash(self) -> u64 {
        u64::from(self.place) << 32
    }
}

/// An unlinked item that receives its value. No other thread can find it in the index.
pub struct Reservation {
    store: &'static Store,
    handle: Handle,
    item: Item,
    vlen: usize,
    written: usize,
    /// Last chunk of the chain and the data bytes in it; for chunked items only.
    tail: Option<(Handle, usize)>,
    /// For chunked items only.
    chain: ChainName,
    /// Expiry time as requested; the item has a time in the distant past clamped.
    expiry: Expiry,
    now: u32,
}

impl Reservation {
    /// Value bytes not yet written.
    #[inline]
    pub fn missing(&self) -> usize {
        self.vlen - self.written
    }

    /// Length of the value.
    pub fn vlen(&self) -> usize {
        self.vlen
    }

    /// Relative expiry time as requested, 0 = never.
    pub fn exptime(&self) -> u32 {
        self.store.relative(self.expiry)
    }

    /// Expiry time as requested.
    pub(super) fn expiry(&self) -> Expiry {
        self.expiry
    }

    /// Slab class as in `stats`.
    pub fn class(&self) -> u8 {
        self.store.lru_class(self.handle, &self.item) as u8
    }

    fn is_chunked(&self) -> bool {
        self.item.header().has(iflag::CHUNKED)
    }

    /// Appends value bytes, at most [`Reservation::missing`].
    ///
    /// # Errors
    /// There is no memory for the next chunk of a chain; the reservation must be dropped.
    #[inline]
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), OutOfMemory> {
        debug_assert!(bytes.len() <= self.missing());
        if !self.is_chunked() {
            copy_in(self.item.chunk(), self.item.header().value_offset() + self.written, bytes);
            self.written += bytes.len();
            return Ok(());
        }
        while !bytes.is_empty() {
            let (handle, used) = self.tail_with_room()?;
            let chunk = self.store.arena.chunk(handle);
            let from = CHAIN_HEADER + used;
            let n = bytes.len().min(chunk.len() * WORD - from);
            copy_in(chunk, from, &bytes[..n]);
            self.advance(n);
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// Memory for the next bytes of a large value, to be filled from the socket. Empty where a thread with a stale
    /// handle may read: such bytes go through [`Reservation::write`], in atomic words.
    ///
    /// # Errors
    /// As [`Reservation::write`].
    pub fn target(&mut self) -> Result<&mut [u8], OutOfMemory> {
        let (handle, from, to) = if self.is_chunked() {
            let (handle, used) = self.tail_with_room()?;
            let from = CHAIN_HEADER + used;
            (handle, from, from + self.missing())
        } else {
            let start = self.item.header().value_offset();
            (self.handle, start + self.written, start + self.vlen)
        };
        if from < OPEN_BYTES || !self.store.arena.is_first_cut(handle) {
            return Ok(&mut []);
        }
        // SAFETY: this reservation owns the chunk exclusively until it is committed. A thread with a stale handle, or
        // one that walks over the page, reads at most `OPEN_BYTES` from the start of a chunk, and chunks of this page
        // have always started at the same offsets.
        Ok(unsafe { exclusive_bytes(self.store.arena.chunk(handle), from, to) })
    }

    /// Counts the first `n` bytes of [`Reservation::target`] as written.
    pub fn advance(&mut self, n: usize) {
        self.written += n;
        if let Some((_, used)) = &mut self.tail {
            *used += n;
        }
    }

    /// The last chunk of the chain and the number of data bytes in it; appends a chunk if that one is full.
    fn tail_with_room(&mut self) -> Result<(Handle, usize), OutOfMemory> {
        if let Some((handle, used)) = self.tail
            && CHAIN_HEADER + used < self.store.arena.chunk(handle).len() * WORD
        {
            return Ok((handle, used));
        }
        let before = self.tail.map(|(tail, _)| tail);
        let links = Links { next: None, before };
        let (arena, chain) = (&self.store.arena, self.chain);
        let sizes = &self.store.sizes;
        let wanted = CHAIN_HEADER + self.missing();
        let take = |class: usize| {
            let need = wanted.min(sizes.class(class).stride);
            let begin = |_: &mut _, handle| begin_link(links, arena.chunk(handle), chain);
            self.store.take_chunk_for(class, need, self.now, begin)
        };
        let (fitting, largest) = (sizes.class_of_footprint(wanted), sizes.largest());
        // A smaller class may hold nothing but chunks of other chains, which eviction there does not free. Eviction in
        // the largest class frees a chunk that is long enough for any tail.
        let fallback = || (fitting != largest).then(|| take(largest)).flatten();
        let handle = take(fitting).or_else(fallback).ok_or(OutOfMemory)?;
        match before {
            None => chain_head(&self.item, Some(handle)),
            Some(tail) => Links { next: Some(handle), ..Links::of(arena.chunk(tail)) }.put(arena.chunk(tail)),
        }
        self.tail = Some((handle, 0));
        Ok((handle, 0))
    }

    /// Releases ownership of the item, which the caller must link or free.
    pub(super) fn into_item(self) -> (Handle, Item) {
        let parts = (self.handle, self.item);
        std::mem::forget(self);
        parts
    }

    pub(super) fn item(&self) -> &Item {
        &self.item
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle
    }

    /// Marks the new item as fetched once: its command is also a fetch, or it replaces an item that was fetched.
    pub fn note_fetch(&mut self) {
        self.item.change_state(state::FREQ, state::FETCHED | 1);
    }

    /// Rewrites an expiry time that passed while the value arrived: the 24-bit field wraps, so after 97 days it would
    /// read as a future time. Sweeps, which prevent that for linked items, do not visit this one.
    #[inline]
    pub(super) fn keep_time(&mut self, now: u32) {
        if let Expiry::At(time) = self.expiry
            && time <= now
        {
            self.item.set_expiry(self.expiry, now);
        }
    }

    /// Marks the new item stale; it gets the old item's expiry time and win token.
    pub(super) fn mark_stale(&mut self, token: u8, expiry: Expiry, now: u32) {
        self.item.change_flags(0, iflag::STALE | token);
        if self.item.can_hold_expiry(expiry, now) {
            self.item.set_expiry(expiry, now);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.store.free_item(self.handle, self.item);
    }
}

/// Makes `chunk` a chunk of `chain` with these neighbours.
pub(super) fn begin_link(links: Links, chunk: &[AtomicU32], chain: ChainName) {
    links.put(chunk);
    chain.put(chunk);
    Header::mark(chunk, kind::CHAIN);
}

/// Sets the first chunk of a chunked item's chain.
pub(super) fn chain_head(item: &Item, first: Option<Handle>) {
    item.set_chain(raw_of(first));
}

/// First chunk of a chunked item's chain.
pub(super) fn chain_of(item: &Item) -> Option<Handle> {
    Handle::from_raw(item.chain())
}

impl Store {
    /// Allocates a chunk for an item with `meta.vlen` bytes of value, and writes all but the value. `None` without
    /// memory.
    pub fn reserve(&'static self, key: &Key<'_>, meta: &Meta, now: u32) -> Option<Reservation> {
        let mut meta = *meta;
        if self.needs_wide_cas() {
            meta.iflags |= iflag::CAS;
        }
        if !self.slabs.may_evict() {
            // There may be no memory to rewrite the item when a touch gives it an expiry time.
            meta.iflags |= iflag::NO_EXPIRY;
        }
        let memcached_size = self.sizes.memcached_size(meta.klen, meta.vlen, meta.flags != 0);
        let iflags = meta.layout_flags(now, false);
        let class = match self.sizes.is_chunked(memcached_size) {
            true => None,
            // With a CAS word, an item of nearly `slab_chunk_max` may be too long for the largest chunk; `None` then.
            false => self.sizes.class_of(memcached_size, meta.footprint(iflags)),
        };
        let chain = if class.is_none() { self.name_chain(key.hash()) } else { ChainName::default() };
        let label = self.slabs.label_of(self.relative(meta.expiry), now);
        let mut item = None;
        let handle = if let Some(class) = class {
            let (arena, need) = (&self.arena, meta.footprint(iflags));
            let write = |handle| Item::write(arena.chunk(handle), &meta, key.bytes(), iflags, now);
            let hot = label == state::HOT;
            let placed = if hot { self.slabs.place(arena, class, (need, memcached_size), write) } else { None };
            if let Some((handle, written)) = placed {
                item = Some(written);
                handle
            } else {
                self.take_chunk_for(class, need, now, |class, handle| {
                    let mut written = write(handle);
                    class.enlist(arena, handle, &mut written, memcached_size, true, label);
                    item = Some(written);
                })?
            }
        } else {
            let iflags = meta.layout_flags(now, true);
            let need = meta.footprint(iflags);
            let (largest, class) = (self.sizes.largest(), self.sizes.class_of_footprint(need));
            let handle = self.take_chunk(class, need, now)?;
            let mut written = Item::write(self.arena.chunk(handle), &meta, key.bytes(), iflags, now);
            let (class, mut queues) = (self.arena.class(handle), self.slabs.class(largest));
            if !queues.reserve_large() {
                queues.counts.outofmemory += 1;
                drop(queues);
                self.slabs.class(class).free(&self.arena, handle);
                return None;
            }
            queues.enlist(&self.arena, handle, &mut written, memcached_size, class == largest, label);
            drop(queues);
            item = Some(written);
            handle
        };
        let item = item?;
        Some(Reservation {
            store: self,
            handle,
            item,
            vlen: meta.vlen,
            written: 0,
            tail: None,
            chain,
            expiry: meta.expiry,
            now,
        })
    }

    /// Frees the chain of an unlinked, unpinned item.
    pub(super) fn free_chain(&'static self, item: &Item) {
        let mut next = chain_of(item);
        while let Some(handle) = next {
            next = Links::of(self.arena.chunk(handle)).next;
            let class = self.arena.class(handle);
            self.slabs.class(class).free(&self.arena, handle);
        }
    }
}

/// Guard of a value that stays readable until the guard drops, whatever happens to its key.
pub struct Pinned {
    store: &'static Store,
    handle: Handle,
    item: Item,
    /// Chunk of the next unsent byte, and its offset in the chunk.
    chunk: Handle,
    offset: usize,
    remaining: usize,
}

impl Pinned {
    /// Pins the value of a linked item, under its bucket's lock, or of a reservation. `None` if the value is small.
    pub(super) fn new(store: &'static Store, handle: Handle, item: &Item) -> Option<Self> {
        let word = item.pin_word()?;
        wrote(Shared::Item, word);
        word.fetch_add(1, AcqRel);
        let chain = item.header().has(iflag::CHUNKED);
        let (chunk, offset) = if chain {
            (chain_of(item).unwrap_or(handle), CHAIN_HEADER)
        } else {
            (handle, item.header().value_offset())
        };
        Some(Self { store, handle, item: *item, chunk, offset, remaining: item.vlen() })
    }

    /// Whether the item is pinned. Stable only under the bucket's lock.
    pub(super) fn is_pinned(item: &Item) -> bool {
        item.pin_word().is_some_and(|word| word.load(Acquire) & COUNT != 0)
    }

    /// Whether the item has another pin. Stable only under the bucket's lock.
    pub(super) fn is_shared(&self) -> bool {
        self.item.pin_word().is_some_and(|word| word.load(Acquire) & COUNT != 1)
    }

    /// Marks an unlinked item dead; true if it is pinned, and its last pin will free it.
    pub(super) fn leave_to_readers(item: &Item) -> bool {
        match item.pin_word() {
            Some(word) => word.fetch_or(DEAD, AcqRel) & COUNT != 0,
            None => false,
        }
    }

    /// Bytes not yet sent.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    fn is_chain(&self) -> bool {
        self.item.header().has(iflag::CHUNKED)
    }

    /// Up to `wanted` bytes of one chunk from `offset` on, and the next chunk.
    fn piece(&self, chunk: Handle, offset: usize, wanted: usize) -> (&[u8], Option<Handle>) {
        let words = self.store.arena.chunk(chunk);
        let next = if self.is_chain() { Links::of(words).next } else { None };
        // `stable_bytes` clamps to the chunk: all but the last of a chain are full.
        let end = offset + wanted;
        // SAFETY: while pinned, neither the item nor its chain is freed or written: in-place changes skip
        // pinned items and freeing waits for the last pin.
        (unsafe { stable_bytes(words, offset, end) }, next)
    }

    /// Appends the unsent bytes to `slices`, until `slices` has `max` entries.
    pub fn io_slices<'a>(&'a self, slices: &mut Vec<IoSlice<'a>>, max: usize) {
        let (mut chunk, mut offset, mut left) = (self.chunk, self.offset, self.remaining);
        while left > 0 && slices.len() < max {
            let (bytes, next) = self.piece(chunk, offset, left);
            if !bytes.is_empty() {
                slices.push(IoSlice::new(bytes));
            }
            left -= bytes.len();
            match next {
                Some(next) if left > 0 => (chunk, offset) = (next, CHAIN_HEADER),
                _ => return,
            }
        }
    }

    /// Marks `n` bytes as sent; `n` is at most [`Pinned::remaining`].
    pub fn advance(&mut self, mut n: usize) {
        while n > 0 {
            let (here, next) = {
                let (bytes, next) = self.piece(self.chunk, self.offset, self.remaining);
                (bytes.len(), next)
            };
            let taken = n.min(here);
            n -= taken;
            self.remaining -= taken;
            self.offset += taken;
            if taken == here {
                match next {
                    Some(next) if self.remaining > 0 => (self.chunk, self.offset) = (next, CHAIN_HEADER),
                    _ => return,
                }
            }
        }
    }

    /// Copies as many unsent bytes as fit to `to`; returns their number.
    pub fn copy_front(&self, to: &mut [u8]) -> usize {
        let (mut chunk, mut offset, mut copied) = (self.chunk, self.offset, 0);
        let wanted = self.remaining.min(to.len());
        while copied < wanted {
            let (bytes, next) = self.piece(chunk, offset, wanted - copied);
            to[copied..copied + bytes.len()].copy_from_slice(bytes);
            copied += bytes.len();
            match next {
                Some(next) => (chunk, offset) = (next, CHAIN_HEADER),
                None => break,
            }
        }
        copied
    }

    /// Calls `each` with the unsent bytes of each chunk in order.
    pub fn for_each_piece(&self, mut each: impl FnMut(&[u8])) {
        let (mut chunk, mut offset, mut left) = (self.chunk, self.offset, self.remaining);
        while left > 0 {
            let (bytes, next) = self.piece(chunk, offset, left);
            each(bytes);
            left -= bytes.len();
            match next {
                Some(next) => (chunk, offset) = (next, CHAIN_HEADER),
                None => return,
            }
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(word) = self.item.pin_word()
            && word.fetch_sub(1, AcqRel) & (DEAD | COUNT) == DEAD | 1
        {
            self.store.free_item(self.handle, self.item);
        }
    }
}
