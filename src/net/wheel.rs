//! A timing wheel: the second in which each connection is judged next.
//!
//! Owns at most one entry for each connection: a place in the list of a second. Entries are linked by slot, so an entry
//! moves or leaves in constant time, and a closed connection leaves nothing behind. Must not know the limits;
//! `deadlines` judges.

use super::conns::slot;

/// Number of seconds that have their own list; an entry beyond them comes due early.
const SECONDS: u32 = 1024;

const NONE: u32 = u32::MAX;

/// Entries of one worker's connections.
pub(super) struct Wheel {
    /// First slot in the list of each second, modulo [`SECONDS`].
    heads: Box<[u32]>,
    /// By slot.
    places: Vec<Place>,
    /// Earlier seconds have no entries; all entries lie within [`SECONDS`] of it.
    first: u32,
    /// Seconds up to this one are due.
    now: u32,
    len: usize,
}

#[derive(Clone, Copy)]
struct Place {
    token: usize,
    /// Second of the list that holds this entry; `NONE` if in no list.
    at: u32,
    prev: u32,
    next: u32,
}

const VACANT: Place = Place { token: 0, at: NONE, prev: NONE, next: NONE };

impl Wheel {
    pub(super) fn new(now: u32) -> Self {
        let heads = vec![NONE; SECONDS as usize].into_boxed_slice();
        Self { heads, places: Vec::new(), first: now, now, len: 0 }
    }

    /// Makes room for the entries of `slots` slots, which need no memory then; false without it.
    pub(super) fn reserve(&mut self, slots: usize) -> bool {
        self.places.try_reserve(slots.saturating_sub(self.places.len())).is_ok()
    }

    /// Schedules `token` for second `at`, or for the next one if `at` has passed; moves its entry if there is one.
    pub(super) fn schedule(&mut self, token: usize, at: u32) {
        let slot = slot(token);
        if slot >= self.places.len() {
            self.places.resize(slot + 1, VACANT);
        }
        self.unlink(slot);
        let at = at.max(self.now.saturating_add(1)).min(self.first.saturating_add(SECONDS - 1)).min(NONE - 1);
        let head = std::mem::replace(&mut self.heads[(at % SECONDS) as usize], slot as u32);
        self.places[slot] = Place { token, at, prev: NONE, next: head };
        if let Some(next) = self.places.get_mut(head as usize) {
            next.prev = slot as u32;
        }
        self.len += 1;
    }

    /// As [`Wheel::schedule`], unless `token` has an earlier entry.
    pub(super) fn hasten(&mut self, token: usize, at: u32) {
        if !self.places.get(slot(token)).is_some_and(|place| place.at != NONE && place.at <= at) {
            self.schedule(token, at);
        }
    }

    /// Removes the entry of `token`.
    pub(super) fn remove(&mut self, token: usize) {
        self.unlink(slot(token));
    }

    /// Makes the seconds up to `now` due.
    pub(super) fn turn(&mut self, now: u32) {
        self.now = self.now.max(now);
    }

    /// Takes out a due entry.
    pub(super) fn pop(&mut self) -> Option<usize> {
        loop {
            let head = self.heads[(self.first % SECONDS) as usize];
            if let Some(place) = self.places.get(head as usize).filter(|place| place.at <= self.now) {
                let token = place.token;
                self.unlink(head as usize);
                return Some(token);
            }
            if self.first >= self.now {
                return None;
            }
            self.first = if self.len == 0 { self.now } else { self.first + 1 };
        }
    }

    /// Whether any entry is due.
    pub(super) fn is_due(&self) -> bool {
        self.len > 0 && (self.first..=self.now).any(|second| self.heads[(second % SECONDS) as usize] != NONE)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn unlink(&mut self, slot: usize) {
        let Some(place) = self.places.get_mut(slot).filter(|place| place.at != NONE) else { return };
        let Place { at, prev, next, .. } = std::mem::replace(place, VACANT);
        match self.places.get_mut(prev as usize) {
            Some(prev) => prev.next = next,
            None => self.heads[(at % SECONDS) as usize] = next,
        }
        if let Some(next) = self.places.get_mut(next as usize) {
            next.prev = prev;
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn due(wheel: &mut Wheel, now: u32) -> Vec<usize> {
        wheel.turn(now);
        let mut all: Vec<_> = std::iter::from_fn(|| wheel.pop()).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn r4_1_each_token_comes_at_its_second_and_once() {
        let mut wheel = Wheel::new(62);
        wheel.schedule(7, 66);
        assert!(due(&mut wheel, 63).is_empty());
        wheel.schedule(8, 67);
        assert!(due(&mut wheel, 65).is_empty());
        assert_eq!(due(&mut wheel, 66), [7]);
        assert_eq!(due(&mut wheel, 67), [8]);
        assert!(due(&mut wheel, 70).is_empty());
        assert!(wheel.is_empty());
    }

    #[test]
    fn r4_1_a_jump_of_the_clock_loses_no_entry() {
        let mut wheel = Wheel::new(62);
        for token in 0..5 {
            wheel.schedule(token, 62 + token as u32);
        }
        assert_eq!(due(&mut wheel, 10_000), [0, 1, 2, 3, 4]);
        wheel.schedule(9, 1);
        assert!(due(&mut wheel, 10_000).is_empty());
        assert_eq!(due(&mut wheel, 10_001), [9]);
    }

    #[test]
    fn r4_1_a_deadline_beyond_the_wheel_comes_due_early() {
        let mut wheel = Wheel::new(62);
        wheel.schedule(1, u32::MAX);
        assert!(due(&mut wheel, 62 + SECONDS - 2).is_empty());
        assert_eq!(due(&mut wheel, 62 + SECONDS - 1), [1]);
    }

    #[test]
    fn entries_in_reserved_slots_need_no_memory() {
        let mut wheel = Wheel::new(62);
        for slots in 1..1000 {
            assert!(wheel.reserve(slots));
            let room = wheel.places.capacity();
            wheel.schedule(slots - 1, 70);
            assert_eq!(wheel.places.capacity(), room);
        }
        assert!(!wheel.reserve(usize::MAX));
    }

    #[test]
    fn the_last_second_of_all_is_one_like_any_other() {
        let mut wheel = Wheel::new(u32::MAX - 2);
        wheel.schedule(1, u32::MAX);
        assert_eq!(due(&mut wheel, u32::MAX - 1), [1]);
    }

    /// Compares with a map; tokens share slots as successive connections do.
    #[test]
    fn entries_move_leave_and_come_as_in_a_map() {
        let mut random = fastrand::Rng::with_seed(3);
        let (mut wheel, mut map, mut now) = (Wheel::new(62), BTreeMap::<usize, (usize, u32)>::new(), 62);
        for id in 0..100_000_usize {
            let slot = random.usize(..50);
            let token = map.get(&slot).map_or(slot | id << 32, |entry| entry.0);
            let at = now + random.u32(..1000);
            match random.u32(..6) {
                0 | 1 => {
                    wheel.schedule(token, at);
                    map.insert(slot, (token, at.max(now + 1)));
                }
                2 => {
                    wheel.hasten(token, at);
                    let before = map.get(&slot).map_or(u32::MAX, |entry| entry.1);
                    map.insert(slot, (token, before.min(at.max(now + 1))));
                }
                3 => {
                    wheel.remove(token);
                    map.remove(&slot);
                }
                _ => {
                    now += random.u32(..3);
                    wheel.turn(now);
                    assert_eq!(wheel.is_due(), map.values().any(|entry| entry.1 <= now));
                    let mut expected: Vec<_> = map.values().filter(|entry| entry.1 <= now).map(|e| e.0).collect();
                    expected.sort_unstable();
                    map.retain(|_, entry| entry.1 > now);
                    assert_eq!(due(&mut wheel, now), expected);
                }
            }
            assert_eq!(wheel.len, map.len());
        }
        assert_eq!(wheel.places.len(), 50, "one place for each slot");
    }
}
