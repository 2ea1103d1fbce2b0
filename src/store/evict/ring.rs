//! A queue of handles that grows and shrinks by segments.
//!
//! Owns the entries, and the blanks that removed entries leave. No push or pop moves many other entries, so none takes
//! long under a class lock, and memory is freed when a long queue becomes short. The first entry is never a blank. Once
//! blanks outnumber entries by a segment, every removal compacts a part of the ring. A push that needs memory may fail,
//! unless its place was [reserved](Ring::reserve). Knows no items; `s3fifo` uses it for a class's ring and for its
//! large items.

use crate::cache_lines::{Shared, wrote};
use crate::store::item::Handle;
use crate::store::item::Handles;
use std::collections::VecDeque;

/// Entries of a segment: 16 KiB, with long handles 20.
const SEGMENT: usize = 4096;

/// Minimum of segments kept for reuse, if there are as many; a long queue keeps an eighth of its length more.
const SPARES: usize = 2;

/// Positions that a removal processes during compaction.
const COMPACT_STEPS: usize = 64;

/// The queue.
#[derive(Default)]
pub struct Ring {
    segments: VecDeque<Handles>,
    /// Some of the freed segments: a queue of steady length allocates nothing.
    spares: Vec<Handles>,
    /// Spares for reserved places, which are never freed.
    reserved: usize,
    /// Index of the first entry in the first segment.
    head: usize,
    /// Entries and blanks.
    span: usize,
    blanks: usize,
    /// During compaction, two positions: everything before the first is compacted, and between the two are only blanks.
    compacting: Option<(usize, usize)>,
}

impl Ring {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.span - self.blanks
    }

    /// Number of entries and blanks; positions are below it.
    pub fn span(&self) -> usize {
        self.span
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.segments.iter().chain(&self.spares).map(Handles::bytes).sum()
    }

    /// The first entry.
    pub fn front(&self) -> Option<Handle> {
        (self.span > 0).then(|| self.at(0))
    }

    /// Reserves memory for `count` more entries, at either end, so that as many pushes succeed; entries that are popped
    /// and pushed again do not count. False without memory.
    pub fn reserve(&mut self, count: usize) -> bool {
        // One more than the entries fill: the first and the last segment may both be filled in part.
        let wanted = count.div_ceil(SEGMENT) + 1;
        while self.spares.len() < wanted {
            if !self.has_place_for_a_spare() {
                return false;
            }
            let Some(spare) = Handles::new(SEGMENT) else { return false };
            self.spares.push(spare);
        }
        self.reserved = self.reserved.max(wanted);
        self.segments.try_reserve(wanted).is_ok()
    }

    /// Appends an entry; false without memory.
    #[must_use]
    pub fn push_back(&mut self, handle: Handle) -> bool {
        if self.head + self.span == self.segments.len() * SEGMENT {
            let Some(segment) = self.segment() else { return false };
            self.segments.push_back(segment);
        }
        self.span += 1;
        self.put(self.span - 1, handle);
        true
    }

    /// Prepends an entry; false without memory.
    #[must_use]
    pub fn push_front(&mut self, handle: Handle) -> bool {
        if self.head == 0 {
            let Some(segment) = self.segment() else { return false };
            self.segments.push_front(segment);
            self.head = SEGMENT;
        }
        self.head -= 1;
        self.span += 1;
        self.compacting = self.compacting.map(|(to, from)| (to + 1, from + 1));
        self.put(0, handle);
        true
    }

    /// Removes the first entry.
    pub fn pop_front(&mut self) -> Option<Handle> {
        let first = self.front()?;
        self.drop_front();
        self.trim();
        Some(first)
    }

    /// Finds the position of an entry by a linear search: 5 us for each 100,000.
    pub fn position(&self, handle: Handle) -> Option<usize> {
        let (mut segment, mut begin, mut before) = (0, self.head, 0);
        while before < self.span {
            let end = (begin + self.span - before).min(SEGMENT);
            if let Some(at) = self.segments[segment].find(begin..end, handle.raw()) {
                return Some(before + at - begin);
            }
            (segment, begin, before) = (segment + 1, 0, before + end - begin);
        }
        None
    }

    /// Replaces the entry at a position.
    pub fn replace(&mut self, at: usize, handle: Handle) {
        self.put(at, handle);
    }

    /// Removes the entry at a position.
    pub fn remove(&mut self, at: usize) {
        self.blank(at);
        self.trim();
        self.compact();
    }

    /// Removes the entries at positions `from..to` for which `is_it` holds.
    pub fn blank_those(&mut self, from: usize, to: usize, is_it: impl Fn(Handle) -> bool) {
        for at in from..to.min(self.span) {
            if is_it(self.at(at)) {
                self.blank(at);
            }
        }
        self.trim();
    }

    /// Moves some entries down over blanks; at the end of a pass all blanks are behind the entries, and are dropped.
    /// No entry moves up.
    fn compact(&mut self) {
        if self.compacting.is_none() && self.blanks > self.len() + SEGMENT {
            self.compacting = Some((0, 0));
        }
        let Some((mut to, mut from)) = self.compacting else { return };
        for _ in 0..COMPACT_STEPS {
            if from == self.span {
                self.compacting = None;
                self.drop_back(to);
                return;
            }
            let entry = self.at(from);
            if entry != Handle::NOWHERE {
                if to != from {
                    self.put(to, entry);
                    self.put(from, Handle::NOWHERE);
                }
                to += 1;
            }
            from += 1;
        }
        self.compacting = Some((to, from));
    }

    /// Drops the positions from `span` on, which are all blank.
    fn drop_back(&mut self, span: usize) {
        self.blanks -= self.span - span;
        self.span = span;
        let used = (self.head + span).div_ceil(SEGMENT).max(1);
        while self.segments.len() > used {
            let last = self.segments.pop_back();
            self.spare(last, SPARES);
        }
    }

    fn blank(&mut self, at: usize) {
        if self.at(at) != Handle::NOWHERE {
            self.put(at, Handle::NOWHERE);
            self.blanks += 1;
        }
    }

    /// Drops blanks at the front.
    fn trim(&mut self) {
        while self.front() == Some(Handle::NOWHERE) {
            self.blanks -= 1;
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        wrote(Shared::Class, &self.head);
        wrote(Shared::Class, &self.span);
        self.head += 1;
        self.span -= 1;
        self.compacting = self.compacting.map(|(to, from)| (to.saturating_sub(1), from.saturating_sub(1)));
        if self.head == SEGMENT {
            self.head = 0;
            let first = self.segments.pop_front();
            let most = SPARES + self.segments.len() / 8;
            self.spare(first, most);
            self.spares.truncate(most.max(self.reserved));
        }
    }

    /// Keeps a freed segment, unless there are `most` spares.
    fn spare(&mut self, segment: Option<Handles>, most: usize) {
        if self.spares.len() < most.max(self.reserved) && self.has_place_for_a_spare() {
            self.spares.extend(segment);
        }
    }

    fn has_place_for_a_spare(&mut self) -> bool {
        self.spares.try_reserve(1).is_ok()
    }

    /// A segment, and a place for it among the segments; `None` without memory.
    fn segment(&mut self) -> Option<Handles> {
        self.segments.try_reserve(1).ok()?;
        self.spares.pop().or_else(|| Handles::new(SEGMENT))
    }

    #[inline]
    fn at(&self, at: usize) -> Handle {
        let at = self.head + at;
        Handle::from_raw(self.segments[at / SEGMENT].get(at % SEGMENT)).unwrap_or(Handle::NOWHERE)
    }

    #[inline]
    fn put(&mut self, at: usize, handle: Handle) {
        let at = self.head + at;
        wrote(Shared::Class, &self.span);
        self.segments[at / SEGMENT].set(at % SEGMENT, handle.raw());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_as_a_queue_at_any_length() {
        let (mut ring, mut model) = (Ring::default(), VecDeque::new());
        let mut rng = fastrand::Rng::with_seed(3);
        let mut next = 1;
        let mut longest = 0;
        for round in 0..60 {
            for _ in 0..rng.usize(..3 * SEGMENT) {
                let handle = Handle::from_raw(next + 1).unwrap();
                next += 1;
                match rng.u8(..16) {
                    // Grows in even rounds, and shrinks in odd ones.
                    0..3 => {
                        assert!(ring.push_front(handle));
                        model.push_front(handle);
                    }
                    3 if !model.is_empty() => {
                        let at = rng.usize(..model.len());
                        let found = ring.position(model[at]).unwrap();
                        ring.replace(found, handle);
                        model[at] = handle;
                    }
                    4 if !model.is_empty() => {
                        let at = rng.usize(..model.len().min(50));
                        ring.remove(ring.position(model[at]).unwrap());
                        model.remove(at);
                    }
                    n if (n % 4 != 0) == (round % 2 == 0) => {
                        assert!(ring.push_back(handle));
                        model.push_back(handle);
                    }
                    _ => assert_eq!(ring.pop_front(), model.pop_front()),
                }
                assert_eq!((ring.len(), ring.front()), (model.len(), model.front().copied()));
            }
            longest = longest.max(ring.bytes());
            let odd = |handle: Handle| handle.raw().is_multiple_of(7);
            let (from, to) = (ring.span() / 3, ring.span() / 2);
            let removed: Vec<Handle> = (from..to).map(|at| ring.at(at)).filter(|&handle| odd(handle)).collect();
            ring.blank_those(from, to, odd);
            model.retain(|handle| !removed.contains(handle));
        }
        while let Some(handle) = ring.pop_front() {
            assert_eq!(Some(handle), model.pop_front());
        }
        assert_eq!((model.len(), ring.len(), ring.span()), (0, 0, 0));
        assert!(longest > ring.bytes() && ring.bytes() <= (1 + SPARES) * SEGMENT * 4, "memory is freed");
    }

    #[test]
    fn blanks_do_not_accumulate_behind_a_lasting_entry() {
        let (mut ring, handle) = (Ring::default(), |n: u64| Handle::from_raw(n + 2).unwrap());
        let mut model: VecDeque<Handle> = (0..20).map(handle).collect();
        model.iter().for_each(|&entry| assert!(ring.push_back(entry)));
        let (mut longest, mut rng) = (0, fastrand::Rng::with_seed(5));
        for n in 20..200_000 {
            // Removes one entry behind the first and appends one; periodically, after some compactions, also at the
            // front.
            let at = rng.usize(1..model.len());
            ring.remove(ring.position(model[at]).unwrap());
            model.remove(at);
            if n % (8 * SEGMENT as u64) == 0 {
                assert!(ring.push_front(handle(n)));
                model.push_front(handle(n));
                ring.remove(0);
                model.pop_front();
                ring.remove(0);
                model.pop_front();
                assert!(ring.push_front(handle(n + 1_000_000)));
                model.push_front(handle(n + 1_000_000));
            }
            assert!(ring.push_back(handle(n)));
            model.push_back(handle(n));
            longest = longest.max(ring.span());
            assert_eq!((ring.len(), ring.front()), (model.len(), model.front().copied()));
        }
        assert!(longest < 2 * SEGMENT + 2 * model.len(), "{longest} positions for {} entries", model.len());
        while let Some(entry) = ring.pop_front() {
            assert_eq!(Some(entry), model.pop_front());
        }
        assert!(model.is_empty());
    }

    #[test]
    fn reserved_places_need_no_further_memory() {
        let handle = |n: usize| Handle::from_raw(n as u64 + 2).unwrap();
        for count in [1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT + 5] {
            let mut ring = Ring::default();
            (0..SEGMENT + 7).for_each(|n| assert!(ring.push_back(handle(n))));
            assert!(ring.reserve(count));
            let (bytes, places) = (ring.bytes(), ring.segments.capacity());
            for n in 0..count {
                assert!(if n % 3 == 0 { ring.push_front(handle(n)) } else { ring.push_back(handle(n)) });
                // Entries that are popped and pushed again, by which segments are freed.
                for _ in 0..5 {
                    let first = ring.pop_front().unwrap();
                    assert!(ring.push_back(first));
                }
                assert_eq!((ring.bytes(), ring.segments.capacity()), (bytes, places), "{n} of {count}");
            }
        }
    }
}
