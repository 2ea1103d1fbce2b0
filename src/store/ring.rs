//! A queue of handles that grows and shrinks by segments.
//!
//! Owns entries and blanks. No push or pop moves other entries, so none takes long under a class's lock, and memory
//! goes back when a long queue gets short. The first entry is never a blank. Knows no items; `policy` and `leave` use
//! it for a class's ring and for its large items.

use super::arena::Handle;
use super::handle::Handles;
use std::collections::VecDeque;

/// Entries of a segment: 16 KiB, with long handles 20.
const SEGMENT: usize = 4096;

/// Segments kept for later in any case; of a long queue an eighth more.
const SPARES: usize = 2;

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
            let entries = &self.segments[segment][begin..end];
            if let Some(at) = find(entries, handle) {
                return Some(before + at);
            }
            (segment, begin, before) = (segment + 1, 0, before + entries.len());
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

/// Where `handle` stands among `entries`. Blocks are searched without a branch for each entry, so that the processor
/// compares several at a time.
fn find(entries: &[Handle], handle: Handle) -> Option<usize> {
    const BLOCK: usize = 64;
    let has = |block: &[Handle]| block.iter().fold(false, |found, entry| found | (*entry == handle));
    let from = entries.chunks(BLOCK).position(has)? * BLOCK;
    entries[from..].iter().position(|entry| *entry == handle).map(|at| from + at)
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
}
