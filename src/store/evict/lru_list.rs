//! LRU list: items in the exact order of their last use, the queue of flat mode.
//!
//! Owns the links, 8 bytes per slot of a page (10 with long handles), which exist for pages that have ever held an item
//! of the list: in segmented mode there are none. Knows handles only. One list per class, under the class lock; called
//! by `queues` and `page_move`.

use crate::store::item::Handle;
use crate::store::item::Handles;
use std::collections::BTreeMap;

/// Link value for the end of the list: the raw handle of a chunk on page 0, which does not exist.
const END: u64 = 1;

/// Neighbours of an item, as raw handles; both are 0 outside the list.
#[derive(Clone, Copy, Default)]
struct Link {
    before: u64,
    after: u64,
}

/// The list. Its first item is the least recently used one.
pub struct LruList {
    /// Links of a page, two per slot. A tree's nodes are small, so the reserve suffices for them (`sys::reserve`); a
    /// hash table of thousands of pages would have to grow in one piece.
    links: BTreeMap<usize, Handles>,
    ends: Link,
    len: u64,
    /// Bytes of the links.
    bytes: usize,
    /// The last item that a search has passed, of a page to be skipped. All items before it were passed too. END =
    /// none.
    passed: u64,
}

impl Default for LruList {
    fn default() -> Self {
        Self { links: BTreeMap::new(), ends: Link { before: END, after: END }, len: 0, bytes: 0, passed: END }
    }
}

impl LruList {
    /// Number of items in the list.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of the links.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The least recently used item.
    pub fn first(&self) -> Option<Handle> {
        self.handle(self.ends.after)
    }

    /// The least recently used item that is not on `page`. Examines at most `count` items; the next call resumes
    /// there.
    pub fn oldest_off_page(&mut self, page: Option<usize>, count: usize) -> Option<Handle> {
        if self.handle(self.passed).map(Handle::page) != page {
            self.passed = END;
        }
        for _ in 0..count {
            let next = match self.handle(self.passed) {
                None => self.first()?,
                Some(passed) => self.handle(self.link(passed)?.after)?,
            };
            if Some(next.page()) != page {
                return Some(next);
            }
            self.passed = next.raw();
        }
        None
    }

    /// Items from the least recently used on.
    pub fn oldest(&self) -> impl Iterator<Item = Handle> + '_ {
        std::iter::successors(self.first(), |&handle| self.handle(self.link(handle)?.after))
    }

    /// Whether an item is in the list.
    pub fn contains(&self, handle: Handle) -> bool {
        self.link(handle).is_some_and(|link| link.before != 0)
    }

    /// Appends an item that is not in the list. Its page has `slots` slots. False without memory for the page's links.
    #[must_use]
    pub fn push(&mut self, handle: Handle, slots: usize) -> bool {
        if self.links.get(&handle.page()).is_none_or(|page| page.len() < 2 * slots) {
            // A new page, or one that had larger chunks before: none of its chunks is in the list.
            self.forget_page(handle.page());
            let Some(page) = Handles::new(2 * slots) else { return false };
            self.bytes += page.bytes();
            self.links.insert(handle.page(), page);
        }
        let last = self.ends.before;
        self.set(handle.raw(), |link| *link = Link { before: last, after: END });
        self.set(last, |link| link.after = handle.raw());
        self.ends.before = handle.raw();
        self.len += 1;
        true
    }

    /// Removes an item; false if it was not in the list.
    pub fn remove(&mut self, handle: Handle) -> bool {
        let Some(link) = self.link(handle).filter(|link| link.before != 0) else { return false };
        self.set(link.before, |before| before.after = link.after);
        self.set(link.after, |after| after.before = link.before);
        self.set(handle.raw(), |own| *own = Link::default());
        if self.passed == handle.raw() {
            self.passed = link.before;
        }
        self.len -= 1;
        true
    }

    /// Replaces `from` by `to`, which is not in the list and lies on a page of `slots` slots; false if `from` is not
    /// in the list, or without memory.
    pub fn replace(&mut self, from: Handle, to: Handle, slots: usize) -> bool {
        let Some(link) = self.link(from).filter(|link| link.before != 0) else { return false };
        if !self.push(to, slots) {
            return false;
        }
        self.remove(to);
        self.set(from.raw(), |own| *own = Link::default());
        self.set(to.raw(), |own| *own = link);
        self.set(link.before, |before| before.after = to.raw());
        self.set(link.after, |after| after.before = to.raw());
        if self.passed == from.raw() {
            self.passed = END;
        }
        true
    }

    /// Frees the links of a page; none of its chunks is in the list.
    pub fn forget_page(&mut self, page: usize) {
        self.bytes -= self.links.remove(&page).map_or(0, |links| links.bytes());
    }

    fn handle(&self, raw: u64) -> Option<Handle> {
        Handle::from_raw(raw).filter(|_| raw != END)
    }

    fn link(&self, handle: Handle) -> Option<Link> {
        let (page, at) = (self.links.get(&handle.page())?, 2 * handle.slot());
        (at < page.len()).then(|| Link { before: page.get(at), after: page.get(at + 1) })
    }

    /// Changes an item's links, or those of the list itself.
    fn set(&mut self, raw: u64, change: impl FnOnce(&mut Link)) {
        let Some(handle) = self.handle(raw) else { return change(&mut self.ends) };
        let Some(mut link) = self.link(handle) else { return };
        change(&mut link);
        if let Some(page) = self.links.get_mut(&handle.page()) {
            let before = page.bytes();
            page.set(2 * handle.slot(), link.before);
            page.set(2 * handle.slot() + 1, link.after);
            self.bytes += page.bytes() - before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::item::LONG_PAGES;

    #[test]
    fn removals_keep_the_order_of_use() {
        let mut list = LruList::default();
        let mut model: Vec<Handle> = Vec::new();
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let handle = Handle::new(rng.u32(1..4), rng.u32(0..40));
            assert_eq!(list.contains(handle), model.contains(&handle));
            assert_eq!(list.remove(handle), model.contains(&handle));
            model.retain(|&other| other != handle);
            if rng.bool() {
                assert!(list.push(handle, 40));
                model.push(handle);
            } else if let Some(at) = (!model.is_empty()).then(|| rng.usize(..model.len())) {
                assert!(list.replace(model[at], handle, 40));
                assert!(!list.replace(Handle::new(9, 1), handle, 40));
                model[at] = handle;
            }
            assert_eq!((list.first(), list.len()), (model.first().copied(), model.len() as u64));
        }
        assert_eq!(list.oldest().collect::<Vec<_>>(), model);
        model.iter().for_each(|&handle| assert!(list.remove(handle)));
        assert_eq!((list.first(), list.len()), (None, 0));
    }

    #[test]
    fn the_highest_handle_is_listed_like_any_other() {
        let (last, slots) = (Handle::new(LONG_PAGES as u32 - 1, (1 << 15) - 1), 1 << 15);
        let mut list = LruList::default();
        for handle in [Handle::new(1, 0), last, Handle::new(1, 1)] {
            assert!(list.push(handle, slots));
        }
        assert_eq!(list.oldest().collect::<Vec<_>>(), [Handle::new(1, 0), last, Handle::new(1, 1)]);
        assert!(list.remove(Handle::new(1, 0)) && list.contains(last));
        assert_eq!((list.first(), list.len()), (Some(last), 2));
        assert!(list.remove(last) && !list.contains(last));
        assert_eq!(list.first(), Some(Handle::new(1, 1)));
    }

    #[test]
    fn a_page_is_skipped_in_steps() {
        let mut list = LruList::default();
        let on = |page: u32| (0..40).map(move |slot| Handle::new(page, slot));
        on(1).chain(on(2)).for_each(|handle| assert!(list.push(handle, 40)));
        assert_eq!(list.oldest_off_page(None, 1), Some(Handle::new(1, 0)));
        assert_eq!(list.oldest_off_page(Some(1), 30), None, "the first thirty");
        // Removed: the first one and the last that was passed; one is replaced.
        assert!(list.remove(Handle::new(1, 0)) && list.remove(Handle::new(1, 29)));
        assert!(list.replace(Handle::new(1, 5), Handle::new(3, 0), 40));
        assert_eq!(list.oldest_off_page(Some(1), 30), Some(Handle::new(2, 0)), "eleven more");
        assert_eq!(list.oldest_off_page(Some(2), 30), Some(Handle::new(1, 1)), "another page");
        assert_eq!(list.oldest_off_page(None, 1), Some(Handle::new(1, 1)));
        for handle in on(1) {
            list.remove(handle);
        }
        assert_eq!(list.oldest_off_page(Some(1), 1), Some(Handle::new(3, 0)));
    }
}
