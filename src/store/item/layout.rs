//! The layout of an item in its chunk.
//!
//! ```text
//! word 0   klen u8 | iflags u8 | state u8 | length u8
//! word 1   seq, low half u32
//! word 2   seq, high part u8 | atime u24
//! [more    vlen u8 | exptime u24]                  if the value is over 223 bytes, or expires
//! [pin     count u31, dead u1]                     if the value is large: over COPY_MAX, or a chain
//! [ext     vlen u31, dated u1 | exptime u32]       if the value is large, the TTL over 90 days, or the expiry time a
//!                                                  date; instead of `more`
//! [chain   first chunk u64]                        if the value is a chain
//! [cas     u64]                                    if the CAS id is not `seq`
//! key, unpadded
//! [flags   u32]                                    if client flags are not 0
//! value (no NUL, no CRLF), or for a chunked item the chain that starts at `first chunk`
//! ```
//! Words have 32 bits. `seq` is the sequence number, by which flushes tell older items from newer ones (`flush`); it is
//! the CAS id, unless the item has a `cas` word. `length` is the value's length up to 223; from 224 on it indicates
//! where the length is stored ([`length`]). A chunk without an item has klen 0, and [`kind`] in place of the item
//! flags.
//!
//! Word 0 of a linked item changes by read-modify-write only: the holder of its class and the holder of its bucket both
//! change state bits. All other words of a linked item change under its bucket's lock.
//!
//! Owns encoding and decoding only; takes no locks. Called by the rest of the store.

use super::atomic_bytes::{COPY_ROOM, WORD, copy_in, copy_out, key_equals, load_pair, store_pair};
use super::header::{FIXED, length};
pub use super::header::{Header, iflag, kind, state};
use crate::cache_lines::{Shared, wrote};
use crate::clock::Expiry;
use crate::limits::{COPY_MAX, KEY_MAX};
use crate::sys::spare::{self, Spare};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::Release, fence};

/// Longest TTL in seconds that a 24-bit exptime can hold: half its range, less a margin. A longer one needs `ext`.
pub const EXPTIME_SHORT_MAX: u32 = 90 * 24 * 60 * 60;

const MASK24: u32 = (1 << 24) - 1;

/// Bit of the first `ext` word: the expiry time is a unix time. Values are at most 1 GiB, so no length has it.
const DATED: u32 = 1 << 31;

/// Maximum idle time in seconds that an item records: 90 days.
pub const IDLE_MAX: u32 = 90 * 24 * 60 * 60;

/// Seconds after a recorded access during which no other needs recording: memcached's `ITEM_UPDATE_INTERVAL`.
const ACCESS_INTERVAL: u32 = 60;

/// Idle times are 24-bit differences that wrap. From this value on, the last 12 of 194 days, they are negative: a
/// thread with a faster clock recorded the access.
const ATIME_AHEAD: u32 = MASK24 + 1 - (1 << 20);

const _: () = assert!(IDLE_MAX < ATIME_AHEAD && EXPTIME_SHORT_MAX < 1 << 23);

/// Bytes from a chunk's start that are readable through a stale handle, without bucket lock or pin: the longest header,
/// key and copied value. Written only as atomic words. A multiple of 8.
pub const OPEN_BYTES: usize = (10 * WORD + KEY_MAX + 4 + COPY_MAX).next_multiple_of(8);

/// Mask of a sequence number: 40 bits.
pub const SEQ_MASK: u64 = (1 << 40) - 1;

/// Description of an item to write.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Key length, 1..=250.
    pub klen: usize,
    /// Value length in bytes.
    pub vlen: usize,
    /// Client flags.
    pub flags: u32,
    /// When it expires.
    pub expiry: Expiry,
    /// `iflag::KEY_BINARY`, `STALE` and `TOKEN` to set. `NO_EXPIRY`, `EXT` and `CAS` reserve room for a TTL up to 90
    /// days, for any TTL, and for any CAS id.
    pub iflags: u8,
    /// Initial CAS word, 0 = none.
    pub cas: u64,
}

impl Meta {
    /// Item flags that the layout needs.
    pub fn layout_flags(&self, now: u32, chunked: bool) -> u8 {
        const ASKED: u8 = iflag::KEY_BINARY | iflag::STALE | iflag::TOKEN | iflag::EXT | iflag::CAS;
        let mut flags = self.iflags & ASKED;
        if self.flags != 0 {
            flags |= iflag::FLAGS;
        }
        if self.vlen > COPY_MAX || chunked || !is_short(self.expiry, now) {
            flags |= iflag::EXT;
        }
        if self.cas != 0 {
            flags |= iflag::CAS;
        }
        if chunked {
            flags |= iflag::CHUNKED;
        }
        if self.expiry == Expiry::Never {
            flags |= iflag::NO_EXPIRY;
        }
        flags
    }

    /// Word 0 of the item before it is linked.
    pub fn header(&self, iflags: u8) -> Header {
        let length = if self.vlen > COPY_MAX || iflags & iflag::CHUNKED != 0 {
            length::LARGE
        } else if iflags & iflag::EXT != 0 {
            length::EXT
        } else if iflags & iflag::NO_EXPIRY == 0
            || self.iflags & iflag::NO_EXPIRY != 0
            || self.vlen >= length::MORE.into()
        {
            length::MORE | (self.vlen >> 8) as u8
        } else {
            self.vlen as u8
        };
        Header(self.klen as u32 | u32::from(iflags) << 8 | u32::from(length) << 24)
    }

    /// Footprint in bytes: header, key and value; without the value if it is a chain.
    pub fn footprint(&self, iflags: u8) -> usize {
        let header = self.header(iflags);
        header.value_offset() + if iflags & iflag::CHUNKED != 0 { 0 } else { self.vlen }
    }
}

/// Accessor of the fields of an item in its chunk. A writer must hold the bucket's lock or own the chunk exclusively. A
/// reader may hold no lock and validate afterwards: whatever the words are, it reads nothing outside the chunk.
#[derive(Clone, Copy)]
pub struct Item {
    chunk: &'static [AtomicU32],
    header: Header,
}

impl Item {
    /// The item in `chunk`, or `None` if its lengths do not fit the chunk (a free or torn one).
    #[inline]
    pub fn at(chunk: &'static [AtomicU32]) -> Option<Self> {
        let header = Header::of(chunk);
        (header.klen() > 0 && header.value_offset() <= chunk.len() * WORD).then_some(Self { chunk, header })
    }

    /// The chunk.
    #[inline]
    pub fn chunk(&self) -> &'static [AtomicU32] {
        self.chunk
    }

    /// Word 0 as it was read.
    #[inline]
    pub fn header(&self) -> Header {
        self.header
    }

    /// Clears the state bits `clear`, then sets `set`. Setting LINKED releases all earlier writes to the item.
    pub fn change_state(&mut self, clear: u8, set: u8) {
        if set & state::LINKED != 0 {
            fence(Release);
        }
        wrote(Shared::Item, &self.chunk[0]);
        let change = |word: u32| Some(word & !(u32::from(clear) << 16) | u32::from(set) << 16);
        if let Ok(old) = self.chunk[0].fetch_update(Relaxed, Relaxed, change) {
            self.header = Header(change(old).unwrap_or(old));
        }
    }

    /// Replaces the state by what `change` returns for it; returns the old state.
    pub fn change_state_by(&mut self, change: impl Fn(u8) -> u8) -> u8 {
        wrote(Shared::Item, &self.chunk[0]);
        let with = |word: u32| word & !(0xff << 16) | u32::from(change(Header(word).state())) << 16;
        let old = match self.chunk[0].fetch_update(Relaxed, Relaxed, |word| Some(with(word))) {
            Ok(old) | Err(old) => old,
        };
        self.header = Header(with(old));
        Header(old).state()
    }

    /// Clears and sets item flags that do not affect the layout (`STALE`, `TOKEN`, `NO_EXPIRY`).
    pub fn change_flags(&mut self, clear: u8, set: u8) {
        let change = |word: u32| Some(word & !(u32::from(clear) << 8) | u32::from(set) << 8);
        if let Ok(old) = self.chunk[0].fetch_update(Relaxed, Relaxed, change) {
            self.header = Header(change(old).unwrap_or(old));
        }
    }

    /// Value length in bytes.
    #[inline]
    pub fn vlen(&self) -> usize {
        match self.header.length() {
            length::EXT.. => (self.word(self.header.ext_word()) & !DATED) as usize,
            // While another thread reuses the chunk, the two parts may belong to different items: clamp to what readers
            // may copy.
            more @ length::MORE.. => {
                (usize::from(more - length::MORE) << 8 | self.word(FIXED) as usize & 0xff).min(COPY_MAX)
            }
            short => short.into(),
        }
    }

    #[inline]
    fn word(&self, at: usize) -> u32 {
        self.chunk[at].load(Relaxed)
    }

    /// Whether the key is `key`.
    #[inline]
    pub fn key_is(&self, key: &[u8]) -> bool {
        self.header.klen() == key.len() && key_equals(self.chunk, self.header.key_word(), key)
    }

    /// Appends the key to `out`.
    pub fn copy_key(&self, out: &mut Vec<u8>) {
        let klen = self.header.klen();
        spare::append(out, klen + COPY_ROOM, |out| copy_out(self.chunk, self.header.key_word() * WORD, klen, out));
    }

    /// Appends the value, of `vlen` bytes, to `out`, which needs room for `COPY_ROOM` bytes more. The item must not be
    /// chunked. A length that exceeds the chunk is torn: it appends nothing.
    #[inline]
    pub fn write_value(&self, vlen: usize, out: &mut Spare<'_>) {
        copy_out(self.chunk, self.header.value_offset(), vlen, out);
    }

    /// Appends the value to `out`. The item must not be chunked.
    pub fn copy_value(&self, out: &mut Vec<u8>) {
        let vlen = self.vlen();
        if vlen <= self.chunk.len() * WORD {
            spare::append(out, vlen + COPY_ROOM, |out| self.write_value(vlen, out));
        }
    }

    /// Client flags.
    #[inline]
    pub fn flags(&self) -> u32 {
        if !self.header.has(iflag::FLAGS) {
            return 0;
        }
        let at = self.header.key_word() * WORD + self.header.klen();
        (load_pair(self.chunk, at / WORD) >> (at % WORD * 8)) as u32
    }

    /// Sequence number, 40 bits.
    #[inline]
    pub fn seq(&self) -> u64 {
        load_pair(self.chunk, 1) & SEQ_MASK
    }

    /// CAS id.
    #[inline]
    pub fn cas(&self) -> u64 {
        if self.header.has(iflag::CAS) { load_pair(self.chunk, self.header.key_word() - 2) } else { self.seq() }
    }

    /// Sets the sequence number, which is the CAS id of an item without a CAS word.
    pub fn set_seq(&self, seq: u64) {
        store_pair(self.chunk, 1, load_pair(self.chunk, 1) & !SEQ_MASK | seq & SEQ_MASK);
    }

    /// Whether the item has a CAS word, for a CAS id that is not the sequence number.
    #[inline]
    pub fn can_hold_cas(&self) -> bool {
        self.header.has(iflag::CAS)
    }

    /// Sets the CAS id; [`Item::can_hold_cas`] must be true.
    pub fn set_cas_word(&self, cas: u64) {
        debug_assert!(self.can_hold_cas());
        if self.can_hold_cas() {
            store_pair(self.chunk, self.header.key_word() - 2, cas);
        }
    }

    /// Copies metadata from `old`, which has the same key and value, and marks this item as linked. If only this item
    /// has a CAS word, the caller must set its sequence number.
    pub fn take_over(&mut self, old: &Item, now: u32) {
        const KEPT: u8 = state::FREQ | state::FETCHED | state::ACTIVE;
        const MARKS: u8 = iflag::STALE | iflag::TOKEN;
        self.set_seq(old.seq());
        if self.can_hold_cas() {
            self.set_cas_word(old.cas());
        }
        self.put_atime(old.atime(now));
        self.set_expiry(old.expiry(now), now);
        self.change_flags(MARKS, old.header.iflags() & MARKS);
        self.change_state(KEPT, old.header.state() & KEPT | state::LINKED);
    }

    /// Seconds since the last access; 0 if it was at `now`, or later by another thread's clock.
    #[inline]
    fn idle(&self, now: u32) -> u32 {
        let idle = now.wrapping_sub(self.word(2) >> 8) & MASK24;
        if idle < ATIME_AHEAD { idle } else { 0 }
    }

    /// Relative time of the last access, extended from 24 bits with `now`, and no later than `now`. Correct if the
    /// sweep clamps the item ([`Item::limit_idle`]) after its idle time has passed [`IDLE_MAX`] and before it reaches
    /// `ATIME_AHEAD`.
    #[inline]
    pub fn atime(&self, now: u32) -> u32 {
        now.saturating_sub(self.idle(now))
    }

    /// Whether the last access was at `now`, or later by another thread's clock.
    #[inline]
    pub fn was_used_at(&self, now: u32) -> bool {
        self.idle(now) == 0
    }

    /// Records an access at `now`. Writes at most once a second; the time never goes back.
    #[inline]
    pub fn set_atime(&self, now: u32) {
        if !self.was_used_at(now) {
            self.put_atime(now);
        }
    }

    fn put_atime(&self, now: u32) {
        wrote(Shared::Item, &self.chunk[2]);
        self.chunk[2].store(self.word(2) & 0xff | now << 8, Relaxed);
    }

    /// Whether the recorded access is so old that another one must be recorded.
    #[inline]
    pub fn is_access_due(&self, now: u32) -> bool {
        self.idle(now) > ACCESS_INTERVAL
    }

    /// Whether the idle time exceeds [`IDLE_MAX`], so that it will soon not fit 24 bits.
    #[inline]
    pub fn is_long_idle(&self, now: u32) -> bool {
        self.idle(now) > IDLE_MAX
    }

    /// Clamps the idle time to [`IDLE_MAX`].
    pub fn limit_idle(&self, now: u32) {
        if self.is_long_idle(now) {
            self.put_atime(now.saturating_sub(IDLE_MAX));
        }
    }

    /// Clamps the idle time at `now` to [`IDLE_MAX`], for an item that no sweep has seen since the time `earlier`: its
    /// idle time may not fit 24 bits now, but did then.
    pub fn limit_idle_since(&self, earlier: u32, now: u32) {
        let atime = self.atime(earlier);
        if now.saturating_sub(atime) > IDLE_MAX {
            self.put_atime(now - IDLE_MAX);
        }
    }

    /// When it expires; a time of 24 bits is extended with `now`.
    #[inline]
    pub fn expiry(&self, now: u32) -> Expiry {
        if self.header.has(iflag::NO_EXPIRY) {
            Expiry::Never
        } else if self.header.has(iflag::EXT) {
            let at = self.header.ext_word();
            let time = self.word(at + 1);
            if self.word(at) & DATED != 0 { Expiry::Date(time) } else { Expiry::At(time) }
        } else {
            let ahead = (self.word(FIXED) >> 8).wrapping_sub(now) & MASK24;
            // The upper half of the range is in the past.
            Expiry::At(if ahead < 1 << 23 { now + ahead } else { now.saturating_sub((MASK24 + 1) - ahead).max(1) })
        }
    }

    /// Whether the item is expired at `now`, where relative time 0 is the unix time that `origin` returns.
    #[inline]
    pub fn is_expired(&self, now: u32, origin: impl FnOnce() -> i64) -> bool {
        match self.expiry(now) {
            Expiry::Never => false,
            Expiry::At(time) => time <= now,
            Expiry::Date(date) => i64::from(date).saturating_sub(origin()) <= i64::from(now),
        }
    }

    /// Whether the item's layout can hold `expiry`.
    pub fn can_hold_expiry(&self, expiry: Expiry, now: u32) -> bool {
        let fits = if self.header.has_more() { is_short(expiry, now) } else { expiry == Expiry::Never };
        self.header.has(iflag::EXT) || fits
    }

    /// Changes the expiry time; `can_hold_expiry` must be true.
    pub fn set_expiry(&mut self, expiry: Expiry, now: u32) {
        let kept = clamp_past(expiry, now);
        let is_dated = |expiry| matches!(expiry, Expiry::Date(_));
        // If the process is killed in between, the item recovered from the memory file never expires, rather than
        // having a wrong time.
        if kept == Expiry::Never || is_dated(kept) != is_dated(self.expiry(now)) {
            self.change_flags(0, iflag::NO_EXPIRY);
        }
        self.put_expiry(kept);
        if kept != Expiry::Never {
            self.change_flags(iflag::NO_EXPIRY, 0);
        }
    }

    /// Writes the expiry time where the layout has it, if at all.
    fn put_expiry(&self, expiry: Expiry) {
        wrote(Shared::Item, self.chunk.get(..self.header.key_word()).unwrap_or_default());
        let (time, dated) = match expiry {
            Expiry::Never => (0, 0),
            Expiry::At(time) => (time, 0),
            Expiry::Date(date) => (date, DATED),
        };
        if self.header.has(iflag::EXT) {
            let at = self.header.ext_word();
            self.chunk[at].store(self.word(at) & !DATED | dated, Relaxed);
            self.chunk[at + 1].store(time, Relaxed);
        } else if self.header.has_more() {
            debug_assert!(dated == 0, "a date needs the ext words");
            self.chunk[FIXED].store(self.word(FIXED) & 0xff | time << 8, Relaxed);
        }
    }

    /// Overwrites the value's first bytes in place, under the bucket's lock; for `incr` and `decr`.
    pub fn overwrite_value(&self, bytes: &[u8]) {
        copy_in(self.chunk, self.header.value_offset(), bytes);
    }

    /// The pin word; only large items have one.
    pub fn pin_word(&self) -> Option<&'static AtomicU32> {
        self.header.is_large().then(|| &self.chunk[FIXED])
    }

    /// Raw handle of the chain's first chunk; 0 if there is none.
    pub fn chain(&self) -> u64 {
        self.chain_word().map_or(0, |at| load_pair(self.chunk, at))
    }

    /// Sets the raw handle of the chain's first chunk, if the item is chunked.
    pub fn set_chain(&self, raw: u64) {
        if let Some(at) = self.chain_word() {
            store_pair(self.chunk, at, raw);
        }
    }

    fn chain_word(&self) -> Option<usize> {
        self.header.has(iflag::CHUNKED).then(|| self.header.ext_word() + 2)
    }

    /// Clears the pins of an earlier process.
    pub fn forget_readers(&self) {
        if let Some(word) = self.pin_word() {
            word.store(0, Relaxed);
        }
    }

    /// Words before the key: all that changes in place while the item is pinned.
    pub fn header_words(&self) -> usize {
        self.header.key_word()
    }

    /// Words of the chunk that the item occupies.
    pub fn words(&self) -> usize {
        let value = if self.header.has(iflag::CHUNKED) { 0 } else { self.vlen() };
        (self.header.value_offset() + value).div_ceil(WORD).min(self.chunk.len())
    }

    /// Completes a copy of this item in `chunk`, which has all words but word 0 already. The copy is unpinned and keeps
    /// the chunk's ring bit.
    pub fn copy_head(&self, chunk: &[AtomicU32]) {
        if self.header.is_large() && !self.header.has(iflag::CHUNKED) {
            chunk[FIXED].store(0, Relaxed);
        }
        if self.header.is(state::LINKED) {
            fence(Release);
        }
        let ring = u32::from(state::RING) << 16;
        // The holder of the class may clear the ring bit concurrently.
        let _ = chunk[0].fetch_update(Relaxed, Relaxed, |word| Some(self.header.0 & !ring | word & ring));
    }

    /// Writes a new item, except its value, into a chunk that the caller owns exclusively. Keeps the chunk's ring bit.
    pub fn write(chunk: &'static [AtomicU32], meta: &Meta, key: &[u8], iflags: u8, now: u32) -> Self {
        let header = meta.header(iflags);
        let ring = u32::from(state::RING) << 16;
        let change = |old: u32| Some(header.0 | old & ring);
        let written = match chunk[0].fetch_update(Relaxed, Relaxed, change) {
            Ok(old) => Header(header.0 | old & ring),
            Err(_) => header,
        };
        wrote(Shared::Item, chunk.get(..header.key_word()).unwrap_or_default());
        let item = Self { chunk, header: written };
        store_pair(chunk, 1, 0);
        item.put_atime(now);
        if header.is_large() {
            chunk[FIXED].store(0, Relaxed);
        }
        item.set_chain(0);
        if header.has(iflag::EXT) {
            chunk[header.ext_word()].store(meta.vlen as u32, Relaxed);
        } else if header.has_more() {
            chunk[FIXED].store(meta.vlen as u32 & 0xff, Relaxed);
        }
        item.put_expiry(clamp_past(meta.expiry, now));
        if header.has(iflag::CAS) {
            item.set_cas_word(meta.cas);
        }
        copy_in(chunk, header.key_word() * WORD, key);
        if header.has(iflag::FLAGS) {
            copy_in(chunk, header.key_word() * WORD + key.len(), &meta.flags.to_le_bytes());
        }
        item
    }
}

/// Clamps a relative expiry time to at most 3 days before `now`: it has passed by every thread's clock, and fits 24
/// bits.
fn clamp_past(expiry: Expiry, now: u32) -> Expiry {
    const PAST_MAX: u32 = 3 * 24 * 60 * 60;
    match expiry {
        Expiry::At(time) => Expiry::At(time.max(now.saturating_sub(PAST_MAX)).max(1)),
        other => other,
    }
}

/// Whether 24 bits can hold `expiry`.
fn is_short(expiry: Expiry, now: u32) -> bool {
    match expiry {
        Expiry::Never => true,
        Expiry::At(time) => time <= now.saturating_add(EXPTIME_SHORT_MAX),
        Expiry::Date(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Expiry::{At, Date, Never};

    /// Unix time of relative time 0.
    const ORIGIN: i64 = 1_700_000_000;

    fn chunk(words: usize) -> &'static [AtomicU32] {
        Vec::leak((0..words).map(|_| AtomicU32::new(0)).collect())
    }

    fn meta(klen: usize, vlen: usize) -> Meta {
        Meta { klen, vlen, flags: 0, expiry: Never, iflags: 0, cas: 0 }
    }

    #[test]
    fn fields_round_trip_in_every_layout() {
        let key = b"some key of any length";
        for vlen in [0, 10, 223, 224, 255, 256, COPY_MAX, COPY_MAX + 1, 70_000] {
            for flags in [0, 1, u32::MAX] {
                for cas in [0, 1 << 50] {
                    for expiry in [Never, At(1000), At(50_000_000), Date(u32::MAX), Date(1)] {
                        let meta = Meta { klen: key.len(), vlen, flags, expiry, iflags: 0, cas };
                        let iflags = meta.layout_flags(500, false);
                        let mut item = Item::write(chunk(24_000), &meta, key, iflags, 500);
                        assert!(item.key_is(key));
                        assert_eq!(item.vlen(), vlen);
                        assert_eq!(item.flags(), flags);
                        assert_eq!(item.expiry(500), expiry);
                        assert_eq!(item.cas(), cas);
                        item.change_state(0, state::LINKED);
                        item.set_seq(77);
                        let shown = if cas == 0 { 77 } else { cas };
                        assert_eq!((item.seq(), item.cas(), item.atime(500)), (77, shown, 500));
                        assert!(meta.footprint(iflags) <= 24_000 * WORD);
                    }
                }
            }
        }
    }

    #[test]
    fn header_has_only_the_words_that_the_item_needs() {
        let header = |vlen, expiry, iflags| {
            let meta = Meta { expiry, iflags, ..meta(20, vlen) };
            meta.footprint(meta.layout_flags(500, false)) - 20 - vlen
        };
        assert_eq!([header(10, Never, 0), header(223, Never, 0)], [12; 2]);
        assert_eq!([header(10, At(1000), 0), header(224, Never, 0), header(COPY_MAX, At(1000), 0)], [16; 3]);
        assert_eq!(
            [header(10, At(50_000_000), 0), header(10, Date(1000), 0), header(COPY_MAX, Date(1000), 0)],
            [20; 3]
        );
        assert_eq!([header(10, Never, iflag::EXT), header(10, Never, iflag::CAS)], [20; 2]);
        assert_eq!([header(COPY_MAX + 1, At(1000), 0), header(COPY_MAX + 1, Date(1000), 0)], [24; 2]);
        let item = Item::write(chunk(20), &meta(1, 1), b"k", iflag::NO_EXPIRY, 500);
        assert!(item.can_hold_expiry(Never, 500) && !item.can_hold_expiry(At(501), 500));
        let brief = Meta { expiry: At(501), ..meta(1, 1) };
        let item = Item::write(chunk(20), &brief, b"k", brief.layout_flags(500, false), 500);
        assert!(item.can_hold_expiry(At(600), 500) && !item.can_hold_expiry(Date(600), 500));
    }

    #[test]
    fn copied_header_is_unpinned_and_keeps_the_target_ring_bit() {
        for vlen in [10, COPY_MAX + 1] {
            let meta = Meta { expiry: At(1000), ..meta(3, vlen) };
            let [from, to] = [chunk(2000), chunk(2000)];
            let mut item = Item::write(from, &meta, b"key", meta.layout_flags(500, false), 500);
            item.change_state(0, state::LINKED | state::RING | state::WARM);
            item.set_seq(1 << 39 | 7);
            if let Some(pins) = item.pin_word() {
                pins.store(3, Relaxed);
            }
            for ring in [0, state::RING] {
                to[0].store(u32::from(ring) << 16, Relaxed);
                from.iter().zip(to).skip(1).for_each(|(from, to)| to.store(from.load(Relaxed), Relaxed));
                item.copy_head(to);
                let copy = Item::at(to).unwrap();
                assert_eq!(copy.header().state(), state::LINKED | state::WARM | ring);
                assert_eq!((copy.seq(), copy.expiry(500), copy.vlen()), (1 << 39 | 7, At(1000), vlen));
                assert!(copy.key_is(b"key") && copy.pin_word().is_none_or(|pins| pins.load(Relaxed) == 0));
            }
        }
    }

    #[test]
    fn expiry_works_across_the_wrap_of_24_bits() {
        for now in [62, (1 << 24) - 5, 1 << 24, (3 << 24) + 17, u32::MAX - (1 << 20), u32::MAX - 10] {
            let m = Meta { expiry: At(now + 10), ..meta(1, 1) };
            let item = Item::write(chunk(8), &m, b"k", m.layout_flags(now, false), now);
            assert_eq!(item.expiry(now), At(now + 10));
            assert!(!item.is_expired(now + 9, || ORIGIN));
            let far = now.saturating_add(EXPTIME_SHORT_MAX);
            assert!(item.can_hold_expiry(Never, now) && item.can_hold_expiry(At(far), now));
            assert!(item.is_expired(now + 10, || ORIGIN));
            assert!(item.is_expired(now.saturating_add(1_000_000), || ORIGIN));
            item.put_expiry(At(far));
            assert_eq!((item.expiry(now), item.is_expired(now, || ORIGIN)), (At(far), false));
        }
    }

    #[test]
    fn a_date_is_judged_by_unix_time_at_any_relative_time() {
        let date = 1_700_000_500;
        for vlen in [1, COPY_MAX + 1] {
            let m = Meta { expiry: Date(date), ..meta(1, vlen) };
            let mut item = Item::write(chunk(2000), &m, b"k", m.layout_flags(500, false), 500);
            for now in [0, 62, 1 << 24, u32::MAX] {
                let origin = i64::from(date) - i64::from(now);
                assert!(item.is_expired(now, || origin) && !item.is_expired(now, || origin - 1));
                assert_eq!((item.expiry(now).relative(origin), item.vlen()), (now.max(1), vlen));
            }
            // The kind of time changes in place, both ways.
            for expiry in [At(700), Date(900), Date(901), Never, Date(7), Never, At(9)] {
                item.set_expiry(expiry, 500);
                assert_eq!((item.expiry(500), item.vlen()), (expiry, vlen));
            }
            let mut copy = Item::write(chunk(2000), &m, b"k", m.layout_flags(500, false), 500);
            item.set_expiry(Date(date), 500);
            copy.take_over(&item, 500);
            assert_eq!(copy.expiry(500), Date(date));
        }
    }

    #[test]
    fn past_exptime_is_expired_at_once() {
        let now = 40_000_000;
        let m = Meta { expiry: At(1), ..meta(1, 1) };
        let mut item = Item::write(chunk(8), &m, b"k", m.layout_flags(now, false), now);
        assert!(item.is_expired(now, || ORIGIN));
        item.set_expiry(Never, now);
        assert!(!item.is_expired(now, || ORIGIN));
        item.set_expiry(At(now + 5), now);
        assert_eq!(item.expiry(now), At(now + 5));
    }

    #[test]
    fn atime_is_completed_from_24_bits() {
        let m = meta(1, 1);
        let item = Item::write(chunk(8), &m, b"k", m.layout_flags(100, false), 100);
        assert_eq!(item.atime((1 << 23) + 90), 100);
        for later in [(1 << 23) + 90, (1 << 24) + 90, (1 << 24) + (1 << 23)] {
            item.set_atime(later);
            assert_eq!(item.atime(later + 5), later);
        }
    }

    #[test]
    fn a_time_ahead_of_a_threads_clock_is_no_long_idleness() {
        for now in [100, (1 << 24) - 1, 1 << 24, (1 << 24) + 1, (7 << 24) + 3] {
            let item = Item::write(chunk(8), &meta(1, 1), b"k", iflag::NO_EXPIRY, now);
            for lag in [1, 2, 60, 1_000_000] {
                let behind = now.saturating_sub(lag);
                assert_eq!(item.atime(behind), behind, "{now} seen from {lag} s before");
                item.set_atime(behind);
                assert_eq!(item.atime(now), now, "the access time goes back");
            }
        }
    }

    #[test]
    fn idleness_is_limited_before_24_bits_cannot_tell_it() {
        let mut now = 100;
        let item = Item::write(chunk(8), &meta(1, 1), b"k", iflag::NO_EXPIRY, now);
        for _ in 0..500 {
            item.limit_idle(now);
            assert_eq!(item.atime(now), 100.max(now.saturating_sub(IDLE_MAX)));
            now += 24 * 60 * 60;
            assert!(item.atime(now) >= now.saturating_sub(IDLE_MAX + 24 * 60 * 60));
        }
    }
}
