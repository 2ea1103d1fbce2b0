//! A queue of handles that grows and shrinks by segments.
//!
//! Owns entries and blanks. No push or pop moves many other entries, so none takes long under a class's lock, and memory
//! goes back when a long queue gets short. The first entry is never a blank. Where blanks have become more than entries,
//! those who take entries out move some of the others together each. Knows no items; `policy` and `leave` use it for a
//! class's ring and for its large items.

use crate::store::item::Handle;
use crate::store::item::Handles;
use std::collections::VecDeque;

/// Entries of a segment: 16 KiB, with long handles 20.
const SEGMENT: usize = 4096;

/// Segments kept for later in any case; of a long queue an eighth more.
const SPARES: usize = 2;

/// Entries and blanks that a removal looks at while entries are moved together.
const MOVES: usize = 64;

/// The queue.
#[derive(Default)]
pub struct Ring {
    segments: VecDeque<Handles>,
    /// Some of the segments given up: a queue that stays about as long as it is allocates nothing.
    spares: Vec<Handles>,
    /// Place of the first entry in the first segment.
    head: usize,
    /// Entries and blanks.
    span: usize,
    blanks: usize,
    /// While entries are moved together: up to the first position they have been, from there to the second there are
    /// only blanks.
    moving: Option<(usize, usize)>,
}

impl Ring {
    /// Entries.
    pub fn len(&self) -> usize {
        self.span - self.blanks
    }

    /// Entries and blanks: positions reach from 0 up to this.
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

    /// Adds an entry behind all others.
    pub fn push_back(&mut self, handle: Handle) {
        if self.head + self.span == self.segments.len() * SEGMENT {
            let segment = self.segment();
            self.segments.push_back(segment);
        }
        self.span += 1;
        self.put(self.span - 1, handle);
    }

    /// Adds an entry before all others.
    pub fn push_front(&mut self, handle: Handle) {
        if self.head == 0 {
            let segment = self.segment();
            self.segments.push_front(segment);
            self.head = SEGMENT;
        }
        self.head -= 1;
        self.span += 1;
        self.moving = self.moving.map(|(to, from)| (to + 1, from + 1));
        self.put(0, handle);
    }

    /// Takes the first entry out.
    pub fn pop_front(&mut self) -> Option<Handle> {
        let first = self.front()?;
        self.drop_front();
        self.trim();
        Some(first)
    }

    /// Where an entry stands: looks at all of them, 5 us for each 100,000.
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

    /// Puts another handle where an entry stands.
    pub fn replace(&mut self, at: usize, handle: Handle) {
        self.put(at, handle);
    }

    /// Takes an entry out.
    pub fn remove(&mut self, at: usize) {
        self.blank(at);
        self.trim();
        self.move_together();
    }

    /// Takes the entries at positions `from..to` out that `is_it` picks.
    pub fn blank_those(&mut self, from: usize, to: usize, is_it: impl Fn(Handle) -> bool) {
        for at in from..to.min(self.span) {
            if is_it(self.at(at)) {
                self.blank(at);
            }
        }
        self.trim();
    }

    /// Moves entries down over blanks, some of them; at the end of a pass the blanks are behind all entries, and go. No
    /// entry moves up.
    fn move_together(&mut self) {
        if self.moving.is_none() && self.blanks > self.len() + SEGMENT {
            self.moving = Some((0, 0));
        }
        let Some((mut to, mut from)) = self.moving else { return };
        for _ in 0..MOVES {
            if from == self.span {
                self.moving = None;
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
        self.moving = Some((to, from));
    }

    /// Drops the positions from `span` on, which have blanks only.
    fn drop_back(&mut self, span: usize) {
        self.blanks -= self.span - span;
        self.span = span;
        let used = (self.head + span).div_ceil(SEGMENT).max(1);
        while self.segments.len() > used {
            let last = self.segments.pop_back();
            if self.spares.len() < SPARES {
                self.spares.extend(last);
            }
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
        self.head += 1;
        self.span -= 1;
        self.moving = self.moving.map(|(to, from)| (to.saturating_sub(1), from.saturating_sub(1)));
        if self.head == SEGMENT {
            self.head = 0;
            if self.spares.len() < SPARES + self.segments.len() / 8 {
                self.spares.extend(self.segments.pop_front());
            } else {
                self.segments.pop_front();
                self.spares.truncate(SPARES + self.segments.len() / 8);
            }
        }
    }

    fn segment(&mut self) -> Handles {
        self.spares.pop().unwrap_or_else(|| Handles::new(SEGMENT))
    }

    #[inline]
    fn at(&self, at: usize) -> Handle {
        let at = self.head + at;
        Handle::from_raw(self.segments[at / SEGMENT].get(at % SEGMENT)).unwrap_or(Handle::NOWHERE)
    }

    #[inline]
    fn put(&mut self, at: usize, handle: Handle) {
        let at = self.head + at;
        self.segments[at / SEGMENT].set(at % SEGMENT, handle.raw());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_as_a_queue_whatever_its_length() {
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
                        ring.push_front(handle);
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
                        ring.push_back(handle);
                        model.push_back(handle);
                    }
                    _ => assert_eq!(ring.pop_front(), model.pop_front()),
                }
                assert_eq!((ring.len(), ring.front()), (model.len(), model.front().copied()));
            }
            longest = longest.max(ring.bytes());
            let odd = |handle: Handle| handle.raw().is_multiple_of(7);
            let (from, to) = (ring.span() / 3, ring.span() / 2);
            let gone: Vec<Handle> = (from..to).map(|at| ring.at(at)).filter(|&handle| odd(handle)).collect();
            ring.blank_those(from, to, odd);
            model.retain(|handle| !gone.contains(handle));
        }
        while let Some(handle) = ring.pop_front() {
            assert_eq!(Some(handle), model.pop_front());
        }
        assert_eq!((model.len(), ring.len(), ring.span()), (0, 0, 0));
        assert!(longest > ring.bytes() && ring.bytes() <= (1 + SPARES) * SEGMENT * 4, "memory goes back");
    }

    #[test]
    fn blanks_do_not_pile_up_behind_an_entry_that_stays() {
        let (mut ring, handle) = (Ring::default(), |n: u64| Handle::from_raw(n + 2).unwrap());
        let mut model: VecDeque<Handle> = (0..20).map(handle).collect();
        model.iter().for_each(|&entry| ring.push_back(entry));
        let (mut longest, mut rng) = (0, fastrand::Rng::with_seed(5));
        for n in 20..200_000 {
            // One behind the first leaves, another comes; now and then at the front.
            let at = rng.usize(1..model.len());
            ring.remove(ring.position(model[at]).unwrap());
            model.remove(at);
            if n % 1000 == 0 {
                ring.push_front(handle(n));
                model.push_front(handle(n));
                ring.remove(0);
                model.pop_front();
                ring.remove(0);
                model.pop_front();
                ring.push_front(handle(n + 1_000_000));
                model.push_front(handle(n + 1_000_000));
            }
            ring.push_back(handle(n));
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
}
