//! The layout of an item in its chunk.
//!
//! ```text
//! word 0   klen u8 | iflags u8 | state u8 | vlen u16 | exptime u24
//! word 1   seq u40 | atime u24
//! [pin     count u31, dead u1]                     if the value is large: over COPY_MAX, or a chain
//! [ext     vlen u32 | exptime u32]                 if the value is large or the TTL over 90 days
//! [chain   first chunk u40]                        if the value is a chain
//! [cas     u64]                                    if the CAS id is not `seq`
//! key, padded by nothing
//! [flags   u32]                                    if client flags are not 0
//! value (no NUL, no CRLF), or for a chunked item the chain that `first chunk` begins
//! ```
//!
//! A chunk that holds no item has klen 0, and [`kind`] in place of the item flags. Owns encoding and decoding only;
//! takes no locks.
//! Word 0 of a linked item is changed by read-modify-write only: the class's evictor and the bucket's
//! owner both change state bits. The rest of a linked item changes under its bucket's lock.

use crate::limits::{COPY_MAX, KEY_MAX};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::Release, fence};

/// TTLs from here on need the full-width exptime: half the range of 24 bits, less a margin.
pub const EXPTIME_SHORT_MAX: u32 = 90 * 24 * 60 * 60;

const MASK24: u32 = (1 << 24) - 1;

/// Bytes from a chunk's start that somebody may read who has neither the bucket's lock nor a pin, by a handle that may be
/// stale: the longest header, key and value that is copied. They are written as words only. A multiple of 8.
pub const OPEN_BYTES: usize = (5 * 8 + KEY_MAX + 4 + COPY_MAX).next_multiple_of(8);

/// The store sequence number's bits in word 1.
pub const SEQ_MASK: u64 = (1 << 40) - 1;

/// What a chunk is that holds no item.
pub mod kind {
    /// Taken by somebody who has not written it yet, or never used.
    pub const TAKEN: u8 = 0;
    /// On its class's free list.
    pub const FREE: u8 = 1;
    /// Part of a large item's value.
    pub const CHAIN: u8 = 2;
    /// Free, on a page that leaves its class.
    pub const GONE: u8 = 3;
}

/// Item flags: what the item has.
pub mod iflag {
    /// Client flags are stored.
    pub const FLAGS: u8 = 1;
    /// The ext word is there.
    pub const EXT: u8 = 2;
    /// The CAS word is there.
    pub const CAS: u8 = 4;
    /// The value is a chain of chunks.
    pub const CHUNKED: u8 = 8;
    /// The key was given as base64.
    pub const KEY_BINARY: u8 = 16;
    /// Marked stale by a meta delete or set.
    pub const STALE: u8 = 32;
    /// The win token is out.
    pub const TOKEN: u8 = 64;
    /// Never expires.
    pub const NO_EXPIRY: u8 = 128;
}

/// State bits: where the item is.
pub mod state {
    /// Mask of the access frequency, saturating at 3.
    pub const FREQ: u8 = 3;
    /// Mask of the segment label.
    pub const SEGMENT: u8 = 12;
    /// Label of new items.
    pub const HOT: u8 = 0;
    /// Label of items promoted after an access.
    pub const WARM: u8 = 4;
    /// Label of items that left HOT unread, or used up their second chances.
    pub const COLD: u8 = 8;
    /// Label of items with a short time to live, which are never evicted.
    pub const TEMP: u8 = 12;
    /// Reachable through the index.
    pub const LINKED: u8 = 16;
    /// Read at least once since it was stored.
    pub const FETCHED: u8 = 32;
    /// Read at least twice.
    pub const ACTIVE: u8 = 64;
    /// Its handle is in the class's FIFO ring; outlives the item, because the ring entry does.
    pub const RING: u8 = 128;
    /// Every bit that a saturated hit would set.
    pub const SATURATED: u8 = FREQ | FETCHED | ACTIVE;
}

/// Word 0, decoded where asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head(pub u64);

impl Head {
    /// Reads a chunk's word 0.
    #[inline]
    pub fn of(chunk: &[AtomicU64]) -> Self {
        Self(chunk.first().map_or(0, |word| word.load(Relaxed)))
    }

    /// Key length in bytes; 0 = no item here.
    #[inline]
    pub fn klen(self) -> usize {
        (self.0 & 0xff) as usize
    }

    /// Item flags.
    #[inline]
    pub fn iflags(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// What the chunk is; `None` if it holds an item.
    #[inline]
    pub fn kind(self) -> Option<u8> {
        (self.klen() == 0).then_some(self.iflags())
    }

    /// Makes a chunk that was taken one of `kind`, without the class's lock.
    pub fn claim(chunk: &[AtomicU64], kind: u8) {
        if let Some(word) = chunk.first() {
            word.fetch_or(u64::from(kind) << 8, Relaxed);
        }
    }

    /// Makes a chunk one without item, under the class's lock. Its ring bit stays.
    #[inline]
    pub fn mark(chunk: &[AtomicU64], kind: u8) {
        if let Some(word) = chunk.first() {
            word.store(word.load(Relaxed) & u64::from(state::RING) << 16 | u64::from(kind) << 8, Relaxed);
        }
    }

    /// Whether an item flag is set.
    #[inline]
    pub fn has(self, flag: u8) -> bool {
        self.iflags() & flag != 0
    }

    /// State bits.
    #[inline]
    pub fn state(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// Whether a state bit is set.
    #[inline]
    pub fn is(self, bit: u8) -> bool {
        self.state() & bit != 0
    }

    /// Whether the item is COLD, nobody has read it, and no ghost spoke for it.
    pub fn is_unread_cold(self) -> bool {
        self.state() & (state::SEGMENT | state::FREQ | state::FETCHED) == state::COLD
    }

    fn vlen16(self) -> usize {
        (self.0 >> 24) as u16 as usize
    }

    fn exptime24(self) -> u32 {
        (self.0 >> 40) as u32
    }

    /// Whether pin and ext words are there because of the value's size. Their presence must not depend on
    /// the ext word itself, so a value over `COPY_MAX` keeps 65535 in the short field. A shorter value is a
    /// chain where `slab_chunk_max` is that small.
    #[inline]
    pub fn is_large(self) -> bool {
        self.vlen16() > COPY_MAX || self.has(iflag::CHUNKED)
    }

    /// Word of the ext word, if there is one.
    #[inline]
    fn ext_word(self) -> usize {
        2 + usize::from(self.is_large())
    }

    /// Word at which the key starts.
    #[inline]
    pub fn key_word(self) -> usize {
        let is_there = |flag| usize::from(self.has(flag));
        self.ext_word() + is_there(iflag::EXT) + is_there(iflag::CAS) + is_there(iflag::CHUNKED)
    }

    /// Byte offset of the value (of a chunked item: of nothing).
    #[inline]
    pub fn value_offset(self) -> usize {
        self.key_word() * 8 + self.klen() + if self.has(iflag::FLAGS) { 4 } else { 0 }
    }
}

/// What an item is made from.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Key length, 1..=250.
    pub klen: usize,
    /// Value length in bytes.
    pub vlen: usize,
    /// Client flags.
    pub flags: u32,
    /// Relative expiry time, 0 = never.
    pub exptime: u32,
    /// `iflag::KEY_BINARY`, `STALE`, `TOKEN` as wanted; `EXT` and `CAS` make room for a long TTL or a CAS id
    /// of the client's choice.
    pub iflags: u8,
    /// First content of the CAS word, 0 = none.
    pub cas: u64,
}

impl Meta {
    /// Item flags of the layout.
    pub fn layout_flags(&self, now: u32, chunked: bool) -> u8 {
        const ASKED: u8 = iflag::KEY_BINARY | iflag::STALE | iflag::TOKEN | iflag::EXT | iflag::CAS;
        let mut flags = self.iflags & ASKED;
        if self.flags != 0 {
            flags |= iflag::FLAGS;
        }
        if self.vlen > COPY_MAX || chunked || self.exptime > now.saturating_add(EXPTIME_SHORT_MAX) {
            flags |= iflag::EXT;
        }
        if self.cas != 0 {
            flags |= iflag::CAS;
        }
        if chunked {
            flags |= iflag::CHUNKED;
        }
        if self.exptime == 0 {
            flags |= iflag::NO_EXPIRY;
        }
        flags
    }

    /// Word 0 of an unlinked item. An exptime that has passed is kept as `now`, the latest that has.
    pub fn head(&self, now: u32, iflags: u8) -> Head {
        let vlen16 = if self.vlen > COPY_MAX { 0xffff } else { self.vlen as u64 };
        let exptime = if self.exptime != 0 && self.exptime < now { now } else { self.exptime };
        Head(self.klen as u64 | u64::from(iflags) << 8 | vlen16 << 24 | u64::from(exptime & MASK24) << 40)
    }

    /// Bytes in memory, value included.
    pub fn physical(&self, iflags: u8) -> usize {
        let head = self.head(0, iflags);
        head.value_offset() + if iflags & iflag::CHUNKED != 0 { 0 } else { self.vlen }
    }
}

/// Reads and writes the fields of one chunk that holds an item. Who writes knows that he may: he holds the
/// bucket's lock, or owns the chunk alone. Who only reads may do so without the lock, and judge afterwards whether it was
/// the item: whatever the words are, nothing outside the chunk is read.
#[derive(Clone, Copy)]
pub struct Item {
    chunk: &'static [AtomicU64],
    head: Head,
}

impl Item {
    /// The item in `chunk`, or `None` if its lengths do not fit the chunk (a free or torn one).
    #[inline]
    pub fn at(chunk: &'static [AtomicU64]) -> Option<Self> {
        let head = Head::of(chunk);
        (head.klen() > 0 && head.value_offset() <= chunk.len() * 8).then_some(Self { chunk, head })
    }

    /// Its chunk.
    #[inline]
    pub fn chunk(&self) -> &'static [AtomicU64] {
        self.chunk
    }

    /// Word 0 as it was read.
    #[inline]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Changes state bits: clears `clear`, then sets `set`. An item that gets marked as linked is written whole before.
    pub fn change_state(&mut self, clear: u8, set: u8) {
        if set & state::LINKED != 0 {
            fence(Release);
        }
        let change = |word: u64| Some(word & !(u64::from(clear) << 16) | u64::from(set) << 16);
        if let Ok(old) = self.chunk[0].fetch_update(Relaxed, Relaxed, change) {
            self.head = Head(change(old).unwrap_or(old));
        }
    }

    /// Changes the state to what `change` makes of it; gives the one before.
    pub fn change_state_by(&mut self, change: impl Fn(u8) -> u8) -> u8 {
        let with = |word: u64| word & !(0xff << 16) | u64::from(change(Head(word).state())) << 16;
        let old = match self.chunk[0].fetch_update(Relaxed, Relaxed, |word| Some(with(word))) {
            Ok(old) | Err(old) => old,
        };
        self.head = Head(with(old));
        Head(old).state()
    }

    /// Changes item flags that do not move bytes (stale, token).
    pub fn change_flags(&mut self, clear: u8, set: u8) {
        let change = |word: u64| Some(word & !(u64::from(clear) << 8) | u64::from(set) << 8);
        if let Ok(old) = self.chunk[0].fetch_update(Relaxed, Relaxed, change) {
            self.head = Head(change(old).unwrap_or(old));
        }
    }

    /// Value length in bytes.
    #[inline]
    pub fn vlen(&self) -> usize {
        if self.head.is_large() { self.word(self.head.ext_word()) as u32 as usize } else { self.head.vlen16() }
    }

    #[inline]
    fn word(&self, at: usize) -> u64 {
        self.chunk[at].load(Relaxed)
    }

    /// Whether the key is `key`.
    #[inline]
    pub fn key_is(&self, key: &[u8]) -> bool {
        self.head.klen() == key.len() && super::arena::key_equals(self.chunk, self.head.key_word(), key)
    }

    /// Appends the key to `out`.
    pub fn copy_key(&self, out: &mut Vec<u8>) {
        super::arena::copy_out(self.chunk, self.head.key_word() * 8, self.head.klen(), out);
    }

    /// Appends the value to `out`; only for values that are not chunked.
    #[inline]
    pub fn copy_value(&self, out: &mut Vec<u8>) {
        super::arena::copy_out(self.chunk, self.head.value_offset(), self.vlen(), out);
    }

    /// Client flags.
    #[inline]
    pub fn flags(&self) -> u32 {
        if !self.head.has(iflag::FLAGS) {
            return 0;
        }
        let at = self.head.key_word() * 8 + self.head.klen();
        let low = self.word(at / 8) >> (at % 8 * 8);
        let high = if at % 8 > 4 { self.word(at / 8 + 1) << ((8 - at % 8) * 8) } else { 0 };
        (low | high) as u32
    }

    /// Store sequence number, 40 bits.
    #[inline]
    pub fn seq(&self) -> u64 {
        self.word(1) & SEQ_MASK
    }

    /// CAS id.
    #[inline]
    pub fn cas(&self) -> u64 {
        if self.head.has(iflag::CAS) { self.word(self.head.key_word() - 1) } else { self.seq() }
    }

    /// Gives the item a new sequence number, which is its CAS id if it has no word for that.
    pub fn set_seq(&self, seq: u64) {
        self.chunk[1].store(self.word(1) & !SEQ_MASK | seq & SEQ_MASK, Relaxed);
    }

    /// Whether there is a word for a CAS id that is not the sequence number.
    #[inline]
    pub fn can_hold_cas(&self) -> bool {
        self.head.has(iflag::CAS)
    }

    /// Sets the CAS id; [`Item::can_hold_cas`] must be true.
    pub fn set_cas_word(&self, cas: u64) {
        debug_assert!(self.can_hold_cas());
        if self.can_hold_cas() {
            self.chunk[self.head.key_word() - 1].store(cas, Relaxed);
        }
    }

    /// Takes over what distinguishes `old`, whose key and value this item holds already, and links it. With a CAS
    /// word that `old` has not, it needs a new sequence number too.
    pub fn take_over(&mut self, old: &Item, now: u32) {
        const KEPT: u8 = state::FREQ | state::FETCHED | state::ACTIVE;
        const MARKS: u8 = iflag::STALE | iflag::TOKEN;
        self.set_seq(old.seq());
        if self.can_hold_cas() {
            self.set_cas_word(old.cas());
        }
        self.set_atime(old.atime(now));
        self.set_exptime(old.exptime(now), now);
        self.change_flags(MARKS, old.head.iflags() & MARKS);
        self.change_state(KEPT, old.head.state() & KEPT | state::LINKED);
    }

    /// Relative time of the last access, completed from 24 bits with `now`.
    #[inline]
    pub fn atime(&self, now: u32) -> u32 {
        let idle = now.wrapping_sub((self.word(1) >> 40) as u32) & MASK24;
        now.saturating_sub(idle)
    }

    /// Whether the last access was at `now`.
    #[inline]
    pub fn was_used_at(&self, now: u32) -> bool {
        (self.word(1) >> 40) as u32 == now & MASK24
    }

    /// Notes an access at `now`; writes only if the second is a new one.
    #[inline]
    pub fn set_atime(&self, now: u32) {
        if !self.was_used_at(now) {
            self.chunk[1].store(self.word(1) & SEQ_MASK | u64::from(now & MASK24) << 40, Relaxed);
        }
    }

    /// Relative expiry time, 0 = never, completed from 24 bits with `now`.
    #[inline]
    pub fn exptime(&self, now: u32) -> u32 {
        if self.head.has(iflag::NO_EXPIRY) {
            0
        } else if self.head.has(iflag::EXT) {
            (self.word(self.head.ext_word()) >> 32) as u32
        } else {
            let ahead = self.head.exptime24().wrapping_sub(now) & MASK24;
            // The upper half of the range lies in the past.
            if ahead < 1 << 23 { now + ahead } else { now.saturating_sub((MASK24 + 1) - ahead).max(1) }
        }
    }

    /// Whether the item's time is over at `now`.
    #[inline]
    pub fn is_expired(&self, now: u32) -> bool {
        if self.head.has(iflag::NO_EXPIRY) {
            return false;
        }
        self.exptime(now) <= now
    }

    /// Whether `exptime` can be put into this item as it is laid out.
    pub fn can_hold_exptime(&self, exptime: u32, now: u32) -> bool {
        self.head.has(iflag::EXT) || exptime <= now.saturating_add(EXPTIME_SHORT_MAX)
    }

    /// Changes the expiry time; `can_hold_exptime` must be true.
    pub fn set_exptime(&mut self, exptime: u32, now: u32) {
        let kept = if exptime != 0 && exptime < now { now } else { exptime };
        let change = |word: u64| {
            let word = word & !(u64::from(MASK24) << 40) | u64::from(kept & MASK24) << 40;
            Some(if kept == 0 {
                word | u64::from(iflag::NO_EXPIRY) << 8
            } else {
                word & !(u64::from(iflag::NO_EXPIRY) << 8)
            })
        };
        if let Ok(old) = self.chunk[0].fetch_update(Relaxed, Relaxed, change) {
            self.head = Head(change(old).unwrap_or(old));
        }
        if self.head.has(iflag::EXT) {
            self.set_ext(self.vlen(), kept);
        }
    }

    fn set_ext(&self, vlen: usize, exptime: u32) {
        self.chunk[self.head.ext_word()].store(vlen as u64 | u64::from(exptime) << 32, Relaxed);
    }

    /// Overwrites the value's first bytes in place; for numbers, under the bucket's lock.
    pub fn overwrite_value(&self, bytes: &[u8]) {
        super::arena::copy_in(self.chunk, self.head.value_offset(), bytes);
    }

    /// The word that counts pins; only large items have one.
    pub fn pin_word(&self) -> Option<&'static AtomicU64> {
        self.head.is_large().then(|| &self.chunk[2])
    }

    /// The word that names the first chunk; only a chunked item has one.
    pub fn chain_word(&self) -> Option<&'static AtomicU64> {
        self.head.has(iflag::CHUNKED).then(|| self.chunk.get(self.head.ext_word() + 1)).flatten()
    }

    /// Forgets readers of a process that is gone.
    pub fn forget_readers(&self) {
        if let Some(word) = self.pin_word() {
            word.store(0, Relaxed);
        }
    }

    /// Words from the start of the chunk that a change in place can touch.
    pub fn header_words(&self) -> usize {
        self.head.key_word()
    }

    /// Words of the chunk that the item fills.
    pub fn words(&self) -> usize {
        let value = if self.head.has(iflag::CHUNKED) { 0 } else { self.vlen() };
        (self.head.value_offset() + value).div_ceil(8).min(self.chunk.len())
    }

    /// Makes `chunk`, which has all other words of this item already, a copy of it: unpinned, and with its own ring bit.
    pub fn copy_head(&self, chunk: &[AtomicU64]) {
        if self.head.is_large() && !self.head.has(iflag::CHUNKED) {
            chunk[2].store(0, Relaxed);
        }
        if self.head.is(state::LINKED) {
            fence(Release);
        }
        let ring = u64::from(state::RING) << 16;
        // The chunk's class may take the ring bit away at this moment.
        let _ = chunk[0].fetch_update(Relaxed, Relaxed, |word| Some(self.head.0 & !ring | word & ring));
    }

    /// Writes a new item's head, header words and key into a chunk owned by the caller alone. The ring bit
    /// of the chunk survives.
    pub fn write(chunk: &'static [AtomicU64], meta: &Meta, key: &[u8], iflags: u8, now: u32) -> Self {
        let head = meta.head(now, iflags);
        let ring = u64::from(state::RING) << 16;
        let change = |old: u64| Some(head.0 | old & ring);
        let written = match chunk[0].fetch_update(Relaxed, Relaxed, change) {
            Ok(old) => Head(head.0 | old & ring),
            Err(_) => head,
        };
        let item = Self { chunk, head: written };
        chunk[1].store(u64::from(now & MASK24) << 40, Relaxed);
        if head.is_large() {
            chunk[2].store(0, Relaxed);
        }
        if let Some(word) = item.chain_word() {
            word.store(0, Relaxed);
        }
        if head.has(iflag::EXT) {
            item.set_ext(meta.vlen, if meta.exptime != 0 && meta.exptime < now { now } else { meta.exptime });
        }
        if head.has(iflag::CAS) {
            chunk[head.key_word() - 1].store(meta.cas, Relaxed);
        }
        super::arena::copy_in(chunk, head.key_word() * 8, key);
        if head.has(iflag::FLAGS) {
            super::arena::copy_in(chunk, head.key_word() * 8 + key.len(), &meta.flags.to_le_bytes());
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(words: usize) -> &'static [AtomicU64] {
        Vec::leak((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    fn meta(klen: usize, vlen: usize) -> Meta {
        Meta { klen, vlen, flags: 0, exptime: 0, iflags: 0, cas: 0 }
    }

    #[test]
    fn fields_survive_every_layout() {
        let key = b"some key of any length";
        for vlen in [0, 10, COPY_MAX, COPY_MAX + 1, 70_000] {
            for flags in [0, 1, u32::MAX] {
                for cas in [0, 1 << 50] {
                    for exptime in [0, 1000, 50_000_000] {
                        let meta = Meta { klen: key.len(), vlen, flags, exptime, iflags: 0, cas };
                        let iflags = meta.layout_flags(500, false);
                        let mut item = Item::write(chunk(12_000), &meta, key, iflags, 500);
                        assert!(item.key_is(key));
                        assert_eq!(item.vlen(), vlen);
                        assert_eq!(item.flags(), flags);
                        assert_eq!(item.exptime(500), exptime);
                        assert_eq!(item.cas(), cas);
                        item.change_state(0, state::LINKED);
                        item.set_seq(77);
                        let shown = if cas == 0 { 77 } else { cas };
                        assert_eq!((item.seq(), item.cas(), item.atime(500)), (77, shown, 500));
                        assert!(meta.physical(iflags) <= 12_000 * 8);
                    }
                }
            }
        }
    }

    #[test]
    fn expiry_works_across_the_wrap_of_24_bits() {
        for now in [62, (1 << 24) - 5, 1 << 24, (3 << 24) + 17] {
            let m = Meta { exptime: now + 10, ..meta(1, 1) };
            let item = Item::write(chunk(8), &m, b"k", m.layout_flags(now, false), now);
            assert_eq!(item.exptime(now), now + 10);
            assert!(!item.is_expired(now + 9));
            assert!(item.is_expired(now + 10));
            assert!(item.is_expired(now + 1_000_000));
        }
    }

    #[test]
    fn past_exptime_is_expired_at_once() {
        let now = 40_000_000;
        let m = Meta { exptime: 1, ..meta(1, 1) };
        let mut item = Item::write(chunk(8), &m, b"k", m.layout_flags(now, false), now);
        assert!(item.is_expired(now));
        item.set_exptime(0, now);
        assert!(!item.is_expired(now));
        item.set_exptime(now + 5, now);
        assert_eq!(item.exptime(now), now + 5);
    }

    #[test]
    fn atime_is_completed_from_24_bits() {
        let m = meta(1, 1);
        let item = Item::write(chunk(8), &m, b"k", m.layout_flags(100, false), 100);
        assert_eq!(item.atime((1 << 24) + 90), 100);
        item.set_atime((1 << 24) + 90);
        assert_eq!(item.atime((1 << 24) + 95), (1 << 24) + 90);
    }
}
